//! Polling over real sockets: each answer goes on where the last one ended, at any gateway and also from another transport.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rotunda_gateway::broker::memory::MemoryBroker;
use rotunda_gateway::ids::UserId;
use rotunda_gateway::shutdown;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::gateway::{API_KEY, PATIENCE, TestGateway, config, eventually};
use crate::polled::{data, id, kinds, poll};
use crate::redis::Redis;
use crate::stream::EventSource;

#[tokio::test]
async fn the_first_poll_answers_at_once_with_every_room_also_without_waiting() {
    let gateway = TestGateway::start(config(&["lobby", "den"]));
    for wait in ["wait=0", "wait=60"] {
        let one = poll(&gateway, "alice", &format!("room=lobby&{wait}")).await;
        assert_eq!(kinds(&one), ["joined"], "{one}");
        assert_eq!(one["id"], one["events"][0]["id"]);
        let two = poll(&gateway, "alice", &format!("room=lobby&room=den&{wait}")).await;
        assert_eq!(kinds(&two), ["joined", "joined"], "{two}");
        assert!(id(&two).starts_with('c'), "{two}");
    }
}

#[tokio::test]
async fn plain_polls_of_two_rooms_miss_and_double_nothing() {
    let gateway = TestGateway::start(config(&["lobby", "den"]));
    let query = |id: &str| format!("room=lobby&room=den&wait=0&last_seen_id={id}");
    let mut place = id(&poll(&gateway, "alice", &query("")).await).to_owned();
    let mut told = Vec::new();
    for n in 0..12 {
        let room = if n % 3 == 0 { "den" } else { "lobby" };
        gateway.publish("bob", room, &n.to_string()).await;
        if n % 4 == 3 {
            let answer = poll(&gateway, "alice", &query(&place)).await;
            told.extend(data(&answer));
            id(&answer).clone_into(&mut place);
        }
    }
    let last = poll(&gateway, "alice", &query(&place)).await;
    told.extend(data(&last));
    told.sort_by_key(Value::as_u64);
    assert_eq!(told, (0..12).map(|n| json!(n)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_poll_waits_for_the_next_message() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let first = poll(&gateway, "alice", "room=lobby").await;
    let query = format!("room=lobby&wait=20&last_seen_id={}", id(&first));
    let (answer, _) = tokio::join!(poll(&gateway, "alice", &query), async {
        // The order of the two doesn't matter: a message that comes first is found at once.
        gateway.publish("bob", "lobby", "1").await
    });
    assert_eq!(data(&answer), [json!(1)]);
}

#[tokio::test]
async fn any_gateway_answers_any_poll() {
    let redis = Redis::start();
    let mut gateways = Vec::new();
    for _ in 0..3 {
        gateways.push(redis.gateway(config(&["lobby", "den"])).await);
    }
    let query = |id: &str, wait| format!("room=lobby&room=den&wait={wait}&last_seen_id={id}");
    let mut place = id(&poll(&gateways[0], "alice", &query("", 0)).await).to_owned();
    let mut told = Vec::new();
    for n in 0..12 {
        // Waiting or not, never at the gateway of the poll before, and with messages from all of them.
        let (asked, publishing) = (&gateways[n % 3], &gateways[n / 3 % 3]);
        let room = if n % 4 == 1 { "den" } else { "lobby" };
        publishing.publish("bob", room, &n.to_string()).await;
        let answer = poll(
            asked,
            "alice",
            &query(&place, if n % 2 == 0 { 0 } else { 20 }),
        )
        .await;
        told.extend(data(&answer));
        id(&answer).clone_into(&mut place);
    }
    assert_eq!(told, (0..12).map(|n| json!(n)).collect::<Vec<_>>());
}

/// What a message of a stream or a socket holds.
fn of(message: &Value) -> Value {
    message["data"].clone()
}

#[tokio::test]
async fn a_client_crosses_all_transports_with_its_last_id_and_gets_everything_once_and_in_order() {
    let redis = Redis::start();
    let (one, other) = (
        redis.gateway(config(&["lobby"])).await,
        redis.gateway(config(&["lobby"])).await,
    );
    let next = Cell::new(0);
    let publish = async |gateway: &TestGateway| {
        let n = next.replace(next.get() + 1);
        gateway.publish("bob", "lobby", &n.to_string()).await;
    };
    let mut told = Vec::new();
    let mut socket = one.connect("alice", "room=lobby").await;
    let mut place = socket.next_of("joined").await["id"].clone();
    for _ in 0..3 {
        // On the WebSocket: one that comes while it is open, then one that is missed.
        publish(&other).await;
        let message = socket.next_of("message").await;
        told.push(of(&message));
        place = message["id"].clone();
        socket.close().await;
        publish(&one).await;

        // On the event stream at the other gateway: the missed one, and a live one.
        let query = format!("room=lobby&last_seen_id={}", place.as_str().unwrap());
        let mut source = EventSource::open(&other, "alice", &query).await;
        assert_eq!(source.next_of("joined").await.data["recovered"], true);
        publish(&one).await;
        told.extend(source.messages(2).await);
        let last = source.id.clone();
        drop(source);

        // By a long poll at the first one: what comes while it waits.
        let query = format!("room=lobby&wait=20&last_seen_id={last}");
        let (answer, ()) = tokio::join!(poll(&one, "alice", &query), publish(&other));
        told.extend(data(&answer));

        // By plain polls, one at each: what was missed, and nothing twice.
        publish(&one).await;
        publish(&other).await;
        let mut last = id(&answer).to_owned();
        for (gateway, count) in [(&other, 2), (&one, 0)] {
            let query = format!("room=lobby&wait=0&last_seen_id={last}");
            let answer = poll(gateway, "alice", &query).await;
            assert_eq!(data(&answer).len(), count);
            told.extend(data(&answer));
            id(&answer).clone_into(&mut last);
        }

        // And back on a WebSocket.
        publish(&other).await;
        socket = one
            .connect("alice", &format!("room=lobby&last_seen_id={last}"))
            .await;
        let joined = socket.next_of("joined").await;
        assert_eq!(
            (&joined["recovered"], &joined["replayed"]),
            (&json!(true), &json!(1))
        );
        told.push(of(&socket.next_of("message").await));
    }
    publish(&other).await;
    let message = socket.next_of("message").await;
    assert_ne!(message["id"], place);
    told.push(of(&message));
    assert_eq!(told, (0..next.get()).map(|n| json!(n)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_large_backlog_comes_in_answers_of_at_most_a_mebibyte_without_loss() {
    let mut config = config(&["lobby"]);
    config.limits.messages_per_second = 0;
    let gateway = TestGateway::start(config);
    let mut place = id(&poll(&gateway, "alice", "room=lobby&wait=0").await).to_owned();
    let text = "x".repeat(60_000);
    for n in 0..50 {
        gateway
            .publish("bob", "lobby", &format!("[{n},\"{text}\"]"))
            .await;
    }
    let (mut told, mut cut) = (Vec::new(), 0);
    while told.len() < 50 {
        let request = format!("GET /v1/poll?room=lobby&wait=0&last_seen_id={place}");
        let answer = gateway.http("alice", &request, "").await;
        assert!(answer.text.len() <= 1024 * 1024, "{}", answer.text.len());
        let answer = answer.json();
        assert!(!data(&answer).is_empty(), "each answer gets further");
        told.extend(data(&answer).iter().map(|data| data[0].clone()));
        if answer["more"] == true {
            cut += 1;
        } else {
            assert_eq!(told.len(), 50, "there was more");
        }
        id(&answer).clone_into(&mut place);
    }
    assert!(cut >= 2, "{cut}");
    assert_eq!(told, (0..50).map(|n| json!(n)).collect::<Vec<_>>());
    let last = poll(
        &gateway,
        "alice",
        &format!("room=lobby&wait=0&last_seen_id={place}"),
    )
    .await;
    assert_eq!(last, json!({ "id": place, "events": [], "more": false }));
}

/// Sends a poll whose answer nobody waits for yet.
async fn begin_poll(gateway: &TestGateway, user: &str, query: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let request = format!(
        "GET /v1/poll?token={}&{query} HTTP/1.1\r\nhost: x\r\n\r\n",
        gateway.token(user)
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    eventually(async || {
        gateway
            .gateway
            .registry
            .of_user(&UserId::parse(user).unwrap())
            .len()
            == 1
    })
    .await;
    stream
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_place_at_once() {
    let mut config = config(&["lobby"]);
    config.limits.connections_per_user = 1;
    let gateway = TestGateway::start(config);
    let first = poll(&gateway, "alice", "room=lobby").await;
    let waiting = format!("room=lobby&wait=60&last_seen_id={}", id(&first));
    let stream = begin_poll(&gateway, "alice", &waiting).await;
    let refused = gateway
        .http("alice", "GET /v1/poll?room=lobby&wait=0", "")
        .await;
    assert_eq!(refused.error(), (429, "too_many_connections".to_owned()));
    drop(stream);
    eventually(async || gateway.gateway.registry.count() == 0).await;
    poll(&gateway, "alice", "room=lobby&wait=0").await;
    let metrics = gateway.ops("/metrics").await.text;
    for line in [
        r#"rotunda_connections{transport="poll"} 0"#,
        r#"rotunda_connections_closed_total{transport="poll",reason="lost"} 1"#,
        r#"rotunda_connections_closed_total{transport="poll",reason="answered"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn a_drain_answers_waiting_polls_and_ends_their_connections() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let first = poll(&gateway, "alice", "room=lobby").await;
    let waiting = format!("room=lobby&wait=60&last_seen_id={}", id(&first));
    let mut stream = begin_poll(&gateway, "alice", &waiting).await;
    let draining = tokio::spawn({
        let (inner, listeners) = (Arc::clone(&gateway.gateway), gateway.listeners.clone());
        async move { shutdown::drain(&inner, Duration::from_secs(4), &listeners).await }
    });
    // The client didn't ask for it: the gateway closes, once the answer has gone.
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("\r\nconnection: close"), "{head}");
    let answer: Value = serde_json::from_str(body).unwrap();
    assert_eq!(kinds(&answer), ["reconnect"], "{answer}");
    assert_eq!(answer["id"], first["id"]);
    // A late one is answered too, and nothing is missed on the way.
    gateway.publish("bob", "lobby", "1").await;
    let late = poll(&gateway, "alice", &waiting).await;
    assert!(kinds(&late).contains(&"reconnect"), "{late}");
    let told = data(&late);
    draining.await.unwrap();
    assert_eq!(gateway.gateway.registry.count(), 0);
    assert!(told.is_empty() || told == [json!(1)]);
    assert_eq!(late["id"] == first["id"], told.is_empty(), "{late}");
}

#[tokio::test]
async fn a_member_who_polls_stays_for_the_wait_and_the_presence_ttl_and_then_leaves() {
    let ttl = Duration::from_secs(2);
    let mut config = config(&["lobby"]);
    config.presence.ttl_seconds = 2;
    let gateway = TestGateway::start_with(config, |rooms| MemoryBroker::start(ttl, rooms));
    let mut bob = gateway.connect("bob", "room=lobby").await;
    bob.next_of("joined").await;
    let first = poll(&gateway, "alice", "room=lobby&wait=0").await;
    // Longer than the TTL: it is there while it waits, and its last sign of life is the answer.
    let wait = Duration::from_secs(3);
    let asked = Instant::now();
    let query = format!(
        "room=lobby&wait={}&last_seen_id={}",
        wait.as_secs(),
        id(&first)
    );
    let answer = poll(&gateway, "alice", &query).await;
    assert_eq!(answer["events"], json!([]));
    let online = async || {
        let answer = gateway.api(API_KEY, "GET /v1/users/alice", "").await;
        answer.json()["online"] == true
    };
    assert!(online().await);
    let came = bob.next_of("presence").await;
    assert_eq!(came["joined"], json!([{ "user": "alice" }]));
    let went = bob.next_of("presence").await;
    assert_eq!(went["left"][0]["user"], "alice");
    assert!(asked.elapsed() >= wait + ttl, "{:?}", asked.elapsed());
    eventually(async || !online().await).await;
}
