//! What one subscriber was told, and shouldn't have been.

use super::*;

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
fn an_id_that_stands_for_another_place_is_caught() {
    let story = |id| {
        three().saw(&START).saw(&[
            message(1, at(E1, 1)),
            joins(Some(id)),
            joined(id, Some(true)),
            message(2, at(E1, 2)),
            message(3, at(E1, 3)),
        ])
    };
    story(at(E1, 1)).passes();
    story(at(E1, 0)).breaks(&[Kind::FalseRecovered, Kind::WrongId]);
    three()
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            joins(Some(at(E1, 2))),
            joined(at(E1, 2), Some(true)),
            message(3, at(E1, 3)),
        ])
        .breaks(&[Kind::WrongId]);
    // Told that something is missing, but not yet what: the id stays before the gap.
    three()
        .saw(&START)
        .saw(&[
            joins(Some(at(E1, 0))),
            joined(at(E1, 2), Some(false)),
            joins(Some(at(E1, 0))),
            joined(at(E1, 2), Some(false)),
            gap(at(E1, 0), at(E1, 2), GapReason::Trimmed),
            message(3, at(E1, 3)),
        ])
        .passes();
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
