//! A user's own room: who may do what there, and by which names it goes.

use std::path::PathBuf;

use rotunda_crds::config::GatewayConfig;
use rotunda_crds::realtime_cluster::UndeclaredRooms;
use rotunda_gateway::cli::Manifests;
use rotunda_gateway::dev;
use serde_json::json;

use crate::gateway::{API_KEY, Client, TestGateway, config};
use crate::redis::Redis;

async fn refused(client: &mut Client, command: serde_json::Value) -> String {
    let answer = client.ask(command).await;
    assert_eq!(answer["type"], "error", "{answer}");
    answer["code"].as_str().unwrap().to_owned()
}

/// Every way into or out of another's room.
async fn is_closed_to_others(gateway: &TestGateway) {
    let mut bob = gateway.connect("bob", "").await;
    let room = "user:alice";
    for command in [
        json!({ "type": "join", "room": room }),
        json!({ "type": "publish", "room": room, "data": 1 }),
        json!({ "type": "signal", "room": room, "name": "wave" }),
        json!({ "type": "history", "room": room }),
        json!({ "type": "members", "room": room }),
    ] {
        assert_eq!(
            refused(&mut bob, command.clone()).await,
            "forbidden",
            "{command}"
        );
    }
    for (request, body) in [
        ("POST /v1/users/alice/messages", r#"{"data":1}"#),
        ("POST /v1/users/alice/signals", r#"{"name":"wave"}"#),
        ("GET /v1/users/alice/messages", ""),
        ("GET /v1/rooms/user:alice/members", ""),
    ] {
        assert_eq!(
            gateway.http("bob", request, body).await.status,
            403,
            "{request}"
        );
    }
}

async fn serves_its_owner(gateway: &TestGateway) {
    let mut phone = gateway.connect("alice", "room=user:alice").await;
    phone.next_of("joined").await;
    let mut laptop = gateway.connect("alice", "room=user:alice").await;
    laptop.next_of("joined").await;
    let published = gateway
        .api(
            API_KEY,
            "POST /v1/users/alice/messages",
            r#"{"data":"for you"}"#,
        )
        .await;
    assert_eq!(published.status, 200, "{published:?}");
    for connection in [&mut phone, &mut laptop] {
        assert_eq!(connection.next_of("message").await["data"], "for you");
    }
    let signaled = gateway
        .api(
            API_KEY,
            "POST /v1/users/alice/signals",
            r#"{"name":"ring"}"#,
        )
        .await;
    assert_eq!(signaled.status, 204);
    for connection in [&mut phone, &mut laptop] {
        assert_eq!(connection.next_of("signal").await["name"], "ring");
    }
    let history = gateway
        .http("alice", "GET /v1/users/alice/messages", "")
        .await
        .json();
    assert_eq!(history["messages"][0]["data"], "for you");
    let members = gateway
        .http("alice", "GET /v1/rooms/user:alice/members", "")
        .await
        .json();
    assert_eq!(members["members"], json!([{ "user": "alice" }]));
}

#[tokio::test]
async fn a_users_room_needs_no_declaration_and_lets_nobody_else_in() {
    let gateway = TestGateway::start(config(&["lobby"]));
    serves_its_owner(&gateway).await;
    is_closed_to_others(&gateway).await;
    let own = gateway
        .http(
            "alice",
            "POST /v1/users/alice/messages",
            r#"{"data":"note to self"}"#,
        )
        .await;
    assert_eq!(own.status, 200, "from one device to the others");
}

#[tokio::test]
async fn neither_a_pattern_of_everything_nor_allowed_rooms_open_it() {
    let mut open = config(&["**", "*:*", "**:*"]);
    open.undeclared_rooms = UndeclaredRooms::Allow;
    for room in &mut open.rooms {
        room.policy.access.join = "true".to_owned();
        room.policy.access.publish = "true".to_owned();
    }
    let gateway = TestGateway::start(open);
    serves_its_owner(&gateway).await;
    is_closed_to_others(&gateway).await;
}

/// The Room of `examples/one-to-one`, which keeps two messages, and whose access to all but publishing is wide open: that means nothing here.
fn support_may_write() -> GatewayConfig {
    let examples = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"));
    let manifests = Manifests {
        files: vec![examples.join("chat"), examples.join("one-to-one")],
        cluster: None,
    };
    let loaded = dev::load(&manifests, false).unwrap_or_else(|error| panic!("{error:#}"));
    let mut inboxes = loaded
        .config
        .rooms
        .into_iter()
        .find(|room| room.name == "inboxes")
        .unwrap();
    let access = &mut inboxes.policy.access;
    for expression in [&mut access.join, &mut access.history, &mut access.members] {
        "true".clone_into(expression);
    }
    inboxes.policy.history.max_messages = 2;
    let mut config = config(&["lobby"]);
    config.rooms.push(inboxes);
    config
}

#[tokio::test]
async fn a_room_that_names_them_lets_users_publish_without_joining_or_reading() {
    let gateway = TestGateway::start(support_may_write());
    serves_its_owner(&gateway).await;
    is_closed_to_others(&gateway).await;
    let mut alice = gateway.connect("alice", "room=user:alice").await;
    alice.next_of("joined").await;
    let token = gateway.token_with("sam", json!({ "role": "support" }));
    let mut sam = gateway
        .try_connect(&format!("token={token}"), &[])
        .await
        .unwrap();
    sam.next_of("welcome").await;
    let ack = sam
        .ask(json!({ "type": "publish", "room": "user:alice", "data": "can I help?" }))
        .await;
    assert_eq!(ack["type"], "ack", "{ack}");
    let message = alice.next_of("message").await;
    assert_eq!(
        (&message["from"], &message["id"]),
        (&json!("sam"), &ack["id"])
    );
    sam.send(json!({ "type": "signal", "room": "user:alice", "name": "typing" }))
        .await;
    assert_eq!(alice.next_of("signal").await["from"], "sam");
    for kind in ["join", "history", "members"] {
        assert_eq!(
            refused(&mut sam, json!({ "type": kind, "room": "user:alice" })).await,
            "forbidden",
            "{kind}"
        );
    }
    // Its other rules hold, too.
    for n in 0..3 {
        let body = json!({ "data": n }).to_string();
        gateway
            .api(API_KEY, "POST /v1/users/alice/messages", &body)
            .await;
    }
    let kept = gateway
        .http("alice", "GET /v1/users/alice/messages", "")
        .await
        .json();
    assert_eq!(kept["messages"].as_array().unwrap().len(), 2);
    // And whoever isn't permitted isn't, the owner included.
    let own = gateway
        .http("alice", "POST /v1/users/alice/messages", r#"{"data":1}"#)
        .await;
    assert_eq!(own.status, 403);
}

#[tokio::test]
async fn in_a_path_the_room_of_a_user_goes_by_the_id_encoded_once_or_its_name_encoded_twice() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut alice = gateway
        .connect("alice@example.com", "room=user%3Aalice%2540example.com")
        .await;
    alice.next_of("joined").await;
    for (n, path) in [
        "/v1/users/alice%40example.com/messages",
        "/v1/users/alice@example.com/messages",
        "/v1/rooms/user:alice%2540example.com/messages",
        "/v1/rooms/user%3Aalice%2540example.com/messages",
    ]
    .iter()
    .enumerate()
    {
        let body = json!({ "data": n }).to_string();
        let answer = gateway.api(API_KEY, &format!("POST {path}"), &body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(alice.next_of("message").await["data"], n);
    }
    // Encoded once, a name is nobody's; the answer says what was meant, in a path and in a frame.
    let trap = gateway
        .api(
            API_KEY,
            "POST /v1/rooms/user:alice%40example.com/messages",
            r#"{"data":1}"#,
        )
        .await;
    assert_eq!(trap.error(), (400, "invalid_room".to_owned()));
    assert!(
        trap.text.contains("user:alice%40example.com meant?"),
        "{}",
        trap.text
    );
    assert_eq!(
        refused(
            &mut alice,
            json!({ "type": "join", "room": "user:alice@example.com" })
        )
        .await,
        "invalid_room"
    );
    // A slash, a percent sign, letters from elsewhere: all in one segment.
    for user in ["a%2Fb", "100%25", "%C3%A4"] {
        let path = format!("POST /v1/users/{user}/messages");
        assert_eq!(
            gateway.api(API_KEY, &path, r#"{"data":1}"#).await.status,
            200,
            "{user}"
        );
    }
    let long = "%40".repeat(70);
    let too_long = gateway
        .api(
            API_KEY,
            &format!("POST /v1/users/{long}/messages"),
            r#"{"data":1}"#,
        )
        .await;
    assert_eq!(too_long.error(), (400, "invalid_room".to_owned()));
}

#[tokio::test]
async fn it_reaches_every_connection_of_the_user_on_every_gateway() {
    let redis = Redis::start();
    let a = redis.gateway(support_may_write()).await;
    let b = redis.gateway(support_may_write()).await;
    let room = "room=user:alice%2540example.com";
    let mut connections = vec![
        a.connect("alice@example.com", room).await,
        b.connect("alice@example.com", room).await,
        b.connect("alice@example.com", room).await,
    ];
    for connection in &mut connections {
        connection.next_of("joined").await;
    }
    let path = "POST /v1/users/alice%40example.com/messages";
    let from_server = a.api(API_KEY, path, r#"{"data":"by a server"}"#).await;
    let support = b.token_with("sam", json!({ "role": "support" }));
    let support = format!("authorization: Bearer {support}\r\n");
    let from_user = b.http_with(&support, path, r#"{"data":"by a user"}"#).await;
    for connection in &mut connections {
        for (answer, data) in [(&from_server, "by a server"), (&from_user, "by a user")] {
            let message = connection.next_of("message").await;
            assert_eq!(
                (&message["id"], &message["data"]),
                (&answer.json()["id"], &json!(data))
            );
        }
    }
}
