//! Clusters that change: failover, and slots that move.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::server::{Cluster, PASSWORD, Server};
use super::{gateway, some_prefix, torn, whole};
use crate::broker::contract::{
    Gateway, RETENTION, bodies, eventually, eventually_async, publication, publish_numbers,
    some_room, user,
};
use crate::broker::redis::keys::slot;
use crate::broker::{BrokerError, Leave, Range};
use crate::ids::Position;
use rotunda_crds::RoomName;

fn replication_offset(server: &Server) -> String {
    let info = server.text(&["INFO", "replication"]);
    let field = if info.contains("role:slave") {
        "slave_repl_offset:"
    } else {
        "master_repl_offset:"
    };
    let offset = info.lines().find_map(|line| line.strip_prefix(field));
    offset.expect("it has an offset").trim().to_owned()
}

/// A cluster of one primary and its replica.
fn pair() -> Cluster {
    Cluster::start_with_replicas(1)
}

async fn wait_until_in_sync(cluster: &Cluster) {
    let [primary, replica] = &cluster.servers[..] else {
        panic!("it is a pair")
    };
    eventually("the replica has it all", || {
        replication_offset(primary) == replication_offset(replica)
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_takes_over_without_all_messages_opens_an_epoch() {
    let mut cluster = pair();
    let prefix = some_prefix();
    let (a, b) = (
        gateway(&cluster.url(), &prefix).await,
        gateway(&cluster.url(), &prefix).await,
    );
    let room = some_room();
    b.broker.subscribe(&room).await.expect("subscribes");
    b.broker.join(&room, &user("bob")).await.expect("joins");
    a.broker.join(&room, &user("alice")).await.expect("joins");
    let kept = publish_numbers(&a, &room, 1..=5).await;
    wait_until_in_sync(&cluster).await;

    // The replica is locked out, so that it lacks what comes now.
    cluster.servers[1].run(&["CONFIG", "SET", "masterauth", "wrong"]);
    cluster.servers[0].run(&["CLIENT", "KILL", "TYPE", "replica"]);
    let lost = publish_numbers(&a, &room, 6..=8).await;
    a.broker
        .leave(&room, &user("alice"), Leave::Now)
        .await
        .expect("leaves");
    b.broker.join(&room, &user("carol")).await.expect("joins");
    eventually("all are delivered", || b.events.messages(&room).len() == 8).await;

    cluster.servers[0].kill();
    cluster.servers[1].run(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
    eventually("the room is told to read", || {
        b.events.interruptions(&room) > 0
    })
    .await;
    eventually("Redis is connected", || {
        a.broker.ready().is_ok() && b.broker.ready().is_ok()
    })
    .await;
    let chunk = b
        .broker
        .read(&room, Range::After(lost[2]), 10, RETENTION)
        .await
        .expect("reads");
    assert!(chunk.state.top.epoch > lost[2].epoch);
    assert_eq!(chunk.state.previous, torn(kept[4]));
    let after = publish_numbers(&a, &room, 9..=9).await;
    assert_eq!(after, [Position::new(chunk.state.top.epoch.0, 1)]);
    eventually("pushes are back", || {
        bodies(&b.events.messages(&room))
            .last()
            .is_some_and(|last| last == "9")
    })
    .await;
    // Neither the joining nor the leaving that was lost counts any more.
    eventually_async("bob and carol are members", async || {
        let members = a.broker.members(&room, 10).await;
        members.is_ok_and(|members| {
            let users: Vec<_> = members
                .members
                .into_iter()
                .map(|member| member.user)
                .collect();
            users == [user("bob"), user("carol")]
        })
    })
    .await;
}

#[tokio::test]
async fn a_planned_failover_costs_no_message_and_no_gap() {
    let cluster = pair();
    let prefix = some_prefix();
    let (a, b) = (
        gateway(&cluster.url(), &prefix).await,
        gateway(&cluster.url(), &prefix).await,
    );
    let room = some_room();
    b.broker.subscribe(&room).await.expect("subscribes");
    let before = publish_numbers(&a, &room, 1..=5).await;
    wait_until_in_sync(&cluster).await;
    cluster.servers[1].run(&["CLUSTER", "FAILOVER"]);
    eventually("the replica has taken over", || {
        cluster.servers[1]
            .text(&["INFO", "replication"])
            .contains("role:master")
    })
    .await;
    publish_numbers(&a, &room, 6..=6).await;
    eventually("the room is told to read", || {
        b.events.interruptions(&room) > 0
    })
    .await;
    let chunk = b
        .broker
        .read(&room, Range::After(before[4]), 10, RETENTION)
        .await
        .expect("reads");
    assert_eq!(bodies(&chunk.messages), ["6"]);
    assert!(chunk.state.top.epoch > before[4].epoch);
    assert_eq!(chunk.state.previous, whole(before[4]));
    publish_numbers(&a, &room, 7..=7).await;
    eventually("pushes are back", || {
        bodies(&b.events.messages(&room))
            .last()
            .is_some_and(|last| last == "7")
    })
    .await;
}

/// Publishes until told to stop; what is unavailable is tried again, for nothing was done.
async fn publish_on(gateway: &Gateway, room: &RoomName, stop: &CancellationToken) -> Vec<Position> {
    let mut positions: Vec<Position> = Vec::new();
    while !stop.is_cancelled() {
        match gateway
            .broker
            .publish(room, publication(&positions.len().to_string()))
            .await
        {
            Ok(published) => positions.push(published.position),
            Err(BrokerError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    positions
}

async fn move_slot(from: &Server, to: &Server, slot: u16, keys: &[String]) {
    let (from_id, to_id) = (
        from.text(&["CLUSTER", "MYID"]),
        to.text(&["CLUSTER", "MYID"]),
    );
    let (slot, port) = (slot.to_string(), to.port.to_string());
    to.run(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    from.run(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    for key in keys {
        from.run(&[
            "MIGRATE",
            "127.0.0.1",
            &port,
            key,
            "0",
            "5000",
            "AUTH",
            PASSWORD,
        ]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for server in [to, from] {
        server.run(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }
}

#[tokio::test]
async fn a_room_whose_slot_moves_loses_nothing() {
    let cluster = Cluster::start(2);
    let prefix = some_prefix();
    // One that has just been started could have lost what it was given before.
    eventually("the new owner has been there for a while", || {
        let info = cluster.servers[1].text(&["INFO", "server"]);
        let uptime = info
            .lines()
            .find_map(|line| line.strip_prefix("uptime_in_seconds:"));
        uptime.is_some_and(|seconds| {
            seconds
                .trim()
                .parse::<u64>()
                .is_ok_and(|seconds| seconds >= 2)
        })
    })
    .await;
    let (a, b) = (
        gateway(&cluster.url(), &prefix).await,
        gateway(&cluster.url(), &prefix).await,
    );
    let (room, slot) = loop {
        let room = some_room();
        let slot = slot(&format!("{prefix}:{{{room}}}"));
        if slot < 8192 {
            break (room, slot);
        }
    };
    b.broker.subscribe(&room).await.expect("subscribes");
    b.broker.join(&room, &user("bob")).await.expect("joins");
    let stop = CancellationToken::new();
    let moving = async {
        eventually("some are delivered", || b.events.messages(&room).len() > 10).await;
        let keys = ["log", "top", "here"].map(|key| format!("{prefix}:{{{room}}}:{key}"));
        move_slot(&cluster.servers[0], &cluster.servers[1], slot, &keys).await;
        eventually("the room is told to read", || {
            b.events.interruptions(&room) > 0
        })
        .await;
        let before = b.events.messages(&room).len();
        eventually("pushes are back", || {
            b.events.messages(&room).len() > before
        })
        .await;
        stop.cancel();
    };
    let (positions, ()) = tokio::join!(publish_on(&a, &room, &stop), moving);
    let mut read: Vec<Position> = Vec::new();
    loop {
        let last = read.last().copied().unwrap_or_default();
        let chunk = b
            .broker
            .read(&room, Range::After(last), 1000, RETENTION)
            .await
            .expect("reads");
        read.extend(chunk.messages.iter().map(|message| message.position));
        let previous = chunk.state.previous.expect("the move is a border");
        assert!(previous.whole, "nothing was lost");
        if !chunk.more {
            break;
        }
    }
    assert_eq!(read, positions);
    assert_eq!(b.broker.members(&room, 10).await.expect("lists").count, 1);
}

#[tokio::test]
async fn a_cluster_is_found_again_by_its_seeds_when_all_of_it_was_away() {
    let mut cluster = Cluster::start(1);
    let a = gateway(&cluster.url(), &some_prefix()).await;
    let room = some_room();
    a.broker.subscribe(&room).await.expect("subscribes");
    publish_numbers(&a, &room, 1..=1).await;
    cluster.servers[0].restart();
    eventually("the room is told to read", || {
        a.events.interruptions(&room) > 0
    })
    .await;
    eventually_async("publishes", async || {
        a.broker.publish(&room, publication("2")).await.is_ok()
    })
    .await;
    eventually("pushes are back", || {
        bodies(&a.events.messages(&room))
            .last()
            .is_some_and(|last| last == "2")
    })
    .await;
}
