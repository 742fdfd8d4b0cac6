//! What only the user can put right is told in a sentence that says how; put right, all is well again.

use std::time::Duration;

use anyhow::{Result, ensure};
use rotunda_crds::{RealtimeCluster, Room};
use rotunda_e2e::{
    chat::{self, CLUSTER, Chat},
    eventually::eventually,
    namespace::{Namespace, with_temp_ns},
};
use serde_json::json;

#[tokio::test]
async fn a_missing_secret_is_asked_for() -> Result<()> {
    with_temp_ns("secret", async |namespace| {
        let chat = Chat::apply(&namespace, &json!({ "gateway": { "replicas": 1 } })).await?;
        let message =
            namespace.expect_condition::<RealtimeCluster>(CLUSTER, "Stalled", "True", "SecretNotFound").await?;
        let name = namespace.name();
        let expected = format!(
            "Secret \"chat-jwt\", which spec.auth.jwt.keys[0].secretRef names, doesn't exist in namespace \"{name}\". \
             Create it: kubectl create secret generic chat-jwt -n {name} --from-literal=secret=\"$(openssl rand -hex 32)\"."
        );
        ensure!(message == expected, "{message}");
        namespace.expect_condition::<RealtimeCluster>(CLUSTER, "Ready", "False", "SecretNotFound").await?;
        is_told_by_an_event(&namespace, "SecretNotFound").await?;

        // There, but without the entry.
        namespace.kubectl(&["create", "secret", "generic", "chat-jwt", "--from-literal=key=value"]).await?;
        let message =
            namespace.expect_condition::<RealtimeCluster>(CLUSTER, "Stalled", "True", "SecretInvalid").await?;
        ensure!(
            message.contains("Entry \"secret\" of Secret \"chat-jwt\"") && message.contains("The Secret has \"key\"."),
            "{message}"
        );

        namespace.apply(&chat::secret().to_string()).await?;
        chat.ready().await?;
        namespace.expect_condition::<RealtimeCluster>(CLUSTER, "Stalled", "False", "UpToDate").await?;
        chat.room_in_force("lobby", &json!({})).await?;
        chat.client("alice").await?.join("lobby").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_named_while_the_old_pods_serve_on() -> Result<()> {
    with_temp_ns("image", async |namespace| {
        let chat = Chat::start(&namespace, &json!({})).await?;
        chat.room_in_force("lobby", &json!({})).await?;
        let before = chat.gateways(2).await?;
        let mut alice = chat.client_on(&before[0], "alice").await?;
        alice.join("lobby").await?;

        chat.patch(&json!({ "spec": { "gateway": { "image": "localhost/nobody-has-this:1" } } }))
            .await?;
        let message = namespace
            .expect_condition::<RealtimeCluster>(CLUSTER, "Stalled", "True", "ImagePullFailed")
            .await?;
        ensure!(
            message.contains("Image \"localhost/nobody-has-this:1\" can't be pulled")
                && message.contains("Check spec.gateway.image")
                && message.contains("kubectl describe pod"),
            "{message}"
        );
        is_told_by_an_event(&namespace, "ImagePullFailed").await?;
        namespace
            .expect_condition::<RealtimeCluster>(CLUSTER, "Ready", "True", "Ready")
            .await?;
        alice.publish("lobby", "still here").await?;

        chat.patch(&json!({ "spec": { "gateway": { "image": null } } }))
            .await?;
        namespace
            .expect_condition::<RealtimeCluster>(CLUSTER, "Stalled", "False", "UpToDate")
            .await?;
        ensure!(chat.gateways(2).await? == before, "the old pods were right");
        alice.publish("lobby", "and here").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn rooms_that_cannot_be_in_force_say_why() -> Result<()> {
    with_temp_ns("rooms", async |namespace| {
        // One that is there before its cluster.
        namespace
            .apply(&chat::room("lobby", &json!({})).to_string())
            .await?;
        let message = namespace
            .expect_condition::<Room>("lobby", "Accepted", "False", "ClusterNotFound")
            .await?;
        let expected = format!(
            "RealtimeCluster \"chat\" doesn't exist in namespace \"{}\".",
            namespace.name()
        );
        ensure!(message.starts_with(&expected), "{message}");
        let chat = Chat::start(&namespace, &json!({ "gateway": { "replicas": 1 } })).await?;
        namespace
            .expect_condition::<Room>("lobby", "Ready", "True", "Ready")
            .await?;
        let pods = chat.gateways(1).await?;
        let mut alice = chat.client_on(&pods[0], "alice").await?;
        alice.join("lobby").await?;

        // Two about the same room: the older one is in force, until it goes.
        let mut second = chat::room("lobby", &json!({ "access": { "publish": "false" } }));
        second["metadata"]["name"] = "another-lobby".into();
        namespace.apply(&second.to_string()).await?;
        let message = namespace
            .expect_condition::<Room>("another-lobby", "Accepted", "False", "Clash")
            .await?;
        ensure!(
            message.contains("Room \"lobby\"")
                && message.contains("is older and has the same name \"lobby\"")
                && message.contains("Delete one of the two."),
            "{message}"
        );
        alice.publish("lobby", "the older one lets me").await?;
        namespace.kubectl(&["delete", "room", "lobby"]).await?;
        namespace
            .expect_condition::<Room>("another-lobby", "Ready", "True", "Ready")
            .await?;
        let publish =
            json!({ "type": "publish", "room": "lobby", "data": "the younger one does not" });
        ensure!(alice.refused(publish).await? == "forbidden");

        // A policy that can't be read: where there was one, it stays in force.
        chat.room_in_force("den", &json!({})).await?;
        alice.join("den").await?;
        chat.room("den", &json!({ "access": { "join": "user.age >" } }))
            .await?;
        let message = namespace
            .expect_condition::<Room>("den", "Accepted", "False", "InvalidAccess")
            .await?;
        ensure!(
            message.contains("access.join")
                && message.contains("the policy before it stays in force"),
            "{message}"
        );
        alice.publish("den", "as before").await?;

        // Where there was none, the room is closed, and not left to a wider pattern.
        chat.room_in_force("all", &json!({ "name": null, "pattern": "**" }))
            .await?;
        alice.join("hut").await?;
        chat.room("hut", &json!({ "access": { "join": "nonsense(" } }))
            .await?;
        namespace
            .expect_condition::<Room>("hut", "Accepted", "False", "InvalidAccess")
            .await?;
        let left = alice.expect("left").await?;
        ensure!(
            left["room"] == "hut" && left["reason"] == "forbidden",
            "{left}"
        );
        chat.room_in_force(
            "hut",
            &json!({ "access": { "join": "user.id == 'alice'" } }),
        )
        .await?;
        alice.join("hut").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_room_of_another_namespace_has_to_be_let_in() -> Result<()> {
    with_temp_ns("host", async |host| {
        let guest = host.another("guest").await?;
        let chat = Chat::start(&host, &json!({ "gateway": { "replicas": 1 } })).await?;
        let elsewhere = json!({ "clusterRef": { "namespace": host.name() } });
        guest.apply(&chat::room("lobby", &elsewhere).to_string()).await?;
        let message = guest.expect_condition::<Room>("lobby", "Accepted", "False", "NotAllowed").await?;
        let expected = format!(
            "RealtimeCluster \"chat\" in namespace \"{}\" doesn't let Rooms of namespace \"{}\" in. Its owner can do so \
             by spec.allowedRooms.",
            host.name(),
            guest.name()
        );
        ensure!(message == expected, "{message}");

        // By the labels of the namespace, as they are now.
        let selector = json!({ "matchLabels": { "example.com/may-chat": "yes" } });
        let allowed = json!({ "namespaces": "Selector", "selector": selector });
        chat.patch(&json!({ "spec": { "allowedRooms": allowed } })).await?;
        let label = async |label: &str| guest.kubectl(&["label", "namespace", guest.name(), label]).await;
        label("example.com/may-chat=yes").await?;
        guest.expect_condition::<Room>("lobby", "Ready", "True", "Ready").await?;
        let mut alice = chat.client("alice").await?;
        alice.join("lobby").await?;

        label("example.com/may-chat-").await?;
        guest.expect_condition::<Room>("lobby", "Accepted", "False", "NotAllowed").await?;
        let left = alice.expect("left").await?;
        ensure!(left["reason"] == "forbidden", "{left}");
        guest.delete().await
    })
    .await
}

async fn is_told_by_an_event(namespace: &Namespace, reason: &str) -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(20);
    let selector = format!("reason={reason},type=Warning");
    eventually(&format!("a warning Event {reason}"), LIMIT, async || {
        let events = namespace
            .kubectl(&[
                "get",
                "events",
                "--field-selector",
                &selector,
                "--output=name",
            ])
            .await?;
        ensure!(!events.is_empty(), "there is none");
        Ok(())
    })
    .await
}
