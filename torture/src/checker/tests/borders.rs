//! From one epoch to the next: proven that nothing was lost, or told to everyone.

use super::*;

/// Two messages before a failover that took nothing, and one after it.
fn kept() -> Story {
    Story::new()
        .stored(1, at(E1, 1))
        .stored(2, at(E1, 2))
        .stored(3, at(E2, 1))
        .marker(at(E2, 1))
}

const BORDER: Event = Event::Gap {
    after: Position::new(E1, 2),
    next: Position::new(E2, 0),
    reason: GapReason::Failover,
};

/// Something happened just before the second epoch began, 1500 ms into the story.
fn unsettled(mut story: Story) -> Story {
    story.0.unsettled.push(Window {
        from: 900,
        until: 1000,
    });
    story
}

#[test]
fn a_border_without_proof_passes_if_all_are_told_at_the_end_of_the_epoch() {
    let verdict = unsettled(kept())
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            BORDER,
            message(3, at(E2, 1)),
        ])
        .another()
        .saw(&[joins(None), joined(at(E1, 1), None)])
        .saw(&[message(2, at(E1, 2)), BORDER, message(3, at(E2, 1))])
        .passes();
    assert_eq!((verdict.borders.unproven, verdict.borders.proven), (1, 0));
}

#[test]
fn who_resumes_before_a_border_without_proof_gets_what_is_left_and_then_the_gap() {
    unsettled(kept())
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            joins(Some(at(E1, 1))),
            joined(at(E1, 1), Some(false)),
            message(2, at(E1, 2)),
            BORDER,
            message(3, at(E2, 1)),
        ])
        .passes();
    unsettled(kept())
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            joins(Some(at(E1, 1))),
            joined(at(E1, 1), Some(false)),
            message(2, at(E1, 2)),
            message(3, at(E2, 1)),
        ])
        .breaks(&[Kind::MissingGap]);
}

#[test]
fn a_border_that_is_told_to_some_alone_is_caught() {
    unsettled(kept())
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            BORDER,
            message(3, at(E2, 1)),
        ])
        .another()
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            message(3, at(E2, 1)),
        ])
        .breaks(&[Kind::UntoldBorder]);
}

#[test]
fn a_border_after_the_death_of_a_primary_is_told_to_everyone() {
    let crossed = |room, from| {
        let mut story = kept().saw(&START).saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            message(3, at(E2, 1)),
        ]);
        let until = from + 10;
        let window = Window { from, until };
        story.0.deaths.push(Death { room, window });
        story
    };
    // The epochs begin at 500 and at 1500 ms.
    crossed(RoomIndex(0), 900).breaks(&[Kind::UntoldBorder]);
    crossed(RoomIndex(1), 900).passes();
    crossed(RoomIndex(0), 400).passes();
    crossed(RoomIndex(0), 1600).passes();
}

#[test]
fn a_gap_that_skips_what_is_left_of_the_epoch_is_caught() {
    unsettled(kept())
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            gap(at(E1, 1), at(E2, 0), GapReason::Failover),
            message(3, at(E2, 1)),
        ])
        .breaks(&[Kind::Skipped]);
}

#[test]
fn a_gap_without_anything_that_could_lose_messages_is_caught() {
    let told = || {
        kept().saw(&START).saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            BORDER,
            message(3, at(E2, 1)),
        ])
    };
    told().breaks(&[Kind::GroundlessGap]);
    let mut long_ago = told();
    long_ago.0.began_unix_ms -= 60_000;
    unsettled(long_ago).breaks(&[Kind::GroundlessGap]);
    unsettled(told()).passes();
}

#[test]
fn a_gap_where_a_slot_came_to_a_shard_with_a_new_primary_passes() {
    let moved = |failed_over: Option<Window>, room| {
        let mut story = kept().saw_at(30_000, &START).saw_at(
            31_000,
            &[
                message(1, at(E1, 1)),
                message(2, at(E1, 2)),
                BORDER,
                message(3, at(E2, 1)),
            ],
        );
        // The second epoch begins at 21.5 s.
        story.0.began_unix_ms -= 20_000;
        let window = Window {
            from: 21_000,
            until: 21_200,
        };
        story.0.planned.push(Planned {
            window,
            change: Change::Moved(room),
        });
        story.0.planned.extend(failed_over.map(|window| Planned {
            window,
            change: Change::Failover,
        }));
        story
    };
    let recent = Window {
        from: 9000,
        until: 9100,
    };
    let old = Window {
        from: 1000,
        until: 1100,
    };
    moved(Some(recent), RoomIndex(0)).passes();
    moved(Some(recent), RoomIndex(1)).breaks(&[Kind::GroundlessGap]);
    moved(Some(old), RoomIndex(0)).breaks(&[Kind::GroundlessGap]);
    moved(None, RoomIndex(0)).breaks(&[Kind::GroundlessGap]);
}

#[test]
fn a_gap_about_one_subscriber_alone_says_nothing_of_the_border() {
    // The third epoch is about to be, and with it the first is forgotten.
    let e3 = E2 + 1000;
    let verdict = kept()
        .stored(4, at(e3, 1))
        .marker(at(e3, 1))
        .saw(&START)
        .saw_at(
            9000,
            &[
                joins(Some(at(E1, 0))),
                joined(at(E2, 0), Some(false)),
                gap(at(E1, 0), at(E2, 0), GapReason::Failover),
                message(3, at(E2, 1)),
                message(4, at(e3, 1)),
            ],
        )
        .another()
        .saw(&START)
        .saw(&[
            message(1, at(E1, 1)),
            message(2, at(E1, 2)),
            message(3, at(E2, 1)),
            message(4, at(e3, 1)),
        ])
        .passes();
    assert_eq!((verdict.borders.unproven, verdict.borders.proven), (0, 2));
}

#[test]
fn recovered_over_a_border_that_was_there_before_is_caught() {
    let story = |asked_at| {
        unsettled(kept())
            .saw(&START)
            .saw(&[message(1, at(E1, 1)), message(2, at(E1, 2))])
            .saw_at(asked_at, &[joins(Some(at(E1, 2)))])
            .saw_at(
                20_000,
                &[joined(at(E1, 2), Some(true)), BORDER, message(3, at(E2, 1))],
            )
    };
    story(10_000).breaks(&[Kind::FalseRecovered]);
    // It may have asked one who didn't know yet.
    story(2000).passes();
}
