//! Who is in which room through this gateway, and telling Redis of it.
//!
//! The registry here is the truth about this gateway's members: what couldn't be told is told later (`owed`), and after a new lease all of it is
//! told again. Turns (one lock for each stripe of room and user) keep what is told of one member in order.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rotunda_crds::RoomName;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

use super::super::ttl::PresenceTtl;
use super::super::{BrokerError, Leave, millis};
use super::Engine;
use super::call::Call;
use super::keys::slot;
use super::lease::{REMEMBERED, Roster};
use super::scripts::{JOIN, LEAVE, USER};
use super::subscribe::Subscription;
use super::wire::number;
use crate::ids::UserId;

mod census;
mod versions;

/// How many members may be told of at once without waiting for each other's answer.
const STRIPES: usize = 1024;

/// How long an empty room's count of announcements is kept.
pub(super) const EMPTY_EXPIRY: Duration = Duration::from_mins(10);

/// How long it is remembered when a user was last connected.
const LAST_SEEN: Duration = Duration::from_hours(30 * 24);

/// See the module.
pub(super) struct Presence {
    ttl: Arc<PresenceTtl>,
    pub(super) locals: Mutex<Locals>,
    turns: Vec<tokio::sync::Mutex<()>>,
    stripe: RandomState,
}

/// What this gateway knows of its own.
#[derive(Default)]
pub(super) struct Locals {
    pub(super) rooms: HashMap<RoomName, HashMap<UserId, Stay>>,
    pub(super) users: HashSet<UserId>,
    /// When to see whether someone still lingers.
    pub(super) lingering: BinaryHeap<Reverse<(Instant, RoomName, UserId)>>,
    pub(super) owed: Vec<OwedLeave>,
    pub(super) owed_users: HashSet<UserId>,
    /// Rooms that may hold members of dead gateways.
    pub(super) unswept: HashSet<RoomName>,
}

/// A member's part in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    Here,
    Lingering,
}

/// A departure that couldn't be told.
pub(super) struct OwedLeave {
    pub(super) room: RoomName,
    pub(super) user: UserId,
    /// When it is to be told at the earliest.
    pub(super) due: Instant,
}

impl Locals {
    pub(super) fn stay(&self, room: &RoomName, user: &UserId) -> Option<Stay> {
        self.rooms.get(room)?.get(user).copied()
    }

    pub(super) fn remove(&mut self, room: &RoomName, user: &UserId) {
        if let Entry::Occupied(mut members) = self.rooms.entry(room.clone()) {
            members.get_mut().remove(user);
            if members.get().is_empty() {
                members.remove();
            }
        }
    }
}

impl Presence {
    pub(super) fn new(ttl: Arc<PresenceTtl>) -> Self {
        Self {
            ttl,
            locals: Mutex::default(),
            turns: (0..STRIPES)
                .map(|_| tokio::sync::Mutex::default())
                .collect(),
            stripe: RandomState::new(),
        }
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl.get()
    }

    pub(super) async fn turn(&self, room: Option<&RoomName>, user: &UserId) -> MutexGuard<'_, ()> {
        let hash = usize::try_from(self.stripe.hash_one((room, user)) % STRIPES as u64)
            .unwrap_or_default();
        self.turns[hash].lock().await
    }

    /// For each subscription whether its room has members of this gateway.
    pub(super) fn inhabited(&self, subscriptions: &[Arc<Subscription>]) -> Vec<bool> {
        let locals = self.locals.lock();
        let rooms = subscriptions.iter().map(|subscription| &subscription.room);
        rooms.map(|room| locals.rooms.contains_key(room)).collect()
    }

    /// Every room with members of this gateway is looked through for members of dead gateways.
    pub(super) fn want_sweep_of_all(&self) {
        let mut locals = self.locals.lock();
        let rooms: Vec<_> = locals.rooms.keys().cloned().collect();
        locals.unswept.extend(rooms);
    }
}

impl Engine {
    pub(super) async fn join(&self, room: &RoomName, user: &UserId) -> Result<u64, BrokerError> {
        let _turn = self.presence.turn(Some(room), user).await;
        {
            // Before the id is read: a new lease registers all who are here then.
            let mut locals = self.presence.locals.lock();
            let members = locals.rooms.entry(room.clone()).or_default();
            let first = members.is_empty();
            members.insert(user.clone(), Stay::Here);
            if first && self.lease.roster().dead().next().is_some() {
                locals.unswept.insert(room.clone());
            }
        }
        let told = self.tell_join(room, user).await;
        if told.is_err() {
            let mut locals = self.presence.locals.lock();
            locals.remove(room, user);
            locals.owed.push(OwedLeave {
                room: room.clone(),
                user: user.clone(),
                due: Instant::now(),
            });
        }
        told
    }

    /// To be called with the member's turn.
    pub(super) async fn tell_join(
        &self,
        room: &RoomName,
        user: &UserId,
    ) -> Result<u64, BrokerError> {
        let gateway = self.lease.id().await?;
        let mut command = JOIN.on(&[self.keys.here(room)]);
        command
            .arg(self.keys.channel(room))
            .arg(user.as_str())
            .arg(&*gateway);
        command.arg(self.lease.former()).arg(millis(REMEMBERED));
        let call = Call::of(self.keys.slot(room), &command, &JOIN);
        number(&self.pool.call(call).await?)
    }

    pub(super) async fn leave(
        &self,
        room: &RoomName,
        user: &UserId,
        leave: Leave,
    ) -> Result<(), BrokerError> {
        let _turn = self.presence.turn(Some(room), user).await;
        let now = Instant::now();
        {
            let mut locals = self.presence.locals.lock();
            match (locals.stay(room, user), leave) {
                (None, _)
                | (Some(Stay::Lingering), Leave::Linger)
                | (Some(Stay::Here), Leave::EndLinger) => return Ok(()),
                (Some(_), Leave::Now | Leave::EndLinger) => locals.remove(room, user),
                (Some(Stay::Here), Leave::Linger) => {
                    if let Some(stay) = locals
                        .rooms
                        .get_mut(room)
                        .and_then(|members| members.get_mut(user))
                    {
                        *stay = Stay::Lingering;
                    }
                }
            }
        }
        let how = match leave {
            Leave::Now | Leave::EndLinger => "now",
            Leave::Linger => "linger",
        };
        let told = self.tell_leave(room, user, how).await;
        let mut locals = self.presence.locals.lock();
        match (told, leave) {
            (Ok(_), Leave::Now | Leave::EndLinger) => Ok(()),
            // Redis knows nothing of it (any more): there is nothing to end.
            (Ok(0), Leave::Linger) => {
                locals.remove(room, user);
                Ok(())
            }
            (Ok(ms), Leave::Linger) => {
                let until = now + Duration::from_millis(ms);
                locals
                    .lingering
                    .push(Reverse((until, room.clone(), user.clone())));
                Ok(())
            }
            (Err(error), leave) => {
                let due = match leave {
                    Leave::Now | Leave::EndLinger => now,
                    Leave::Linger => now + self.presence.ttl(),
                };
                locals.remove(room, user);
                locals.owed.push(OwedLeave {
                    room: room.clone(),
                    user: user.clone(),
                    due,
                });
                Err(error)
            }
        }
    }

    /// To be called with the member's turn. Gives how many milliseconds the member still lingers.
    pub(super) async fn tell_leave(
        &self,
        room: &RoomName,
        user: &UserId,
        how: &str,
    ) -> Result<u64, BrokerError> {
        let gateway = self.lease.id().await?;
        let mut command = LEAVE.on(&[self.keys.here(room)]);
        command
            .arg(self.keys.channel(room))
            .arg(user.as_str())
            .arg(&*gateway)
            .arg(how);
        command
            .arg(millis(self.presence.ttl()))
            .arg(dead_ids(&self.lease.roster()))
            .arg(millis(EMPTY_EXPIRY));
        let call = Call::of(self.keys.slot(room), &command, &LEAVE);
        number(&self.pool.call(call).await?)
    }

    pub(super) async fn user_online(&self, user: &UserId, online: bool) -> Result<(), BrokerError> {
        let _turn = self.presence.turn(None, user).await;
        {
            let mut locals = self.presence.locals.lock();
            if online {
                locals.users.insert(user.clone());
            } else {
                locals.users.remove(user);
            }
        }
        let told = self.tell_user(user, online).await;
        if told.is_err() {
            self.presence.locals.lock().owed_users.insert(user.clone());
        }
        told
    }

    /// To be called with the user's turn.
    pub(super) async fn tell_user(&self, user: &UserId, online: bool) -> Result<(), BrokerError> {
        let gateway = self.lease.id().await?;
        let key = self.keys.user(user);
        let mut command = USER.on(&[&key]);
        command
            .arg(&*gateway)
            .arg(if online { "online" } else { "offline" })
            .arg(millis(LAST_SEEN));
        command.arg(format!(
            "{} {}",
            dead_ids(&self.lease.roster()),
            self.lease.former()
        ));
        let call = Call::of(slot(&key), &command, &USER);
        self.pool.call(call).await.map(drop)
    }
}

fn dead_ids(roster: &Roster) -> String {
    let ids: Vec<&str> = roster.dead().map(|(id, _)| id).collect();
    ids.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_without_members_is_forgotten() {
        let room = RoomName::parse("r").expect("a fine name");
        let user = UserId::parse("u").expect("a fine name");
        let mut locals = Locals::default();
        locals
            .rooms
            .entry(room.clone())
            .or_default()
            .insert(user.clone(), Stay::Here);
        assert_eq!(locals.stay(&room, &user), Some(Stay::Here));
        locals.remove(&room, &user);
        locals.remove(&room, &user);
        assert!(locals.rooms.is_empty());
        assert_eq!(locals.stay(&room, &user), None);
    }
}
