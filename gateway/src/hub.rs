//! From rooms to local connections: joining, leaving, healing and replaying, on top of the broker.
//!
//! [`Rooms`] is the map and the sink of the broker's events; it never waits. [`Hub`] makes the calls that take time, in tasks that are tracked.
//! The order of a join is what makes it whole: the room is entered first and the broker subscribed, so that nothing published from
//! then on is missed; then the past is read; then both are merged by position.

use std::sync::Arc;
use std::time::Duration;

use rotunda_crds::RoomName;
use rotunda_crds::access::Action;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access;
use crate::broker::{Broker, BrokerError, Leave, Range};
use crate::connection::Connection;
use crate::dialect::event::{Joined, Reference};
use crate::dialect::{ErrorCode, Failure, event};
use crate::ids::Position;
use crate::metrics::Metrics;
use crate::policy::{Policies, Policy};
use crate::recovery::{Verdict, assess};
use crate::room::{Caught, Room, Switch, Todo};

mod catch_up;
mod members;
mod rooms;

pub(crate) use catch_up::Backoff;
pub use rooms::Rooms;

/// Reads for clients under way at once, and as many for rooms that missed something, which aren't to wait behind a crowd that comes back. Bounds
/// their memory, [`MAX_READ_BYTES`](crate::broker::MAX_READ_BYTES) each, and what is asked of the broker.
const CONCURRENT_READS: usize = 64;

/// The rooms and the calls about them.
#[derive(Debug)]
pub struct Hub {
    rooms: Arc<Rooms>,
    broker: Arc<dyn Broker>,
    metrics: Arc<Metrics>,
    tracker: TaskTracker,
    /// Ends what would retry for ever.
    stopping: CancellationToken,
    client_reads: Semaphore,
    heal_reads: Semaphore,
}

impl Hub {
    /// Starts the hub on a broker whose events go to `rooms`; `todo` is the other end of what `rooms` was made with.
    pub fn start(
        rooms: Arc<Rooms>,
        mut todo: mpsc::UnboundedReceiver<(Arc<Room>, Todo)>,
        broker: Arc<dyn Broker>,
        metrics: Arc<Metrics>,
        tracker: TaskTracker,
        stopping: CancellationToken,
    ) -> Arc<Self> {
        let hub = Arc::new(Self {
            rooms,
            broker,
            metrics,
            tracker,
            stopping: stopping.clone(),
            client_reads: Semaphore::new(CONCURRENT_READS),
            heal_reads: Semaphore::new(CONCURRENT_READS),
        });
        let worker = Arc::clone(&hub);
        hub.tracker
            .spawn(stopping.run_until_cancelled_owned(async move {
                while let Some((room, todo)) = todo.recv().await {
                    worker.carry_out(room, todo);
                }
            }));
        hub
    }

    pub fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    /// A task that ends when the gateway stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tracker.spawn(async move {
            stopping.run_until_cancelled(task).await;
        });
    }

    fn carry_out(self: &Arc<Self>, room: Arc<Room>, todo: Todo) {
        let hub = Arc::clone(self);
        match todo {
            Todo::Nothing => {}
            Todo::Heal => self.spawn(async move { hub.heal(&room).await }),
            Todo::ReadMembers => self.spawn(async move { hub.read_members(&room).await }),
            Todo::FlushPresence(after) => self.spawn(async move {
                tokio::time::sleep(after).await;
                room.flush_presence();
            }),
        }
    }

    /// Puts a connection into a room, which it may join. Its `joined` frame and what follows go through its outbox.
    pub async fn join(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        name: &RoomName,
        last_seen: Option<Position>,
        policy: &Arc<Policy>,
        reference: &Reference,
    ) -> Result<(), Failure> {
        let (room, ticket) = self.rooms.enter(name, connection, policy);
        let mut entry = Entry {
            hub: self,
            connection,
            room: &room,
            leave: Leave::Linger,
        };
        self.activate(&room)
            .await
            .map_err(|error| unavailable(&error))?;
        if policy.counts_members() {
            let joined_now = self
                .settle_in_task(&room, &connection.user)
                .await
                .map_err(|error| unavailable(&error))?;
            if joined_now
                && let Some(max) = policy.max_members
                && room.count().is_some_and(|count| count > max)
            {
                entry.leave = Leave::Now;
                return Err(Failure::new(
                    ErrorCode::RoomFull,
                    format!("the room {name} has its {max} members"),
                ));
            }
        }
        let members = room.count();
        let fresh = |id, recovered| {
            event::joined(
                reference,
                name,
                &Joined {
                    id,
                    recovered,
                    replayed: 0,
                    members,
                },
            )
        };
        let Some(last_seen) = last_seen else {
            room.go_live(connection.id, ticket, |id| fresh(id, None));
            entry.keep();
            return Ok(());
        };
        if room.resume(
            connection.id,
            ticket,
            last_seen,
            fresh(last_seen, Some(true)),
        ) == Switch::ReadOn
        {
            let chunk = self
                .read_for_replay(&room, last_seen, catch_up::REPLAY_MESSAGES)
                .await
                .map_err(|error| unavailable(&error))?;
            let (id, recovered, replayed) = match assess(last_seen, &chunk.state, &policy.retention)
            {
                Verdict::Complete { replay } => (last_seen, true, replay),
                Verdict::Torn { replay, .. } => (last_seen, false, replay),
                Verdict::Incomplete { next, replay, .. } => (next, false, replay),
            };
            self.metrics.recovery(recovered);
            let joined = Joined {
                id,
                recovered: Some(recovered),
                replayed,
                members,
            };
            if room.begin_replay(
                connection.id,
                ticket,
                event::joined(reference, name, &joined),
            ) == Switch::Live
            {
                let (hub, room, connection) =
                    (Arc::clone(self), Arc::clone(&room), Arc::clone(connection));
                self.spawn(
                    async move { hub.replay(room, connection, ticket, last_seen, chunk).await },
                );
            }
        } else {
            self.metrics.recovery(true);
        }
        entry.keep();
        Ok(())
    }

    /// Takes a connection out of a room; whether it was in.
    pub fn leave(self: &Arc<Self>, connection: &Connection, name: &RoomName, leave: Leave) -> bool {
        let Some(room) = self.rooms.get(name) else {
            return false;
        };
        let was_in = room.exit(connection.id, leave).is_some();
        if was_in {
            self.settle_later(&room, &connection.user);
        }
        was_in
    }

    /// Takes a connection out of a room that it didn't ask to leave, and tells it why.
    fn put_out(self: &Arc<Self>, connection: &Arc<Connection>, name: &RoomName, reason: &str) {
        if connection.remove_room(name) && self.leave(connection, name, Leave::Now) {
            connection
                .outbox
                .push(event::left(&None, name, Some(reason)))
                .ok();
        }
    }

    /// Has the broker deliver a room's events, and finds out where the room starts.
    async fn activate(self: &Arc<Self>, room: &Arc<Room>) -> Result<(), BrokerError> {
        let mut active = room.activation.lock().await;
        if *active {
            return Ok(());
        }
        room.begin_activation();
        let started = async {
            self.broker.subscribe(&room.name).await?;
            self.broker
                .read(&room.name, Range::Latest, 1, room.policy().retention)
                .await
        };
        match started.await {
            Ok(chunk) => {
                *active = true;
                if room.activated(chunk.state.top) != Caught::Up {
                    self.carry_out(Arc::clone(room), Todo::Heal);
                }
                Ok(())
            }
            Err(error) => {
                room.deactivate();
                Err(error)
            }
        }
    }

    /// Ends an empty room's events and forgets it.
    async fn retire(&self, room: &Arc<Room>) {
        let mut active = room.activation.lock().await;
        if !room.is_empty() {
            return;
        }
        if *active {
            // Who comes meanwhile waits for the lock and subscribes again.
            self.broker.unsubscribe(&room.name).await;
            room.deactivate();
            *active = false;
        }
        if room.try_retire() {
            self.rooms.remove(room);
        }
    }

    /// Takes over a config: every room gets its new policy at once, and who may no longer be in one is told so.
    pub async fn apply_policies(self: &Arc<Self>, policies: &Policies) {
        for room in self.rooms.all() {
            self.apply_policy(&room, policies);
            // Many rooms take a while; the deliveries on this thread go in between.
            tokio::task::yield_now().await;
        }
    }

    /// The same for one room, after a join that may have begun under the config before.
    pub fn apply_policy_of(self: &Arc<Self>, name: &RoomName, policies: &Policies) {
        if let Some(room) = self.rooms.get(name) {
            self.apply_policy(&room, policies);
        }
    }

    fn apply_policy(self: &Arc<Self>, room: &Arc<Room>, policies: &Policies) {
        let before = room.policy();
        let policy = policies.of(&room.name);
        if let Some(policy) = policy {
            for user in room.set_policy(Arc::clone(policy)) {
                self.settle_later(room, &user);
            }
            if policy.same_rules(&before) {
                return;
            }
        }
        for connection in room.connections() {
            self.review(&connection, &room.name, policy);
        }
    }

    /// Puts a connection out of a room that its token and the room's policy no longer let it be in.
    pub fn review(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        name: &RoomName,
        policy: Option<&Arc<Policy>>,
    ) {
        let allowed = policy.is_some_and(|policy| {
            access::check(policy, Action::Join, &connection.identity(), name).is_ok()
        });
        if !allowed {
            self.put_out(connection, name, "forbidden");
        }
    }
}

/// A join under way: taken back unless it is kept.
struct Entry<'a> {
    hub: &'a Arc<Hub>,
    connection: &'a Arc<Connection>,
    room: &'a Arc<Room>,
    /// A client that goes while it joins may have been here a moment ago, and may be back in the next.
    leave: Leave,
}

impl Entry<'_> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.connection.remove_room(&self.room.name);
        let leave = match self.connection.outbox.closing() {
            // Disconnected meanwhile, it isn't expected back.
            Some(reason) if self.leave == Leave::Linger => reason.leave(),
            _ => self.leave,
        };
        let Some(told) = self.room.exit(self.connection.id, leave) else {
            return;
        };
        if told {
            // It was in and joined again: that this failed must not leave it believing that it still is.
            let left = event::left(&None, &self.room.name, Some("unavailable"));
            self.connection.outbox.push(left).ok();
        }
        self.hub.settle_later(self.room, &self.connection.user);
    }
}

/// The answer for a broker that couldn't.
pub fn unavailable(error: &BrokerError) -> Failure {
    match error {
        BrokerError::RateLimited { retry_after } => {
            Failure::rate_limited("the room takes no more messages right now", *retry_after)
        }
        BrokerError::OutcomeUnknown => Failure::new(
            ErrorCode::OutcomeUnknown,
            "whether it was published is unknown; with a `key` it can be sent again safely",
        ),
        BrokerError::Unavailable(_) => Failure {
            retry_after: Some(Duration::from_secs(1)),
            ..Failure::new(
                ErrorCode::Unavailable,
                "the message broker is away; try again",
            )
        },
        BrokerError::Corrupt(_) => Failure::new(
            ErrorCode::Internal,
            "the message broker answered something unexpected",
        ),
    }
}

#[cfg(test)]
mod tests;
