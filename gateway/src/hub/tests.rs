//! Joining, healing, replaying and leaving, against a broker that loses messages, fails and fails over when it's told to.

use std::time::Duration;

use super::*;
use crate::actions;
use crate::dialect::CloseReason;
use crate::gateway::Gateway;
use crate::ids::Position;
use crate::testing::{Client, End, at, config, gateway, room};

mod deletion;
mod lost;
mod stalls;

async fn join(
    gateway: &Arc<Gateway>,
    client: &Client,
    name: &str,
    last_seen: Option<Position>,
) -> Result<(), Failure> {
    actions::join(gateway, &client.connection, &room(name), last_seen, &None).await
}

async fn joined(gateway: &Arc<Gateway>, user: &str, last_seen: Option<Position>) -> Client {
    let client = Client::connect(gateway, user);
    join(gateway, &client, "lobby", last_seen).await.unwrap();
    client
}

/// Lets everything that is under way come to its end.
async fn settled() {
    tokio::time::sleep(Duration::from_secs(20)).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_gets_what_is_said_after_the_position_it_was_told() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    broker.say("lobby", 2);
    let mut alice = joined(&gateway, "alice", None).await;
    broker.say("lobby", 2);
    assert_eq!(
        alice.story(3).await,
        [
            "joined 1-2 recovered=null replayed=null",
            "message 1-3",
            "message 1-4"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_hole_is_read_and_told_in_order_without_anyone_noticing() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let mut alice = joined(&gateway, "alice", None).await;
    broker.faults.lock().lose = 2;
    broker.say("lobby", 5);
    let expected = [
        "joined 1-0 recovered=null replayed=null",
        "message 1-1",
        "message 1-2",
        "message 1-3",
        "message 1-4",
        "message 1-5",
    ];
    assert_eq!(alice.story(6).await, expected);
    alice.hears_nothing_more().await;
    assert_eq!(gateway.metrics.healed_messages.get(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_went_missing_before_a_silence_is_read_when_the_broker_says_so() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let mut alice = joined(&gateway, "alice", None).await;
    broker.faults.lock().lose = 1;
    broker.say("lobby", 1);
    broker.interrupt("lobby");
    assert_eq!(alice.story(2).await[1], "message 1-1");
}

#[tokio::test(start_paused = true)]
async fn healing_goes_on_until_the_broker_answers() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let mut alice = joined(&gateway, "alice", None).await;
    broker.faults.lock().lose = 1;
    broker.faults.lock().fail_reads = 12;
    broker.say("lobby", 3);
    assert_eq!(
        alice.story(4).await[1..],
        ["message 1-1", "message 1-2", "message 1-3"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_comes_during_a_read_is_told_after_it_and_once() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let mut alice = joined(&gateway, "alice", None).await;
    broker.faults.lock().gate_reads = true;
    broker.faults.lock().lose = 1;
    broker.say("lobby", 2);
    settled().await;
    broker.say("lobby", 700);
    broker.faults.lock().gate_reads = false;
    broker.gate.add_permits(1);
    let story = alice.story(703).await;
    let expected: Vec<_> = (1..=702)
        .map(|offset| format!("message 1-{offset}"))
        .collect();
    assert_eq!(story[1..], expected);
    alice.hears_nothing_more().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_twice_is_told_once() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let mut alice = joined(&gateway, "alice", None).await;
    broker.say("lobby", 2);
    broker.repeat("lobby", at(1, 1));
    broker.repeat("lobby", at(1, 2));
    assert_eq!(alice.story(3).await[1..], ["message 1-1", "message 1-2"]);
    alice.hears_nothing_more().await;
}

#[tokio::test(start_paused = true)]
async fn a_planned_failover_costs_live_members_no_gap() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let mut alice = joined(&gateway, "alice", None).await;
    broker.say("lobby", 2);
    broker.fail_over("lobby", 0, End::Whole);
    broker.say("lobby", 2);
    assert_eq!(
        alice.story(5).await[1..],
        ["message 1-1", "message 1-2", "message 2-1", "message 2-2"]
    );
    alice.hears_nothing_more().await;
}

#[tokio::test(start_paused = true)]
async fn a_failover_that_lost_messages_is_told_to_live_members() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let mut alice = joined(&gateway, "alice", None).await;
    broker.say("lobby", 3);
    broker.fail_over("lobby", 1, End::Torn);
    broker.say("lobby", 1);
    assert_eq!(
        alice.story(6).await[4..],
        ["gap 1-3 2-0 failover", "message 2-1"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_failover_that_may_have_lost_messages_is_told_to_those_too_who_had_all() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let mut alice = joined(&gateway, "alice", None).await;
    broker.say("lobby", 3);
    broker.fail_over("lobby", 0, End::Torn);
    broker.say("lobby", 1);
    assert_eq!(
        alice.story(6).await[4..],
        ["gap 1-3 2-0 failover", "message 2-1"]
    );
    // Who comes back from before gets what is left first, and isn't told that this is all.
    for (seen, replayed) in [(1, 3), (3, 1)] {
        let mut bob = joined(&gateway, "bob", Some(at(1, seen))).await;
        let story = bob.story(2 + replayed).await;
        assert_eq!(
            story[0],
            format!("joined 1-{seen} recovered=false replayed={replayed}")
        );
        assert_eq!(
            story[replayed..],
            ["gap 1-3 2-0 failover", "message 2-1"],
            "{story:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_return_with_a_position_gets_everything_after_it() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    broker.say("lobby", 3);
    let mut alice = joined(&gateway, "alice", Some(at(1, 1))).await;
    assert_eq!(
        alice.story(3).await,
        [
            "joined 1-1 recovered=true replayed=2",
            "message 1-2",
            "message 1-3"
        ]
    );
    broker.say("lobby", 1);
    assert_eq!(alice.story(1).await, ["message 1-4"]);
    alice.hears_nothing_more().await;
}

#[tokio::test(start_paused = true)]
async fn a_return_at_the_top_of_a_live_room_asks_the_broker_nothing() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let _bob = joined(&gateway, "bob", None).await;
    broker.say("lobby", 3);
    broker.calls(&[]);
    let mut alice = joined(&gateway, "alice", Some(at(1, 3))).await;
    assert_eq!(
        alice.story(1).await,
        ["joined 1-3 recovered=true replayed=0"]
    );
    assert!(broker.calls(&["read"]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_had_is_told_by_a_gap_and_never_recovered() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    broker.say("lobby", 6);
    broker.trim("lobby", at(1, 3));
    let mut trimmed = joined(&gateway, "a", Some(at(1, 1))).await;
    assert_eq!(
        trimmed.story(4).await[..3],
        [
            "joined 1-3 recovered=false replayed=3",
            "gap 1-1 1-3 expired",
            "message 1-4"
        ]
    );
    let mut ahead = joined(&gateway, "b", Some(at(1, 99))).await;
    assert_eq!(
        ahead.story(2).await,
        [
            "joined 1-6 recovered=false replayed=0",
            "gap 1-99 1-6 failover"
        ]
    );
    broker.say("lobby", 1);
    assert_eq!(ahead.story(1).await, ["message 1-7"]);
    let mut other_epoch = joined(&gateway, "c", Some(at(0, 5))).await;
    assert_eq!(
        other_epoch.story(2).await,
        [
            "joined 1-3 recovered=false replayed=4",
            "gap 0-5 1-3 failover"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_replay_is_read_as_the_outbox_drains_and_never_trips_its_cap() {
    let mut config = config(&["lobby"]);
    config.limits.send_queue_bytes = 2000;
    let (gateway, broker) = gateway(config);
    broker.say("lobby", 1000);
    let mut alice = joined(&gateway, "alice", Some(at(1, 0))).await;
    settled().await;
    assert!(alice.connection.outbox.bytes() <= 1000);
    // What found no space isn't kept: reading goes on when there is space, and not before.
    assert!(!broker.calls(&["read"]).is_empty());
    settled().await;
    assert_eq!(broker.calls(&["read"]), [] as [String; 0]);
    // More comes while the replay is on.
    broker.say("lobby", 300);
    let story = alice.story(1301).await;
    assert_eq!(story[0], "joined 1-0 recovered=true replayed=1000");
    let expected: Vec<_> = (1..=1300)
        .map(|offset| format!("message 1-{offset}"))
        .collect();
    assert_eq!(story[1..], expected);
    broker.say("lobby", 1);
    assert_eq!(alice.story(1).await, ["message 1-1301"]);
    assert_eq!(alice.connection.outbox.closing(), None);
}

#[tokio::test(start_paused = true)]
async fn a_replay_survives_a_broker_that_is_away_for_a_moment_and_ends_with_1013_otherwise() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    broker.say("lobby", 200);
    let mut alice = joined(&gateway, "alice", Some(at(1, 0))).await;
    broker.faults.lock().fail_reads = 3;
    assert_eq!(alice.story(201).await[200], "message 1-200");
    let bob = joined(&gateway, "bob", Some(at(1, 0))).await;
    broker.faults.lock().fail_reads = u32::MAX;
    settled().await;
    assert_eq!(
        bob.connection.outbox.closing(),
        Some(CloseReason::Unavailable)
    );
}

#[tokio::test(start_paused = true)]
async fn joining_again_starts_over_from_the_position_given() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    broker.say("lobby", 2);
    let mut alice = joined(&gateway, "alice", None).await;
    alice.story(1).await;
    join(&gateway, &alice, "lobby", Some(at(1, 1)))
        .await
        .unwrap();
    assert_eq!(
        alice.story(2).await,
        ["joined 1-1 recovered=true replayed=1", "message 1-2"]
    );
    broker.say("lobby", 1);
    assert_eq!(alice.story(1).await, ["message 1-3"]);
    alice.hears_nothing_more().await;
    assert_eq!(broker.calls(&["join"]), ["join lobby alice"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_join_that_fails_ends_the_membership_and_says_so() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    broker.say("lobby", 2);
    let mut alice = joined(&gateway, "alice", None).await;
    broker.faults.lock().fail_reads = 1;
    let failure = join(&gateway, &alice, "lobby", Some(at(1, 1)))
        .await
        .unwrap_err();
    assert_eq!(failure.code, ErrorCode::Unavailable);
    assert_eq!(alice.next_of("left").await["reason"], "unavailable");
    assert!(!alice.connection.is_in(&room("lobby")));
}

#[tokio::test(start_paused = true)]
async fn a_slow_consumer_is_ended_and_the_others_go_on() {
    let mut config = config(&["lobby"]);
    config.limits.send_queue_bytes = 3000;
    let (gateway, broker) = gateway(config);
    let slow = joined(&gateway, "slow", None).await;
    let mut quick = joined(&gateway, "quick", None).await;
    for _ in 0..100 {
        broker.say("lobby", 1);
        quick.drain();
    }
    assert_eq!(
        slow.connection.outbox.closing(),
        Some(CloseReason::SlowConsumer)
    );
    assert_eq!(quick.connection.outbox.closing(), None);
    assert_eq!(quick.story(101).await[100], "message 1-100");
}

#[tokio::test(start_paused = true)]
async fn a_failed_join_leaves_no_trace_and_can_be_tried_again() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let mut alice = Client::connect(&gateway, "alice");
    for fault in [
        (|faults: &mut crate::testing::Faults| faults.fail_subscribes = 1)
            as fn(&mut crate::testing::Faults),
        |faults| faults.fail_reads = 1,
        |faults| faults.fail_joins = 1,
    ] {
        fault(&mut broker.faults.lock());
        let failure = join(&gateway, &alice, "lobby", None).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Unavailable);
        settled().await;
        assert!(!alice.connection.is_in(&room("lobby")));
        assert!(gateway.hub.rooms().is_empty());
    }
    join(&gateway, &alice, "lobby", None).await.unwrap();
    broker.say("lobby", 1);
    assert_eq!(alice.next_of("message").await["id"], "1-1");
}

#[tokio::test(start_paused = true)]
async fn an_empty_room_is_unsubscribed_and_forgotten_and_can_come_back() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    for _ in 0..2 {
        let mut alice = joined(&gateway, "alice", None).await;
        assert_eq!(gateway.metrics.rooms.get(), 1);
        broker.say("lobby", 1);
        alice.next_of("message").await;
        actions::leave(&gateway, &alice.connection, &room("lobby")).unwrap();
        settled().await;
        assert!(gateway.hub.rooms().is_empty());
        assert_eq!(gateway.metrics.rooms.get(), 0);
        let calls = broker.calls(&["subscribe", "join", "leave", "unsubscribe"]);
        assert_eq!(
            calls,
            [
                "subscribe lobby",
                "join lobby alice",
                "leave lobby alice Now",
                "unsubscribe lobby"
            ]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn coming_and_going_quickly_never_loses_the_subscription() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let clients: Vec<_> = (0..20)
        .map(|n| Client::connect(&gateway, &format!("user{n}")))
        .collect();
    for round in 0..200 {
        let client = &clients[round % clients.len()];
        join(&gateway, client, "lobby", None).await.unwrap();
        actions::leave(&gateway, &client.connection, &room("lobby")).unwrap();
        if round % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut last = joined(&gateway, "last", None).await;
    settled().await;
    broker.say("lobby", 1);
    last.next_of("message").await;
    assert_eq!(broker.members(&room("lobby"), 100).await.unwrap().count, 1);
}

#[tokio::test(start_paused = true)]
async fn a_leave_that_failed_is_tried_until_the_broker_knows() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let alice = joined(&gateway, "alice", None).await;
    broker.faults.lock().fail_leaves = 5;
    gateway.disconnected(&alice.connection, CloseReason::Lost);
    settled().await;
    assert_eq!(broker.members(&room("lobby"), 10).await.unwrap().count, 0);
    assert_eq!(broker.calls(&["leave"]), ["leave lobby alice Linger"; 6]);
}

#[tokio::test(start_paused = true)]
async fn only_a_users_first_and_last_connection_are_told() {
    let (gateway, broker) = gateway(config(&["lobby"]));
    let first = joined(&gateway, "alice", None).await;
    let second = joined(&gateway, "alice", None).await;
    settled().await;
    gateway.disconnected(&first.connection, CloseReason::Lost);
    gateway.disconnected(&second.connection, CloseReason::Client);
    settled().await;
    let calls = broker.calls(&["online", "join", "leave"]);
    assert_eq!(
        calls,
        [
            "online alice true",
            "join lobby alice",
            "leave lobby alice Now",
            "online alice false"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_room_takes_nobody_more_but_its_members_again() {
    let mut config = config(&["lobby"]);
    config.rooms[0].policy.limits.max_members = 1;
    let (gateway, broker) = gateway(config);
    let _alice = joined(&gateway, "alice", None).await;
    let bob = Client::connect(&gateway, "bob");
    assert_eq!(
        join(&gateway, &bob, "lobby", None).await.unwrap_err().code,
        ErrorCode::RoomFull
    );
    settled().await;
    assert_eq!(broker.members(&room("lobby"), 10).await.unwrap().count, 1);
    joined(&gateway, "alice", None).await;
}

#[tokio::test(start_paused = true)]
async fn presence_is_told_as_the_room_asks() {
    use rotunda_crds::room::PresenceMode;
    for (mode, expected) in [
        (
            PresenceMode::Full,
            Some(
                r#"{"count":2,"joined":[{"user":"bob"}],"left":[],"room":"lobby","type":"presence"}"#,
            ),
        ),
        (
            PresenceMode::Batched,
            Some(
                r#"{"count":2,"joined":[{"user":"bob"}],"left":[],"room":"lobby","type":"presence"}"#,
            ),
        ),
        (
            PresenceMode::Count,
            Some(r#"{"count":2,"room":"lobby","type":"presence"}"#),
        ),
        (PresenceMode::Off, None),
    ] {
        let mut config = config(&["lobby"]);
        config.rooms[0].policy.presence.mode = mode;
        let (gateway, broker) = gateway(config);
        let mut alice = joined(&gateway, "alice", None).await;
        settled().await;
        let joined_frame = alice.next_of("joined").await;
        alice.drain();
        let _bob = joined(&gateway, "bob", None).await;
        let Some(expected) = expected else {
            alice.hears_nothing_more().await;
            assert!(broker.calls(&["join"]).is_empty());
            assert!(joined_frame.get("members").is_none());
            continue;
        };
        let frame = loop {
            let frame = alice.next_of("presence").await;
            if frame["count"] == 2 {
                break frame;
            }
        };
        assert_eq!(frame.to_string(), expected, "{mode:?}");
        assert_eq!(joined_frame["members"], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_changes_takes_memberships_away_and_leaves_the_others() {
    let before = config(&["lobby", "hall"]);
    let (gateway, broker) = gateway(before.clone());
    let mut alice = joined(&gateway, "alice", None).await;
    join(&gateway, &alice, "hall", None).await.unwrap();
    alice.next_of("joined").await;
    let mut after = before;
    after.rooms[0].policy.access.join = "user.id == 'bob'".to_owned();
    let settings =
        crate::config::Settings::build(after, &crate::config::Files::new(), &gateway.counters)
            .unwrap();
    gateway.reload(settings).await;
    let left = alice.next_of("left").await;
    assert_eq!(
        (left["room"].as_str(), left["reason"].as_str()),
        (Some("lobby"), Some("forbidden"))
    );
    settled().await;
    assert_eq!(broker.calls(&["leave"]), ["leave lobby alice Now"]);
    broker.say("hall", 1);
    assert_eq!(alice.next_of("message").await["room"], "hall");
    assert_eq!(
        join(&gateway, &alice, "lobby", None)
            .await
            .unwrap_err()
            .code,
        ErrorCode::Forbidden
    );
}

#[tokio::test(start_paused = true)]
async fn a_room_that_is_no_longer_declared_is_left() {
    let (gateway, _broker) = gateway(config(&["lobby"]));
    let mut alice = joined(&gateway, "alice", None).await;
    let settings = crate::config::Settings::build(
        config(&[]),
        &crate::config::Files::new(),
        &gateway.counters,
    )
    .unwrap();
    gateway.reload(settings).await;
    assert_eq!(alice.next_of("left").await["reason"], "forbidden");
}

#[tokio::test(start_paused = true)]
async fn presence_that_is_switched_on_counts_those_who_are_here() {
    use rotunda_crds::room::PresenceMode;
    let mut off = config(&["lobby"]);
    off.rooms[0].policy.presence.mode = PresenceMode::Off;
    let (gateway, broker) = gateway(off.clone());
    let _alice = joined(&gateway, "alice", None).await;
    for (config, count) in [(config(&["lobby"]), 1), (off, 0)] {
        let settings =
            crate::config::Settings::build(config, &crate::config::Files::new(), &gateway.counters)
                .unwrap();
        gateway.reload(settings).await;
        settled().await;
        assert_eq!(
            broker.members(&room("lobby"), 10).await.unwrap().count,
            count
        );
    }
}
