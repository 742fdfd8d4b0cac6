//! Reloads and the end: what live connections notice of them.

use std::sync::Arc;
use std::time::Duration;

use rotunda_gateway::dialect::CloseReason;
use rotunda_gateway::shutdown;
use serde_json::json;

use crate::gateway::{TestGateway, config};

#[tokio::test]
async fn a_reload_keeps_connections_and_changes_what_they_may() {
    let before = config(&["lobby", "hall"]);
    let gateway = TestGateway::start(before.clone());
    let mut alice = gateway.connect("alice", "room=lobby&room=hall").await;
    alice.next_of("joined").await;
    alice.next_of("joined").await;
    let mut after = before;
    "false".clone_into(&mut after.rooms[0].policy.access.join);
    "false".clone_into(&mut after.rooms[1].policy.access.publish);
    gateway.reload(after).await;
    let left = alice.next_of("left").await;
    assert_eq!(
        (&left["room"], &left["reason"]),
        (&json!("lobby"), &json!("forbidden"))
    );
    let refused = alice
        .ask(json!({ "type": "publish", "room": "hall", "data": 1 }))
        .await;
    assert_eq!(refused["code"], "forbidden");
    let history = alice
        .ask(json!({ "type": "history", "room": "hall" }))
        .await;
    assert_eq!(history["type"], "history");
}

#[tokio::test]
async fn a_drain_tells_everyone_also_late_arrivals_and_closes_the_rest_with_1012() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut alice = gateway.connect("alice", "room=lobby").await;
    alice.next_of("joined").await;
    let draining = tokio::spawn({
        let (inner, listeners) = (Arc::clone(&gateway.gateway), gateway.listeners.clone());
        async move { shutdown::drain(&inner, Duration::from_secs(4), &listeners).await }
    });
    let reconnect = alice.next_of("reconnect").await;
    assert!(reconnect["after_ms"].as_u64().unwrap() <= 2000);
    let mut late = gateway.connect("late", "").await;
    assert_eq!(late.next().await["type"], "reconnect");
    // A drain doesn't disturb who is still there.
    alice
        .send(json!({ "type": "publish", "room": "lobby", "data": 1 }))
        .await;
    alice.next_of("ack").await;
    assert_eq!(u16::from(alice.closed().await.code), 1012);
    draining.await.unwrap();
    assert_eq!(gateway.gateway.registry.count(), 0);
}

#[tokio::test]
async fn a_stop_closes_everyone_with_1001() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let alice = gateway.connect("alice", "room=lobby").await;
    let (closed, ()) = tokio::join!(
        alice.closed(),
        gateway
            .gateway
            .stop(CloseReason::GoingAway, Duration::from_secs(5))
    );
    assert_eq!(u16::from(closed.code), 1001);
}
