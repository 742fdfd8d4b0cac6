//! Event streams over real sockets: what an EventSource gets, and how it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use rotunda_gateway::dialect::CloseReason;
use rotunda_gateway::shutdown;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::gateway::{TestGateway, config, eventually};
use crate::polled::{data, id, kinds, poll};
use crate::stream::EventSource;

#[tokio::test]
async fn a_stream_begins_with_how_to_come_back_the_welcome_and_the_room() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut source = EventSource::open(&gateway, "alice", "room=lobby").await;
    for header in [
        "content-type: text/event-stream; charset=utf-8",
        "cache-control: no-cache, no-store, no-transform",
        "x-accel-buffering: no",
        "connection: close",
        "date: ",
    ] {
        assert!(source.head.contains(header), "{header}: {}", source.head);
    }
    for framing in ["content-length", "transfer-encoding"] {
        assert!(!source.head.contains(framing), "{}", source.head);
    }
    assert!((500..2500).contains(&source.retries[0]));
    let joined = source.next().await;
    assert_eq!(
        (joined.kind.as_str(), &joined.data["type"]),
        ("joined", &json!("joined"))
    );
    assert_eq!(json!(joined.id), joined.data["id"]);
    assert!(joined.data.get("recovered").is_none());
    assert_eq!(gateway.gateway.registry.count(), 1);
    let metrics = gateway.ops("/metrics").await.text;
    assert!(metrics.contains("rotunda_connections{transport=\"sse\"} 1"));
    drop(source);
    eventually(async || gateway.gateway.registry.count() == 0).await;
}

#[tokio::test]
async fn messages_come_in_order_with_the_ids_to_resume_from_also_ones_own() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut source = EventSource::open(&gateway, "bob", "room=lobby").await;
    source.next_of("joined").await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(gateway.publish("bob", "lobby", &n.to_string()).await);
    }
    for (n, id) in ids.iter().enumerate() {
        let event = source.next_of("message").await;
        assert_eq!((&event.data["data"], &event.id), (&json!(n), id));
        assert_eq!(event.data["from"], "bob");
    }
    let mut resumed =
        EventSource::open_after(&gateway, "bob", "room=lobby&last_seen_id=1-1", &ids[9]).await;
    let joined = resumed.next_of("joined").await;
    assert_eq!(
        (&joined.data["recovered"], &joined.data["replayed"]),
        (&json!(true), &json!(10))
    );
    assert_eq!(
        resumed.messages(10).await,
        (10..20).map(|n| json!(n)).collect::<Vec<_>>()
    );
    assert_eq!(resumed.id, ids[19]);
}

#[tokio::test]
async fn signals_come_without_an_id_and_line_ends_in_data_do_no_harm() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut source = EventSource::open(&gateway, "alice", "room=lobby").await;
    let joined = source.next_of("joined").await;
    gateway
        .http(
            "bob",
            "POST /v1/rooms/lobby/signals",
            r#"{"name":"typing"}"#,
        )
        .await;
    let signal = source.next_of("signal").await;
    assert_eq!(
        (&signal.data["name"], signal.id),
        (&json!("typing"), joined.id)
    );
    gateway.publish("bob", "lobby", "[\r\n1,\n\n2,\r3]").await;
    assert_eq!(source.messages(1).await, [json!([1, 2, 3])]);
}

#[tokio::test]
async fn one_id_stands_for_all_rooms_of_a_stream_also_when_they_change() {
    let gateway = TestGateway::start(config(&["room:*"]));
    let mut source = EventSource::open(&gateway, "alice", "room=room:a&room=room:b").await;
    source.next_of("joined").await;
    source.next_of("joined").await;
    gateway.publish("bob", "room:a", "1").await;
    source.next_of("message").await;
    let id = source.id.clone();
    drop(source);
    gateway.publish("bob", "room:a", "2").await;
    gateway.publish("bob", "room:b", "3").await;
    gateway.publish("bob", "room:c", "4").await;
    // `room:a` was left out, `room:c` is new, and the order is another one.
    let mut resumed =
        EventSource::open_after(&gateway, "alice", "room=room:c&room=room:b", &id).await;
    let fresh = resumed.next_of("joined").await;
    assert_eq!(fresh.data["room"], "room:c");
    assert!(fresh.data.get("recovered").is_none());
    let joined = resumed.next_of("joined").await;
    assert_eq!(
        (&joined.data["room"], &joined.data["recovered"]),
        (&json!("room:b"), &json!(true))
    );
    assert_eq!(resumed.messages(1).await, [json!(3)]);
    // By query, on a WebSocket, the same id does for all rooms it knows.
    let query = format!("room=room:b&room=room:a&last_seen_id={id}");
    let mut socket = gateway.connect("alice", &query).await;
    let mut missed = Vec::new();
    for _ in 0..2 {
        missed.push(socket.next_of("message").await["data"].clone());
    }
    missed.sort_by_key(serde_json::Value::as_u64);
    assert_eq!(missed, [json!(2), json!(3)]);
}

#[tokio::test]
async fn streams_that_broke_together_do_not_come_back_together() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut times = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let source = EventSource::open(&gateway, "alice", "room=lobby").await;
        assert!((500..2500).contains(&source.retries[0]));
        times.insert(source.retries[0]);
    }
    // Eight of two thousand: that four of them are alike doesn't happen.
    assert!(times.len() > 4, "{times:?}");
}

#[tokio::test]
async fn a_stream_and_a_poll_take_as_many_rooms_as_promised_and_one_id_for_all() {
    let mut config = config(&["room:*"]);
    config.limits.burst = 100;
    let gateway = TestGateway::start(config);
    let rooms: Vec<_> = (0..32).map(|n| format!("room=room:{n}")).collect();
    let query = rooms.join("&");
    let mut source = EventSource::open(&gateway, "alice", &query).await;
    for _ in 0..32 {
        source.next_of("joined").await;
    }
    let polled = poll(&gateway, "alice", &format!("{query}&wait=0")).await;
    assert_eq!(kinds(&polled).len(), 32);
    for n in 0..32 {
        gateway
            .publish("bob", &format!("room:{n}"), &n.to_string())
            .await;
    }
    let all: Vec<_> = (0..32).map(|n| json!(n)).collect();
    assert_eq!(source.messages(32).await, all);
    let seen = source.id.clone();
    for n in 0..32 {
        gateway
            .publish("bob", &format!("room:{n}"), &(100 + n).to_string())
            .await;
    }
    drop(source);
    let mut resumed = EventSource::open_after(&gateway, "alice", &query, &seen).await;
    let mut rest = resumed.messages(32).await;
    rest.sort_by_key(serde_json::Value::as_u64);
    assert_eq!(rest, (100..132).map(|n| json!(n)).collect::<Vec<_>>());
    let next = format!("{query}&wait=0&last_seen_id={}", id(&polled));
    let mut both = data(&poll(&gateway, "alice", &next).await);
    both.sort_by_key(serde_json::Value::as_u64);
    assert_eq!(
        both,
        (0..32)
            .chain(100..132)
            .map(|n| json!(n))
            .collect::<Vec<_>>()
    );
    let token = gateway.token("alice");
    let one_more = format!("GET /v1/poll?token={token}&{query}&room=room:33");
    let refused = gateway.http_with("", &one_more, "").await;
    assert_eq!(refused.error(), (400, "too_many_rooms".to_owned()));
}

#[tokio::test]
async fn what_can_not_be_served_is_refused_by_a_status_that_stops_an_event_source() {
    let mut config = config(&["lobby"]);
    config.limits.connections_per_user = 1;
    let gateway = TestGateway::start(config);
    let token = gateway.token("alice");
    let expired = gateway.expired_token("alice");
    let many: Vec<_> = (0..33).map(|n| format!("&room=r{n}")).collect();
    let many = many.concat();
    for (query, status, code) in [
        ("room=lobby".to_owned(), 401, "unauthorized"),
        (format!("token={expired}&room=lobby"), 401, "unauthorized"),
        (format!("token={token}"), 400, "bad_request"),
        (format!("token={token}&room=no+room"), 400, "invalid_room"),
        (
            format!("token={token}&room=lobby&last_seen_id=what"),
            400,
            "invalid_id",
        ),
        (format!("token={token}{many}"), 400, "too_many_rooms"),
    ] {
        let refused = EventSource::request(&gateway, &format!("/v1/sse?{query}"), "").await;
        assert_eq!(refused.status, status, "{query}");
        assert_eq!(refused.body().await["error"]["code"], code, "{query}");
    }
    let _open = EventSource::open(&gateway, "alice", "room=lobby").await;
    let path = format!("/v1/sse?token={token}&room=lobby");
    let second = EventSource::request(&gateway, &path, "").await;
    assert_eq!(second.status, 429);
    assert_eq!(second.body().await["error"]["code"], "too_many_connections");
    let head = gateway.http("bob", "HEAD /v1/sse?room=lobby", "").await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert!(head.head.contains("text/event-stream"));
    assert_eq!(
        gateway
            .http("bob", "POST /v1/sse?room=lobby", "")
            .await
            .status,
        405
    );
}

#[tokio::test]
async fn a_full_gateway_answers_503_with_a_time_to_come_back() {
    let mut config = config(&["lobby"]);
    config.max_connections = 1;
    let gateway = TestGateway::start(config);
    let _open = EventSource::open(&gateway, "alice", "room=lobby").await;
    let path = format!("/v1/sse?token={}&room=lobby", gateway.token("bob"));
    let refused = EventSource::request(&gateway, &path, "").await;
    assert_eq!(refused.status, 503);
    assert!(refused.head.contains("retry-after: "));
    let error = refused.body().await["error"].clone();
    assert_eq!(error["code"], "unavailable");
    assert!(error["retry_after_ms"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn pages_of_allowed_origins_may_open_streams_and_send_the_last_event_id() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let path = format!("/v1/sse?token={}&room=lobby", gateway.token("alice"));
    let origin = "origin: https://app.example.com\r\n";
    let mut source = EventSource::request(&gateway, &path, origin).await;
    assert_eq!(source.status, 200);
    assert!(
        source
            .head
            .contains("access-control-allow-origin: https://app.example.com")
    );
    assert!(source.head.contains("vary: origin"));
    source.next_of("joined").await;
    let foreign = EventSource::request(&gateway, &path, "origin: https://evil.example\r\n").await;
    assert_eq!(foreign.status, 403);
    let preflight = format!(
        "{origin}access-control-request-method: GET\r\naccess-control-request-headers: last-event-id\r\n"
    );
    let answer = gateway
        .http_with(&preflight, &format!("OPTIONS {path}"), "")
        .await;
    assert_eq!(answer.status, 204);
    assert!(answer.head.contains("last-event-id"), "{}", answer.head);
}

#[tokio::test]
async fn a_quiet_stream_gets_comments_at_the_interval_of_heartbeats() {
    let mut config = config(&["lobby"]);
    config.heartbeat.interval_seconds = 1;
    let gateway = TestGateway::start(config);
    let mut source = EventSource::open(&gateway, "alice", "room=lobby").await;
    source.next_of("joined").await;
    source.wait_for_comments(3).await;
    gateway.publish("bob", "lobby", "1").await;
    assert_eq!(source.messages(1).await, [json!(1)]);
}

#[tokio::test]
async fn a_token_that_runs_out_ends_the_stream_with_4401() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let token = gateway.token_for("alice", Duration::from_secs(1));
    let path = format!("/v1/sse?token={token}&room=lobby");
    let mut source = EventSource::request(&gateway, &path, "").await;
    let close = source.closed().await;
    assert_eq!(
        (&close["code"], &close["after_ms"]),
        (&json!(4401), &json!(null))
    );
    // An EventSource comes back, and is stopped by the status; clocks may differ by a moment.
    eventually(async || EventSource::request(&gateway, &path, "").await.status == 401).await;
}

#[tokio::test]
async fn whoever_is_disconnected_for_good_is_stopped_when_it_comes_back() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut source = EventSource::open(&gateway, "alice", "room=lobby").await;
    source.next_of("joined").await;
    gateway.publish("bob", "lobby", "1").await;
    source.next_of("message").await;
    for connection in gateway.gateway.registry.all() {
        connection.outbox.close(CloseReason::Forbidden);
    }
    assert_eq!(source.closed().await["code"], 4403);
    let path = format!("/v1/sse?token={}&room=lobby", gateway.token("alice"));
    let header = format!("last-event-id: {}\r\n", source.id);
    let stopped = EventSource::request(&gateway, &path, &header).await;
    assert_eq!(stopped.status, 204);
    // Whoever asks for it deliberately goes on where it was.
    gateway.publish("bob", "lobby", "2").await;
    let query = format!("room=lobby&last_seen_id={}", source.id);
    let mut deliberate = EventSource::open(&gateway, "alice", &query).await;
    assert_eq!(deliberate.messages(1).await, [json!(2)]);
}

#[tokio::test]
async fn a_drain_tells_streams_to_reconnect_and_ends_the_rest_with_1012() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut source = EventSource::open(&gateway, "alice", "room=lobby").await;
    source.next_of("joined").await;
    let draining = tokio::spawn({
        let (inner, listeners) = (Arc::clone(&gateway.gateway), gateway.listeners.clone());
        async move { shutdown::drain(&inner, Duration::from_secs(4), &listeners).await }
    });
    let reconnect = source.next_of("reconnect").await;
    assert!(reconnect.data["after_ms"].as_u64().unwrap() <= 2000);
    let mut late = EventSource::open(&gateway, "late", "room=lobby").await;
    late.next_of("reconnect").await;
    gateway.publish("bob", "lobby", "1").await;
    assert_eq!(source.messages(1).await, [json!(1)]);
    let close = source.closed().await;
    assert_eq!(close["code"], 1012);
    let after = close["after_ms"].as_u64().unwrap();
    assert!(after <= 2000);
    assert_eq!(source.retries.last(), Some(&after));
    draining.await.unwrap();
    assert_eq!(gateway.gateway.registry.count(), 0);
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_closed_with_4430_and_resumes_without_loss() {
    let mut config = config(&["lobby"]);
    config.limits.send_queue_bytes = 256 * 1024;
    config.limits.messages_per_second = 0;
    let gateway = TestGateway::start(config);
    let mut slow = EventSource::open(&gateway, "alice", "room=lobby").await;
    slow.next_of("joined").await;
    // More than the queue and the kernel's buffers take.
    let text = format!("\"{}\"", "x".repeat(60_000));
    let (mut sent, mut newest) = (0, String::new());
    while gateway.gateway.registry.count() > 0 {
        newest = gateway.publish("bob", "lobby", &text).await;
        sent += 1;
        assert!(sent < 1000, "it is never given up");
    }
    let mut read = 0;
    let mut code = None;
    while let Some(event) = slow.try_next_or_cut().await {
        match event.kind.as_str() {
            "message" => read += 1,
            "close" => code = event.data["code"].as_u64(),
            _ => {}
        }
    }
    // The last event only fits if the kernel takes it within three seconds.
    assert!(code.is_none_or(|code| code == 4430));
    assert!(read < sent);
    let metrics = gateway.ops("/metrics").await.text;
    let closed = r#"rotunda_connections_closed_total{transport="sse",reason="slow_consumer"} 1"#;
    assert!(metrics.contains(closed), "{metrics}");
    let mut resumed =
        EventSource::open_after(&gateway, "alice", "room=lobby", &slow.id.clone()).await;
    let joined = resumed.next_of("joined").await;
    assert_eq!(joined.data["recovered"], true);
    assert_eq!(resumed.messages(sent - read).await.len(), sent - read);
    assert_eq!(resumed.id, newest);
}

#[tokio::test]
async fn an_answer_before_the_stream_on_the_same_connection_comes_first() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let token = gateway.token("alice");
    let requests = format!(
        "GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\nGET /v1/sse?token={token}&room=lobby HTTP/1.1\r\nhost: x\r\n\r\n"
    );
    stream.write_all(requests.as_bytes()).await.unwrap();
    let first = EventSource::read_head(stream).await;
    assert_eq!(first.status, 404);
    let mut second = first.next_answer().await;
    assert_eq!(second.status, 200);
    second.next_of("joined").await;
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_its_stream_too() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let request = format!(
        "GET /v1/sse?token={}&room=lobby HTTP/1.0\r\nhost: x\r\n\r\n",
        gateway.token("alice")
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut source = EventSource::read_head(stream).await;
    assert_eq!(source.status, 200);
    source.next_of("joined").await;
}
