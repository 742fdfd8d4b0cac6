//! Keys come from Secrets, and change while clients are connected.

use std::time::Duration;

use anyhow::{Result, ensure};
use rotunda_e2e::{
    chat::{self, Chat, SECRET},
    eventually::eventually,
    http,
    namespace::with_temp_ns,
    realtime::RealtimeClient,
    token::Token,
};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_new_key_for_tokens_takes_effect_without_a_restart_or_a_disconnect() -> Result<()> {
    const NEXT_SECRET: &str = "another-secret-that-only-end-to-end-tests-know";
    with_temp_ns("keys", async |namespace| {
        let chat = Chat::start(&namespace, &json!({})).await?;
        chat.room_in_force("lobby", &json!({})).await?;
        let pods = chat.gateways(2).await?;
        let mut alice = chat.client_on(&pods[0], "alice").await?;
        alice.join("lobby").await?;

        let mut secret = chat::secret();
        secret["stringData"]["secret"] = NEXT_SECRET.into();
        namespace.apply(&secret.to_string()).await?;
        let old = Token::of("bob").sign(SECRET)?;
        let new = Token::of("bob").sign(NEXT_SECRET)?;
        for pod in &pods {
            let endpoint = pod.endpoint();
            eventually(
                &format!("{} welcomes the new token", pod.name),
                LIMIT,
                async || {
                    RealtimeClient::connect(&endpoint, &new)
                        .await?
                        .join("lobby")
                        .await
                },
            )
            .await?;
            let closed = RealtimeClient::open(&endpoint, &old, None)
                .await?
                .closed()
                .await?;
            ensure!(
                closed.code == 4401,
                "the old one is of no use any more: {closed:?}"
            );
        }

        alice.publish("lobby", "I was here before").await?;
        ensure!(chat.gateways(2).await? == pods);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn servers_use_the_api_with_a_key_and_in_anyones_name() -> Result<()> {
    const KEY: &str = "a-key-that-only-end-to-end-tests-know";
    with_temp_ns("api", async |namespace| {
        let key = format!("--from-literal=backend={KEY}");
        namespace
            .kubectl(&["create", "secret", "generic", "chat-api-keys", &key])
            .await?;
        let spec = json!({
            "gateway": { "replicas": 1 },
            "auth": { "apiKeysSecretRef": { "name": "chat-api-keys" } },
        });
        let chat = Chat::start(&namespace, &spec).await?;
        chat.room_in_force("lobby", &json!({ "access": { "publish": "false" } }))
            .await?;
        let mut alice = chat.client("alice").await?;
        alice.join("lobby").await?;

        let ip = namespace
            .kubectl(&[
                "get",
                "service",
                "chat-api",
                "--output=jsonpath={.spec.clusterIP}",
            ])
            .await?;
        let path = "v1/rooms/lobby/messages";
        let message = json!({ "data": "to everyone", "from": "support" });
        let publish = async |address: &str, key: &str| {
            let authorization = format!("Bearer {key}");
            http::post(
                &format!("http://{address}/{path}"),
                &[("authorization", &authorization)],
                &message,
            )
            .await
        };
        let api = format!("{ip}:8081");
        let answer = publish(&api, KEY).await?.json()?;
        let delivered = alice.expect_message("lobby").await?;
        ensure!(
            delivered.from == "support" && answer["id"] == delivered.id.as_str(),
            "{answer}, {delivered:?}"
        );

        // Not with another key, nor with the right one where clients connect.
        ensure!(publish(&api, "guessed").await?.status == 401);
        ensure!(publish(&chat.address().await?, KEY).await?.status == 401);
        Ok(())
    })
    .await
}
