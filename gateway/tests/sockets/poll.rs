//! Polling over real sockets: each answer goes on where the last one ended, at any gateway and also from another transport.

use serde_json::{Value, json};

use crate::gateway::{TestGateway, config};
use crate::redis::Redis;
use crate::stream::EventSource;

async fn poll(gateway: &TestGateway, query: &str) -> Value {
    let answer = gateway
        .http("alice", &format!("GET /v1/poll?{query}"), "")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
    answer.json()
}

fn id(answer: &Value) -> &str {
    answer["id"].as_str().unwrap()
}

/// What the messages of an answer hold, in order.
fn data(answer: &Value) -> Vec<Value> {
    let events = answer["events"].as_array().unwrap();
    let messages = events.iter().filter(|event| event["type"] == "message");
    messages.map(|message| message["data"].clone()).collect()
}

fn kinds(answer: &Value) -> Vec<&str> {
    let events = answer["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_first_poll_answers_at_once_with_every_room_also_without_waiting() {
    let gateway = TestGateway::start(config(&["lobby", "den"]));
    for wait in ["wait=0", "wait=60"] {
        let one = poll(&gateway, &format!("room=lobby&{wait}")).await;
        assert_eq!(kinds(&one), ["joined"], "{one}");
        assert_eq!(one["id"], one["events"][0]["id"]);
        let two = poll(&gateway, &format!("room=lobby&room=den&{wait}")).await;
        assert_eq!(kinds(&two), ["joined", "joined"], "{two}");
        assert!(id(&two).starts_with('c'), "{two}");
    }
}

#[tokio::test]
async fn plain_polls_of_two_rooms_miss_and_double_nothing() {
    let gateway = TestGateway::start(config(&["lobby", "den"]));
    let query = |id: &str| format!("room=lobby&room=den&wait=0&last_seen_id={id}");
    let mut place = id(&poll(&gateway, &query("")).await).to_owned();
    let mut told = Vec::new();
    for n in 0..12 {
        let room = if n % 3 == 0 { "den" } else { "lobby" };
        gateway.publish("bob", room, &n.to_string()).await;
        if n % 4 == 3 {
            let answer = poll(&gateway, &query(&place)).await;
            told.extend(data(&answer));
            id(&answer).clone_into(&mut place);
        }
    }
    let last = poll(&gateway, &query(&place)).await;
    told.extend(data(&last));
    told.sort_by_key(Value::as_u64);
    assert_eq!(told, (0..12).map(|n| json!(n)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_poll_waits_for_the_next_message() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let first = poll(&gateway, "room=lobby").await;
    let query = format!("room=lobby&wait=20&last_seen_id={}", id(&first));
    let (answer, _) = tokio::join!(poll(&gateway, &query), async {
        // The order of the two doesn't matter: a message that comes first is found at once.
        gateway.publish("bob", "lobby", "1").await
    });
    assert_eq!(data(&answer), [json!(1)]);
}

#[tokio::test]
async fn a_client_goes_on_at_any_gateway_and_on_any_transport() {
    let redis = Redis::start().await;
    let (one, other) = (
        redis.gateway(config(&["lobby"])).await,
        redis.gateway(config(&["lobby"])).await,
    );
    let mut place = id(&poll(&one, "room=lobby&wait=0").await).to_owned();
    let mut told = Vec::new();
    for round in 0..3 {
        let n = |step: u64| (round * 3 + step).to_string();
        one.publish("bob", "lobby", &n(0)).await;
        let answer = poll(&other, &format!("room=lobby&last_seen_id={place}")).await;
        told.extend(data(&answer));
        other.publish("bob", "lobby", &n(1)).await;
        let mut source = EventSource::open_after(&one, "alice", "room=lobby", id(&answer)).await;
        assert_eq!(source.next_of("joined").await.data["recovered"], true);
        let message = source.next_of("message").await;
        told.push(message.data["data"].clone());
        drop(source);
        one.publish("bob", "lobby", &n(2)).await;
        let query = format!("room=lobby&last_seen_id={}", message.id);
        let mut socket = other.connect("alice", &query).await;
        assert_eq!(socket.next_of("joined").await["recovered"], true);
        let message = socket.next_of("message").await;
        told.push(message["data"].clone());
        message["id"].as_str().unwrap().clone_into(&mut place);
        socket.close().await;
    }
    assert_eq!(told, (0..9).map(|n| json!(n)).collect::<Vec<_>>());
}
