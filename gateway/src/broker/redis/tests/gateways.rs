//! Two gateways on one Redis.

use std::time::Duration;

use super::pair::replica_of;
use super::server::{Server, standalone, three_primaries};
use super::{gateway, some_prefix, start, two_gateways};
use crate::broker::contract::{
    Gateway, RETENTION, bodies, eventually, eventually_async, keyed, numbers, publication,
    publish_numbers, some_room,
};
use crate::broker::{Broker, BrokerError, Durability, Event, Publication, Range};
use crate::ids::Position;

async fn both_see_one_order(url: &str) {
    let (a, b) = two_gateways(url).await;
    let room = some_room();
    for gateway in [&a, &b] {
        gateway.broker.subscribe(&room).await.expect("subscribes");
    }
    let publish = async |gateway: &Gateway, name: &str| {
        let publishes = (0..100).map(|number| {
            gateway
                .broker
                .publish(&room, publication(&format!("{name}{number}")))
        });
        let published = futures::future::join_all(publishes).await;
        published
            .into_iter()
            .map(|published| published.expect("publishes").position)
            .collect::<Vec<_>>()
    };
    let (from_a, from_b) = tokio::join!(publish(&a, "a"), publish(&b, "b"));
    let mut positions = [from_a, from_b].concat();
    positions.sort_unstable();
    let epoch = positions[0].epoch.0;
    assert_eq!(
        positions,
        (1..=200)
            .map(|offset| Position::new(epoch, offset))
            .collect::<Vec<_>>()
    );
    for gateway in [&a, &b] {
        eventually("all are delivered", || {
            gateway.events.messages(&room).len() == 200
        })
        .await;
    }
    let seen = a.events.messages(&room);
    assert_eq!(seen, b.events.messages(&room));
    assert!(seen.is_sorted_by_key(|message| message.position));
    assert_eq!(a.events.interruptions(&room), 0);
}

#[tokio::test]
async fn both_gateways_see_all_messages_in_one_order() {
    both_see_one_order(&standalone().url()).await;
}

#[tokio::test]
async fn both_gateways_see_all_messages_in_one_order_in_a_cluster() {
    both_see_one_order(&three_primaries().url()).await;
}

#[tokio::test]
async fn rooms_of_all_slots_work_in_a_cluster() {
    let (a, b) = two_gateways(&three_primaries().url()).await;
    let rooms: Vec<_> = (0..60).map(|_| some_room()).collect();
    let subscribe = rooms.iter().map(|room| a.broker.subscribe(room));
    futures::future::join_all(subscribe)
        .await
        .into_iter()
        .for_each(|subscribed| subscribed.expect("subscribes"));
    for room in &rooms {
        publish_numbers(&b, room, 1..=2).await;
    }
    for room in &rooms {
        eventually("both are delivered", || a.events.messages(room).len() == 2).await;
    }
}

#[tokio::test]
async fn a_key_counts_on_every_gateway() {
    let (a, b) = two_gateways(&standalone().url()).await;
    let room = some_room();
    let publish = |gateway: &Gateway| {
        let broker = gateway.broker.clone();
        let room = room.clone();
        async move {
            broker
                .publish(&room, keyed("u:alice", "k", "once"))
                .await
                .expect("publishes")
        }
    };
    let published = futures::future::join_all([&a, &b, &a, &b].map(publish)).await;
    assert_eq!(
        published
            .iter()
            .filter(|published| !published.duplicate)
            .count(),
        1
    );
    assert!(
        published
            .iter()
            .all(|other| other.position == published[0].position)
    );
}

#[tokio::test]
async fn the_rate_of_a_room_counts_on_all_gateways_together() {
    let (a, b) = two_gateways(&standalone().url()).await;
    let room = some_room();
    let mut accepted = 0;
    let started = std::time::Instant::now();
    for gateway in [&a, &b].into_iter().cycle().take(100) {
        let limited = Publication {
            rate_limit: Some(10),
            ..publication("x")
        };
        match gateway.broker.publish(&room, limited).await {
            Ok(_) => accepted += 1,
            Err(BrokerError::RateLimited { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let most = 10.0 + 10.0 * started.elapsed().as_secs_f64() + 1.0;
    assert!(
        accepted >= 10 && f64::from(accepted) <= most,
        "{accepted} accepted, {most} are allowed"
    );
}

#[tokio::test]
async fn keys_of_a_room_expire_when_it_is_left_alone() {
    let prefix = some_prefix();
    let a = gateway(&standalone().url(), &prefix).await;
    let room = some_room();
    a.broker
        .publish(&room, keyed("u:alice", "k", "x"))
        .await
        .expect("publishes");
    let ttl_secs = |key: &str| standalone().number(&["TTL", &format!("{prefix}:{{{room}}}:{key}")]);
    let hour = 3600;
    // What is kept for an hour is gone an eighth of it and a minute later.
    let latest = hour + hour / 8 + 60;
    assert!(
        (latest - 60..=latest).contains(&ttl_secs("log")),
        "{}",
        ttl_secs("log")
    );
    assert!(ttl_secs("top") > ttl_secs("log"));
    assert!(
        (290..=300).contains(&ttl_secs("keys")),
        "{}",
        ttl_secs("keys")
    );
}

/// Keeps its messages for two seconds.
fn short_lived(body: &str) -> Publication {
    Publication {
        retention: crate::broker::Retention {
            max_age: Duration::from_secs(2),
            ..RETENTION
        },
        ..publication(body)
    }
}

#[tokio::test]
async fn aged_messages_of_a_silent_room_leave_redis_while_somebody_listens() {
    let prefix = some_prefix();
    let a = gateway(&standalone().url(), &prefix).await;
    let room = some_room();
    let log = format!("{prefix}:{{{room}}}:log");
    a.broker.subscribe(&room).await.expect("subscribes");
    let published = a.broker.publish(&room, short_lived("x")).await;
    let position = published.expect("publishes").position;
    let retention = short_lived("").retention;
    // As joining does; so the broker knows how the room is kept.
    let read = a.broker.read(&room, Range::Latest, 10, retention).await;
    assert_eq!(read.expect("reads").messages.len(), 1);
    eventually("it is taken out, though nobody reads", || {
        standalone().number(&["XLEN", &log]) == 0
    })
    .await;
    let next = a.broker.publish(&room, short_lived("y")).await;
    assert_eq!(
        next.expect("publishes").position,
        position.next(),
        "the room itself lives on"
    );
}

#[tokio::test]
async fn aged_messages_of_a_busy_room_leave_redis_without_a_reader() {
    let prefix = some_prefix();
    let a = gateway(&standalone().url(), &prefix).await;
    let room = some_room();
    let log = format!("{prefix}:{{{room}}}:log");
    let mut published = 0;
    eventually_async("the first ones are taken out", async || {
        let body = published.to_string();
        a.broker
            .publish(&room, short_lived(&body))
            .await
            .expect("publishes");
        published += 1;
        standalone().number(&["XLEN", &log]) < published
    })
    .await;
    assert!(published < RETENTION.max_messages.try_into().expect("it fits"));
}

#[tokio::test]
async fn a_subscribed_room_has_its_expiries_renewed() {
    let prefix = some_prefix();
    let a = gateway(&standalone().url(), &prefix).await;
    let room = some_room();
    a.broker.subscribe(&room).await.expect("subscribes");
    let read = async || {
        a.broker
            .read(&room, Range::Latest, 1, RETENTION)
            .await
            .expect("reads")
    };
    read().await;
    let log = format!("{prefix}:{{{room}}}:log");
    standalone().run(&["EXPIRE", &log, "50"]);
    // Anew, since the quiet check may just have done it.
    let longer = crate::broker::Retention {
        max_age: RETENTION.max_age * 2,
        ..RETENTION
    };
    a.broker
        .read(&room, Range::Latest, 1, longer)
        .await
        .expect("reads");
    eventually("the expiry is renewed", || {
        standalone().number(&["TTL", &log]) > 3600
    })
    .await;
}

#[tokio::test]
async fn a_message_whose_push_was_lost_is_found_by_the_quiet_check() {
    let prefix = some_prefix();
    let a = gateway(&standalone().url(), &prefix).await;
    let room = some_room();
    a.broker.subscribe(&room).await.expect("subscribes");
    let positions = publish_numbers(&a, &room, 1..=2).await;
    eventually("both are delivered", || a.events.messages(&room).len() == 2).await;
    let log = format!("{prefix}:{{{room}}}:log");
    let id = format!("{}-*", positions[0].epoch.0);
    standalone().run(&["XADD", &log, &id, "1700000000", "0", "b1", "3"]);
    eventually("the room is told to read", || {
        a.events.interruptions(&room) == 1
    })
    .await;
    let ageless = crate::broker::Retention {
        max_age: Duration::from_hours(1_000_000),
        ..RETENTION
    };
    let missed = a
        .broker
        .read(&room, Range::After(positions[1]), 10, ageless)
        .await
        .expect("reads");
    assert_eq!(bodies(&missed.messages), ["3"]);
    // Told once; what comes by push is not missed.
    publish_numbers(&a, &room, 4..=40).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(a.events.interruptions(&room), 1);
}

#[tokio::test]
async fn a_room_left_by_all_stays_subscribed_for_a_moment() {
    let server = Server::start(&[]);
    let prefix = some_prefix();
    let a = gateway(&server.url(), &prefix).await;
    let room = some_room();
    let channel = format!("{prefix}:{{{room}}}");
    let subscribers = || {
        let counts: Vec<redis::Value> =
            redis::from_redis_value(server.run(&["PUBSUB", "SHARDNUMSUB", &channel]))
                .expect("a list");
        counts[1].clone()
    };
    a.broker.subscribe(&room).await.expect("subscribes");
    a.broker.unsubscribe(&room).await;
    assert_eq!(subscribers(), redis::Value::Int(1));
    a.broker.subscribe(&room).await.expect("subscribes");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(subscribers(), redis::Value::Int(1), "it came back in time");
    a.broker.unsubscribe(&room).await;
    let since = std::time::Instant::now();
    eventually("it is unsubscribed", || {
        subscribers() == redis::Value::Int(0)
    })
    .await;
    assert!(since.elapsed() > Duration::from_secs(2));
}

#[tokio::test]
async fn a_replicated_publish_needs_a_replica() {
    let primary = Server::start(&[]);
    let a = gateway(&primary.url(), &some_prefix()).await;
    let room = some_room();
    let publish = async |body: &str| {
        let replicated = Publication {
            durability: Durability::Replicated,
            ..publication(body)
        };
        a.broker.publish(&room, replicated).await
    };
    let alone = publish("1").await;
    assert!(
        matches!(alone, Err(BrokerError::OutcomeUnknown)),
        "{alone:?}"
    );
    let _replica = replica_of(&primary).await;
    eventually_async("the replica has it", async || publish("2").await.is_ok()).await;
}

#[tokio::test]
async fn scripts_that_a_server_has_forgotten_are_loaded_again() {
    let server = Server::start(&[]);
    let a = gateway(&server.url(), &some_prefix()).await;
    let room = some_room();
    publish_numbers(&a, &room, 1..=1).await;
    server.run(&["SCRIPT", "FLUSH"]);
    publish_numbers(&a, &room, 2..=2).await;
    let stored = a
        .broker
        .read(&room, Range::Latest, 10, RETENTION)
        .await
        .expect("reads");
    assert_eq!(bodies(&stored.messages), numbers(1..=2));
}

#[tokio::test]
async fn an_entry_of_another_format_version_is_refused() {
    let prefix = some_prefix();
    let a = gateway(&standalone().url(), &prefix).await;
    let room = some_room();
    a.broker.subscribe(&room).await.expect("subscribes");
    let positions = publish_numbers(&a, &room, 1..=1).await;
    let (log, channel) = (
        format!("{prefix}:{{{room}}}:log"),
        format!("{prefix}:{{{room}}}"),
    );
    standalone().run(&["SPUBLISH", &channel, "2?\n"]);
    eventually("the room is told to read", || {
        a.events.of(&room).contains(&Event::Interrupted)
    })
    .await;
    standalone().run(&[
        "XADD",
        &log,
        &positions[0].next().to_string(),
        "9999999999",
        "0",
        "b2",
        "x",
    ]);
    let refused = a.broker.read(&room, Range::Latest, 10, RETENTION).await;
    assert!(
        matches!(refused, Err(BrokerError::Corrupt(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn nothing_that_is_shown_holds_the_password() {
    let (broker, _, _) = start(&standalone().url(), &some_prefix());
    let shown = format!("{broker:?} {:?}", broker.ready());
    assert!(
        !shown.contains(super::server::PASSWORD)
            && !shown.contains(super::server::ENCODED_PASSWORD),
        "{shown}"
    );
    broker.close().await;
}
