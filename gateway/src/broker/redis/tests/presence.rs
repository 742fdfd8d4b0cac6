//! Members over several gateways.

use std::time::{Duration, Instant};

use super::server::{Server, standalone, three_primaries};
use super::{gateway, some_prefix, two_gateways};
use crate::broker::Leave;
use crate::broker::contract::{
    PRESENCE_TTL, eventually, eventually_async, joined, left, publish_numbers, some_room, user,
};

#[tokio::test]
async fn a_user_on_two_gateways_is_one_member() {
    let (a, b) = two_gateways(&standalone().url()).await;
    let room = some_room();
    a.broker.subscribe(&room).await.expect("subscribes");
    let alice = user("alice");
    assert_eq!(a.broker.join(&room, &alice).await.expect("joins"), 1);
    assert_eq!(b.broker.join(&room, &alice).await.expect("joins"), 1);
    assert_eq!(b.broker.join(&room, &user("bob")).await.expect("joins"), 2);
    a.broker
        .leave(&room, &alice, Leave::Now)
        .await
        .expect("leaves");
    assert_eq!(a.broker.members(&room, 10).await.expect("lists").count, 2);
    b.broker
        .leave(&room, &alice, Leave::Now)
        .await
        .expect("leaves");
    eventually("all is announced", || a.events.presence(&room).len() >= 3).await;
    let changes = a.events.presence(&room);
    assert_eq!(changes[..2], [joined("alice", 1), joined("bob", 2)]);
    assert_eq!(left(&changes[2]), (vec![alice], 1));
}

#[tokio::test]
async fn a_user_that_moves_to_another_gateway_was_never_away() {
    let (a, b) = two_gateways(&three_primaries().url()).await;
    let room = some_room();
    b.broker.subscribe(&room).await.expect("subscribes");
    let alice = user("alice");
    a.broker.join(&room, &alice).await.expect("joins");
    a.broker
        .leave(&room, &alice, Leave::Linger)
        .await
        .expect("lingers");
    b.broker.join(&room, &alice).await.expect("comes back");
    tokio::time::sleep(PRESENCE_TTL + Duration::from_millis(700)).await;
    assert_eq!(b.broker.members(&room, 10).await.expect("lists").count, 1);
    b.broker
        .leave(&room, &alice, Leave::Now)
        .await
        .expect("leaves");
    eventually("it is announced to be gone", || {
        b.events.presence(&room).len() >= 2
    })
    .await;
    let changes = b.events.presence(&room);
    assert_eq!(changes[..1], [joined("alice", 1)]);
    assert_eq!(left(&changes[1]), (vec![alice], 0));
}

async fn members_of_a_crashed_gateway_age_out(url: &str) {
    let prefix = some_prefix();
    let (a, b, c) = (
        gateway(url, &prefix).await,
        gateway(url, &prefix).await,
        gateway(url, &prefix).await,
    );
    let room = some_room();
    for (gateway, name) in [(&a, "alice"), (&b, "bob"), (&c, "carol")] {
        gateway.broker.subscribe(&room).await.expect("subscribes");
        gateway
            .broker
            .join(&room, &user(name))
            .await
            .expect("joins");
    }
    b.broker
        .join(&room, &user("alice"))
        .await
        .expect("joins there too");
    b.broker
        .user_online(&user("bob"), true)
        .await
        .expect("comes");
    // Nobody sweeps before a lease has held for a TTL.
    tokio::time::sleep(PRESENCE_TTL).await;
    // The lease is left to itself, as in a crash.
    b.broker.close().await;
    let crashed = Instant::now();
    for gateway in [&a, &c] {
        eventually("bob is announced to be gone", || {
            gateway
                .events
                .presence(&room)
                .last()
                .is_some_and(|change| !change.left.is_empty())
        })
        .await;
    }
    assert!(
        crashed.elapsed() < PRESENCE_TTL + Duration::from_secs(5),
        "{:?}",
        crashed.elapsed()
    );
    let members = a.broker.members(&room, 10).await.expect("lists");
    assert_eq!(
        members
            .members
            .iter()
            .map(|member| member.user.clone())
            .collect::<Vec<_>>(),
        [user("alice"), user("carol")]
    );
    eventually_async("bob is offline", async || {
        let bob = a.broker.user_presence(&user("bob")).await.expect("tells");
        !bob.online && bob.last_seen_ms.is_some()
    })
    .await;
    a.broker
        .leave(&room, &user("alice"), Leave::Now)
        .await
        .expect("leaves");
    eventually("alice is announced to be gone", || {
        a.events.presence(&room).len() == 5
    })
    .await;
    let gone: Vec<_> = a
        .events
        .presence(&room)
        .iter()
        .filter(|change| !change.left.is_empty())
        .map(left)
        .collect();
    assert_eq!(
        gone,
        [(vec![user("bob")], 2), (vec![user("alice")], 1)],
        "each once"
    );
}

#[tokio::test]
async fn members_of_a_crashed_gateway_are_announced_once_after_the_ttl() {
    members_of_a_crashed_gateway_age_out(&standalone().url()).await;
}

#[tokio::test]
async fn members_of_a_crashed_gateway_are_announced_once_after_the_ttl_in_a_cluster() {
    members_of_a_crashed_gateway_age_out(&three_primaries().url()).await;
}

#[tokio::test]
async fn whoever_joins_a_room_of_the_dead_doesnt_count_them() {
    let prefix = some_prefix();
    let url = standalone().url();
    let (a, b) = (gateway(&url, &prefix).await, gateway(&url, &prefix).await);
    let room = some_room();
    b.broker.join(&room, &user("bob")).await.expect("joins");
    b.broker.close().await;
    eventually_async("the lease has expired", async || {
        a.broker.members(&room, 10).await.expect("lists").count == 0
    })
    .await;
    a.broker.subscribe(&room).await.expect("subscribes");
    a.broker.join(&room, &user("alice")).await.expect("joins");
    // Whether alice comes before the sweep or right after it.
    eventually("bob is announced to be gone and alice to be there", || {
        let changes = a.events.presence(&room);
        let gone = changes.iter().any(|change| left(change).0 == [user("bob")]);
        gone && changes.last().is_some_and(|change| change.count == 1)
    })
    .await;
    assert_eq!(a.broker.members(&room, 10).await.expect("lists").count, 1);
}

#[tokio::test]
async fn users_are_online_while_any_gateway_has_them() {
    let (a, b) = two_gateways(&three_primaries().url()).await;
    let alice = user("alice");
    a.broker.user_online(&alice, true).await.expect("comes");
    b.broker.user_online(&alice, true).await.expect("comes");
    a.broker.user_online(&alice, false).await.expect("goes");
    let still = b.broker.user_presence(&alice).await.expect("tells");
    assert!(still.online);
    assert_eq!(
        still.last_seen_ms, None,
        "its last connection has not ended"
    );
    b.broker.user_online(&alice, false).await.expect("goes");
    let gone = a.broker.user_presence(&alice).await.expect("tells");
    assert!(!gone.online && gone.last_seen_ms.is_some());
}

#[tokio::test]
async fn members_come_back_after_redis_lost_everything() {
    let server = Server::start(&[]);
    let prefix = some_prefix();
    let a = gateway(&server.url(), &prefix).await;
    let room = some_room();
    a.broker.subscribe(&room).await.expect("subscribes");
    a.broker.join(&room, &user("alice")).await.expect("joins");
    a.broker
        .user_online(&user("alice"), true)
        .await
        .expect("comes");
    server.run(&["FLUSHALL"]);
    eventually_async("alice is a member again", async || {
        a.broker.members(&room, 10).await.expect("lists").count == 1
    })
    .await;
    eventually_async("alice is online again", async || {
        a.broker
            .user_presence(&user("alice"))
            .await
            .expect("tells")
            .online
    })
    .await;
    publish_numbers(&a, &room, 1..=1).await;
}

#[tokio::test]
async fn a_departure_that_couldnt_be_told_is_told_later() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (a, b) = two_gateways(&server.url()).await;
    let room = some_room();
    a.broker.subscribe(&room).await.expect("subscribes");
    a.broker.join(&room, &user("alice")).await.expect("joins");
    b.broker.join(&room, &user("bob")).await.expect("joins");
    server.kill();
    a.broker
        .leave(&room, &user("alice"), Leave::Now)
        .await
        .expect_err("Redis is away");
    server.start_again();
    eventually_async("only bob is left", async || {
        let members = b.broker.members(&room, 10).await;
        members.is_ok_and(|members| members.count == 1 && members.members[0].user == user("bob"))
    })
    .await;
}

#[tokio::test]
async fn big_rooms_are_listed_in_part_and_counted() {
    let (a, b) = two_gateways(&standalone().url()).await;
    let room = some_room();
    let users: Vec<_> = (0..2100)
        .map(|number| user(&format!("user{number}")))
        .collect();
    let joins = users.iter().map(|user| a.broker.join(&room, user));
    futures::future::join_all(joins)
        .await
        .into_iter()
        .for_each(|joined| assert!(joined.is_ok()));
    let members = b.broker.members(&room, 50).await.expect("lists");
    assert_eq!((members.members.len(), members.count), (50, 2100));
}
