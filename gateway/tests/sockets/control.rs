//! What servers have the gateways do: disconnect a user, remove one from a room. On two gateways that share a Redis.

use std::time::Instant;

use rotunda_crds::RoomName;
use rotunda_gateway::ids::UserId;
use serde_json::json;

use crate::gateway::{API_KEY, Client, TestGateway, config, eventually};
use crate::polled::{data, id, poll};
use crate::redis::Redis;
use crate::stream::EventSource;

#[tokio::test]
async fn a_user_is_disconnected_from_every_gateway() {
    let redis = Redis::start();
    let a = redis.gateway(config(&["lobby"])).await;
    let b = redis.gateway(config(&["lobby"])).await;
    let phone = a.connect("alice", "room=lobby").await;
    let laptop = b.connect("alice", "").await;
    let mut bob = b.connect("bob", "room=lobby").await;
    bob.next_of("joined").await;
    let accepted = a.api(API_KEY, "POST /v1/users/alice/disconnect", "").await;
    assert_eq!((accepted.status, accepted.text.as_str()), (202, ""));
    for connection in [phone, laptop] {
        let close = connection.closed().await;
        assert_eq!(
            (u16::from(close.code), close.reason.as_str()),
            (4403, "disconnected by the application")
        );
    }
    let gone = loop {
        let frame = bob.next_of("presence").await;
        if frame["left"] != json!([]) {
            break frame;
        }
    };
    assert_eq!(
        (&gone["left"][0]["user"], &gone["count"]),
        (&json!("alice"), &json!(1)),
        "told at once, not after the TTL"
    );
    let mut again = a.connect("alice", "room=lobby").await;
    assert_eq!(again.next_of("joined").await["members"], 2);
}

#[tokio::test]
async fn a_user_is_removed_from_a_room_on_every_gateway() {
    let redis = Redis::start();
    let a = redis.gateway(config(&["team:*"])).await;
    let b = redis.gateway(config(&["team:*"])).await;
    let query = "room=team:red&room=team:blue";
    let mut phone = a.connect("a/b c", query).await;
    let mut laptop = b.connect("a/b c", query).await;
    for client in [&mut phone, &mut laptop] {
        client.next_of("joined").await;
        client.next_of("joined").await;
    }
    let request = "POST /v1/rooms/team:red/members/a%2Fb%20c/remove";
    assert_eq!(b.api(API_KEY, request, "").await.status, 202);
    let left = json!({ "type": "left", "room": "team:red", "reason": "removed" });
    assert_eq!(phone.next_of("left").await, left);
    assert_eq!(laptop.next_of("left").await, left);
    let count = async |room: &str| {
        let request = format!("GET /v1/rooms/{room}/members");
        a.api(API_KEY, &request, "").await.json()["count"].clone()
    };
    // Those who left are told before the others are.
    eventually(async || count("team:red").await == 0).await;
    assert_eq!(count("team:blue").await, 1);
    laptop
        .send(json!({ "type": "join", "room": "team:red" }))
        .await;
    assert_eq!(laptop.next_of("joined").await["members"], 1);
}

/// Waits until a user has so many connections on a gateway, all of them in the room.
async fn is_connected(gateway: &TestGateway, user: &str, count: usize) {
    let (user, room) = (
        UserId::parse(user).unwrap(),
        RoomName::parse("lobby").unwrap(),
    );
    eventually(async || {
        let connections = gateway.gateway.registry.of_user(&user);
        connections.len() == count && connections.iter().all(|connection| connection.is_in(&room))
    })
    .await;
}

async fn order(gateway: &TestGateway, request: &str) {
    let answer = gateway.api(API_KEY, request, "").await;
    assert_eq!(answer.status, 202, "{request}: {}", answer.text);
}

async fn is_online(gateway: &TestGateway, user: &str) -> bool {
    let answer = gateway
        .api(API_KEY, &format!("GET /v1/users/{user}"), "")
        .await;
    answer.json()["online"].as_bool().unwrap()
}

/// The next that a client is told to have left the lobby.
async fn next_left(client: &mut Client) -> (String, u64) {
    loop {
        let frame = client.next_of("presence").await;
        if let Some(user) = frame["left"][0]["user"].as_str() {
            return (user.to_owned(), frame["count"].as_u64().unwrap());
        }
    }
}

#[tokio::test]
async fn streams_and_waiting_polls_of_a_disconnected_user_end_on_every_gateway() {
    let redis = Redis::start();
    let a = redis.gateway(config(&["lobby"])).await;
    let b = redis.gateway(config(&["lobby"])).await;
    let mut bob = b.connect("bob", "room=lobby").await;
    bob.next_of("joined").await;
    let first = poll(&b, "alice", "room=lobby").await;
    let mut source = EventSource::open(&a, "alice", "room=lobby").await;
    source.next_of("joined").await;
    let waiting = format!(
        "GET /v1/poll?room=lobby&wait=60&last_seen_id={}",
        id(&first)
    );
    let (polled, ()) = tokio::join!(b.http("alice", &waiting, ""), async {
        is_connected(&b, "alice", 1).await;
        order(&a, "POST /v1/users/alice/disconnect").await;
    });
    // No id to go on from: the chain of polls ends here.
    assert_eq!(polled.error(), (403, "forbidden".to_owned()));
    let error = polled.json()["error"].clone();
    assert_eq!(error["message"], "disconnected by the application");
    let close = source.closed().await;
    assert_eq!(
        (&close["code"], &close["reason"], &close["after_ms"]),
        (
            &json!(4403),
            &json!("disconnected by the application"),
            &json!(null)
        )
    );
    let path = format!("/v1/sse?token={}&room=lobby", b.token("alice"));
    let header = format!("last-event-id: {}\r\n", source.id);
    let stopped = EventSource::request(&b, &path, &header).await;
    assert_eq!(stopped.status, 204);
    assert_eq!(next_left(&mut bob).await, ("alice".to_owned(), 1));
    eventually(async || !is_online(&a, "alice").await).await;
}

#[tokio::test]
async fn who_is_disconnected_between_two_polls_or_connections_is_gone_at_once() {
    let redis = Redis::start();
    let a = redis.gateway(config(&["lobby"])).await;
    let b = redis.gateway(config(&["lobby"])).await;
    let mut bob = a.connect("bob", "room=lobby").await;
    bob.next_of("joined").await;
    let ttl = a.gateway.settings().presence_ttl();
    let since = Instant::now();
    let first = poll(&b, "alice", "room=lobby&wait=0").await;
    let mut carol = b.connect("carol", "room=lobby").await;
    carol.next_of("joined").await;
    drop(carol);
    for name in ["alice", "carol"] {
        is_connected(&b, name, 0).await;
    }
    let members = a.api(API_KEY, "GET /v1/rooms/lobby/members", "").await;
    assert_eq!(members.json()["count"], 3, "they linger");
    assert!(is_online(&a, "alice").await, "between two polls");
    for (name, count) in [("alice", 2), ("carol", 1)] {
        order(&a, &format!("POST /v1/users/{name}/disconnect")).await;
        assert_eq!(next_left(&mut bob).await, (name.to_owned(), count));
        eventually(async || !is_online(&a, name).await).await;
    }
    assert!(since.elapsed() < ttl, "that was the end of the lingers");
    // The poll after that is a new connection.
    let again = poll(
        &a,
        "alice",
        &format!("room=lobby&wait=0&last_seen_id={}", id(&first)),
    )
    .await;
    assert_eq!(id(&again), id(&first));
}

#[tokio::test]
async fn streams_and_waiting_polls_of_a_removed_user_are_told() {
    let redis = Redis::start();
    let a = redis.gateway(config(&["lobby", "den"])).await;
    let b = redis.gateway(config(&["lobby", "den"])).await;
    let rooms = "room=lobby&room=den";
    let first = poll(&b, "alice", rooms).await;
    let mut source = EventSource::open(&a, "alice", rooms).await;
    for _ in 0..2 {
        source.next_of("joined").await;
    }
    let remove = "POST /v1/rooms/lobby/members/alice/remove";
    let waiting = format!("{rooms}&wait=60&last_seen_id={}", id(&first));
    let (polled, ()) = tokio::join!(poll(&b, "alice", &waiting), async {
        is_connected(&b, "alice", 1).await;
        order(&a, remove).await;
    });
    let left = json!({ "type": "left", "room": "lobby", "reason": "removed" });
    assert_eq!(polled["events"], json!([left]));
    assert_eq!(source.next_of("left").await.data, left);
    let count = async |room: &str| {
        let request = format!("GET /v1/rooms/{room}/members");
        a.api(API_KEY, &request, "").await.json()["count"].clone()
    };
    eventually(async || count("lobby").await == 0).await;
    assert_eq!(count("den").await, 1);
    // Both go on where they still are; who polls with the room again joins it again.
    b.publish("bob", "lobby", "1").await;
    b.publish("bob", "den", "2").await;
    assert_eq!(source.messages(1).await, [json!(2)]);
    let query = format!("room=den&wait=0&last_seen_id={}", id(&polled));
    assert_eq!(data(&poll(&a, "alice", &query).await), [json!(2)]);
    let query = format!("room=lobby&wait=0&last_seen_id={}", id(&polled));
    assert_eq!(data(&poll(&a, "alice", &query).await), [json!(1)]);
    // It lingers there now, which a removal ends too.
    assert_eq!(count("lobby").await, 1);
    order(&b, remove).await;
    eventually(async || count("lobby").await == 0).await;
}

#[tokio::test]
async fn orders_are_for_servers_with_a_key_and_for_declared_rooms() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let disconnect = "POST /v1/users/alice/disconnect";
    let remove = "POST /v1/rooms/lobby/members/alice/remove";
    for request in [disconnect, remove] {
        let refused = gateway.api("wrong", request, "").await;
        assert_eq!(refused.error(), (401, "unauthorized".to_owned()));
        let refused = gateway.http("alice", request, "").await;
        assert_eq!(refused.error(), (404, "not_found".to_owned()));
    }
    let long = "x".repeat(200);
    for (request, status) in [
        (format!("POST /v1/users/{long}/disconnect"), 400),
        ("POST /v1/rooms/a+b/members/alice/remove".to_owned(), 400),
        (
            "POST /v1/rooms/nowhere/members/alice/remove".to_owned(),
            404,
        ),
        (remove.to_owned(), 202),
    ] {
        let answer = gateway.api(API_KEY, &request, "").await;
        assert_eq!(answer.status, status, "{request}");
    }
}
