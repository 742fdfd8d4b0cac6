//! Clients that are slow, silent or endless: each is cut off in time, and costs a bounded amount until then.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::gateway::{TestGateway, config, eventually};
use crate::raw::{CLOSE, FIN, PING, RawClient, frame, handshake, text};

#[tokio::test]
async fn a_handshake_that_comes_byte_by_byte_is_cut_off() {
    let gateway = TestGateway::start_within(
        config(&["lobby"]),
        rotunda_gateway::server::Timeouts {
            head: Duration::from_millis(300),
            ..Default::default()
        },
    );
    let started = Instant::now();
    let mut client = RawClient::connect(&gateway).await;
    for byte in handshake(&gateway, "alice", "").bytes() {
        if client.stream.write_all(&[byte]).await.is_err() {
            break;
        }
        client.wait(Duration::from_millis(10)).await;
    }
    let answer = client.ended().await;
    assert!(!answer.starts_with(b"HTTP/1.1 101"), "it was let in");
    assert!(started.elapsed() >= Duration::from_millis(300));
    // One that says nothing at all is cut off too.
    RawClient::connect(&gateway).await.ended().await;
    assert_eq!(gateway.gateway.registry.count(), 0);
}

#[tokio::test]
async fn a_client_that_vanished_is_closed_with_4408_and_counts_no_more() {
    let mut config = config(&["lobby"]);
    config.heartbeat.interval_seconds = 1;
    config.heartbeat.timeout_seconds = 1;
    let gateway = TestGateway::start(config);
    // It keeps its socket, as a phone without a network does, and answers nothing.
    let mut client = RawClient::open(&gateway, "alice", "room=lobby").await;
    assert_eq!(client.json().await["type"], "joined");
    eventually(async || gateway.gateway.registry.count() == 0).await;
    assert_eq!(client.closed().await.0, 4408);
    let metrics = gateway.ops("/metrics").await.text;
    assert!(
        metrics.contains("reason=\"heartbeat_timeout\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_with_4430_and_holds_no_more_than_its_queue() {
    const QUEUE: i64 = 128 * 1024;
    let mut config = config(&["lobby"]);
    config.limits.send_queue_bytes = u32::try_from(QUEUE).unwrap();
    config.limits.messages_per_second = 0;
    let gateway = TestGateway::start(config);
    let mut slow = RawClient::connect_with_small_window(&gateway).await;
    slow.upgrade(&gateway, "bob", "room=lobby").await;
    assert_eq!(slow.json().await["type"], "joined");
    let mut alice = gateway.connect("alice", "").await;
    let data = "x".repeat(60_000);
    let outboxes = &gateway.gateway.metrics.outbox_bytes;
    let mut most = 0;
    // Until the kernel's buffers and the queue are full.
    for number in 0.. {
        assert!(number < 2000, "it was never closed");
        let ack = alice
            .ask(json!({ "type": "publish", "room": "lobby", "data": data }))
            .await;
        assert_eq!(ack["type"], "ack");
        most = most.max(outboxes.get());
        if gateway.gateway.registry.count() == 1 {
            break;
        }
    }
    assert!((QUEUE / 2..=QUEUE + 1000).contains(&most), "{most}");
    assert_eq!(slow.closed().await.0, 4430);
    let metrics = gateway.ops("/metrics").await.text;
    assert!(
        metrics.contains("rotunda_dropped_total{policy=\"disconnect\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn many_pings_are_answered_in_order_and_then_closed_with_4429() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut client = RawClient::open(&gateway, "alice", "").await;
    for number in 0..50u16 {
        client.send(frame(FIN | PING, number.to_be_bytes())).await;
    }
    for number in 0..50u16 {
        let (_, payload) = client.frame().await.unwrap();
        assert_eq!(payload, number.to_be_bytes());
    }
    let flood = frame(FIN | PING, "").repeat(5000);
    client.send(flood).await;
    assert_eq!(client.closed().await.0, 4429);
}

#[tokio::test]
async fn a_flood_of_pings_that_reads_no_answer_ends() {
    let mut config = config(&["lobby"]);
    config.limits.messages_per_second = 0;
    let gateway = TestGateway::start(config);
    let mut client = RawClient::connect_with_small_window(&gateway).await;
    client.upgrade(&gateway, "alice", "").await;
    let flood = frame(FIN | PING, [b'p'; 125]).repeat(1000);
    let flooding = async {
        for _ in 0..2000 {
            if client.stream.write_all(&flood).await.is_err() {
                return;
            }
        }
        panic!("it took a quarter of a gigabyte");
    };
    tokio::select! {
        () = flooding => {}
        () = eventually(async || gateway.gateway.registry.count() == 0) => {}
    }
}

#[tokio::test]
async fn a_client_that_keeps_sending_after_the_close_is_let_go() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut client = RawClient::open(&gateway, "alice", "").await;
    client.send(text("nonsense")).await;
    let started = Instant::now();
    // More of it, for as long as the gateway takes it.
    while client.stream.write_all(&text("nonsense")).await.is_ok() {
        client.wait(Duration::from_millis(10)).await;
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "it is never let go"
        );
    }
}

#[tokio::test]
async fn a_close_frame_that_never_ends_is_not_waited_for() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut client = RawClient::open(&gateway, "alice", "").await;
    client
        .send(&frame(FIN | CLOSE, 1000u16.to_be_bytes())[..3])
        .await;
    drop(client);
    eventually(async || gateway.gateway.registry.count() == 0).await;
}
