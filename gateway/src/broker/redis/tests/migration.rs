//! A slot that moves from one server to another, key by key, and what is published meanwhile.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::server::{Cluster, PASSWORD, Server};
use super::{gateway, some_prefix};
use crate::broker::contract::{
    Gateway, RETENTION, bodies, eventually, keyed, publication, publish_numbers, some_room,
};
use crate::broker::redis::keys::slot;
use crate::broker::{BrokerError, Message, Published, Range};
use crate::ids::Position;
use rotunda_crds::RoomName;

/// A room of the first of two servers, whose slot is on its way to the second.
struct Migration<'a> {
    from: &'a Server,
    to: &'a Server,
    room: &'a str,
    slot: String,
}

impl<'a> Migration<'a> {
    /// Begins it; `room` is `P:{room}`.
    fn begin(from: &'a Server, to: &'a Server, room: &'a str) -> Self {
        let slot = slot(room).to_string();
        let (from_id, to_id) = (
            from.text(&["CLUSTER", "MYID"]),
            to.text(&["CLUSTER", "MYID"]),
        );
        to.run(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        from.run(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        Self {
            from,
            to,
            room,
            slot,
        }
    }

    fn move_key(&self, kind: &str) {
        let (port, key) = (self.to.port.to_string(), format!("{}:{kind}", self.room));
        self.from.run(&[
            "MIGRATE",
            "127.0.0.1",
            &port,
            &key,
            "0",
            "5000",
            "AUTH",
            PASSWORD,
        ]);
    }

    fn finish(self) {
        let to_id = self.to.text(&["CLUSTER", "MYID"]);
        for server in [self.to, self.from] {
            server.run(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &to_id]);
        }
    }

    /// How often either server has refused something because its keys aren't together.
    fn refusals(&self) -> u64 {
        let count = |server: &Server| -> u64 {
            let errors = server.text(&["INFO", "errorstats"]);
            let count = errors
                .lines()
                .find_map(|line| line.strip_prefix("errorstat_TRYAGAIN:count="));
            count.map_or(0, |count| count.trim().parse().expect("a number"))
        };
        count(self.from) + count(self.to)
    }
}

/// A room of the first server.
fn room_of_the_first(prefix: &str) -> (RoomName, String) {
    loop {
        let room = some_room();
        let key = format!("{prefix}:{{{room}}}");
        if slot(&key) < 8192 {
            return (room, key);
        }
    }
}

async fn all(gateway: &Gateway, room: &RoomName) -> Vec<Message> {
    let mut read: Vec<Message> = Vec::new();
    loop {
        let last = read
            .last()
            .map_or_else(Position::default, |message| message.position);
        let chunk = gateway
            .broker
            .read(room, Range::After(last), 1000, RETENTION)
            .await
            .expect("reads");
        read.extend(chunk.messages);
        if !chunk.more {
            return read;
        }
    }
}

#[tokio::test]
async fn a_keyed_publish_waits_until_its_keys_are_together_again() {
    let cluster = Cluster::start(2);
    let prefix = some_prefix();
    let (a, b) = (
        gateway(&cluster.url(), &prefix).await,
        gateway(&cluster.url(), &prefix).await,
    );
    let (room, key) = room_of_the_first(&prefix);
    b.broker.subscribe(&room).await.expect("subscribes");
    let first = a.broker.publish(&room, keyed("u:a", "1", "1")).await;
    let first = first.expect("publishes").position;
    let migration = Migration::begin(&cluster.servers[0], &cluster.servers[1], &key);
    migration.move_key("log");
    let moving = async {
        let refusals = migration.refusals();
        eventually("it is refused for the time being", || {
            migration.refusals() > refusals + 1
        })
        .await;
        migration.move_key("top");
        migration.move_key("keys");
        migration.finish();
    };
    let (second, ()) = tokio::join!(a.broker.publish(&room, keyed("u:a", "2", "2")), moving);
    let second = second.expect("publishes");
    // The server that has it now has a history of its own, and so another epoch.
    assert!(second.position > first && !second.duplicate, "{second:?}");
    for (number, position) in [("1", first), ("2", second.position)] {
        let again = b.broker.publish(&room, keyed("u:a", number, "other")).await;
        let expected = Published {
            position,
            duplicate: true,
        };
        assert_eq!(again.expect("publishes"), expected);
    }
    eventually("the room is told to read", || {
        b.events.interruptions(&room) > 0
    })
    .await;
    assert_eq!(bodies(&all(&b, &room).await), ["1", "2"]);
}

#[tokio::test]
async fn a_slot_that_stays_half_moved_is_told_and_nothing_was_done() {
    let cluster = Cluster::start(2);
    let prefix = some_prefix();
    let a = gateway(&cluster.url(), &prefix).await;
    let (room, key) = room_of_the_first(&prefix);
    a.broker
        .publish(&room, keyed("u:a", "1", "1"))
        .await
        .expect("publishes");
    let migration = Migration::begin(&cluster.servers[0], &cluster.servers[1], &key);
    migration.move_key("log");
    let refused = a.broker.publish(&room, keyed("u:a", "2", "2")).await;
    assert!(
        matches!(&refused, Err(BrokerError::Unavailable(why)) if why.contains("TRYAGAIN")),
        "{refused:?}"
    );
    migration.move_key("top");
    migration.move_key("keys");
    migration.finish();
    assert_eq!(bodies(&all(&a, &room).await), ["1"]);
    let again = a.broker.publish(&room, keyed("u:a", "2", "2")).await;
    assert!(!again.expect("publishes").duplicate);
}

#[tokio::test]
async fn what_is_published_where_a_slot_goes_is_found_before_it_has_arrived() {
    let cluster = Cluster::start(2);
    let prefix = some_prefix();
    let (a, b) = (
        gateway(&cluster.url(), &prefix).await,
        gateway(&cluster.url(), &prefix).await,
    );
    let (room, key) = room_of_the_first(&prefix);
    b.broker.subscribe(&room).await.expect("subscribes");
    publish_numbers(&a, &room, 1..=1).await;
    eventually("it is delivered", || b.events.messages(&room).len() == 1).await;
    let migration = Migration::begin(&cluster.servers[0], &cluster.servers[1], &key);
    for kind in ["log", "top"] {
        migration.move_key(kind);
    }
    // Whoever listens still does so at the old place.
    publish_numbers(&a, &room, 2..=2).await;
    let before = b.events.interruptions(&room);
    eventually("the room is told to read", || {
        b.events.interruptions(&room) > before
    })
    .await;
    assert_eq!(bodies(&all(&b, &room).await), ["1", "2"]);
    migration.finish();
    eventually("pushes are back", || {
        b.events.interruptions(&room) > before + 1
    })
    .await;
    publish_numbers(&a, &room, 3..=3).await;
    eventually("it is delivered", || {
        bodies(&b.events.messages(&room)).last().map(String::as_str) == Some("3")
    })
    .await;
}

/// A script with several keys, none of which is there yet, is what Redis refuses for as long as the slot moves.
#[tokio::test]
async fn a_room_that_begins_while_its_slot_moves_waits_until_it_has_arrived() {
    let cluster = Cluster::start(2);
    let prefix = some_prefix();
    let a = gateway(&cluster.url(), &prefix).await;
    let (room, key) = room_of_the_first(&prefix);
    let migration = Migration::begin(&cluster.servers[0], &cluster.servers[1], &key);
    let moving = async {
        eventually("it is refused for the time being", || {
            migration.refusals() > 1
        })
        .await;
        migration.finish();
    };
    let waiting = async {
        loop {
            match a.broker.publish(&room, publication("1")).await {
                Ok(published) => return published.position,
                // It may find the epoch of the one server when it comes to the other: nothing was done.
                Err(error) => assert!(matches!(error, BrokerError::Unavailable(_)), "{error}"),
            }
        }
    };
    let (first, ()) = tokio::join!(waiting, moving);
    assert_eq!(publish_numbers(&a, &room, 2..=2).await, [first.next()]);
    assert_eq!(bodies(&all(&a, &room).await), ["1", "2"]);
}

/// Publishes until told to stop, and gives what was answered for what.
async fn publish_on(
    gateway: &Gateway,
    room: &RoomName,
    name: &str,
    with_keys: bool,
    stop: &CancellationToken,
) -> Vec<(String, Position)> {
    let mut stored = Vec::new();
    while !stop.is_cancelled() {
        let body = format!("{name}{}", stored.len());
        let publication = if with_keys {
            keyed("u:a", &body, &body)
        } else {
            publication(&body)
        };
        match gateway.broker.publish(room, publication).await {
            Ok(published) => {
                assert!(!published.duplicate, "{body} was told to be stored before");
                stored.push((body, published.position));
            }
            // Nothing was done: once more.
            Err(BrokerError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stored
}

#[tokio::test]
async fn what_is_published_while_a_slot_goes_and_comes_back_is_stored_once() {
    let cluster = Cluster::start(2);
    let prefix = some_prefix();
    let (a, b) = (
        gateway(&cluster.url(), &prefix).await,
        gateway(&cluster.url(), &prefix).await,
    );
    let (room, key) = room_of_the_first(&prefix);
    b.broker.subscribe(&room).await.expect("subscribes");
    let stop = CancellationToken::new();
    let moving = async {
        let [one, other] = &cluster.servers[..] else {
            panic!("there are two")
        };
        for (from, to) in [(one, other), (other, one)] {
            let length = || from.number(&["XLEN", &format!("{key}:log")]);
            let before = length();
            eventually("some are stored here", || length() > before + 10).await;
            let migration = Migration::begin(from, to, &key);
            for kind in ["log", "keys", "top"] {
                let refusals = migration.refusals();
                migration.move_key(kind);
                if kind != "top" {
                    eventually("one meets it half way", || migration.refusals() > refusals).await;
                }
            }
            migration.finish();
        }
        let before = b.events.messages(&room).len();
        eventually("pushes are back", || {
            b.events.messages(&room).len() > before + 10
        })
        .await;
        stop.cancel();
    };
    let (one, two, three, ()) = tokio::join!(
        publish_on(&a, &room, "a", true, &stop),
        publish_on(&b, &room, "b", true, &stop),
        publish_on(&a, &room, "plain", false, &stop),
        moving
    );
    let mut expected = [one, two, three].concat();
    expected.sort_unstable_by_key(|(_, position)| *position);
    let stored = all(&b, &room).await;
    let stored: Vec<_> = stored
        .iter()
        .map(|message| message.position)
        .zip(bodies(&stored))
        .map(|(position, body)| (body, position))
        .collect();
    assert_eq!(stored, expected);
    let pushed = b.events.messages(&room);
    assert!(
        pushed.is_sorted_by(|one, other| one.position < other.position),
        "no message comes twice or out of order"
    );
}
