//! `rotunda-gateway listen`, as it is run: what it prints by each transport, and what the gateway sees of its end.

use std::process::{Output, Stdio};

use rotunda_gateway::ids::UserId;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::gateway::{API_KEY, PATIENCE, TestGateway, config, eventually};
use crate::polled::{id, poll};

const TRANSPORTS: [&str; 3] = ["ws", "sse", "poll"];

fn command(gateway: &TestGateway, transport: &str, arguments: &[&str]) -> Command {
    // The URL of one endpoint does for all.
    let url = format!("ws://{}/v1/ws", gateway.address());
    let mut command = Command::new(env!("CARGO_BIN_EXE_rotunda-gateway"));
    command.args(["listen", "--url", &url, "--transport", transport]);
    command
        .args(arguments)
        .env("ROTUNDA_TOKEN", gateway.token("alice"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Listens as Alice until it ends by itself.
async fn listen(gateway: &TestGateway, transport: &str, arguments: &[&str]) -> Output {
    let running = command(gateway, transport, arguments).output();
    timeout(PATIENCE, running).await.expect("it ends").unwrap()
}

async fn is_listening(gateway: &TestGateway) {
    let alice = UserId::parse("alice").unwrap();
    eventually(async || !gateway.gateway.registry.of_user(&alice).is_empty()).await;
}

fn frames(output: &Output) -> Vec<Value> {
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn it_prints_what_was_missed_and_what_comes_by_each_transport() {
    for transport in TRANSPORTS {
        let gateway = TestGateway::start(config(&["lobby", "den"]));
        let place = poll(&gateway, "bob", "room=lobby&room=den&wait=0").await;
        // A message with line ends in it is a line all the same.
        gateway.publish("bob", "lobby", "[\n0\r\n]").await;
        gateway.publish("bob", "den", "[1]").await;
        let rooms = ["--room", "lobby", "--room", "den", "--count", "3"];
        let arguments = [&rooms[..], &["--last-seen-id", id(&place)]].concat();
        let (output, ()) = tokio::join!(listen(&gateway, transport, &arguments), async {
            is_listening(&gateway).await;
            gateway.publish("bob", "lobby", "[2]").await;
        });
        assert!(output.status.success(), "{transport}: {output:?}");
        let frames = frames(&output);
        let of = |kind: &str| frames.iter().filter(|frame| frame["type"] == kind).count();
        assert_eq!(of("message"), 3, "{transport}: {frames:#?}");
        assert_eq!(of("welcome"), usize::from(transport != "poll"));
        let mut told: Vec<_> = frames
            .iter()
            .filter(|frame| frame["type"] == "message")
            .map(|frame| frame["data"][0].clone())
            .collect();
        told.sort_by_key(Value::as_u64);
        assert_eq!(told, [json!(0), json!(1), json!(2)], "{transport}");
    }
}

#[tokio::test]
async fn it_leaves_on_purpose_not_as_if_its_connection_was_lost() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let (output, _) = tokio::join!(
        listen(&gateway, "ws", &["--room", "lobby", "--count", "1"]),
        async {
            is_listening(&gateway).await;
            gateway.publish("bob", "lobby", "1").await
        }
    );
    assert!(output.status.success(), "{output:?}");
    has_left_on_purpose(&gateway).await;
}

#[tokio::test]
async fn it_leaves_on_purpose_when_it_is_stopped_too() {
    for (signal, arguments, fine) in [
        ("-INT", &["--room", "lobby"][..], true),
        ("-TERM", &["--room", "lobby", "--count", "1"], false),
    ] {
        let gateway = TestGateway::start(config(&["lobby"]));
        let listening = command(&gateway, "ws", arguments).spawn().unwrap();
        is_listening(&gateway).await;
        let id = listening.id().unwrap().to_string();
        let stopped = Command::new("kill").args([signal, &id]).status().await;
        assert!(stopped.unwrap().success());
        let output = timeout(PATIENCE, listening.wait_with_output()).await;
        let output = output.expect("it ends").unwrap();
        assert_eq!(output.status.success(), fine, "{output:?}");
        has_left_on_purpose(&gateway).await;
    }
}

/// The one who was connected by WebSocket closed with 1000, and doesn't linger.
async fn has_left_on_purpose(gateway: &TestGateway) {
    eventually(async || gateway.gateway.registry.count() == 0).await;
    let metrics = gateway.ops("/metrics").await.text;
    let closed = r#"rotunda_connections_closed_total{transport="websocket",reason="client"} 1"#;
    assert!(metrics.contains(closed), "{metrics}");
    let members = gateway
        .api(API_KEY, "GET /v1/rooms/lobby/members", "")
        .await;
    assert_eq!(members.json()["count"], 0);
}

#[tokio::test]
async fn it_says_why_it_was_ended_by_each_transport() {
    for transport in TRANSPORTS {
        let gateway = TestGateway::start(config(&["lobby"]));
        // The first poll is answered at once; the second waits.
        let place = poll(&gateway, "bob", "room=lobby&wait=0").await;
        let arguments = ["--room", "lobby", "--last-seen-id", id(&place)];
        let (output, ()) = tokio::join!(listen(&gateway, transport, &arguments), async {
            is_listening(&gateway).await;
            gateway
                .api(API_KEY, "POST /v1/users/alice/disconnect", "")
                .await;
        });
        assert!(!output.status.success(), "{transport}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        let code = if transport == "poll" { "" } else { "4403: " };
        let why = format!("{code}disconnected by the application");
        assert!(said.contains(&why), "{transport}: {said}");
    }
    let gateway = TestGateway::start(config(&["lobby"]));
    for transport in TRANSPORTS {
        let output = listen(
            &gateway,
            transport,
            &["--room", "lobby", "--token", "made-up"],
        )
        .await;
        assert!(!output.status.success(), "{transport}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("the token is not a JSON Web Token"),
            "{transport}: {said}"
        );
    }
}
