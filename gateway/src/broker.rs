//! Where a room's messages are ordered, stored and fanned out; and who is in it.
//!
//! Two engines stand behind one trait: [`memory`] for a single process, [`redis`] for many gateways. An engine orders and stores; it hands
//! each subscribed room's events to a [`RoomEvents`] sink *at most once and possibly with holes*. Seeing a hole and reading what is missing is
//! the room's business (`crate::room`, `crate::recovery`), so that it is written and tested once. An engine must not know connections,
//! frames or policies.

#[cfg(test)]
pub(crate) mod contract;
pub mod memory;
pub mod redis;
mod ttl;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rotunda_crds::RoomName;

use crate::ids::{Position, UserId};

/// A stored message as it comes from an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub position: Position,
    /// Milliseconds since the Unix epoch by the engine's one clock (Redis's own).
    pub time_ms: u64,
    /// The ready-made inside of the client's frame: `"from":"alice","data":…`, JSON members without the braces. Passed through untouched.
    pub body: Bytes,
}

/// How long and how much a room keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At least 1. What is trimmed beyond it may lag a little (whole stream nodes); readers get at most this many.
    pub max_messages: u64,
    pub max_age: Duration,
}

/// When a publish counts as accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The primary has it.
    #[default]
    Async,
    /// A replica has it too.
    Replicated,
}

/// Makes a publish idempotent for five minutes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// Who may reuse the key: `u:<user id>` or `k:<API key's name>`. Keys of different scopes never meet.
    pub scope: String,
    pub key: String,
}

/// What [`Broker::publish`] takes.
#[derive(Clone, Debug)]
pub struct Publication {
    /// As [`Message::body`].
    pub body: Bytes,
    pub key: Option<IdempotencyKey>,
    pub retention: Retention,
    pub durability: Durability,
    /// Messages a second over all gateways; `None` is no limit.
    pub rate_limit: Option<u32>,
}

/// Where a publication went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub position: Position,
    /// An earlier publish with the same key had stored it already; nothing was sent again.
    pub duplicate: bool,
}

/// What an engine knows of a room's log, read in the same instant as the messages beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The newest message; `offset` 0 when the epoch has none yet.
    pub top: Position,
    /// The epoch before this one, if its end is known.
    pub previous: Option<PreviousEpoch>,
    /// The oldest message that can still be read, or the deletion that took out all before it; `None` when there is none.
    pub oldest: Option<Position>,
    /// The position of a deletion, if that is what `oldest` names.
    pub deleted: Option<Position>,
}

/// How an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousEpoch {
    /// The last position that is known of it: it and those before are part of this history.
    pub end: Position,
    /// Nothing that was acknowledged is missing after `end`. Otherwise something may be.
    pub whole: bool,
}

/// A run of messages, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub state: LogState,
    pub messages: Vec<Message>,
    /// There were more messages in the direction asked for than the limits let through.
    pub more: bool,
}

/// The most messages one [`Broker::read`] returns; more are asked for by reading on.
pub const MAX_READ: usize = 1000;

/// The most bytes of stored messages that one [`Broker::read`] returns, unless its first message alone has more: what a read takes in memory.
pub const MAX_READ_BYTES: usize = 256 * 1024;

/// How long the answer to a publish with an idempotency key is kept.
pub const IDEMPOTENCY_WINDOW: Duration = Duration::from_mins(5);

/// As a number of milliseconds, the largest there is for what is longer.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Which messages [`Broker::read`] is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Those after a position, the oldest of them first in line for the limit. A position before the oldest starts there.
    After(Position),
    /// Those before a position, the newest of them first in line for the limit.
    Before(Position),
    /// The newest.
    Latest,
}

/// Someone in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub user: UserId,
}

/// Someone who is no longer in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    pub user: UserId,
    /// Milliseconds since the Unix epoch: the last sign of life.
    pub last_seen_ms: u64,
}

/// Members that came and went, each user once whatever the number of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceChange {
    pub joined: Vec<UserId>,
    pub left: Vec<Departed>,
    /// How many users are in the room after the change.
    pub count: u64,
}

/// Who is in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// At most as many as asked for, sorted by user.
    pub members: Vec<Member>,
    pub count: u64,
}

/// How a user's last local connection left a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Told at once: a `leave`, a clean close, a heartbeat timeout.
    Now,
    /// Told when the presence TTL has passed without the user coming back anywhere.
    Linger,
    /// Told at once if the user lingers; one who is here stays.
    EndLinger,
}

/// Whether a user has a connection anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserPresence {
    pub online: bool,
    /// Milliseconds since the Unix epoch when the last connection ended; `None` when never seen (or longer ago than 30 days).
    pub last_seen_ms: Option<u64>,
}

/// What happens in a subscribed room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Message(Message),
    /// As [`Message::body`]: `"from":"alice","name":"typing","data":…`.
    Signal(Bytes),
    Presence(PresenceChange),
    /// A change of presence was missed: read the members.
    PresenceMissed,
    /// Something may have been missed (subscription renewed after a cut, topology change, quiet check): read on from the last position seen.
    Interrupted,
    /// The stored messages of the room were deleted. The deletion has a position of its own in their order.
    Deleted {
        at: Position,
    },
}

/// Takes what an engine delivers. Called in order for each room and never twice at once for the same one, from the engine's reading task: it must
/// return quickly, never block, and not call the engine from within.
pub trait RoomEvents: Send + Sync + 'static {
    fn deliver(&self, room: &RoomName, event: Event);
}

/// What an engine tells of its own work, for the metrics.
pub trait BrokerMetrics: Send + Sync + 'static {
    /// A call to the engine's server was answered after this time (`redis_roundtrip_seconds`).
    fn roundtrip(&self, took: Duration);
    /// A lost connection to the engine's server is back (`redis_reconnects_total`).
    fn reconnected(&self);
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBrokerMetrics;

impl BrokerMetrics for NoBrokerMetrics {
    fn roundtrip(&self, _took: Duration) {}
    fn reconnected(&self) {}
}

/// Why an engine couldn't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The engine is out of reach; nothing was done, trying again is safe.
    #[error("the message broker is unavailable: {0}")]
    Unavailable(String),
    /// What was sent may or may not have happened. With an idempotency key, trying again is safe; without, the engine never sends it again.
    #[error("the outcome of the publish is unknown")]
    OutcomeUnknown,
    /// The room's own rate over all gateways is used up.
    #[error("the room takes no more messages for {} ms", retry_after.as_millis())]
    RateLimited { retry_after: Duration },
    /// A stored entry or an answer that isn't what this version writes.
    #[error("the message broker answered something unexpected: {0}")]
    Corrupt(String),
}

impl BrokerError {
    /// A word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::RateLimited { .. } => "rate_limited",
            Self::Corrupt(_) => "corrupt",
        }
    }
}

/// One engine. All methods may be called from any task at any time.
///
/// Presence here is of *users in rooms on this gateway*: the hub calls [`join`](Broker::join) when a user's first local connection enters a
/// room, and [`leave`](Broker::leave) when the last one is gone.
#[async_trait]
pub trait Broker: fmt::Debug + Send + Sync + 'static {
    /// Orders, stores and fans out one message.
    async fn publish(
        &self,
        room: &RoomName,
        publication: Publication,
    ) -> Result<Published, BrokerError>;

    /// Fans out a signal; whoever isn't listening never gets it.
    async fn signal(&self, room: &RoomName, body: Bytes) -> Result<(), BrokerError>;

    /// Starts the room's events. Once it returns, everything published later is delivered to the sink (or followed by [`Event::Interrupted`]).
    /// Idempotent. The engine keeps the subscription through reconnects until [`unsubscribe`](Broker::unsubscribe).
    async fn subscribe(&self, room: &RoomName) -> Result<(), BrokerError>;

    /// Ends the room's events; the engine may wait a few seconds in case the room comes back.
    async fn unsubscribe(&self, room: &RoomName);

    /// Reads stored messages no older than `max_age`, at most `limit` (1 to [`MAX_READ`]) and [`MAX_READ_BYTES`], oldest first, with the state of the log at that instant. Opens the
    /// room's first epoch if it has none, so that there is always a position to go on from.
    async fn read(
        &self,
        room: &RoomName,
        range: Range,
        limit: usize,
        retention: Retention,
    ) -> Result<Chunk, BrokerError>;

    /// Deletes the stored messages of a room; subscribers get [`Event::Deleted`].
    async fn delete_messages(
        &self,
        room: &RoomName,
        retention: Retention,
    ) -> Result<(), BrokerError>;

    /// A user's first connection on this gateway is in the room; announced unless the user was there already. Returns the count of users.
    async fn join(&self, room: &RoomName, user: &UserId) -> Result<u64, BrokerError>;

    /// A user's last connection on this gateway left the room. Whoever isn't in it is left alone.
    async fn leave(&self, room: &RoomName, user: &UserId, leave: Leave) -> Result<(), BrokerError>;

    /// Wherever the user lingers through this gateway, it leaves at once; where it is, it stays. What can't be told now is told later.
    async fn end_lingers(&self, user: &UserId);

    /// How long a member stays without a sign of life, from now on.
    fn set_presence_ttl(&self, ttl: Duration);

    /// Who is in the room, over all gateways, at most `limit` names.
    async fn members(&self, room: &RoomName, limit: usize) -> Result<Members, BrokerError>;

    /// A user's first connection on this gateway opened, or the last one closed.
    async fn user_online(&self, user: &UserId, online: bool) -> Result<(), BrokerError>;

    /// Whether a user is connected anywhere, and when it last was.
    async fn user_presence(&self, user: &UserId) -> Result<UserPresence, BrokerError>;

    /// `Ok` when the engine works; otherwise a sentence for `/readyz`.
    fn ready(&self) -> Result<(), String>;

    /// Lets go of leases and connections; members of this gateway linger as after a crash unless they have left.
    async fn close(&self);
}
