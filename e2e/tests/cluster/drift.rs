//! What somebody changes by hand is put right, and clients don't notice.

use std::time::Duration;

use anyhow::{Result, ensure};
use rotunda_e2e::{
    chat::Chat,
    eventually::eventually,
    namespace::{Namespace, with_temp_ns},
};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn drift_made_by_hand_is_repaired() -> Result<()> {
    with_temp_ns("drift", async |namespace| {
        let chat = Chat::start(&namespace, &json!({})).await?;
        chat.room_in_force("lobby", &json!({})).await?;
        let pods = chat.gateways(2).await?;
        let mut alice = chat.client_on(&pods[0], "alice").await?;
        alice.join("lobby").await?;

        // Deleted.
        for object in [
            "service/chat",
            "service/chat-api",
            "service/chat-pods",
            "service/chat-redis",
            "poddisruptionbudget/chat-gateway",
            "poddisruptionbudget/chat-redis",
            "networkpolicy/chat-gateway",
            "networkpolicy/chat-redis",
            "serviceaccount/chat-gateway",
            "configmap/chat-gateway",
            "configmap/chat-redis",
            "secret/chat-gateway",
        ] {
            let uid = read(&namespace, object, "{.metadata.uid}").await?;
            namespace.kubectl(&["delete", object]).await?;
            eventually(&format!("another {object}"), LIMIT, async || {
                let now = read(&namespace, object, "{.metadata.uid}").await?;
                ensure!(now != uid, "it is still there");
                Ok(())
            })
            .await?;
        }

        // Changed: what it is, what it is labelled with, how many of it, what is in it.
        let image = "{.spec.template.spec.containers[0].image}";
        let label = "{.metadata.labels.app\\.kubernetes\\.io/managed-by}";
        let garbage = r#"{"binaryData":{"config.json.gz":"Z2FyYmFnZQ=="}}"#;
        for (object, path, change) in [
            (
                "deployment/chat-gateway",
                image,
                &["set", "image", "deployment/chat-gateway", "gateway=nothing"][..],
            ),
            (
                "statefulset/chat-redis-0",
                image,
                &["set", "image", "statefulset/chat-redis-0", "redis=nothing"],
            ),
            (
                "deployment/chat-gateway",
                label,
                &[
                    "label",
                    "--overwrite",
                    "deployment/chat-gateway",
                    "app.kubernetes.io/managed-by=me",
                ],
            ),
            (
                "deployment/chat-gateway",
                "{.spec.replicas}",
                &["scale", "deployment/chat-gateway", "--replicas=4"],
            ),
            (
                "service/chat",
                "{.spec.type}",
                &[
                    "patch",
                    "service/chat",
                    "--patch",
                    r#"{"spec":{"type":"ClusterIP"}}"#,
                ],
            ),
            (
                "configmap/chat-gateway",
                "{.binaryData}",
                &["patch", "configmap/chat-gateway", "--patch", garbage],
            ),
        ] {
            let before = read(&namespace, object, path).await?;
            namespace.kubectl(change).await?;
            eventually(
                &format!("`kubectl {}` is undone", change.join(" ")),
                LIMIT,
                async || {
                    let now = read(&namespace, object, path).await?;
                    ensure!(now == before, "{path} is {now}, and was {before}");
                    Ok(())
                },
            )
            .await?;
        }

        // No pod had to go for it, and nobody was cut off.
        ensure!(chat.gateways(2).await? == pods);
        chat.ready().await?;
        alice.publish("lobby", "I am still here").await?;
        let mut bob = chat.client("bob").await?;
        bob.join("lobby").await?;
        bob.publish("lobby", "and I find the way in").await?;
        alice
            .expect_where("bob's message", |frame| frame["from"] == "bob")
            .await?;
        Ok(())
    })
    .await
}

async fn read(namespace: &Namespace, object: &str, path: &str) -> Result<String> {
    namespace
        .kubectl(&["get", object, &format!("--output=jsonpath={path}")])
        .await
}
