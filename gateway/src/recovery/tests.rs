//! The rules of the delivery contract, as examples and as properties over arbitrary logs.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::broker::PreviousEpoch;

const RETENTION: Retention = Retention {
    max_messages: 100,
    max_age: Duration::from_hours(1),
};

fn at(epoch: u64, offset: u64) -> Position {
    Position::new(epoch, offset)
}

fn log(top: Position, previous_end: Option<Position>, oldest: Option<Position>) -> LogState {
    let previous = previous_end.map(|end| PreviousEpoch { end, whole: true });
    LogState {
        top,
        previous,
        oldest,
        deleted: None,
    }
}

/// The same, but what the previous epoch ended with may be lost.
fn torn(state: LogState) -> LogState {
    let previous = state.previous.map(|previous| PreviousEpoch {
        whole: false,
        ..previous
    });
    LogState { previous, ..state }
}

fn message(position: Position) -> Message {
    Message {
        position,
        time_ms: 0,
        body: Bytes::new(),
    }
}

fn gap(next: Position, reason: GapReason, replay: u64) -> Verdict {
    Verdict::Incomplete {
        next,
        reason,
        replay,
    }
}

#[test]
fn positions_within_what_is_kept_are_complete() {
    let state = log(at(7, 10), None, Some(at(7, 4)));
    for (last_seen, replay) in [(10, 0), (9, 1), (3, 7)] {
        assert_eq!(
            assess(at(7, last_seen), &state, &RETENTION),
            Verdict::Complete { replay }
        );
    }
}

#[test]
fn a_position_before_what_is_kept_gets_a_gap_up_to_the_oldest() {
    let state = log(at(7, 10), None, Some(at(7, 4)));
    assert_eq!(
        assess(at(7, 2), &state, &RETENTION),
        gap(at(7, 3), GapReason::Expired, 7)
    );
    let small = Retention {
        max_messages: 7,
        ..RETENTION
    };
    assert_eq!(
        assess(at(7, 2), &state, &small),
        gap(at(7, 3), GapReason::Trimmed, 7)
    );
}

#[test]
fn an_empty_log_can_only_confirm_its_top() {
    let state = log(at(7, 10), None, None);
    assert_eq!(
        assess(at(7, 10), &state, &RETENTION),
        Verdict::Complete { replay: 0 }
    );
    assert_eq!(
        assess(at(7, 9), &state, &RETENTION),
        gap(at(7, 10), GapReason::Expired, 0)
    );
}

#[test]
fn ahead_of_the_top_is_never_recovered() {
    let state = log(at(7, 10), None, Some(at(7, 1)));
    for ahead in [at(7, 11), at(8, 0), at(u64::MAX, u64::MAX)] {
        assert_eq!(
            assess(ahead, &state, &RETENTION),
            gap(at(7, 10), GapReason::Failover, 0)
        );
    }
}

#[test]
fn a_planned_failover_costs_no_gap() {
    let state = log(at(8, 3), Some(at(7, 20)), Some(at(7, 5)));
    assert_eq!(
        assess(at(7, 20), &state, &RETENTION),
        Verdict::Complete { replay: 3 }
    );
    assert_eq!(
        assess(at(7, 18), &state, &RETENTION),
        Verdict::Complete { replay: 5 }
    );
    assert_eq!(
        assess(at(7, 4), &state, &RETENTION),
        Verdict::Complete { replay: 19 }
    );
    let quiet = log(at(8, 0), Some(at(7, 20)), None);
    assert_eq!(
        assess(at(7, 20), &quiet, &RETENTION),
        Verdict::Complete { replay: 0 }
    );
}

#[test]
fn a_torn_end_is_told_after_what_is_left_before_it() {
    let state = torn(log(at(8, 2), Some(at(7, 20)), Some(at(7, 5))));
    for (last_seen, replay) in [(20, 2), (18, 4), (4, 18)] {
        let verdict = assess(at(7, last_seen), &state, &RETENTION);
        let expected = Verdict::Torn {
            torn: at(7, 20),
            next: at(8, 0),
            replay,
        };
        assert_eq!(verdict, expected);
    }
    // Past it all is as ever.
    let complete = Verdict::Complete { replay: 1 };
    assert_eq!(assess(at(8, 1), &state, &RETENTION), complete);
    let failover = gap(at(8, 0), GapReason::Failover, 2);
    assert_eq!(assess(at(7, 21), &state, &RETENTION), failover);

    let tear = Step::Gap {
        after: at(7, 20),
        next: at(8, 0),
        reason: GapReason::Failover,
    };
    let messages = [at(7, 19), at(7, 20), at(8, 1), at(8, 2)].map(message);
    let [before, last, first, second] = messages.clone().map(Step::Message);
    let chunk = |state, messages, more| Chunk {
        state,
        messages,
        more,
    };
    let whole = merge(
        at(7, 18),
        chunk(state, messages.to_vec(), false),
        &RETENTION,
    );
    let expected = vec![before.clone(), last, tear.clone(), first, second];
    assert_eq!(whole, (expected, at(8, 2)));
    // Not before it is known that nothing else comes first.
    let part = merge(
        at(7, 18),
        chunk(state, messages[..1].to_vec(), true),
        &RETENTION,
    );
    assert_eq!(part, (vec![before], at(7, 19)));
    let quiet = torn(log(at(8, 0), Some(at(7, 20)), None));
    let told = merge(at(7, 20), chunk(quiet, vec![], false), &RETENTION);
    assert_eq!(told, (vec![tear], at(8, 0)));
}

#[test]
fn a_gap_that_leads_past_a_torn_end_is_the_only_one() {
    for (oldest, deleted, expected) in [
        (at(8, 3), None, gap(at(8, 2), GapReason::Expired, 3)),
        (
            at(8, 1),
            Some(at(8, 1)),
            gap(at(8, 1), GapReason::Deleted, 4),
        ),
    ] {
        let state = LogState {
            deleted,
            ..torn(log(at(8, 5), Some(at(7, 20)), Some(oldest)))
        };
        assert_eq!(assess(at(7, 20), &state, &RETENTION), expected);
        let first = oldest.offset.0 + u64::from(deleted.is_some());
        let chunk = Chunk {
            state,
            messages: (first..=5).map(|offset| message(at(8, offset))).collect(),
            more: false,
        };
        let (steps, _) = merge(at(7, 20), chunk, &RETENTION);
        let gaps = steps.iter().filter(|step| matches!(step, Step::Gap { .. }));
        assert_eq!(gaps.count(), 1, "{steps:?}");
    }
}

#[test]
fn a_position_past_the_end_of_its_epoch_was_lost_in_a_failover() {
    let state = log(at(8, 3), Some(at(7, 20)), Some(at(7, 5)));
    // Not from 7-5 on: it has been told those.
    assert_eq!(
        assess(at(7, 21), &state, &RETENTION),
        gap(at(8, 0), GapReason::Failover, 3)
    );
}

#[test]
fn an_epoch_whose_end_is_unknown_is_never_recovered() {
    let state = log(at(8, 3), None, Some(at(8, 1)));
    assert_eq!(
        assess(at(7, 20), &state, &RETENTION),
        gap(at(8, 0), GapReason::Failover, 3)
    );
    let old = log(at(9, 3), Some(at(8, 2)), Some(at(7, 5)));
    assert_eq!(
        assess(at(6, 1), &old, &RETENTION),
        gap(at(8, 0), GapReason::Failover, 5)
    );
    assert_eq!(
        assess(at(7, 9), &old, &RETENTION),
        gap(at(8, 0), GapReason::Failover, 5)
    );
}

#[test]
fn a_merge_skips_what_was_told_and_tells_every_hole() {
    let chunk = Chunk {
        state: log(at(7, 6), None, Some(at(7, 1))),
        messages: [2, 3, 5, 6].map(|offset| message(at(7, offset))).into(),
        more: false,
    };
    let (steps, cursor) = merge(at(7, 2), chunk, &RETENTION);
    assert_eq!(
        steps,
        [
            Step::Message(message(at(7, 3))),
            Step::Gap {
                after: at(7, 3),
                next: at(7, 4),
                reason: GapReason::Trimmed
            },
            Step::Message(message(at(7, 5))),
            Step::Message(message(at(7, 6))),
        ]
    );
    assert_eq!(cursor, at(7, 6));
}

#[test]
fn an_epoch_that_opened_quietly_moves_the_cursor_without_a_gap() {
    let chunk = Chunk {
        state: log(at(8, 0), Some(at(7, 20)), Some(at(7, 1))),
        messages: vec![],
        more: false,
    };
    assert_eq!(merge(at(7, 20), chunk, &RETENTION), (vec![], at(8, 0)));
}

#[test]
fn who_saw_all_that_was_deleted_has_missed_nothing_and_the_others_have() {
    let state = LogState {
        deleted: Some(at(7, 5)),
        ..log(at(7, 8), None, Some(at(7, 5)))
    };
    let complete = |replay| Verdict::Complete { replay };
    assert_eq!(assess(at(7, 4), &state, &RETENTION), complete(3));
    assert_eq!(assess(at(7, 5), &state, &RETENTION), complete(3));
    assert_eq!(assess(at(7, 6), &state, &RETENTION), complete(2));
    let missed = gap(at(7, 5), GapReason::Deleted, 3);
    assert_eq!(assess(at(7, 3), &state, &RETENTION), missed);
    for last_seen in [3, 4] {
        let chunk = Chunk {
            state,
            messages: [6, 7, 8].map(|offset| message(at(7, offset))).into(),
            more: false,
        };
        let (steps, _) = merge(at(7, last_seen), chunk, &RETENTION);
        let deleted = Step::Gap {
            after: at(7, last_seen),
            next: at(7, 5),
            reason: GapReason::Deleted,
        };
        assert_eq!(steps[0], deleted);
        assert_eq!(steps.len(), 4);
    }
}

/// A log as an engine could have it: up to two epochs known, trimmed anywhere at its head, which may be a deletion.
#[derive(Clone, Debug)]
struct Log {
    state: LogState,
    kept: Vec<Position>,
}

fn logs() -> impl Strategy<Value = Log> {
    (
        2u64..5,
        0u64..12,
        proptest::option::of(0u64..12),
        0usize..26,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(epoch, top, previous, trimmed, deletion, whole)| {
            let before = previous.map_or(0, |end| end);
            let mut kept: Vec<_> = (1..=before)
                .map(|offset| at(epoch - 1, offset))
                .chain((1..=top).map(|offset| at(epoch, offset)))
                .collect();
            kept.drain(..trimmed.min(kept.len()));
            let oldest = kept.first().copied();
            let deleted = oldest.filter(|_| deletion);
            kept.retain(|position| Some(*position) != deleted);
            let previous_end = previous.map(|end| at(epoch - 1, end));
            let state = LogState {
                deleted,
                ..log(at(epoch, top), previous_end, oldest)
            };
            let state = if whole { state } else { torn(state) };
            Log { state, kept }
        })
}

proptest! {
    #[test]
    fn reading_in_chunks_tells_each_message_once_in_order_and_every_hole(
        log in logs(), epoch in 0u64..6, offset in 0u64..14, limit in 1usize..6
    ) {
        let start = at(epoch, offset);
        let verdict = assess(start, &log.state, &RETENTION);
        let mut cursor = start;
        let mut told = Vec::new();
        let mut gaps = 0_u64;
        loop {
            let after: Vec<_> = log.kept.iter().copied().filter(|position| *position > cursor).collect();
            let chunk = Chunk {
                state: log.state,
                messages: after.iter().take(limit).copied().map(message).collect(),
                more: after.len() > limit,
            };
            let more = chunk.more;
            let before = cursor;
            let (steps, next) = merge(cursor, chunk, &RETENTION);
            let mut standing = before;
            for step in steps {
                match step {
                    Step::Message(message) => {
                        let tear = tear_after(standing, &log.state);
                        prop_assert!(tear.is_none_or(|tear| message.position <= tear), "past a torn end");
                        prop_assert_eq!(message.position, successor(standing, &log.state), "a hole nobody told of");
                        standing = message.position;
                        told.push(message.position);
                    }
                    Step::Gap { after, next, .. } => {
                        prop_assert_eq!(after, standing);
                        standing = next;
                        gaps += 1;
                    }
                }
            }
            cursor = next;
            if !more {
                break;
            }
        }
        prop_assert_eq!(cursor, log.state.top);
        prop_assert!(told.is_sorted() && told.windows(2).all(|pair| pair[0] != pair[1]));
        match verdict {
            Verdict::Complete { replay } => {
                let deletion = log.state.deleted.is_some_and(|deleted| deleted > start);
                prop_assert_eq!(gaps, u64::from(deletion), "complete, yet there was another gap");
                prop_assert_eq!(told.len() as u64, replay);
            }
            Verdict::Torn { replay, torn, .. } => {
                let deletion = log.state.deleted.is_some_and(|deleted| start < deleted && deleted <= torn);
                prop_assert_eq!(gaps, 1 + u64::from(deletion));
                prop_assert_eq!(told.len() as u64, replay);
            }
            Verdict::Incomplete { replay, .. } => {
                prop_assert!(gaps > 0, "incomplete, yet no gap was told");
                prop_assert_eq!(told.len() as u64, replay);
            }
        }
    }

    #[test]
    fn complete_is_only_said_of_this_history(log in logs(), epoch in 0u64..6, offset in 0u64..14) {
        let start = at(epoch, offset);
        if let Verdict::Complete { replay } = assess(start, &log.state, &RETENTION) {
            let after: Vec<_> = log.kept.iter().filter(|position| **position > start).collect();
            prop_assert_eq!(after.len() as u64, replay);
            prop_assert!(start <= log.state.top);
            prop_assert_eq!(tear_after(start, &log.state), None);
        }
    }
}
