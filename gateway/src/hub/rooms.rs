//! The map from names to rooms, and the broker's way into them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::RwLock;
use rotunda_crds::RoomName;
use tokio::sync::{Notify, mpsc};

use crate::broker::{Event, RoomEvents};
use crate::connection::{Backlog, Connection, Flusher};
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::room::{Room, Todo};

const SHARDS: usize = 16;

/// All rooms with someone in them. In shards by name: a delivery takes a shard's lock for reading, and only while it looks a room up.
#[derive(Debug)]
pub struct Rooms {
    shards: [RwLock<HashMap<RoomName, Arc<Room>>>; SHARDS],
    hasher: RandomState,
    metrics: Arc<Metrics>,
    flusher: Flusher,
    /// Unbounded, yet never longer than three times the number of rooms: each asks for one healing, one flush and one reading of its members at a
    /// time.
    todo: mpsc::UnboundedSender<(Arc<Room>, Todo)>,
    orders: Notify,
}

impl Rooms {
    /// The map, and what its rooms want done. What rooms that heal hold back counts in `backlog`.
    pub fn new(
        metrics: Arc<Metrics>,
        backlog: Arc<Backlog>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<(Arc<Room>, Todo)>) {
        let (todo, wanted) = mpsc::unbounded_channel();
        let rooms = Self {
            shards: Default::default(),
            hasher: RandomState::new(),
            flusher: Flusher::new(backlog, Arc::clone(&metrics)),
            metrics,
            todo,
            orders: Notify::new(),
        };
        (Arc::new(rooms), wanted)
    }

    fn shard(&self, name: &RoomName) -> &RwLock<HashMap<RoomName, Arc<Room>>> {
        let hash = self.hasher.hash_one(name);
        // The remainder is below SHARDS.
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }

    pub fn get(&self, name: &RoomName) -> Option<Arc<Room>> {
        self.shard(name).read().get(name).cloned()
    }

    /// Lets a connection into a room, which is made if need be. Returns the ticket of this join.
    pub(super) fn enter(
        &self,
        name: &RoomName,
        connection: &Arc<Connection>,
        policy: &Arc<Policy>,
    ) -> (Arc<Room>, u64) {
        loop {
            let room = self.get(name).unwrap_or_else(|| self.make(name, policy));
            match room.enter(connection) {
                Ok(ticket) => return (room, ticket),
                // Closed, and about to be taken off the map by whoever closed it.
                Err(_) => self.remove(&room),
            }
        }
    }

    fn make(&self, name: &RoomName, policy: &Arc<Policy>) -> Arc<Room> {
        let mut shard = self.shard(name).write();
        let room = shard.entry(name.clone()).or_insert_with(|| {
            self.metrics.rooms.inc();
            Arc::new(Room::new(
                name.clone(),
                Arc::clone(policy),
                self.flusher.clone(),
            ))
        });
        Arc::clone(room)
    }

    /// Takes a closed room off the map, unless another one has its place already.
    pub(super) fn remove(&self, room: &Arc<Room>) {
        let mut shard = self.shard(&room.name).write();
        if shard
            .get(&room.name)
            .is_some_and(|known| Arc::ptr_eq(known, room))
        {
            shard.remove(&room.name);
            self.metrics.rooms.dec();
        }
    }

    /// Wakes up whoever reads the log of orders: there may be one.
    pub fn orders(&self) -> &Notify {
        &self.orders
    }

    /// All rooms at this moment.
    pub fn all(&self) -> Vec<Arc<Room>> {
        self.shards
            .iter()
            .flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// How many rooms there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl RoomEvents for Rooms {
    fn deliver(&self, room: &RoomName, event: Event) {
        let Some(room) = self.get(room) else {
            // Other events may trail an unsubscribe.
            if room.is_control() {
                self.orders.notify_one();
            }
            return;
        };
        let todo = room.deliver(event, &self.metrics);
        if todo != Todo::Nothing {
            // Nobody takes it any more only while the gateway stops.
            self.todo.send((room, todo)).ok();
        }
    }
}
