//! Reading what is missing: a room's healing after it missed something, and one connection's replay of the past.
//!
//! Both read on from a position in chunks and merge by the same rules. Healing holds the room's live stream back and must not end before it
//! has caught up; a replay stands beside the live stream and follows the pace of its one client.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use super::Hub;
use crate::broker::{BrokerError, Chunk, Range};
use crate::connection::Connection;
use crate::dialect::{CloseReason, event};
use crate::ids::Position;
use crate::recovery::{Step, merge};
use crate::room::{Caught, Room, Switch};

/// Messages in one read of a replay, and bytes of it that are kept in memory; the rest is read again when the client has come that far.
const REPLAY_MESSAGES: usize = 64;
const REPLAY_BYTES: usize = 256 * 1024;

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
            match self
                .broker
                .read(
                    &room.name,
                    Range::After(after),
                    HEAL_MESSAGES,
                    room.policy().retention,
                )
                .await
            {
                Ok(chunk) => match room.heal(chunk, &self.metrics) {
                    Caught::Up => return,
                    Caught::More { progressed: true } => backoff = Backoff::default(),
                    Caught::More { progressed: false } => backoff.wait().await,
                },
                Err(error) => {
                    tracing::warn!(room = %room.name, %error, "a room that missed something can't be read");
                    backoff.wait().await;
                }
            }
        }
    }

    pub(super) async fn read_for_replay(
        &self,
        room: &Room,
        after: Position,
    ) -> Result<Chunk, BrokerError> {
        // Never closed.
        let permit = self.replay_reads.acquire().await;
        let chunk = self
            .broker
            .read(
                &room.name,
                Range::After(after),
                REPLAY_MESSAGES,
                room.policy().retention,
            )
            .await;
        drop(permit);
        chunk.map(bounded)
    }

    /// Sends the past to one connection as its outbox drains, and switches it to the live stream when it has caught up.
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
        loop {
            let before = cursor;
            let more = chunk.more;
            let (steps, next) = merge(cursor, chunk, &room.policy().retention);
            for step in steps {
                let frame = match step {
                    Step::Message(message) => event::message(&room.name, &message),
                    Step::Gap {
                        after,
                        next,
                        reason,
                    } => {
                        self.metrics.gap(reason);
                        event::gap(&room.name, after, next, reason)
                    }
                };
                if outbox.reserve(frame.len()).await.is_err()
                    || !room.is_replaying(connection.id, ticket)
                    || outbox.push(frame).is_err()
                {
                    return;
                }
            }
            cursor = next;
            if !more {
                match room.end_replay(connection.id, ticket, cursor) {
                    Switch::Live | Switch::Gone => return,
                    // The room is ahead of what was read: nothing new comes from reading at once again.
                    Switch::ReadOn if cursor == before => backoff.wait().await,
                    Switch::ReadOn => {}
                }
            }
            let mut attempts = 0;
            chunk = loop {
                match self.read_for_replay(&room, cursor).await {
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

/// Keeps as much of a chunk as may stay in memory while a slow client takes it.
fn bounded(mut chunk: Chunk) -> Chunk {
    let mut bytes = 0;
    let keep = chunk.messages.iter().take_while(|message| {
        let first = bytes == 0;
        bytes += message.body.len() + 1;
        first || bytes <= REPLAY_BYTES
    });
    let keep = keep.count();
    if keep < chunk.messages.len() {
        chunk.messages.truncate(keep);
        chunk.more = true;
    }
    chunk
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
