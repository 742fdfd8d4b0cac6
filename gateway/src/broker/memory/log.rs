//! A room's messages in memory: numbered without holes, trimmed by number and age.

use std::collections::VecDeque;

use bytes::Bytes;

use super::super::millis;
use super::super::{Chunk, LogState, MAX_READ_BYTES, Message, Range, Retention};
use crate::ids::Position;

pub(super) struct Log {
    top: Position,
    messages: VecDeque<Message>,
    /// A deletion and its time, for as long as a message of its age would be kept.
    deleted: Option<(Position, u64)>,
    /// As the last publish or read had it; `None` before the first.
    retention: Option<Retention>,
}

impl Log {
    pub(super) fn new(epoch: u64) -> Self {
        Self {
            top: Position::new(epoch, 0),
            messages: VecDeque::new(),
            deleted: None,
            retention: None,
        }
    }

    pub(super) fn append(&mut self, body: Bytes, retention: Retention, now_ms: u64) -> Message {
        self.top = self.top.next();
        let message = Message {
            position: self.top,
            time_ms: now_ms,
            body,
        };
        self.messages.push_back(message.clone());
        self.trim(retention, now_ms);
        message
    }

    pub(super) fn read(
        &mut self,
        range: Range,
        limit: usize,
        retention: Retention,
        now_ms: u64,
    ) -> Chunk {
        self.trim(retention, now_ms);
        let (from, to) = match range {
            Range::After(position) => {
                let from = self
                    .messages
                    .partition_point(|message| message.position <= position);
                (from, from + within(self.messages.range(from..), limit))
            }
            Range::Before(position) => {
                let to = self
                    .messages
                    .partition_point(|message| message.position < position);
                (to - within(self.messages.range(..to).rev(), limit), to)
            }
            Range::Latest => {
                let to = self.messages.len();
                (to - within(self.messages.iter().rev(), limit), to)
            }
        };
        let more = match range {
            Range::After(_) => to < self.messages.len(),
            Range::Before(_) | Range::Latest => from > 0,
        };
        Chunk {
            state: self.state(),
            messages: self.messages.range(from..to).cloned().collect(),
            more,
        }
    }

    /// Takes out all messages; the position that the deletion gets, if there was any.
    pub(super) fn clear(&mut self, retention: Retention, now_ms: u64) -> Option<Position> {
        self.trim(retention, now_ms);
        if self.messages.is_empty() {
            return None;
        }
        self.messages.clear();
        self.top = self.top.next();
        self.deleted = Some((self.top, now_ms));
        Some(self.top)
    }

    /// Takes out what has aged by the retention last seen.
    pub(super) fn expire(&mut self, now_ms: u64) {
        if let Some(retention) = self.retention {
            self.trim(retention, now_ms);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.deleted.is_none()
    }

    pub(super) fn max_age_ms(&self) -> u64 {
        self.retention
            .map_or(0, |retention| millis(retention.max_age))
    }

    fn trim(&mut self, retention: Retention, now_ms: u64) {
        self.retention = Some(retention);
        let most = usize::try_from(retention.max_messages.max(1)).unwrap_or(usize::MAX);
        let surplus = self.messages.len().saturating_sub(most);
        let oldest_ms = now_ms.saturating_sub(millis(retention.max_age));
        let aged = self
            .messages
            .partition_point(|message| message.time_ms < oldest_ms);
        self.messages.drain(..surplus.max(aged));
        // It stands before all messages, and counts as one.
        self.deleted = self
            .deleted
            .filter(|(_, time_ms)| *time_ms >= oldest_ms && self.messages.len() < most);
    }

    fn state(&self) -> LogState {
        let deleted = self.deleted.map(|(position, _)| position);
        let first = self.messages.front().map(|message| message.position);
        LogState {
            top: self.top,
            previous: None,
            oldest: deleted.or(first),
            deleted,
        }
    }
}

/// How many of these one read may give.
fn within<'a>(messages: impl Iterator<Item = &'a Message>, limit: usize) -> usize {
    let mut bytes = 0;
    let fitting = messages
        .take(limit)
        .enumerate()
        .take_while(|(index, message)| {
            bytes += message.body.len();
            *index == 0 || bytes <= MAX_READ_BYTES
        });
    fitting.count()
}
