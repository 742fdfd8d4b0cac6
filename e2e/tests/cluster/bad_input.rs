//! Clients that do it wrong: each is told so, and the gateway serves the others on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rotunda_e2e::{
    chat::{Chat, SECRET, token},
    namespace::with_temp_ns,
    realtime::RealtimeClient,
    token::Token,
};
use serde_json::json;

#[tokio::test]
async fn bad_clients_get_a_clear_answer_and_the_gateway_lives_on() -> Result<()> {
    const FRAME_OVERHEAD: usize = 16 * 1024;
    const MESSAGE_BYTES: usize = 1024;
    with_temp_ns("bad-input", async |namespace| {
        let spec = json!({
            "gateway": { "replicas": 1 },
            "limits": { "messageBytes": MESSAGE_BYTES },
            "allowedOrigins": ["https://app.example.com"],
        });
        let chat = Chat::start(&namespace, &spec).await?;
        chat.room_in_force("lobby", &json!({})).await?;
        let pods = chat.gateways(1).await?;
        let endpoint = chat.endpoint().await?;
        let mut alice = chat.client("alice").await?;
        alice.join("lobby").await?;

        // Frames: what can't be understood ends the connection.
        for (text, code) in [
            ("hello", 4400),
            ("[1,2,3]", 4400),
            (r#"{"type":"dance","room":"lobby"}"#, 4400),
            (&"x".repeat(MESSAGE_BYTES + FRAME_OVERHEAD + 1), 4413),
        ] {
            let mut client = chat.client("mallory").await?;
            client.send_text(text).await?;
            let closed = client.closed().await?;
            ensure!(closed.code == code, "{closed:?} after {text:.40}");
        }

        // Commands: what is understood, but wrong, is answered.
        for (frame, code) in [
            (
                json!({ "type": "join", "room": "no such name!" }),
                "invalid_room",
            ),
            (json!({ "type": "join" }), "bad_request"),
            (json!({ "type": "join", "room": "undeclared" }), "forbidden"),
            (
                json!({ "type": "join", "room": "user:somebody-else" }),
                "forbidden",
            ),
            (
                json!({ "type": "join", "room": "lobby", "last_seen_id": "yesterday" }),
                "invalid_id",
            ),
            (json!({ "type": "leave", "room": "lobby" }), "not_joined"),
            (
                json!({ "type": "publish", "room": "lobby", "data": "x".repeat(MESSAGE_BYTES) }),
                "too_large",
            ),
        ] {
            let mut client = chat.client("mallory").await?;
            let got = client.refused(frame.clone()).await?;
            ensure!(got == code, "{frame} is refused with {got}");
        }

        // Tokens: none, foreign, expired.
        let foreign = Token::of("mallory").sign("a secret that the cluster does not know")?;
        let expired = Token::of("mallory")
            .claim("exp", 1_000_000_000)
            .sign(SECRET)?;
        for token in ["", "nonsense", &foreign, &expired] {
            let closed = RealtimeClient::open(&endpoint, token, None)
                .await?
                .closed()
                .await?;
            ensure!(closed.code == 4401, "{closed:?} for {token:?}");
        }
        let brief = Token::of("brief")
            .expires_in(Duration::from_secs(3))
            .sign(SECRET)?;
        let mut brief = RealtimeClient::connect(&endpoint, &brief).await?;
        let closed = brief.closed().await?;
        ensure!(
            closed.code == 4401,
            "a token that expires ends its connection: {closed:?}"
        );

        // Pages from elsewhere.
        let mallory = token("mallory")?;
        let refused =
            RealtimeClient::open(&endpoint, &mallory, Some("https://evil.example.com")).await;
        let error = format!("{:#}", refused.err().context("a foreign origin is let in")?);
        ensure!(error.contains("403"), "{error}");
        let mut page =
            RealtimeClient::open(&endpoint, &mallory, Some("https://app.example.com")).await?;
        page.expect("welcome").await?;

        // All the while alice was connected, to a gateway that never had to start again.
        alice.publish("lobby", "undisturbed").await?;
        ensure!(chat.gateways(1).await? == pods);
        let restarts = "--output=jsonpath={.status.containerStatuses[0].restartCount}";
        ensure!(
            namespace
                .kubectl(&["get", "pod", &pods[0].name, restarts])
                .await?
                == "0"
        );
        Ok(())
    })
    .await
}
