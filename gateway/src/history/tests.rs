use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::broker::PreviousEpoch;

const RETENTION: Retention = Retention {
    max_messages: 1000,
    max_age: Duration::from_hours(1),
};

fn message(position: Position) -> Message {
    Message {
        position,
        time_ms: 0,
        body: Bytes::new(),
    }
}

/// A log of one epoch that has offsets `oldest` to `top`; what an engine gives for a range of it.
fn read(oldest: u64, top: u64, range: Range, limit: usize) -> Chunk {
    let all = (oldest..=top).map(|offset| Position::new(7, offset));
    let inside = |position: &Position| match range {
        Range::After(after) => *position > after,
        Range::Before(before) => *position < before,
        Range::Latest => true,
    };
    let mut positions: Vec<_> = all.filter(inside).collect();
    let more = positions.len() > limit;
    if matches!(range, Range::After(_)) {
        positions.truncate(limit);
    } else {
        positions.drain(..positions.len().saturating_sub(limit));
    }
    Chunk {
        state: LogState {
            top: Position::new(7, top),
            previous: None,
            oldest: (oldest <= top).then(|| Position::new(7, oldest)),
            deleted: None,
        },
        messages: positions.into_iter().map(message).collect(),
        more,
    }
}

fn query(after: Option<u64>, before: Option<u64>, order: Option<Order>, limit: usize) -> PageQuery {
    let position = |offset| Position::new(7, offset);
    PageQuery {
        after: after.map(position),
        before: before.map(position),
        order,
        limit,
    }
}

fn page(query: &PageQuery, oldest: u64, top: u64) -> Page {
    query.page(read(oldest, top, query.range(), query.limit), &RETENTION)
}

fn offsets(page: &Page) -> Vec<u64> {
    let offset = |message: &Message| message.position.offset.0;
    page.messages.iter().map(offset).collect()
}

#[test]
fn what_a_failover_may_have_lost_is_told_with_the_page_that_goes_past_it() {
    let at = Position::new;
    let kept = [at(6, 1), at(6, 2), at(6, 3), at(7, 1), at(7, 2)];
    let state = LogState {
        top: at(7, 2),
        previous: Some(PreviousEpoch {
            end: at(6, 3),
            whole: false,
        }),
        oldest: Some(at(6, 1)),
        deleted: None,
    };
    let tear = Some((at(6, 3), at(7, 0)));
    for (after, before, limit, expected) in [
        (at(6, 1), None, 1, None),
        (at(6, 1), None, 2, None),
        (at(6, 1), None, 3, tear),
        (at(6, 3), None, 9, tear),
        (at(7, 0), None, 9, None),
        (at(6, 0), Some(at(6, 3)), 9, None),
        (at(6, 0), Some(at(7, 2)), 9, tear),
    ] {
        let query = PageQuery {
            after: Some(after),
            before,
            order: None,
            limit,
        };
        let rest: Vec<_> = kept.iter().filter(|kept| **kept > after).collect();
        let read = rest.iter().take(limit).map(|kept| message(**kept));
        let chunk = Chunk {
            state,
            messages: read.collect(),
            more: rest.len() > limit,
        };
        let page = query.page(chunk, &RETENTION);
        let gap = page.gap.map(|gap| (gap.after, gap.next));
        assert_eq!(gap, expected, "{after} {before:?} {limit}");
    }
}

#[test]
fn without_an_order_a_page_is_listed_oldest_first_from_the_side_that_the_cursor_names() {
    for (after, before, listed, next) in [
        (None, None, vec![8, 9, 10], Some(8)),
        (None, Some(8), vec![5, 6, 7], Some(5)),
        (None, Some(3), vec![1, 2], None),
        (Some(0), None, vec![1, 2, 3], Some(3)),
        (Some(7), None, vec![8, 9, 10], None),
        (Some(2), Some(9), vec![3, 4, 5], Some(5)),
        (Some(2), Some(5), vec![3, 4], None),
    ] {
        let page = page(&query(after, before, None, 3), 1, 10);
        assert_eq!(offsets(&page), listed, "{after:?} {before:?}");
        let got = page.next.map(|next| next.offset.0);
        assert_eq!(got, next, "{after:?} {before:?}");
    }
}

#[test]
fn an_order_says_from_which_end_of_the_interval_to_read() {
    use Order::{NewestFirst, OldestFirst};
    for (order, after, before, listed, next) in [
        (OldestFirst, None, None, vec![1, 2, 3], Some(3)),
        (OldestFirst, None, Some(3), vec![1, 2], None),
        (OldestFirst, Some(3), Some(7), vec![4, 5, 6], None),
        (NewestFirst, None, None, vec![10, 9, 8], Some(8)),
        (NewestFirst, Some(3), None, vec![10, 9, 8], Some(8)),
        (NewestFirst, Some(3), Some(7), vec![6, 5, 4], None),
        (NewestFirst, Some(4), Some(7), vec![6, 5], None),
        (NewestFirst, Some(7), Some(4), vec![], None),
    ] {
        let page = page(&query(after, before, Some(order), 3), 1, 10);
        assert_eq!(offsets(&page), listed, "{order:?} {after:?} {before:?}");
        let got = page.next.map(|next| next.offset.0);
        assert_eq!(got, next, "{order:?} {after:?} {before:?}");
    }
}

#[test]
fn what_was_trimmed_after_the_cursor_is_told() {
    let gap = |query: PageQuery| {
        page(&query, 5, 10)
            .gap
            .map(|gap| (gap.next.offset.0, gap.reason))
    };
    let expired = Some((4, GapReason::Expired));
    assert_eq!(gap(query(Some(2), None, None, 3)), expired);
    assert_eq!(
        gap(query(Some(4), None, None, 3)),
        None,
        "nothing is missing after 4"
    );
    assert_eq!(
        gap(query(None, Some(9), None, 3)),
        None,
        "nobody asked for what came before"
    );
    let back = Some(Order::NewestFirst);
    assert_eq!(
        gap(query(Some(2), None, back, 3)),
        None,
        "more pages come first"
    );
    assert_eq!(gap(query(Some(2), None, back, 30)), expired);
}

#[test]
fn an_id_ahead_of_the_top_or_of_an_unknown_history_is_told() {
    let ahead = page(&query(Some(11), None, None, 3), 1, 10);
    assert_eq!(offsets(&ahead), Vec::<u64>::new());
    let gap = ahead.gap.expect("it is told");
    assert_eq!(
        (gap.next, gap.reason),
        (Position::new(7, 10), GapReason::Failover)
    );
    let older = PageQuery {
        after: Some(Position::new(3, 4)),
        ..query(None, None, None, 3)
    };
    let older = page(&older, 1, 10);
    assert_eq!(offsets(&older), [1, 2, 3]);
    assert_eq!(older.gap.expect("it is told").reason, GapReason::Failover);
    let back = page(&query(None, Some(99), None, 3), 1, 10);
    assert_eq!((offsets(&back), back.gap), (vec![8, 9, 10], None));
}

proptest! {
    /// Pages laid side by side hold every message of the interval that is there from beginning to end, each once and in order, while
    /// messages come at one end and go at the other.
    #[test]
    fn pages_neither_skip_nor_double(
        forward: bool,
        after in proptest::option::of(0u64..40),
        before in proptest::option::of(0u64..40),
        limits in proptest::collection::vec(1usize..7, 1..5),
        changes in proptest::collection::vec((0u64..4, 0u64..3), 60),
    ) {
        let order = if forward { Order::OldestFirst } else { Order::NewestFirst };
        let (mut oldest, mut top) = (1u64, 25u64);
        let mut asked = query(after, before, Some(order), 1);
        let mut seen = Vec::new();
        let mut ended = false;
        for (turn, (come, go)) in changes.into_iter().enumerate() {
            asked.limit = limits[turn % limits.len()];
            let page = page(&asked, oldest, top);
            prop_assert!(page.messages.len() <= asked.limit);
            seen.extend(offsets(&page));
            match page.next {
                Some(next) if forward => asked.after = Some(next),
                Some(next) => asked.before = Some(next),
                None => { ended = true; break }
            }
            // Readers must get ahead of the writers, or they never end.
            top += come.min(asked.limit as u64 - 1);
            oldest = (oldest + go).min(top);
        }
        prop_assume!(ended);
        let sorted = seen.is_sorted_by(|a, b| if forward { a < b } else { a > b });
        prop_assert!(sorted, "{seen:?}");
        let first = oldest.max(after.map_or(0, |after| after + 1));
        let end = before.unwrap_or(u64::MAX).min(if forward { top + 1 } else { 26 });
        for offset in first..end {
            prop_assert!(seen.contains(&offset), "{offset} is missing in {seen:?}, {oldest} to {top}");
        }
    }
}
