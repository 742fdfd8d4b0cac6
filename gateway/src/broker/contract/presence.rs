//! Members of rooms and users online.

use std::time::Duration;

use super::super::{BrokerError, Departed, Leave, PresenceChange, Range, UserPresence};
use super::{
    Gateway, PRESENCE_TTL, RETENTION, eventually, eventually_async, publication, some_room, user,
};
use crate::ids::UserId;

pub(crate) fn joined(name: &str, count: u64) -> PresenceChange {
    PresenceChange {
        joined: vec![user(name)],
        left: vec![],
        count,
    }
}

/// Who left with a change, and the count after it.
pub(crate) fn left(change: &PresenceChange) -> (Vec<UserId>, u64) {
    (
        change
            .left
            .iter()
            .map(|departed| departed.user.clone())
            .collect(),
        change.count,
    )
}

pub(crate) async fn a_member_is_announced_once(gateway: &Gateway) {
    let room = some_room();
    gateway.broker.subscribe(&room).await.expect("subscribes");
    assert_eq!(
        gateway
            .broker
            .join(&room, &user("alice"))
            .await
            .expect("joins"),
        1
    );
    assert_eq!(
        gateway
            .broker
            .join(&room, &user("bob"))
            .await
            .expect("joins"),
        2
    );
    assert_eq!(
        gateway
            .broker
            .join(&room, &user("alice"))
            .await
            .expect("twice is once"),
        2
    );
    gateway
        .broker
        .leave(&room, &user("nobody"), Leave::Now)
        .await
        .expect("no one left");
    gateway
        .broker
        .leave(&room, &user("nobody"), Leave::Linger)
        .await
        .expect("no one left");
    gateway
        .broker
        .leave(&room, &user("alice"), Leave::Now)
        .await
        .expect("leaves");
    gateway
        .broker
        .leave(&room, &user("alice"), Leave::Now)
        .await
        .expect("has left");
    gateway
        .broker
        .join(&room, &user("zoe"))
        .await
        .expect("joins");

    eventually("all is announced", || {
        gateway.events.presence(&room).len() >= 4
    })
    .await;
    let changes = gateway.events.presence(&room);
    assert_eq!(changes[..2], [joined("alice", 1), joined("bob", 2)]);
    assert_eq!(left(&changes[2]), (vec![user("alice")], 1));
    assert!(changes[2].left[0].last_seen_ms > 1_700_000_000_000);
    assert_eq!(changes[3..], [joined("zoe", 2)]);
}

pub(crate) async fn a_member_that_comes_back_while_lingering_was_never_away(gateway: &Gateway) {
    let room = some_room();
    gateway.broker.subscribe(&room).await.expect("subscribes");
    gateway
        .broker
        .join(&room, &user("alice"))
        .await
        .expect("joins");
    gateway
        .broker
        .leave(&room, &user("alice"), Leave::Linger)
        .await
        .expect("lingers");
    assert_eq!(
        gateway
            .broker
            .members(&room, 10)
            .await
            .expect("lists")
            .count,
        1,
        "who lingers is there"
    );
    assert_eq!(
        gateway
            .broker
            .join(&room, &user("alice"))
            .await
            .expect("comes back"),
        1
    );
    tokio::time::sleep(PRESENCE_TTL + Duration::from_millis(500)).await;
    gateway
        .broker
        .join(&room, &user("bob"))
        .await
        .expect("joins");
    eventually("bob is announced", || {
        gateway.events.presence(&room).len() >= 2
    })
    .await;
    assert_eq!(
        gateway.events.presence(&room),
        [joined("alice", 1), joined("bob", 2)]
    );
}

pub(crate) async fn a_member_that_stays_away_is_announced_after_the_ttl(gateway: &Gateway) {
    let room = some_room();
    gateway.broker.subscribe(&room).await.expect("subscribes");
    gateway
        .broker
        .join(&room, &user("alice"))
        .await
        .expect("joins");
    let since = tokio::time::Instant::now();
    gateway
        .broker
        .leave(&room, &user("alice"), Leave::Linger)
        .await
        .expect("lingers");
    let published = gateway
        .broker
        .publish(&room, publication("a clock"))
        .await
        .expect("publishes");
    let clock = gateway
        .broker
        .read(&room, Range::Latest, 1, RETENTION)
        .await
        .expect("reads")
        .messages;
    assert_eq!(clock[0].position, published.position);
    eventually("alice is announced to be gone", || {
        gateway.events.presence(&room).len() == 2
    })
    .await;
    assert!(since.elapsed() >= PRESENCE_TTL);
    assert!(since.elapsed() < PRESENCE_TTL + Duration::from_secs(5));
    let changes = gateway.events.presence(&room);
    assert_eq!(left(&changes[1]), (vec![user("alice")], 0));
    let Departed { last_seen_ms, .. } = changes[1].left[0];
    assert!(
        last_seen_ms.abs_diff(clock[0].time_ms) < 1000,
        "last seen when it went, not when it was told"
    );
    assert_eq!(
        gateway
            .broker
            .members(&room, 10)
            .await
            .expect("lists")
            .count,
        0
    );
}

pub(crate) async fn a_linger_can_be_ended_at_once(gateway: &Gateway) {
    let room = some_room();
    let (broker, alice, bob) = (&gateway.broker, user("alice"), user("bob"));
    broker.subscribe(&room).await.expect("subscribes");
    broker.join(&room, &alice).await.expect("joins");
    broker.join(&room, &bob).await.expect("joins");
    let since = tokio::time::Instant::now();
    let told = broker.leave(&room, &alice, Leave::Linger).await;
    told.expect("lingers");
    for name in [&alice, &bob, &user("nobody")] {
        let told = broker.leave(&room, name, Leave::EndLinger).await;
        told.expect("whoever is here stays");
    }
    eventually("alice is announced to be gone", || {
        gateway.events.presence(&room).len() == 3
    })
    .await;
    assert!(since.elapsed() < PRESENCE_TTL, "{:?}", since.elapsed());
    let changes = gateway.events.presence(&room);
    assert_eq!(left(&changes[2]), (vec![alice], 1));
}

pub(crate) async fn all_lingers_of_a_user_can_be_ended_at_once(gateway: &Gateway) {
    let rooms = [some_room(), some_room(), some_room()];
    let (broker, alice, bob) = (&gateway.broker, user("alice"), user("bob"));
    for room in &rooms {
        broker.subscribe(room).await.expect("subscribes");
        for name in [&alice, &bob] {
            broker.join(room, name).await.expect("joins");
        }
    }
    let since = tokio::time::Instant::now();
    for room in &rooms[..2] {
        for name in [&alice, &bob] {
            let told = broker.leave(room, name, Leave::Linger).await;
            told.expect("lingers");
        }
    }
    // One of them is back in the first room.
    broker.join(&rooms[0], &alice).await.expect("joins");
    broker.end_lingers(&alice).await;
    broker.end_lingers(&user("nobody")).await;
    eventually("alice is announced to be gone from one room", || {
        gateway.events.presence(&rooms[1]).len() == 3
    })
    .await;
    for (room, count) in rooms.iter().zip([2, 1, 2]) {
        let members = broker.members(room, 10).await.expect("lists");
        assert_eq!(members.count, count);
    }
    assert!(since.elapsed() < PRESENCE_TTL, "{:?}", since.elapsed());
    let changes = gateway.events.presence(&rooms[1]);
    assert_eq!(left(&changes[2]), (vec![alice], 1));
}

pub(crate) async fn members_are_sorted_and_limited(gateway: &Gateway) {
    let room = some_room();
    let empty = gateway.broker.members(&room, 10).await.expect("lists");
    assert_eq!((empty.members.len(), empty.count), (0, 0));
    for name in ["dora", "bob", "a b}\"ü", "carol"] {
        gateway
            .broker
            .join(&room, &user(name))
            .await
            .expect("joins");
    }
    let all = gateway.broker.members(&room, 10).await.expect("lists");
    let names: Vec<&str> = all
        .members
        .iter()
        .map(|member| member.user.as_str())
        .collect();
    assert_eq!(names, ["a b}\"ü", "bob", "carol", "dora"]);
    assert_eq!(all.count, 4);
    let some = gateway.broker.members(&room, 2).await.expect("lists");
    assert_eq!((some.members.len(), some.count), (2, 4));
    assert!(some.members.is_sorted_by_key(|member| member.user.clone()));
}

pub(crate) async fn users_are_online_while_connected_and_seen_last_afterwards(gateway: &Gateway) {
    let name = user("a}user{of:this test");
    let never = UserPresence {
        online: false,
        last_seen_ms: None,
    };
    assert_eq!(
        gateway.broker.user_presence(&name).await.expect("tells"),
        never
    );
    gateway
        .broker
        .user_online(&name, true)
        .await
        .expect("comes");
    eventually_async("it is online", async || {
        gateway
            .broker
            .user_presence(&name)
            .await
            .expect("tells")
            .online
    })
    .await;
    gateway
        .broker
        .user_online(&name, false)
        .await
        .expect("goes");
    let presence = gateway.broker.user_presence(&name).await.expect("tells");
    assert!(!presence.online);
    assert!(presence.last_seen_ms.expect("seen") > 1_700_000_000_000);
}

pub(crate) async fn a_closed_engine_refuses(gateway: &Gateway) {
    let room = some_room();
    gateway.broker.subscribe(&room).await.expect("subscribes");
    gateway.broker.close().await;
    assert!(gateway.broker.ready().is_err());
    let refused = gateway.broker.publish(&room, publication("late")).await;
    assert!(
        matches!(refused, Err(BrokerError::Unavailable(_))),
        "{refused:?}"
    );
    let refused = gateway
        .broker
        .read(&room, Range::Latest, 1, RETENTION)
        .await;
    assert!(
        matches!(refused, Err(BrokerError::Unavailable(_))),
        "{refused:?}"
    );
    gateway.broker.unsubscribe(&room).await;
}
