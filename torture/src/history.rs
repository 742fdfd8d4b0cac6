//! What happened in a run, as the clients saw it: what was published with which outcome, what was delivered to whom in which order, and
//! what Redis holds at the end.
//!
//! It is plain data. The clients fill it in, the [checker](crate::checker) judges it.

use std::collections::BTreeMap;
use std::fmt;

pub use rotunda_gateway::ids::Position;

/// Milliseconds since the run began.
pub type Millis = u64;

/// A room, by its place in [`History::rooms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomIndex(pub usize);

/// What a message says: a number that no other publication has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content(pub u64);

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// All of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub rooms: Vec<Room>,
    pub publications: Vec<Publication>,
    pub streams: Vec<Stream>,
    /// Faults after which even a message that a replica had may be gone.
    pub double_losses: Vec<Window>,
    /// Faults after which a new epoch may begin with something lost, or without anyone who can prove that nothing is: all but those of
    /// `planned`.
    pub unsettled: Vec<Window>,
    pub planned: Vec<Planned>,
    pub deaths: Vec<Death>,
    /// The wall clock, in milliseconds since 1970, when the run began. Epochs are named by it.
    pub began_unix_ms: u64,
}

/// A room and what is known about it from elsewhere than its subscribers.
#[derive(Clone, Debug, Default)]
pub struct Room {
    pub name: String,
    /// An acknowledged message is on a replica too.
    pub replicated: bool,
    /// What Redis holds at the end.
    pub log: BTreeMap<Position, Content>,
    /// So much is kept that nothing is trimmed in a run: what isn't in `log` at the end was lost.
    pub keeps_all: bool,
    /// Last positions of earlier epochs as Redis knew them when the next one began.
    pub ends: Vec<Position>,
    /// The last message, published when all faults were over: every subscriber must come that far.
    pub marker: Option<Position>,
}

/// One message that somebody wanted published, in one or several attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication {
    pub room: RoomIndex,
    pub content: Content,
    /// It has an idempotency key, so it may have been sent several times.
    pub keyed: bool,
    pub attempts: u32,
    /// When it was sent first.
    pub sent: Millis,
    /// When its outcome was known, or given up on.
    pub settled: Millis,
    pub outcome: Outcome,
}

/// What became of a publication, as its publisher knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Acked(Position),
    /// Each attempt was refused for sure: it must not be stored.
    Refused,
    Unknown,
}

/// What one subscriber saw of one room, over all its connections.
#[derive(Clone, Debug)]
pub struct Stream {
    pub subscriber: String,
    pub room: RoomIndex,
    pub entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub at: Millis,
    pub event: Event,
}

/// What a subscriber did or was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It asked to join, on a new connection (for polls: at the begin of a new chain).
    Joining {
        cursor: Option<Position>,
        transport: Transport,
        gateway: usize,
    },
    Joined {
        id: Position,
        recovered: Option<bool>,
        replayed: u64,
    },
    Message {
        position: Position,
        content: Content,
    },
    Gap {
        after: Position,
        next: Position,
        reason: GapReason,
    },
    /// It was told that it is no longer in the room.
    Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    WebSocket,
    Sse,
    LongPoll,
    Poll,
}

impl Transport {
    pub const ALL: [Self; 4] = [Self::WebSocket, Self::Sse, Self::LongPoll, Self::Poll];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::LongPoll => "long-poll",
            Self::Poll => "poll",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapReason {
    Trimmed,
    Expired,
    Failover,
    Dropped,
    Deleted,
}

impl GapReason {
    pub const ALL: [Self; 5] = [
        Self::Trimmed,
        Self::Expired,
        Self::Failover,
        Self::Dropped,
        Self::Deleted,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Expired => "expired",
            Self::Failover => "failover",
            Self::Dropped => "dropped",
            Self::Deleted => "deleted",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// What Redis is made to do and loses nothing by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub window: Window,
    pub change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A replica of some shard took over.
    Failover,
    /// The slot of this room went to another shard.
    Moved(RoomIndex),
}

/// The primary that had a room was killed: what it alone had is gone, and nobody can prove that it had nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    pub room: RoomIndex,
    /// When it was about to be killed, and when it was gone.
    pub window: Window,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: Millis,
    pub until: Millis,
}

impl Window {
    /// Whether any of it lies within a stretch of time.
    pub const fn touches(&self, from: Millis, until: Millis) -> bool {
        self.from <= until && self.until >= from
    }
}
