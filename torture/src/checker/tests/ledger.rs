//! What became of messages, whoever saw them.

use super::*;

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
