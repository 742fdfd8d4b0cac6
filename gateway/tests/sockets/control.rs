//! What servers have the gateways do: disconnect a user, remove one from a room. On two gateways that share a Redis.

use serde_json::json;

use crate::gateway::{API_KEY, TestGateway, config, eventually};
use crate::redis::Redis;

#[tokio::test]
async fn a_user_is_disconnected_from_every_gateway() {
    let redis = Redis::start().await;
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
    let redis = Redis::start().await;
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
