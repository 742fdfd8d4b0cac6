//! What README.md promises: the manifests of `examples/chat`, applied as they are, serve.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use rotunda_e2e::{
    chat::CLUSTER,
    namespace::{Namespace, with_temp_ns},
    realtime::RealtimeClient,
    token::Token,
};
use serde_json::{Value, json};

/// The namespace that the manifests name; the test puts them into its own.
const NAMESPACE: &str = "chat-demo";
/// The key that they hold.
const SECRET: &str = "demo-only-this-key-is-public-never-use-it-elsewhere";

#[tokio::test]
async fn the_example_becomes_ready_and_serves() -> Result<()> {
    with_temp_ns("example", async |namespace| {
        namespace.apply(&manifests(namespace.name())?).await?;

        // As a pipeline waits.
        for target in [
            "realtimecluster/chat",
            "rooms/lobby",
            "rooms/teams",
            "rooms/announcements",
        ] {
            namespace
                .kubectl(&["wait", "--for=condition=Ready", "--timeout=2m", target])
                .await?;
        }

        let endpoint = endpoint(&namespace).await?;
        let mut alice = client(&endpoint, "alice").await?;
        let mut bob = client(&endpoint, "bob").await?;
        alice.join("lobby").await?;
        bob.join("lobby").await?;
        alice
            .publish("lobby", json!({ "text": "Hello Bob" }))
            .await?;
        let message = bob.expect_message("lobby").await?;
        ensure!(
            message.from == "alice" && message.data == json!({ "text": "Hello Bob" }),
            "{message:?}"
        );

        // The policies of its Rooms: a team's room is for the team, announcements are for announcers to make.
        let carol = Token::of("carol")
            .claim("teams", json!(["red"]))
            .claim("role", "announcer");
        let mut carol = RealtimeClient::connect(&endpoint, &carol.sign(SECRET)?).await?;
        carol.join("team:red").await?;
        let refused = async |user: &mut RealtimeClient, request: Value| -> Result<()> {
            let code = user.refused(request.clone()).await?;
            ensure!(code == "forbidden", "{request} is refused with {code}");
            Ok(())
        };
        refused(&mut carol, json!({ "type": "join", "room": "team:blue" })).await?;
        refused(&mut bob, json!({ "type": "join", "room": "team:red" })).await?;
        refused(
            &mut bob,
            json!({ "type": "publish", "room": "announcements", "data": "hear!" }),
        )
        .await?;
        refused(&mut bob, json!({ "type": "join", "room": "undeclared" })).await?;
        alice.join("announcements").await?;
        carol
            .publish("announcements", "a new version is out")
            .await?;
        ensure!(alice.expect_message("announcements").await?.from == "carol");
        Ok(())
    })
    .await
}

async fn endpoint(namespace: &Namespace) -> Result<String> {
    let path = "--output=jsonpath={.status.endpoint.websocket}";
    namespace
        .kubectl(&["get", "realtimecluster", CLUSTER, path])
        .await
}

async fn client(endpoint: &str, user: &str) -> Result<RealtimeClient> {
    RealtimeClient::connect(endpoint, &Token::of(user).sign(SECRET)?).await
}

/// All of the folder's files as they are but for the namespace.
fn manifests(namespace: &str) -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/chat");
    let mut documents = Vec::new();
    for entry in fs::read_dir(folder)? {
        documents.push(fs::read_to_string(entry?.path())?.replace(NAMESPACE, namespace));
    }
    Ok(documents.join("\n---\n"))
}
