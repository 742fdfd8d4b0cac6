//! A room's members: telling the broker of those here, and reading who is there after a change was missed.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rotunda_crds::RoomName;

use super::Hub;
use super::catch_up::Backoff;
use crate::broker::{BrokerError, Leave};
use crate::ids::UserId;
use crate::presence::Call;
use crate::room::Room;

/// How long to wait first, in milliseconds, at random: a cut or a failover has many rooms read at once, and members register again meanwhile.
const PAUSE_MS: std::ops::Range<u64> = 100..1000;

impl Hub {
    /// Tells the broker about a user in its own time, then lets the room go if nobody is left.
    pub(super) fn settle_later(self: &Arc<Self>, room: &Arc<Room>, user: &UserId) {
        let (hub, room, user) = (Arc::clone(self), Arc::clone(room), user.clone());
        self.tracker.spawn(async move {
            hub.settle(&room, &user, true).await.ok();
            hub.retire(&room).await;
        });
    }

    /// Takes all of a user's connections out of a room, and ends its linger there.
    pub fn remove(self: &Arc<Self>, user: &UserId, name: &RoomName) {
        let room = self.rooms.get(name);
        let connections = room.iter().flat_map(|room| room.connections());
        for connection in connections.filter(|connection| connection.user == *user) {
            self.put_out(&connection, name, "removed");
        }
        if let Some(room) = room {
            self.hasten(&room, user);
        }
        let (hub, user, name) = (Arc::clone(self), user.clone(), name.clone());
        self.tracker.spawn(async move {
            // What fails is told later, by the broker itself.
            hub.broker.leave(&name, &user, Leave::EndLinger).await.ok();
        });
    }

    /// Ends a user's lingers in all rooms.
    pub fn end_lingers(self: &Arc<Self>, user: &UserId) {
        let (hub, user) = (Arc::clone(self), user.clone());
        self.tracker.spawn(async move {
            // First those that the broker hasn't heard of, or is just being told: once it was asked, there would be more.
            for room in hub.rooms.all() {
                hub.hasten(&room, &user);
            }
            hub.broker.end_lingers(&user).await;
        });
    }

    fn hasten(self: &Arc<Self>, room: &Arc<Room>, user: &UserId) {
        if room.hasten(user) {
            self.settle_later(room, user);
        }
    }

    /// In a task of its own, so that a connection that ends meanwhile can't leave a call half done. Whether this call made the user a member.
    pub(super) async fn settle_in_task(
        self: &Arc<Self>,
        room: &Arc<Room>,
        user: &UserId,
    ) -> Result<bool, BrokerError> {
        let (hub, room, user) = (Arc::clone(self), Arc::clone(room), user.clone());
        let task = self
            .tracker
            .spawn(async move { hub.settle(&room, &user, false).await });
        task.await.unwrap_or_else(|_| {
            Err(BrokerError::Unavailable(
                "the gateway is stopping".to_owned(),
            ))
        })
    }

    /// Makes the calls about a user until the broker stands where the room does. With `persist`, failures are retried.
    async fn settle(&self, room: &Room, user: &UserId, persist: bool) -> Result<bool, BrokerError> {
        let mut joined = false;
        let mut backoff = Backoff::default();
        while let Some(call) = room.next_call(user) {
            let result = match call {
                Call::Join => self.broker.join(&room.name, user).await.map(Some),
                Call::Leave(leave) => self
                    .broker
                    .leave(&room.name, user, leave)
                    .await
                    .map(|()| None),
            };
            match (call, result) {
                (Call::Join, Ok(count)) => {
                    joined = true;
                    self.metrics.presence_members.inc();
                    room.call_done(user, true, count);
                }
                (Call::Leave(leave), Ok(_)) => {
                    // A linger had left already.
                    if leave != Leave::EndLinger {
                        self.metrics.presence_members.dec();
                    }
                    room.call_done(user, false, None);
                }
                (call, Err(error)) => {
                    room.call_done(user, call != Call::Join, None);
                    if !persist || self.stopping.is_cancelled() {
                        return Err(error);
                    }
                    self.stopping.run_until_cancelled(backoff.wait()).await;
                }
            }
        }
        Ok(joined)
    }

    /// Reads until nothing more was missed, and has the room tell what it didn't.
    pub(super) async fn read_members(self: &Arc<Self>, room: &Arc<Room>) {
        let mut backoff = Backoff::default();
        loop {
            let pause = rand::rng().random_range(PAUSE_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let Some(names) = room.begin_members_read() else {
                return;
            };
            // Never closed.
            let permit = self.client_reads.acquire().await;
            let read = self.broker.members(&room.name, names.max(1)).await;
            drop(permit);
            match read {
                Ok(members) => {
                    let todo = room.take_members(members);
                    self.carry_out(Arc::clone(room), todo);
                    if !room.end_members_read() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(room = %room.name, %error, "the members of a room can't be read");
                    backoff.wait().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
