//! One client's connection, as the rest of the gateway sees it: who it is, what waits for it, which rooms it is in.
//!
//! The task that owns the socket lives in [`session`]; everyone else holds this handle, and can push frames, or end it, from anywhere. It
//! knows no transport.

use std::sync::Arc;

use parking_lot::Mutex;
use rotunda_crds::RoomName;
use tokio::time::Instant;

use crate::auth::Identity;
use crate::ids::{ConnectionId, UserId};

pub mod age;
mod alarm;
pub mod backlog;
mod ending;
pub mod event_stream;
pub mod flush;
pub mod heartbeat;
mod line;
pub mod outbox;
pub mod poll;
pub mod registry;
pub mod seat;
pub mod session;
pub mod shared_stream;
mod sink;
pub mod socket;
pub mod sse;
mod state;

pub use backlog::Backlog;
pub use flush::Flusher;
pub use outbox::Outbox;

/// How a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    WebSocket,
    Sse,
    /// One poll; a client's chain of them is one connection after the other.
    Poll,
}

impl Transport {
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::Sse, Self::Poll];

    /// The value of the metrics' label `transport`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::Poll => "poll",
        }
    }
}

/// A connection's handle.
#[derive(Debug)]
pub struct Connection {
    pub id: ConnectionId,
    pub user: UserId,
    pub transport: Transport,
    pub since: Instant,
    pub outbox: Outbox,
    /// Replaced by `refresh`, read by access checks. Held for moments.
    identity: Mutex<Arc<Identity>>,
    /// The rooms it is in: changed by its own commands and by a policy that takes a membership away. Held for moments, never together
    /// with a room's lock.
    rooms: Mutex<Vec<RoomName>>,
}

impl Connection {
    pub fn new(
        identity: Identity,
        transport: Transport,
        send_queue_bytes: usize,
        backlog: Arc<Backlog>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: ConnectionId::random(),
            user: identity.user.clone(),
            transport,
            since: Instant::now(),
            outbox: Outbox::new(send_queue_bytes, backlog),
            identity: Mutex::new(Arc::new(identity)),
            rooms: Mutex::default(),
        })
    }

    pub fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.lock())
    }

    /// Takes a newer token of the same user.
    pub fn set_identity(&self, identity: Identity) {
        *self.identity.lock() = Arc::new(identity);
    }

    /// Notes a room. An error when there are as many as allowed already.
    pub fn add_room(&self, room: &RoomName, max: usize) -> Result<(), TooManyRooms> {
        let mut rooms = self.rooms.lock();
        if rooms.contains(room) {
            return Ok(());
        }
        if rooms.len() >= max {
            return Err(TooManyRooms);
        }
        rooms.push(room.clone());
        Ok(())
    }

    /// Forgets a room; whether it was one.
    pub fn remove_room(&self, room: &RoomName) -> bool {
        let mut rooms = self.rooms.lock();
        let index = rooms.iter().position(|known| known == room);
        index.map(|index| rooms.swap_remove(index)).is_some()
    }

    pub fn is_in(&self, room: &RoomName) -> bool {
        self.rooms.lock().contains(room)
    }

    pub fn rooms(&self) -> Vec<RoomName> {
        self.rooms.lock().clone()
    }

    /// Takes all rooms, at the end.
    pub fn take_rooms(&self) -> Vec<RoomName> {
        std::mem::take(&mut self.rooms.lock())
    }
}

/// A connection is in as many rooms as it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRooms;
