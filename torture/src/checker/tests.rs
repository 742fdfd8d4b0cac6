//! Histories made by hand: each way to break the contract is caught, and what the contract allows passes.

use super::*;
use crate::history::{
    Content, Entry, Event, GapReason, Outcome, Position, Publication, Room, Stream, Transport,
    Window,
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

#[test]
fn a_hole_is_caught() {
    three()
        .saw(&START)
        .saw(&[message(1, at(E1, 1)), message(3, at(E1, 3))])
        .breaks(&[Kind::Hole]);
}

#[test]
fn a_hole_at_the_end_of_an_epoch_is_caught() {
    Story::new()
        .stored(1, at(E1, 1))
        .stored(2, at(E1, 2))
        .stored(3, at(E2, 1))
        .marker(at(E2, 1))
        .saw(&START)
        .saw(&[message(1, at(E1, 1)), message(3, at(E2, 1))])
        .breaks(&[Kind::Hole]);
}

#[test]
fn a_hole_at_the_begin_of_an_epoch_is_caught() {
    Story::new()
        .stored(1, at(E1, 1))
        .published(2, Outcome::Unknown)
        .stored(3, at(E2, 2))
        .marker(at(E2, 2))
        .saw(&START)
        .saw(&[message(1, at(E1, 1)), message(3, at(E2, 2))])
        .breaks(&[Kind::Hole]);
}

#[test]
fn messages_out_of_order_and_again_are_caught() {
    three()
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            message(3, at(E1, 3)),
        ])
        .breaks(&[Kind::Doubled, Kind::Doubled, Kind::OutOfOrder]);
}

#[test]
fn a_false_recovered_is_caught() {
    three()
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            joins(Some(at(E1, 1))),
            joined(at(E1, 1), Some(true)),
            message(3, at(E1, 3)),
        ])
        .breaks(&[Kind::FalseRecovered]);
    three()
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            joins(Some(at(E1, 1))),
            joined(at(E1, 2), Some(true)),
            message(3, at(E1, 3)),
        ])
        .breaks(&[Kind::FalseRecovered]);
}

#[test]
fn a_gap_in_what_was_recovered_is_caught() {
    three()
        .saw(&START)
        .saw(&[
            joins(Some(at(E1, 0))),
            Event::Joined {
                id: at(E1, 0),
                recovered: Some(true),
                replayed: 3,
            },
            message(1, at(E1, 1)),
            gap(at(E1, 1), at(E1, 2), GapReason::Trimmed),
            message(3, at(E1, 3)),
        ])
        .breaks(&[Kind::FalseRecovered]);
}

#[test]
fn recovery_of_a_position_that_was_lost_is_caught() {
    failed_over()
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            joins(Some(at(E1, 2))),
            joined(at(E1, 2), Some(true)),
            message(3, at(E2, 1)),
        ])
        .breaks(&[Kind::FalseRecovered]);
}

#[test]
fn a_failover_that_lost_something_is_caught_without_a_gap() {
    failed_over()
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            message(3, at(E2, 1)),
        ])
        .breaks(&[Kind::Hole]);
}

#[test]
fn passing_a_lost_message_without_a_gap_is_caught() {
    failed_over()
        .saw(&START)
        .saw(&[message(1, at(E1, 1)), message(3, at(E2, 1))])
        .breaks(&[Kind::SilentLoss]);
}

#[test]
fn a_missing_gap_is_caught() {
    three()
        .saw(&START)
        .saw(&[
            joins(Some(at(E1, 0))),
            joined(at(E1, 2), Some(false)),
            message(3, at(E1, 3)),
        ])
        .breaks(&[Kind::MissingGap]);
}

#[test]
fn a_gap_from_elsewhere_is_caught() {
    three()
        .saw(&START)
        .saw(&[
            gap(at(E1, 1), at(E1, 2), GapReason::Trimmed),
            message(3, at(E1, 3)),
        ])
        .breaks(&[Kind::WrongGap]);
    three()
        .saw(&START)
        .saw(&[
            joins(Some(at(E1, 0))),
            joined(at(E1, 1), Some(false)),
            gap(at(E1, 0), at(E1, 2), GapReason::Trimmed),
            message(3, at(E1, 3)),
        ])
        .breaks(&[Kind::WrongGap]);
}

#[test]
fn a_gap_over_what_was_published_later_is_caught() {
    three()
        .saw_at(5, &START)
        .saw_at(15, &[gap(at(E1, 0), at(E1, 2), GapReason::Expired)])
        .saw(&[message(3, at(E1, 3))])
        .breaks(&[Kind::AheadOfRoom]);
}

#[test]
fn a_join_ahead_of_the_room_is_caught() {
    three()
        .saw_at(15, &[joins(None), joined(at(E1, 2), None)])
        .saw(&[message(3, at(E1, 3))])
        .breaks(&[Kind::AheadOfRoom]);
}

#[test]
fn two_contents_at_one_position_are_caught() {
    three()
        .published(4, Outcome::Unknown)
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            message(4, at(E1, 2)),
            message(3, at(E1, 3)),
        ])
        .breaks(&[Kind::TwoContents]);
}

#[test]
fn two_subscribers_who_see_different_things_are_caught() {
    Story::new()
        .published(1, Outcome::Unknown)
        .published(2, Outcome::Unknown)
        .saw(&START)
        .saw(&[message(1, at(E1, 1))])
        .another()
        .saw(&START)
        .saw(&[message(2, at(E1, 1))])
        .breaks(&[Kind::TwoContents]);
}

#[test]
fn an_unkeyed_message_that_is_stored_twice_is_caught() {
    three()
        .logged(3, at(E1, 4))
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            message(3, at(E1, 3)),
            message(3, at(E1, 4)),
        ])
        .breaks(&[Kind::Doubled, Kind::Doubled]);
}

#[test]
fn a_keyed_message_that_is_stored_twice_is_caught() {
    Story::new()
        .published_as(1, Outcome::Acked(at(E1, 2)), true)
        .logged(1, at(E1, 1))
        .logged(1, at(E1, 2))
        .breaks(&[Kind::Doubled]);
}

#[test]
fn an_ack_with_another_id_than_the_messages_is_caught() {
    three()
        .published(4, Outcome::Acked(at(E1, 5)))
        .published(5, Outcome::Acked(at(E1, 4)))
        .logged(4, at(E1, 4))
        .logged(5, at(E1, 5))
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            message(3, at(E1, 3)),
        ])
        .breaks(&[Kind::TwoContents, Kind::TwoContents]);
}

#[test]
fn an_invented_message_is_caught() {
    three()
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            message(3, at(E1, 3)),
            message(9, at(E1, 4)),
        ])
        .breaks(&[Kind::Invented]);
}

#[test]
fn a_refused_message_that_is_stored_is_caught() {
    three()
        .published(4, Outcome::Refused)
        .logged(4, at(E1, 4))
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            message(3, at(E1, 3)),
        ])
        .breaks(&[Kind::RefusedButStored]);
}

#[test]
fn a_loss_without_a_failover_is_caught() {
    let silent = || {
        Story::new()
            .stored(1, at(E1, 1))
            .marker(at(E1, 1))
            .saw(&START)
            .saw(&[message(1, at(E1, 1))])
    };
    silent()
        .published(2, Outcome::Acked(at(E1, 2)))
        .breaks(&[Kind::Lost]);
    silent()
        .published(2, Outcome::Acked(at(E1, 2)))
        .stored(3, at(E1, 3))
        .breaks(&[Kind::Lost]);
}

#[test]
fn a_replicated_message_may_be_lost_only_with_both_of_its_servers() {
    let story = |window| {
        let mut story = failed_over()
            .room(|room| room.replicated = true)
            .saw(&START)
            .saw(&[
                message(1, at(E1, 1)),
                message(2, at(E1, 2)),
                gap(at(E1, 2), at(E2, 0), GapReason::Failover),
                message(3, at(E2, 1)),
            ]);
        story.0.double_losses.extend(window);
        story
    };
    story(None).breaks(&[Kind::Lost]);
    // Before it was acknowledged, and after the next epoch had begun.
    story(Some(Window { from: 0, until: 10 })).breaks(&[Kind::Lost]);
    story(Some(Window {
        from: 9000,
        until: 9500,
    }))
    .breaks(&[Kind::Lost]);
    let verdict = story(Some(Window {
        from: 20,
        until: 900,
    }))
    .passes();
    assert_eq!(verdict.lost_replicated, 1);
}

#[test]
fn what_was_trimmed_is_not_lost() {
    let trimmed = |ends: &[Position]| {
        let mut story = Story::new()
            .published(1, Outcome::Acked(at(E1, 1)))
            .published(2, Outcome::Acked(at(E1, 2)))
            .stored(3, at(E2, 1))
            .marker(at(E2, 1))
            .room(|room| room.keeps_all = false);
        story.0.rooms[0].ends = ends.to_vec();
        story
    };
    let all = [
        message(1, at(E1, 1)),
        message(2, at(E1, 2)),
        message(3, at(E2, 1)),
    ];
    let verdict = trimmed(&[at(E1, 2)]).saw(&START).saw(&all).passes();
    assert_eq!(verdict.lost, 0);
    // The epoch ended before the second.
    trimmed(&[at(E1, 1)])
        .saw(&START)
        .saw(&all)
        .breaks(&[Kind::Hole]);
    // Nobody saw for sure where it ended.
    trimmed(&[]).saw(&START).saw(&all).passes();
    trimmed(&[at(E1, 1), at(E1, 2)])
        .saw(&START)
        .saw(&all)
        .passes();
}

#[test]
fn a_message_before_joined_is_caught() {
    three()
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            joins(Some(at(E1, 1))),
            message(2, at(E1, 2)),
            joined(at(E1, 2), Some(true)),
            message(3, at(E1, 3)),
        ])
        .breaks(&[Kind::FalseRecovered, Kind::Protocol]);
}

#[test]
fn joined_that_says_nothing_of_recovery_is_caught() {
    three()
        .saw(&START)
        .saw(&[
            joins(Some(at(E1, 0))),
            joined(at(E1, 0), None),
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            message(3, at(E1, 3)),
        ])
        .breaks(&[Kind::Protocol]);
}

#[test]
fn who_never_comes_to_the_end_is_caught() {
    three()
        .saw(&START)
        .saw(&[message(1, at(E1, 1))])
        .breaks(&[Kind::Stalled]);
    three().breaks(&[Kind::Stalled]);
}
