//! The engine of a single process: everything in memory, gone with it. For `dev` and for tests.
//!
//! Each room has a lock of its own, held while its events are delivered, so that they arrive in order. A janitor takes out what has aged.
//! Time is tokio's, so that tests can pause it.

mod log;
mod presence;
mod rate;
mod room;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rotunda_crds::RoomName;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::presence::Users;
use self::room::Room;
use super::ttl::PresenceTtl;
use super::{
    Broker, BrokerError, Chunk, Event, Leave, MAX_READ, Members, Publication, Published, Range,
    Retention, RoomEvents, UserPresence, millis,
};
use crate::ids::UserId;

/// How often what has aged is taken out.
const JANITOR_INTERVAL: Duration = Duration::from_secs(10);

/// See the module.
pub struct MemoryBroker {
    rooms: Mutex<HashMap<RoomName, Arc<Mutex<Room>>>>,
    users: Mutex<Users>,
    clock: Clock,
    /// The youngest epoch given out: a room that was dropped and comes back gets a higher one, even within the same millisecond.
    last_epoch: AtomicU64,
    presence_ttl: PresenceTtl,
    sink: Arc<dyn RoomEvents>,
    tasks: TaskTracker,
    closed: CancellationToken,
    this: Weak<Self>,
}

impl MemoryBroker {
    /// Starts the engine within a tokio runtime. `presence_ttl` is how long a lingering member stays.
    pub fn start(presence_ttl: Duration, sink: Arc<dyn RoomEvents>) -> Arc<Self> {
        let broker = Arc::new_cyclic(|this| Self {
            rooms: Mutex::default(),
            users: Mutex::default(),
            clock: Clock::start(),
            last_epoch: AtomicU64::new(0),
            presence_ttl: PresenceTtl::new(presence_ttl),
            sink,
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
            this: this.clone(),
        });
        let weak = broker.this.clone();
        broker.spawn(async move {
            let mut ticks = tokio::time::interval(JANITOR_INTERVAL);
            loop {
                ticks.tick().await;
                let Some(broker) = weak.upgrade() else { return };
                broker.tidy();
            }
        });
        broker
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closed = self.closed.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = closed.cancelled() => {}
                () = work => {}
            }
        });
    }

    fn check_open(&self) -> Result<(), BrokerError> {
        if self.closed.is_cancelled() {
            return Err(BrokerError::Unavailable("it is closed".into()));
        }
        Ok(())
    }

    /// Runs `act` on the room, which comes into being if need be.
    fn with_room<T>(&self, name: &RoomName, act: impl FnOnce(&mut Room, u64) -> T) -> T {
        loop {
            let room = Arc::clone(
                self.rooms
                    .lock()
                    .entry(name.clone())
                    .or_insert_with(|| Arc::new(Mutex::new(Room::new(self.next_epoch())))),
            );
            let mut room = room.lock();
            // Between the two locks the janitor may have dropped it.
            if !room.dropped {
                return act(&mut room, self.clock.now_ms());
            }
        }
    }

    /// As [`with_room`](Self::with_room), for a room that is there.
    fn with_existing<T>(
        &self,
        name: &RoomName,
        act: impl FnOnce(&mut Room, u64) -> T,
    ) -> Option<T> {
        let room = Arc::clone(self.rooms.lock().get(name)?);
        let mut room = room.lock();
        (!room.dropped).then(|| act(&mut room, self.clock.now_ms()))
    }

    fn next_epoch(&self) -> u64 {
        let now = self.clock.now_ms();
        let previous = self
            .last_epoch
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(now.max(last + 1))
            })
            .unwrap_or_default();
        now.max(previous + 1)
    }

    fn deliver(&self, name: &RoomName, room: &Room, event: Event) {
        if room.subscribed {
            self.sink.deliver(name, event);
        }
    }

    fn tidy(&self) {
        let now = self.clock.now_ms();
        self.rooms.lock().retain(|_, room| {
            let mut room = room.lock();
            room.tidy(now);
            room.dropped = room.is_idle(now);
            !room.dropped
        });
        self.users.lock().tidy(now);
    }

    fn end_linger(&self, name: &RoomName, user: &UserId) {
        self.with_existing(name, |room, now| {
            if let Some(change) = room.presence.end_linger(user, now) {
                self.deliver(name, room, Event::Presence(change));
            }
        });
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn publish(
        &self,
        room: &RoomName,
        publication: Publication,
    ) -> Result<Published, BrokerError> {
        self.check_open()?;
        self.with_room(room, |state, now| {
            let (published, message) = state.publish(publication, now)?;
            if let Some(message) = message {
                self.deliver(room, state, Event::Message(message));
            }
            Ok(published)
        })
    }

    async fn signal(&self, room: &RoomName, body: Bytes) -> Result<(), BrokerError> {
        self.check_open()?;
        self.with_existing(room, |state, _| {
            self.deliver(room, state, Event::Signal(body));
        });
        Ok(())
    }

    async fn subscribe(&self, room: &RoomName) -> Result<(), BrokerError> {
        self.check_open()?;
        self.with_room(room, |state, _| state.subscribed = true);
        Ok(())
    }

    async fn unsubscribe(&self, room: &RoomName) {
        self.with_existing(room, |state, now| {
            state.subscribed = false;
            state.touched_ms = now;
        });
    }

    async fn read(
        &self,
        room: &RoomName,
        range: Range,
        limit: usize,
        retention: Retention,
    ) -> Result<Chunk, BrokerError> {
        self.check_open()?;
        Ok(self.with_room(room, |state, now| {
            state.read(range, limit.clamp(1, MAX_READ), retention, now)
        }))
    }

    async fn delete_messages(
        &self,
        room: &RoomName,
        retention: Retention,
    ) -> Result<(), BrokerError> {
        self.check_open()?;
        self.with_existing(room, |state, now| {
            if let Some(at) = state.log.clear(retention, now) {
                self.deliver(room, state, Event::Deleted { at });
            }
        });
        Ok(())
    }

    async fn join(&self, room: &RoomName, user: &UserId) -> Result<u64, BrokerError> {
        self.check_open()?;
        Ok(self.with_room(room, |state, _| {
            if let Some(change) = state.presence.join(user) {
                self.deliver(room, state, Event::Presence(change));
            }
            state.presence.count()
        }))
    }

    async fn leave(&self, room: &RoomName, user: &UserId, leave: Leave) -> Result<(), BrokerError> {
        self.check_open()?;
        let ttl = self.presence_ttl.get();
        let lingers = self.with_existing(room, |state, now| match leave {
            Leave::Now => {
                state.touched_ms = now;
                if let Some(change) = state.presence.leave(user, now) {
                    self.deliver(room, state, Event::Presence(change));
                }
                false
            }
            Leave::Linger => state.presence.linger(user, now, ttl),
            Leave::EndLinger => {
                if let Some(change) = state.presence.end_linger(user, u64::MAX) {
                    self.deliver(room, state, Event::Presence(change));
                }
                false
            }
        });
        if lingers == Some(true) {
            let (weak, room, user) = (self.this.clone(), room.clone(), user.clone());
            let until = Instant::now() + ttl;
            self.spawn(async move {
                tokio::time::sleep_until(until).await;
                if let Some(broker) = weak.upgrade() {
                    broker.end_linger(&room, &user);
                }
            });
        }
        Ok(())
    }

    async fn end_lingers(&self, user: &UserId) {
        let rooms: Vec<RoomName> = self.rooms.lock().keys().cloned().collect();
        for room in rooms {
            self.leave(&room, user, Leave::EndLinger).await.ok();
        }
    }

    fn set_presence_ttl(&self, ttl: Duration) {
        self.presence_ttl.set(ttl);
    }

    async fn members(&self, room: &RoomName, limit: usize) -> Result<Members, BrokerError> {
        self.check_open()?;
        Ok(self
            .with_existing(room, |state, _| state.presence.members(limit))
            .unwrap_or_default())
    }

    async fn user_online(&self, user: &UserId, online: bool) -> Result<(), BrokerError> {
        self.check_open()?;
        self.users
            .lock()
            .set_online(user, online, self.clock.now_ms());
        Ok(())
    }

    async fn user_presence(&self, user: &UserId) -> Result<UserPresence, BrokerError> {
        self.check_open()?;
        Ok(self.users.lock().get(user))
    }

    fn ready(&self) -> Result<(), String> {
        self.check_open().map_err(|error| error.to_string())
    }

    async fn close(&self) {
        self.closed.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker")
            .field("rooms", &self.rooms.lock().len())
            .finish_non_exhaustive()
    }
}

/// Unix time that follows tokio's clock.
#[derive(Debug)]
struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    fn start() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started: Instant::now(),
            started_ms: millis(since_epoch),
        }
    }

    fn now_ms(&self) -> u64 {
        self.started_ms + millis(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests;
