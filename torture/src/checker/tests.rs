//! Histories made by hand: each way to break the contract is caught, and what the contract allows passes.

mod borders;
mod ledger;
mod streams;

use super::*;
use crate::history::{
    Change, Content, Death, Entry, Event, GapReason, Outcome, Planned, Position, Publication, Room,
    Stream, Transport, Window,
};

/// The epochs of these histories: names that are times, as Redis gives them, one second apart.
const E1: u64 = 1_000_000;
const E2: u64 = E1 + 1000;

fn at(epoch: u64, offset: u64) -> Position {
    Position::new(epoch, offset)
}

/// A history of one room that was published to, with a subscriber.
struct Story(History);

impl Story {
    fn new() -> Self {
        let room = Room {
            name: "r".to_owned(),
            keeps_all: true,
            ..Room::default()
        };
        let stream = Stream {
            subscriber: "s".to_owned(),
            room: RoomIndex(0),
            entries: Vec::new(),
        };
        Self(History {
            rooms: vec![room],
            streams: vec![stream],
            began_unix_ms: E1 - 500,
            ..History::default()
        })
    }

    /// A publication without a key whose number says when it was sent.
    fn published(self, content: u64, outcome: Outcome) -> Self {
        self.published_as(content, outcome, false)
    }

    fn published_as(mut self, content: u64, outcome: Outcome, keyed: bool) -> Self {
        self.0.publications.push(Publication {
            room: RoomIndex(0),
            content: Content(content),
            keyed,
            attempts: 1,
            sent: content * 10,
            settled: content * 10 + 5,
            outcome,
        });
        self
    }

    /// Acknowledged and there at the end.
    fn stored(self, content: u64, position: Position) -> Self {
        self.published(content, Outcome::Acked(position))
            .logged(content, position)
    }

    fn logged(mut self, content: u64, position: Position) -> Self {
        self.0.rooms[0].log.insert(position, Content(content));
        self
    }

    fn marker(mut self, position: Position) -> Self {
        self.0.rooms[0].marker = Some(position);
        self
    }

    fn room(mut self, change: impl FnOnce(&mut Room)) -> Self {
        change(&mut self.0.rooms[0]);
        self
    }

    /// After everything was published.
    fn saw(self, events: &[Event]) -> Self {
        self.saw_at(1000, events)
    }

    fn saw_at(mut self, at: u64, events: &[Event]) -> Self {
        let entries = events.iter().map(|event| Entry { at, event: *event });
        self.0.streams[0].entries.extend(entries);
        self
    }

    fn another(mut self) -> Self {
        let mut stream = self.0.streams[0].clone();
        stream.entries.clear();
        self.0.streams.insert(0, stream);
        self
    }

    fn verdict(&self) -> Verdict {
        check(&self.0)
    }

    #[track_caller]
    fn breaks(&self, kinds: &[Kind]) {
        let verdict = self.verdict();
        let mut found: Vec<_> = verdict
            .violations
            .iter()
            .map(|violation| violation.kind)
            .collect();
        found.sort_unstable();
        assert_eq!(found, kinds, "{:#?}", verdict.violations);
    }

    #[track_caller]
    fn passes(&self) -> Verdict {
        self.breaks(&[]);
        self.verdict()
    }
}

fn joins(cursor: Option<Position>) -> Event {
    Event::Joining {
        cursor,
        transport: Transport::WebSocket,
        gateway: 0,
    }
}

fn joined(id: Position, recovered: Option<bool>) -> Event {
    Event::Joined {
        id,
        recovered,
        replayed: 0,
    }
}

fn message(content: u64, position: Position) -> Event {
    Event::Message {
        position,
        content: Content(content),
    }
}

fn gap(after: Position, next: Position, reason: GapReason) -> Event {
    Event::Gap {
        after,
        next,
        reason,
    }
}

/// Three messages of one epoch.
fn three() -> Story {
    Story::new()
        .stored(1, at(E1, 1))
        .stored(2, at(E1, 2))
        .stored(3, at(E1, 3))
        .marker(at(E1, 3))
}

/// Two messages before a failover that took the second, and one after it.
fn failed_over() -> Story {
    Story::new()
        .stored(1, at(E1, 1))
        .published(2, Outcome::Acked(at(E1, 2)))
        .stored(3, at(E2, 1))
        .marker(at(E2, 1))
}

const START: [Event; 2] = [
    Event::Joining {
        cursor: None,
        transport: Transport::WebSocket,
        gateway: 0,
    },
    Event::Joined {
        id: Position::new(E1, 0),
        recovered: None,
        replayed: 0,
    },
];

#[test]
fn all_in_order_passes() {
    three()
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            message(3, at(E1, 3)),
        ])
        .passes();
}

#[test]
fn who_reconnects_goes_on_where_it_stood() {
    three()
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            joins(Some(at(E1, 1))),
            joined(at(E1, 1), Some(true)),
            message(2, at(E1, 2)),
            message(3, at(E1, 3)),
        ])
        .passes();
}

#[test]
fn who_starts_anew_misses_nothing_by_it() {
    three()
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            joins(None),
            joined(at(E1, 2), None),
            message(3, at(E1, 3)),
        ])
        .passes();
}

#[test]
fn a_told_gap_passes() {
    three()
        .saw(&START)
        .saw(&[
            joins(Some(at(E1, 0))),
            joined(at(E1, 2), Some(false)),
            gap(at(E1, 0), at(E1, 2), GapReason::Trimmed),
            message(3, at(E1, 3)),
        ])
        .passes();
}

#[test]
fn a_planned_failover_passes_without_a_gap() {
    Story::new()
        .stored(1, at(E1, 1))
        .stored(2, at(E2, 1))
        .marker(at(E2, 1))
        .saw(&START)
        .saw(&[message(1, at(E1, 1)), message(2, at(E2, 1))])
        .passes();
}

#[test]
fn a_failover_that_lost_something_passes_with_a_gap() {
    let verdict = failed_over()
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            gap(at(E1, 2), at(E2, 0), GapReason::Failover),
            message(3, at(E2, 1)),
        ])
        .passes();
    assert_eq!((verdict.lost, verdict.lost_replicated), (1, 0));
}

#[test]
fn a_keyed_retry_after_a_failover_may_be_stored_again() {
    let verdict = Story::new()
        .published_as(1, Outcome::Acked(at(E2, 1)), true)
        .logged(1, at(E2, 1))
        .marker(at(E2, 1))
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            gap(at(E1, 1), at(E2, 0), GapReason::Failover),
            message(1, at(E2, 1)),
        ])
        .passes();
    assert_eq!(verdict.stored_again, 1);
}

#[test]
fn a_message_whose_outcome_is_unknown_may_be_there_or_not() {
    three()
        .published(4, Outcome::Unknown)
        .published(5, Outcome::Unknown)
        .logged(5, at(E1, 4))
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            message(3, at(E1, 3)),
            message(5, at(E1, 4)),
        ])
        .passes();
}
