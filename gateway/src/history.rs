//! A page of history: which messages are asked for, and what of a read chunk belongs to the page. Pure.
//!
//! `after` and `before` bound an open interval of positions; the order says from which end it is read. A cursor is a position, never a count:
//! messages that come or go between two pages shift nothing.

use crate::broker::{Chunk, LogState, Message, Range, Retention};
use crate::dialect::GapReason;
use crate::ids::Position;
use crate::recovery::{self, Verdict};

/// In which order a page is read and listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the oldest message of the interval on; `next` goes into the next `after`.
    OldestFirst,
    /// From the newest message of the interval back; `next` goes into the next `before`.
    NewestFirst,
}

/// Which page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageQuery {
    /// Only what comes after it.
    pub after: Option<Position>,
    /// Only what comes before it.
    pub before: Option<Position>,
    /// Without one, a page goes forward from `after`; or else back from the end, and is listed as a chat is read: oldest first.
    pub order: Option<Order>,
    /// Most messages of the page.
    pub limit: usize,
}

/// A page of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In the order asked for.
    pub messages: Vec<Message>,
    /// Where the next page in the same direction goes on.
    pub next: Option<Position>,
    /// Messages after the query's `after` that can't be had any more.
    pub gap: Option<PageGap>,
}

/// What a page that should go on after a position can't hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageGap {
    pub after: Position,
    /// Up to this position nothing is promised.
    pub next: Position,
    pub reason: GapReason,
}

impl PageQuery {
    fn forward(&self) -> bool {
        match self.order {
            Some(order) => order == Order::OldestFirst,
            None => self.after.is_some(),
        }
    }

    /// What to read for it.
    pub fn range(&self) -> Range {
        match (self.forward(), self.after, self.before) {
            (true, Some(after), _) => Range::After(after),
            (true, None, _) => Range::After(Position::default()),
            (false, _, Some(before)) => Range::Before(before),
            (false, _, None) => Range::Latest,
        }
    }

    /// The page, from what was read.
    pub fn page(&self, chunk: Chunk, retention: &Retention) -> Page {
        let Chunk {
            state,
            mut messages,
            more,
        } = chunk;
        let read = messages.len();
        messages.retain(|message| {
            self.after.is_none_or(|after| message.position > after)
                && self.before.is_none_or(|before| message.position < before)
        });
        // Something beyond the other end of the interval was read: the end of the interval, too.
        let more = more && messages.len() == read;
        let edge = if self.forward() {
            messages.last()
        } else {
            messages.first()
        };
        let next = edge
            .map(|message| message.position)
            .filter(|edge| more && !self.ends_at(*edge));
        if self.order == Some(Order::NewestFirst) {
            messages.reverse();
        }
        Page {
            gap: self.gap(&state, retention, next),
            messages,
            next,
        }
    }

    /// Whether the very next position is already outside the interval.
    fn ends_at(&self, edge: Position) -> bool {
        if self.forward() {
            self.before.is_some_and(|before| before <= edge.next())
        } else {
            self.after.is_some_and(|after| after.next() >= edge)
        }
    }

    /// Told with the page that touches `after`: going forward each of them, going back the last. One on the way is told with the page that
    /// goes past it.
    fn gap(
        &self,
        state: &LogState,
        retention: &Retention,
        more_after: Option<Position>,
    ) -> Option<PageGap> {
        let after = self
            .after
            .filter(|_| self.forward() || more_after.is_none())?;
        match recovery::assess(after, state, retention) {
            Verdict::Complete { .. } => None,
            Verdict::Torn { torn, next, .. } => {
                let goes_past = more_after.is_none_or(|edge| edge > torn)
                    && self.before.is_none_or(|before| before > torn.next());
                goes_past.then_some(PageGap {
                    after: torn,
                    next,
                    reason: GapReason::Failover,
                })
            }
            Verdict::Incomplete { next, reason, .. } => Some(PageGap {
                after,
                next,
                reason,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
