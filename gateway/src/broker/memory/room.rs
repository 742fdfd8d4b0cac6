//! All that the memory engine knows of one room: its log, its members, the answers to publishes with a key, its rate.

use std::collections::{HashMap, VecDeque};

use super::super::millis;
use super::super::{
    BrokerError, Chunk, IDEMPOTENCY_WINDOW, IdempotencyKey, Message, Publication, Published, Range,
    Retention,
};
use super::log::Log;
use super::presence::Presence;
use super::rate::Bucket;
use crate::ids::Position;

/// The most idempotency answers kept for one room; the oldest give way.
const MAX_ANSWERS: usize = 100_000;

pub(super) struct Room {
    pub(super) log: Log,
    pub(super) presence: Presence,
    pub(super) subscribed: bool,
    /// When something last happened that keeps an empty room alive for its `max_age`.
    pub(super) touched_ms: u64,
    /// Taken out of the map; whoever still holds it looks the room up again.
    pub(super) dropped: bool,
    answers: Answers,
    bucket: Bucket,
}

impl Room {
    pub(super) fn new(epoch: u64) -> Self {
        Self {
            log: Log::new(epoch),
            presence: Presence::default(),
            subscribed: false,
            touched_ms: epoch,
            dropped: false,
            answers: Answers::default(),
            bucket: Bucket::default(),
        }
    }

    /// Returns what to deliver, too: nothing for a duplicate.
    pub(super) fn publish(
        &mut self,
        publication: Publication,
        now_ms: u64,
    ) -> Result<(Published, Option<Message>), BrokerError> {
        self.touched_ms = now_ms;
        self.answers.expire(now_ms);
        if let Some(position) = publication
            .key
            .as_ref()
            .and_then(|key| self.answers.get(key))
        {
            return Ok((
                Published {
                    position,
                    duplicate: true,
                },
                None,
            ));
        }
        if let Some(limit) = publication.rate_limit {
            self.bucket
                .take(limit, now_ms)
                .map_err(|retry_after| BrokerError::RateLimited { retry_after })?;
        }
        let message = self
            .log
            .append(publication.body, publication.retention, now_ms);
        if let Some(key) = publication.key {
            self.answers.insert(key, message.position, now_ms);
        }
        let published = Published {
            position: message.position,
            duplicate: false,
        };
        Ok((published, Some(message)))
    }

    pub(super) fn read(
        &mut self,
        range: Range,
        limit: usize,
        retention: Retention,
        now_ms: u64,
    ) -> Chunk {
        self.touched_ms = now_ms;
        self.log.read(range, limit, retention, now_ms)
    }

    pub(super) fn tidy(&mut self, now_ms: u64) {
        self.log.expire(now_ms);
        self.answers.expire(now_ms);
    }

    /// Nobody would miss it: no subscriber, no message, no member, no answer to a key, and all of that for as long as messages live.
    pub(super) fn is_idle(&self, now_ms: u64) -> bool {
        !self.subscribed
            && self.log.is_empty()
            && self.presence.count() == 0
            && self.answers.order.is_empty()
            && now_ms.saturating_sub(self.touched_ms) >= self.log.max_age_ms()
    }
}

#[derive(Default)]
struct Answers {
    by_key: HashMap<IdempotencyKey, Position>,
    /// Oldest first, with the time they expire.
    order: VecDeque<(u64, IdempotencyKey)>,
}

impl Answers {
    fn get(&self, key: &IdempotencyKey) -> Option<Position> {
        self.by_key.get(key).copied()
    }

    fn insert(&mut self, key: IdempotencyKey, position: Position, now_ms: u64) {
        if self.order.len() == MAX_ANSWERS {
            self.pop_oldest();
        }
        self.order.push_back((
            now_ms.saturating_add(millis(IDEMPOTENCY_WINDOW)),
            key.clone(),
        ));
        self.by_key.insert(key, position);
    }

    fn expire(&mut self, now_ms: u64) {
        while self
            .order
            .front()
            .is_some_and(|(expires_ms, _)| *expires_ms <= now_ms)
        {
            self.pop_oldest();
        }
    }

    fn pop_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.by_key.remove(&key);
        }
    }
}
