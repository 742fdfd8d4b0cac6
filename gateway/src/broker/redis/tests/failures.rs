//! One server that breaks, and what holds all the same.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::pair::Pair;
use super::proxy::Proxy;
use super::server::{Cluster, ENCODED_PASSWORD, Server, one_primary, standalone};
use super::{gateway, some_prefix, start, torn, two_gateways};
use crate::broker::contract::{
    Gateway, RETENTION, bodies, eventually, keyed, numbers, publication, publish_numbers, some_room,
};
use crate::broker::{Broker, BrokerError, Range};
use crate::ids::Position;

#[tokio::test]
async fn an_engine_starts_while_redis_is_down_and_says_so() {
    let mut server = Server::start(&[]);
    server.kill();
    says_so_and_waits(&server.url(), || server.start_again()).await;
}

#[tokio::test]
async fn an_engine_starts_while_a_cluster_is_down_and_says_so() {
    let mut cluster = Cluster::start(1);
    cluster.servers[0].kill();
    says_so_and_waits(&cluster.url(), || cluster.servers[0].start_again()).await;
}

#[tokio::test]
async fn an_engine_starts_while_the_sentinels_are_down_and_says_so() {
    let primary = Server::start(&[]);
    let mut sentinel = Server::start_sentinel(primary.port, 1, false);
    sentinel.kill();
    let url = format!(
        "redis+sentinel://:{ENCODED_PASSWORD}@127.0.0.1:{}/main",
        sentinel.port
    );
    says_so_and_waits(&url, || sentinel.start_again()).await;
}

async fn says_so_and_waits(url: &str, bring_up: impl FnOnce()) {
    let (broker, _, _) = start(url, &some_prefix());
    let room = some_room();
    eventually("it says why", || {
        broker.ready().is_err_and(|why| why.contains("refused"))
    })
    .await;
    let since = Instant::now();
    let refused = broker.publish(&room, publication("x")).await;
    assert!(
        matches!(refused, Err(BrokerError::Unavailable(_))),
        "{refused:?}"
    );
    assert!(broker.subscribe(&room).await.is_err());
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
    bring_up();
    eventually("Redis is connected", || broker.ready().is_ok()).await;
    broker
        .publish(&room, publication("x"))
        .await
        .expect("publishes");
}

#[tokio::test]
async fn a_wrong_password_is_told() {
    let url = format!("redis://:wrong-one@127.0.0.1:{}", standalone().port);
    let (broker, _, _) = start(&url, &some_prefix());
    eventually("it says why", || {
        broker
            .ready()
            .is_err_and(|why| why.contains("password was refused"))
    })
    .await;
    let why = broker.ready().expect_err("it isn't connected");
    assert!(!why.contains("wrong-one"), "{why}");
}

#[tokio::test]
async fn a_cluster_url_for_a_lone_server_is_told() {
    let url = standalone().url().replace("redis://", "redis+cluster://");
    let (broker, _, _) = start(&url, &some_prefix());
    eventually("it says why", || {
        broker
            .ready()
            .is_err_and(|why| why.contains("use a redis:// URL"))
    })
    .await;
}

#[tokio::test]
async fn a_replica_alone_is_not_served_by() {
    let primary = Server::start(&[]);
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", primary.port)]);
    let (broker, _, _) = start(&replica.url(), &some_prefix());
    eventually("it says why", || {
        broker
            .ready()
            .is_err_and(|why| why.contains("it is a replica"))
    })
    .await;
}

#[tokio::test]
async fn nothing_is_lost_when_connections_are_killed() {
    let server = Server::start(&[]);
    let (a, b) = two_gateways(&server.url()).await;
    let room = some_room();
    a.broker.subscribe(&room).await.expect("subscribes");
    let first = publish_numbers(&b, &room, 1..=3).await;
    eventually("all are delivered", || a.events.messages(&room).len() == 3).await;
    server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    // Whether these come by push or not, reading on from the last one seen finds them.
    publish_numbers(&b, &room, 4..=6).await;
    eventually("the room is told to read", || {
        a.events.interruptions(&room) == 1
    })
    .await;
    let missed = a
        .broker
        .read(&room, Range::After(first[2]), 10, RETENTION)
        .await
        .expect("reads");
    assert_eq!(bodies(&missed.messages), numbers(4..=6));
    publish_numbers(&b, &room, 7..=7).await;
    eventually("pushes are back", || {
        bodies(&a.events.messages(&room))
            .last()
            .is_some_and(|last| last == "7")
    })
    .await;
}

#[tokio::test]
async fn calls_go_on_after_their_connection_was_killed() {
    let server = Server::start(&[]);
    let (broker, _, counts) = start(&server.url(), &some_prefix());
    eventually("Redis is connected", || broker.ready().is_ok()).await;
    let room = some_room();
    broker
        .publish(&room, publication("1"))
        .await
        .expect("publishes");
    server.run(&["CLIENT", "KILL", "TYPE", "normal"]);
    // The first one may be lost on its way.
    let second = broker.publish(&room, publication("2")).await;
    assert!(
        matches!(second, Ok(_) | Err(BrokerError::OutcomeUnknown)),
        "{second:?}"
    );
    eventually("it is counted", || {
        counts.reconnects.load(Ordering::Relaxed) > 0
    })
    .await;
    broker
        .publish(&room, publication("3"))
        .await
        .expect("publishes");
    broker
        .publish(&room, keyed("u:a", "k", "4"))
        .await
        .expect("publishes");
}

#[tokio::test]
async fn a_lost_redis_is_told_promptly_and_found_again() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let a = gateway(&server.url(), &some_prefix()).await;
    let room = some_room();
    a.broker.subscribe(&room).await.expect("subscribes");
    let before = publish_numbers(&a, &room, 1..=5).await;
    server.kill();
    eventually("it is noticed", || a.broker.ready().is_err()).await;
    let since = Instant::now();
    let refused = a.broker.publish(&room, publication("lost")).await;
    assert!(
        matches!(refused, Err(BrokerError::Unavailable(_))),
        "{refused:?}"
    );
    assert!(
        since.elapsed() < Duration::from_secs(3),
        "{:?}",
        since.elapsed()
    );
    server.start_again();
    eventually("the room is told to read", || {
        a.events.interruptions(&room) > 0
    })
    .await;
    let after = publish_numbers(&a, &room, 6..=6).await;
    eventually("pushes are back", || {
        bodies(&a.events.messages(&room))
            .last()
            .is_some_and(|last| last == "6")
    })
    .await;
    // A restarted server has a new replication history, and still all messages.
    assert!(after[0].epoch > before[4].epoch);
    assert_eq!(after[0].offset.0, 1);
    let chunk = a
        .broker
        .read(&room, Range::After(before[2]), 10, RETENTION)
        .await
        .expect("reads");
    assert_eq!(bodies(&chunk.messages), numbers(4..=6));
    // But nobody can tell whether all of them came back.
    assert_eq!(chunk.state.previous, torn(before[4]));
    assert_eq!(chunk.state.oldest, Some(before[0]));
}

async fn flushed_redis_opens_a_higher_epoch(url: &str, flush: impl FnOnce()) {
    let (a, b) = two_gateways(url).await;
    let room = some_room();
    b.broker.subscribe(&room).await.expect("subscribes");
    let before = publish_numbers(&a, &room, 1..=3).await;
    publish_numbers(&b, &room, 4..=4).await;
    flush();
    let after = publish_numbers(&a, &room, 5..=5).await;
    assert!(after[0].epoch > before[0].epoch);
    assert_eq!(after[0].offset.0, 1);
    // The other one still has the old epoch in mind.
    assert_eq!(publish_numbers(&b, &room, 6..=6).await, [after[0].next()]);
    let chunk = a
        .broker
        .read(&room, Range::After(before[0]), 10, RETENTION)
        .await
        .expect("reads");
    assert_eq!(bodies(&chunk.messages), numbers(5..=6));
    assert_eq!(chunk.state.previous, None, "nobody knows how far it went");
    eventually("all are delivered", || b.events.messages(&room).len() == 6).await;
}

#[tokio::test]
async fn a_room_whose_keys_are_gone_goes_on_in_a_higher_epoch() {
    let server = Server::start(&[]);
    flushed_redis_opens_a_higher_epoch(&server.url(), || drop(server.run(&["FLUSHALL"]))).await;
}

#[tokio::test]
async fn a_room_whose_keys_are_gone_goes_on_in_a_higher_epoch_in_a_cluster() {
    let url = one_primary().url();
    let server = &one_primary().servers[0];
    let (a, room) = (gateway(&url, "flushed").await, some_room());
    let before = publish_numbers(&a, &room, 1..=2).await;
    server.run(&[
        "DEL",
        &format!("flushed:{{{room}}}:log"),
        &format!("flushed:{{{room}}}:top"),
    ]);
    let after = publish_numbers(&a, &room, 3..=3).await;
    assert!(after[0].epoch > before[0].epoch);
}

#[tokio::test]
async fn a_promoted_replica_that_lacks_messages_gives_no_offset_twice() {
    let pair = Pair::start().await;
    let prefix = some_prefix();
    let a = gateway(&pair.proxy.url(), &prefix).await;
    let b = gateway(&pair.proxy.url(), &prefix).await;
    let room = some_room();
    b.broker.subscribe(&room).await.expect("subscribes");
    let kept = publish_numbers(&a, &room, 1..=5).await;
    pair.wait_until_in_sync("XLEN", &format!("{prefix}:{{{room}}}:log"))
        .await;
    pair.part();
    let lost = publish_numbers(&a, &room, 6..=8).await;
    eventually("all are delivered", || b.events.messages(&room).len() == 8).await;

    pair.fail_over();
    eventually("the room is told to read", || {
        b.events.interruptions(&room) > 0
    })
    .await;
    let chunk = b
        .broker
        .read(&room, Range::After(lost[2]), 10, RETENTION)
        .await
        .expect("reads");
    assert!(chunk.messages.is_empty());
    assert!(
        chunk.state.top.epoch > lost[2].epoch,
        "the epoch belongs to the history that was lost"
    );
    assert_eq!(
        chunk.state.previous,
        torn(kept[4]),
        "what comes after it was lost"
    );
    let after = publish_numbers(&a, &room, 9..=10).await;
    let epoch = chunk.state.top.epoch.0;
    assert_eq!(
        after,
        [Position::new(epoch, 1), Position::new(epoch, 2)],
        "one epoch, whoever found the change"
    );
    let all = b
        .broker
        .read(&room, Range::After(Position::default()), 20, RETENTION)
        .await
        .expect("reads");
    assert_eq!(bodies(&all.messages), ["1", "2", "3", "4", "5", "9", "10"]);
}

#[tokio::test]
async fn a_promotion_that_nobody_can_vouch_for_is_told() {
    let pair = Pair::start().await;
    let prefix = some_prefix();
    let a = gateway(&pair.proxy.url(), &prefix).await;
    let room = some_room();
    a.broker.subscribe(&room).await.expect("subscribes");
    let before = publish_numbers(&a, &room, 1..=5).await;
    pair.wait_until_in_sync("XLEN", &format!("{prefix}:{{{room}}}:log"))
        .await;
    pair.part();
    pair.fail_over();
    eventually("the room is told to read", || {
        a.events.interruptions(&room) > 0
    })
    .await;
    publish_numbers(&a, &room, 6..=6).await;
    let chunk = a
        .broker
        .read(&room, Range::After(before[4]), 10, RETENTION)
        .await
        .expect("reads");
    assert_eq!(bodies(&chunk.messages), ["6"]);
    assert_eq!(
        chunk.state.previous,
        torn(before[4]),
        "nobody knows what the old primary had besides"
    );
}

#[tokio::test]
async fn a_publish_without_an_answer_is_not_sent_again() {
    let server = Server::start(&[]);
    let proxy = Proxy::to(server.port).await;
    let prefix = some_prefix();
    let a = gateway(&proxy.url(), &prefix).await;
    let b = gateway(&server.url(), &prefix).await;
    let room = some_room();
    publish_numbers(&a, &room, 1..=1).await;
    proxy.freeze(true);
    let since = Instant::now();
    let unknown = a.broker.publish(&room, publication("2")).await;
    assert!(
        matches!(unknown, Err(BrokerError::OutcomeUnknown)),
        "{unknown:?}"
    );
    let keyed_one = a.broker.publish(&room, keyed("u:alice", "k", "3")).await;
    assert!(
        matches!(keyed_one, Err(BrokerError::OutcomeUnknown)),
        "{keyed_one:?}"
    );
    assert!(
        since.elapsed() < Duration::from_secs(8),
        "{:?}",
        since.elapsed()
    );
    proxy.freeze(false);
    proxy.lead_to(server.port);
    eventually("Redis is connected", || a.broker.ready().is_ok()).await;
    a.broker
        .publish(&room, keyed("u:alice", "k", "3"))
        .await
        .expect("a key makes it safe");
    let stored = b
        .broker
        .read(&room, Range::Latest, 10, RETENTION)
        .await
        .expect("reads");
    let mut stored = bodies(&stored.messages);
    stored.sort_unstable();
    assert_eq!(stored, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_closed_engine_leaves_no_connection_behind() {
    let server = Server::start(&[]);
    let gateway: Gateway = gateway(&server.url(), &some_prefix()).await;
    gateway
        .broker
        .subscribe(&some_room())
        .await
        .expect("subscribes");
    gateway.broker.close().await;
    drop(gateway);
    eventually("only this test is connected", || {
        server.text(&["CLIENT", "LIST"]).lines().count() == 1
    })
    .await;
}
