//! What every engine must do, as tests that any engine can be put through: `broker_contract!(attribute of each test, a future that makes a [`Gateway`])`.
//!
//! The engine is to be made with [`PRESENCE_TTL`].

mod log;
mod presence;
mod reading;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rotunda_crds::RoomName;

pub(crate) use self::log::*;
pub(crate) use self::presence::*;
pub(crate) use self::reading::*;
use super::{
    Broker, Durability, Event, IdempotencyKey, Message, PresenceChange, Publication, Retention,
    RoomEvents,
};
use crate::ids::{Position, UserId};

/// How long a lingering member stays in these tests.
pub(crate) const PRESENCE_TTL: Duration = Duration::from_millis(1500);

/// Puts an engine through the contract.
macro_rules! broker_contract {
    ($attribute:meta, $gateway:expr) => {
        broker_contract! { $attribute, $gateway,
            messages_are_numbered_without_holes_and_delivered_in_order
            a_body_passes_untouched
            a_publish_with_the_same_key_is_stored_once
            keys_of_different_scopes_never_meet
            an_unknown_room_opens_an_epoch_to_go_on_from
            reading_after_a_position_goes_forward_in_pages
            reading_before_a_position_goes_backward_in_pages
            reading_at_the_edges_is_answered
            a_read_holds_no_more_than_its_bytes_but_one_message_in_any_case
            many_small_messages_are_read_in_one_go
            pages_neither_skip_nor_double_while_messages_come_and_go
            a_room_keeps_no_more_than_its_maximum
            aged_messages_are_not_read
            the_rate_of_a_room_is_kept
            signals_are_delivered_and_not_stored
            events_end_with_the_subscription
            deletion_is_told_and_numbering_goes_on
            a_deletion_is_no_message_and_goes_when_it_is_trimmed
            a_member_is_announced_once
            a_member_that_comes_back_while_lingering_was_never_away
            a_member_that_stays_away_is_announced_after_the_ttl
            a_linger_can_be_ended_at_once
            all_lingers_of_a_user_can_be_ended_at_once
            the_log_of_orders_is_a_room_like_any_other
            members_are_sorted_and_limited
            users_are_online_while_connected_and_seen_last_afterwards
            a_closed_engine_refuses
        }
    };
    ($attribute:meta, $gateway:expr, $($name:ident)*) => {
        $(
            #[$attribute]
            async fn $name() {
                let gateway = $gateway.await;
                $crate::broker::contract::$name(&gateway).await;
                gateway.broker.close().await;
            }
        )*
    };
}
pub(crate) use broker_contract;

/// One engine and what it delivered.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) events: Arc<Recorder>,
}

/// Keeps what an engine delivers.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Vec<(RoomName, Event)>>);

impl RoomEvents for Recorder {
    fn deliver(&self, room: &RoomName, event: Event) {
        self.0.lock().push((room.clone(), event));
    }
}

impl Recorder {
    pub(crate) fn of(&self, room: &RoomName) -> Vec<Event> {
        let events = self.0.lock();
        events
            .iter()
            .filter(|(name, _)| name == room)
            .map(|(_, event)| event.clone())
            .collect()
    }

    pub(crate) fn messages(&self, room: &RoomName) -> Vec<Message> {
        let message = |event| match event {
            Event::Message(message) => Some(message),
            _ => None,
        };
        self.of(room).into_iter().filter_map(message).collect()
    }

    pub(crate) fn presence(&self, room: &RoomName) -> Vec<PresenceChange> {
        let change = |event| match event {
            Event::Presence(change) => Some(change),
            _ => None,
        };
        self.of(room).into_iter().filter_map(change).collect()
    }

    pub(crate) fn interruptions(&self, room: &RoomName) -> usize {
        self.of(room)
            .iter()
            .filter(|event| **event == Event::Interrupted)
            .count()
    }
}

/// A room that no other test uses.
pub(crate) fn some_room() -> RoomName {
    RoomName::parse(&format!("room:{:016x}", rand::random::<u64>())).expect("a fine name")
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::parse(name).expect("a fine name")
}

pub(crate) const RETENTION: Retention = Retention {
    max_messages: 1000,
    max_age: Duration::from_hours(1),
};

pub(crate) fn publication(body: &str) -> Publication {
    Publication {
        body: Bytes::copy_from_slice(body.as_bytes()),
        key: None,
        retention: RETENTION,
        durability: Durability::Async,
        rate_limit: None,
    }
}

pub(crate) fn keyed(scope: &str, key: &str, body: &str) -> Publication {
    Publication {
        key: Some(IdempotencyKey {
            scope: scope.into(),
            key: key.into(),
        }),
        ..publication(body)
    }
}

/// Publishes one message for each number.
pub(crate) async fn publish_numbers(
    gateway: &Gateway,
    room: &RoomName,
    numbers: std::ops::RangeInclusive<u32>,
) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in numbers {
        let published = gateway
            .broker
            .publish(room, publication(&number.to_string()))
            .await;
        positions.push(
            published
                .expect("a working engine takes a message")
                .position,
        );
    }
    positions
}

pub(crate) fn bodies(messages: &[Message]) -> Vec<String> {
    messages
        .iter()
        .map(|message| String::from_utf8_lossy(&message.body).into_owned())
        .collect()
}

pub(crate) fn numbers(numbers: std::ops::RangeInclusive<u32>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

/// Waits until `check` holds, at most 30 seconds.
#[track_caller]
pub(crate) fn eventually<F: FnMut() -> bool>(what: &str, mut check: F) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while !check() {
            assert!(
                tokio::time::Instant::now() < deadline,
                "waited in vain, from {caller}: {what}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// As [`eventually`], for a check that asks an engine.
pub(crate) async fn eventually_async<F: AsyncFnMut() -> bool>(what: &str, mut check: F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !check().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
