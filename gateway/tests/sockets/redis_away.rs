//! A gateway whose Redis isn't there yet, or no more: it says so, refuses what it can't do, keeps whom it has.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::gateway::{API_KEY, TestGateway, config, eventually};
use crate::redis::server::{ENCODED_PASSWORD, Server, free_port};
use crate::redis::start_gateway;
use crate::stream::EventSource;

const PUBLISH: &str = "POST /v1/rooms/lobby/messages";

/// Who isn't connected yet is asked to come back, whatever the transport.
async fn refuses_newcomers(gateway: &TestGateway) {
    let query = format!("token={}&room=lobby", gateway.token("eve"));
    let newcomer = gateway.try_connect(&query, &[]).await.unwrap();
    assert_eq!(u16::from(newcomer.closed().await.code), 1013);
    for path in ["/v1/sse", "/v1/poll"] {
        let answer = gateway
            .http("eve", &format!("GET {path}?room=lobby"), "")
            .await;
        assert_eq!(answer.error(), (503, "unavailable".to_owned()), "{path}");
        assert!(answer.head.contains("retry-after: "), "{}", answer.head);
    }
}

/// What can't be done now is refused, and may be tried again.
async fn refuses_to_publish(gateway: &TestGateway) {
    let message = r#"{"data":1}"#;
    for answer in [
        gateway.http("eve", PUBLISH, message).await,
        gateway.api(API_KEY, PUBLISH, message).await,
    ] {
        assert_eq!(answer.error(), (503, "unavailable".to_owned()));
        assert!(answer.head.contains("retry-after: "), "{}", answer.head);
    }
}

#[tokio::test]
async fn a_gateway_that_starts_before_redis_says_so_and_serves_once_it_is_there() {
    let port = free_port();
    let url = format!("redis://:{ENCODED_PASSWORD}@127.0.0.1:{port}");
    let gateway = start_gateway(&url, config(&["lobby"]));
    eventually(async || {
        let answer = gateway.ops("/readyz").await;
        answer.status == 503
            && answer.text.contains(&format!("127.0.0.1:{port}"))
            && answer.text.contains("refused")
    })
    .await;
    assert_eq!(gateway.ops("/livez").await.status, 200);
    refuses_newcomers(&gateway).await;
    refuses_to_publish(&gateway).await;
    let _server = Server::start_at(port, &[]);
    eventually(async || gateway.ops("/readyz").await.status == 200).await;
    let mut alice = gateway.connect("alice", "room=lobby").await;
    alice.next_of("joined").await;
    let id = gateway.publish("bob", "lobby", "1").await;
    assert_eq!(alice.next_of("message").await["id"], id);
}

#[tokio::test]
async fn when_redis_goes_away_those_connected_stay_and_go_on_once_it_is_back() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let gateway = start_gateway(&server.url(), config(&["lobby", "hall"]));
    eventually(async || gateway.ops("/readyz").await.status == 200).await;
    let mut alice = gateway.connect("alice", "room=lobby").await;
    alice.next_of("joined").await;
    let mut bob = EventSource::open(&gateway, "bob", "room=lobby").await;
    bob.next_of("joined").await;
    server.kill();
    eventually(async || gateway.ops("/readyz").await.status == 503).await;
    assert_eq!(gateway.ops("/livez").await.status, 200);
    refuses_newcomers(&gateway).await;
    refuses_to_publish(&gateway).await;
    for command in [
        json!({ "type": "publish", "room": "lobby", "data": 1 }),
        json!({ "type": "join", "room": "hall" }),
        json!({ "type": "history", "room": "lobby" }),
        json!({ "type": "signal", "room": "lobby", "name": "typing" }),
    ] {
        let refused = alice.ask(command.clone()).await;
        assert_eq!(refused["code"], "unavailable", "{command}: {refused}");
        assert!(refused["retry_after_ms"].is_u64(), "{command}: {refused}");
    }
    server.start_again();
    eventually(async || gateway.ops("/readyz").await.status == 200).await;
    // On the same connection and the same stream.
    let id = gateway.publish("bob", "lobby", "2").await;
    assert_eq!(bob.next_of("message").await.id, id);
    let message = alice.next_of("message").await;
    assert_eq!((&message["id"], &message["data"]), (&json!(id), &json!(2)));
    let joined = alice.ask(json!({ "type": "join", "room": "hall" })).await;
    assert_eq!(joined["type"], "joined");
}

/// A gateway's process, ended with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

const MANIFESTS: &str = "
apiVersion: rotunda.dev/v1alpha1
kind: RealtimeCluster
metadata: { name: chat }
spec: { auth: { anonymous: true } }
";

#[tokio::test]
async fn the_log_says_that_redis_is_away_and_that_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("chat.yaml");
    std::fs::write(&manifests, MANIFESTS).unwrap();
    let port = free_port();
    let url = format!("redis://:{ENCODED_PASSWORD}@127.0.0.1:{port}");
    let mut program = Command::new(env!("CARGO_BIN_EXE_rotunda-gateway"));
    program.arg("dev").arg(manifests).args(["--redis", &url]);
    for port in ["--listen", "--api-listen", "--ops-listen"] {
        program.args([port, "127.0.0.1:0"]);
    }
    program.env_remove("RUST_LOG").stderr(Stdio::piped());
    let mut program = Program(program.spawn().unwrap());
    let log = BufReader::new(program.0.stderr.take().unwrap());
    let (lines, mut logged) = tokio::sync::mpsc::unbounded_channel();
    // Ends with the process.
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            assert!(!line.contains(ENCODED_PASSWORD), "{line}");
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let mut line_that_says = async |message: &str| {
        let waiting = async {
            loop {
                let line: Value = serde_json::from_str(&logged.recv().await.unwrap()).unwrap();
                if line["message"] == message {
                    return line;
                }
            }
        };
        tokio::time::timeout(crate::gateway::PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("no line says: {message}"))
    };
    let line = line_that_says("can't connect to Redis").await;
    assert_eq!(line["level"], "WARN");
    let why = line["why"].as_str().unwrap();
    assert!(
        why.contains(&format!("127.0.0.1:{port}")) && why.contains("refused"),
        "{line}"
    );
    let mut server = Server::start_at(port, &[]);
    line_that_says("connected to Redis").await;
    server.kill();
    let line = line_that_says("lost the connection to Redis").await;
    assert_eq!(line["level"], "WARN");
}
