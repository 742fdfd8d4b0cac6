//! Reading what is missing: a room's healing after it missed something, and one connection's replay of the past.
//!
//! Both read on from a position in chunks and merge by the same rules. Healing holds the room's live stream back and must not end before it
//! has caught up; a replay stands beside the live stream and follows the pace of its one client.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rotunda_crds::RoomName;

use super::Hub;
use crate::broker::{BrokerError, Chunk, Range, Retention};
use crate::connection::Connection;
use crate::dialect::{CloseReason, event};
use crate::ids::Position;
use crate::recovery::{Step, merge};
use crate::room::{Caught, Room, Switch};

/// Messages in one read of a replay.
pub(super) const REPLAY_MESSAGES: usize = 64;

/// Messages in one read for healing.
const HEAL_MESSAGES: usize = 256;

/// Reads that a replay tries before it gives up on its connection.
const REPLAY_ATTEMPTS: u32 = 5;

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

impl Hub {
    /// Reads what a room missed until it has caught up.
    pub(super) async fn heal(&self, room: &Arc<Room>) {
        let mut backoff = Backoff::default();
        while let Some(after) = room.healing_from() {
            if room.is_empty() {
                return;
            }
            // Never closed. Held until all that was read has been told.
            let permit = self.heal_reads.acquire().await;
            let read = self
                .broker
                .read(
                    &room.name,
                    Range::After(after),
                    HEAL_MESSAGES,
                    room.policy().retention,
                )
                .await;
            let healed = read.map(|chunk| room.heal(chunk, &self.metrics));
            drop(permit);
            match healed {
                Ok(Caught::Up) => return,
                Ok(Caught::More { progressed: true }) => backoff = Backoff::default(),
                Ok(Caught::More { progressed: false }) => backoff.wait().await,
                Err(error) => {
                    tracing::warn!(room = %room.name, %error, "a room that missed something can't be read");
                    backoff.wait().await;
                }
            }
        }
    }

    /// Reads for one client: a page of history, or a part of a replay.
    pub(crate) async fn read(
        &self,
        room: &RoomName,
        range: Range,
        limit: usize,
        retention: Retention,
    ) -> Result<Chunk, BrokerError> {
        // Never closed.
        let _permit = self.client_reads.acquire().await;
        self.broker.read(room, range, limit, retention).await
    }

    pub(super) async fn read_for_replay(
        &self,
        room: &Room,
        after: Position,
        limit: usize,
    ) -> Result<Chunk, BrokerError> {
        let retention = room.policy().retention;
        self.read(&room.name, Range::After(after), limit, retention)
            .await
    }

    /// Sends the past to one connection as its outbox drains, and switches it to the live stream when it has caught up.
    ///
    /// Between two reads it holds nothing: what finds no space is thrown away and read again, so that however many clients are slow, what waits for
    /// them is in their outboxes, and counted there.
    pub(super) async fn replay(
        &self,
        room: Arc<Room>,
        connection: Arc<Connection>,
        ticket: u64,
        from: Position,
        first: Chunk,
    ) {
        let outbox = &connection.outbox;
        let (mut cursor, mut chunk) = (from, first);
        let mut backoff = Backoff::default();
        let mut limit = REPLAY_MESSAGES;
        loop {
            let before = cursor;
            let more = chunk.more;
            let (steps, next) = merge(cursor, chunk, &room.policy().retention);
            let mut sent = 0;
            let mut waits_for = None;
            for step in steps {
                let mut gap = None;
                let (frame, leads_to) = match step {
                    Step::Message(message) => {
                        (event::message(&room.name, &message), message.position)
                    }
                    Step::Gap {
                        after,
                        next,
                        reason,
                    } => {
                        gap = Some(reason);
                        (event::gap(&room.name, after, next, reason), next)
                    }
                };
                if !outbox.takes(frame.len()) {
                    waits_for = Some(frame.len());
                    break;
                }
                if !room.is_replaying(connection.id, ticket) || outbox.push(frame).is_err() {
                    return;
                }
                if let Some(reason) = gap {
                    self.metrics.gap(reason);
                }
                (cursor, sent) = (leads_to, sent + 1);
            }
            if let Some(size) = waits_for {
                // About as much as found space this time will the next time.
                limit = sent.clamp(1, REPLAY_MESSAGES);
                if outbox.reserve(size).await.is_err() {
                    return;
                }
            } else {
                limit = (2 * limit).min(REPLAY_MESSAGES);
                cursor = next;
            }
            if waits_for.is_none() && !more {
                match room.end_replay(connection.id, ticket, cursor) {
                    Switch::Live | Switch::Gone => return,
                    // The room is ahead of what was read: nothing new comes from reading at once again.
                    Switch::ReadOn if cursor == before => backoff.wait().await,
                    Switch::ReadOn => {}
                }
            }
            let mut attempts = 0;
            chunk = loop {
                match self.read_for_replay(&room, cursor, limit).await {
                    Ok(chunk) => break chunk,
                    Err(error) if attempts < REPLAY_ATTEMPTS => {
                        tracing::debug!(room = %room.name, %error, "a replay waits for the broker");
                        attempts += 1;
                        backoff.wait().await;
                    }
                    Err(_) => return outbox.close(CloseReason::Unavailable),
                }
            };
        }
    }
}

/// Waits longer each time, with jitter.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_BACKOFF)
    }
}

impl Backoff {
    pub(crate) async fn wait(&mut self) {
        let wait = self.0.mul_f64(rand::rng().random_range(0.5..1.0));
        self.0 = (self.0 * 2).min(LONGEST_BACKOFF);
        tokio::time::sleep(wait).await;
    }
}
