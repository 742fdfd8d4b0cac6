use std::sync::Arc;

use super::*;
use crate::broker::contract::{eventually, eventually_async};
use crate::broker::redis::tests::pair::Pair;
use crate::broker::redis::tests::proxy::Proxy;
use crate::broker::redis::tests::server::{Server, standalone, three_primaries};
use crate::broker::redis::tests::some_prefix;
use crate::testing::{Client, Stoppable, at, config, gateway, gateway_on_redis, room, user};

fn disconnect(name: &str) -> Order {
    Order::Disconnect { user: user(name) }
}

fn remove(name: &str) -> Order {
    Order::Remove {
        room: room("lobby"),
        user: user(name),
    }
}

async fn is_closed(client: &mut Client, reason: CloseReason) {
    eventually("the connection is closed", || {
        client.drain() == Some(reason)
    })
    .await;
}

#[test]
fn orders_are_written_as_json() {
    let text = |order| serde_json::to_string(&order).unwrap();
    assert_eq!(text(disconnect("a")), r#"{"disconnect":{"user":"a"}}"#);
    assert_eq!(
        text(remove("a")),
        r#"{"remove":{"room":"lobby","user":"a"}}"#
    );
}

#[tokio::test(start_paused = true)]
async fn all_connections_of_a_disconnected_user_end_and_no_others() {
    let (gateway, _) = gateway(config(&["lobby"]));
    eventually("the gateway is ready", || gateway.ready().is_ok()).await;
    let mut phone = Client::connect(&gateway, "alice");
    let mut laptop = Client::connect(&gateway, "alice");
    let mut bob = Client::connect(&gateway, "bob");
    gateway.order(&disconnect("alice")).await.unwrap();
    is_closed(&mut phone, CloseReason::Forbidden).await;
    is_closed(&mut laptop, CloseReason::Forbidden).await;
    gateway.order(&disconnect("nobody")).await.unwrap();
    bob.hears_nothing_more().await;
    assert_eq!(bob.drain(), None);
    let mut later = Client::connect(&gateway, "alice");
    later.hears_nothing_more().await;
    assert_eq!(later.drain(), None, "the order was carried out before");
}

#[tokio::test(start_paused = true)]
async fn a_removed_user_is_told_so_is_no_member_and_may_come_back() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    eventually("the gateway is ready", || gateway.ready().is_ok()).await;
    let mut phone = Client::connect(&gateway, "alice");
    let mut laptop = Client::connect(&gateway, "alice");
    let mut bob = Client::connect(&gateway, "bob");
    for client in [&mut phone, &mut laptop, &mut bob] {
        client.join(&gateway, "lobby").await;
    }
    gateway.order(&remove("alice")).await.unwrap();
    for client in [&mut phone, &mut laptop] {
        let left = client.next_of("left").await;
        assert_eq!(
            (&left["room"], &left["reason"]),
            (&"lobby".into(), &"removed".into())
        );
    }
    let gone = loop {
        let frame = bob.next_of("presence").await;
        if frame["left"][0]["user"] == "alice" {
            break frame;
        }
    };
    assert_eq!(gone["count"], 1);
    broker.say("lobby", 1);
    bob.next_of("message").await;
    phone.hears_nothing_more().await;
    phone.join(&gateway, "lobby").await;
}

#[tokio::test(start_paused = true)]
async fn an_order_that_was_not_announced_is_found_later_and_carried_out_once() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    eventually("the gateway is ready", || gateway.ready().is_ok()).await;
    let mut before = Client::connect(&gateway, "alice");
    broker.faults.lock().lose = 1;
    gateway.order(&disconnect("alice")).await.unwrap();
    before.hears_nothing_more().await;
    assert_eq!(before.drain(), None);
    broker.interrupt_control();
    is_closed(&mut before, CloseReason::Forbidden).await;
    let mut after = Client::connect(&gateway, "alice");
    broker.interrupt_control();
    after.hears_nothing_more().await;
    assert_eq!(after.drain(), None);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_begins_at_the_end() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    assert!(gateway.ready().is_err(), "the log was not looked at yet");
    let body = serde_json::to_vec(&disconnect("alice")).unwrap();
    let publication = Publication {
        body: body.into(),
        key: None,
        retention: RETENTION,
        durability: Durability::Async,
        rate_limit: None,
    };
    let log = RoomName::control();
    broker.publish(&log, publication).await.unwrap();
    eventually("the gateway is ready", || gateway.ready().is_ok()).await;
    let mut alice = Client::connect(&gateway, "alice");
    broker.interrupt_control();
    alice.hears_nothing_more().await;
    assert_eq!(alice.drain(), None);
}

#[tokio::test(start_paused = true)]
async fn after_a_hole_in_the_log_everyone_connects_again() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    eventually("the gateway is ready", || gateway.ready().is_ok()).await;
    let mut bob = Client::connect(&gateway, "bob");
    broker.faults.lock().lose = 2;
    gateway.order(&disconnect("alice")).await.unwrap();
    gateway.order(&disconnect("carol")).await.unwrap();
    broker.trim_control(at(1, 1));
    broker.interrupt_control();
    is_closed(&mut bob, CloseReason::Drained).await;
}

#[tokio::test(start_paused = true)]
async fn an_order_of_a_newer_version_is_left_alone() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    eventually("the gateway is ready", || gateway.ready().is_ok()).await;
    let mut alice = Client::connect(&gateway, "alice");
    let publication = Publication {
        body: Bytes::from_static(br#"{"rename":{"user":"alice"}}"#),
        key: None,
        retention: RETENTION,
        durability: Durability::Async,
        rate_limit: None,
    };
    let log = RoomName::control();
    broker.publish(&log, publication).await.unwrap();
    gateway.order(&disconnect("alice")).await.unwrap();
    is_closed(&mut alice, CloseReason::Forbidden).await;
}

async fn on_redis(url: &str, prefix: &str) -> Arc<Gateway> {
    gateway_on_redis(config(&["lobby"]), url, prefix).await
}

async fn orders_reach_every_gateway(url: &str) {
    let prefix = some_prefix();
    let (a, b) = (on_redis(url, &prefix).await, on_redis(url, &prefix).await);
    let (mut here, mut there) = (Client::connect(&a, "alice"), Client::connect(&b, "alice"));
    let (mut bob, mut carol) = (Client::connect(&a, "bob"), Client::connect(&b, "carol"));
    there.join(&b, "lobby").await;
    bob.join(&a, "lobby").await;
    carol.join(&b, "lobby").await;
    a.order(&remove("alice")).await.unwrap();
    assert_eq!(there.next_of("left").await["reason"], "removed");
    for client in [&mut bob, &mut carol] {
        let gone = loop {
            let frame = client.next_of("presence").await;
            if frame["left"][0]["user"] == "alice" {
                break frame;
            }
        };
        assert_eq!(gone["count"], 2);
    }
    there.join(&b, "lobby").await;
    b.order(&disconnect("alice")).await.unwrap();
    is_closed(&mut here, CloseReason::Forbidden).await;
    is_closed(&mut there, CloseReason::Forbidden).await;
    assert_eq!((bob.drain(), carol.drain()), (None, None));
}

#[tokio::test]
async fn orders_reach_every_gateway_on_one_server() {
    orders_reach_every_gateway(&standalone().url()).await;
}

#[tokio::test]
async fn orders_reach_every_gateway_on_a_cluster() {
    orders_reach_every_gateway(&three_primaries().url()).await;
}

#[tokio::test]
async fn a_gateway_that_was_cut_off_catches_up_with_its_orders() {
    let prefix = some_prefix();
    let server = standalone();
    let proxy = Proxy::to(server.port).await;
    let a = on_redis(&server.url(), &prefix).await;
    let b = on_redis(&proxy.url(), &prefix).await;
    let (mut alice, mut bob) = (Client::connect(&b, "alice"), Client::connect(&b, "bob"));
    bob.join(&b, "lobby").await;
    // Nobody listens at port 1.
    proxy.lead_to(1);
    eventually("it is cut off", || b.ready().is_err()).await;
    a.order(&disconnect("alice")).await.unwrap();
    a.order(&remove("bob")).await.unwrap();
    assert_eq!(alice.drain(), None);
    proxy.lead_to(server.port);
    is_closed(&mut alice, CloseReason::Forbidden).await;
    assert_eq!(bob.next_of("left").await["reason"], "removed");
    assert_eq!(bob.drain(), None);
}

#[tokio::test]
async fn a_gateway_that_stood_still_carries_out_what_it_missed_and_only_that() {
    let prefix = some_prefix();
    let url = standalone().url();
    let a = on_redis(&url, &prefix).await;
    let b = Stoppable::start(config(&["lobby"]), url, prefix).await;
    let mut early = Client::connect(&b.gateway, "bob");
    a.order(&disconnect("bob")).await.unwrap();
    is_closed(&mut early, CloseReason::Forbidden).await;
    let (mut alice, mut bob) = (
        Client::connect(&b.gateway, "alice"),
        Client::connect(&b.gateway, "bob"),
    );
    // Beyond what its connections to Redis survive.
    b.stop(Duration::from_secs(10));
    a.order(&disconnect("alice")).await.unwrap();
    is_closed(&mut alice, CloseReason::Forbidden).await;
    assert_eq!(bob.drain(), None, "that order was carried out before");
}

#[tokio::test]
async fn orders_go_on_after_a_failover_that_lost_some() {
    let pair = Pair::start().await;
    let prefix = some_prefix();
    let a = on_redis(&pair.proxy.url(), &prefix).await;
    let b = on_redis(&pair.proxy.url(), &prefix).await;
    let users = ["alice", "bob", "carol"];
    let mut clients = users.map(|name| Client::connect(&b, name));
    let [alice, bob, carol] = &mut clients;
    a.order(&disconnect("alice")).await.unwrap();
    is_closed(alice, CloseReason::Forbidden).await;
    let log = format!("{prefix}:{{{}}}:log", RoomName::control());
    pair.wait_until_in_sync("XLEN", &log).await;
    pair.part();
    a.order(&disconnect("bob")).await.unwrap();
    is_closed(bob, CloseReason::Forbidden).await;
    let mut again = Client::connect(&b, "bob");
    pair.fail_over();
    eventually_async("the order is taken", async || {
        a.order(&disconnect("carol")).await.is_ok()
    })
    .await;
    is_closed(carol, CloseReason::Forbidden).await;
    assert_eq!(again.drain(), None, "no order is carried out twice");
}

#[tokio::test]
async fn orders_go_on_after_redis_lost_everything() {
    let server = Server::start(&[]);
    let prefix = some_prefix();
    let a = on_redis(&server.url(), &prefix).await;
    let b = on_redis(&server.url(), &prefix).await;
    let (mut alice, mut bob) = (Client::connect(&b, "alice"), Client::connect(&b, "bob"));
    let mut carol = Client::connect(&b, "carol");
    a.order(&disconnect("alice")).await.unwrap();
    is_closed(&mut alice, CloseReason::Forbidden).await;
    server.run(&["FLUSHALL"]);
    a.order(&disconnect("bob")).await.unwrap();
    is_closed(&mut bob, CloseReason::Forbidden).await;
    assert_eq!(carol.drain(), None);
}
