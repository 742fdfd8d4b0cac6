//! What presence needs done by itself: ending lingers, telling what is owed, registering again, sweeping after dead gateways.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use rotunda_crds::RoomName;
use tokio::time::{Instant, MissedTickBehavior};

use super::super::{BrokerError, Leave, millis};
use super::Engine;
use super::call::Call;
use super::lease::Roster;
use super::presence::{EMPTY_EXPIRY, OwedLeave, Stay};
use super::scripts::SWEEP;
use super::url::Address;
use super::wire::text;
use crate::ids::UserId;

/// How often lingers and debts are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How many calls run at once.
const AT_ONCE: usize = 64;

/// How long to wait before something that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// How often all is registered again, so that no key of someone who stays for weeks expires.
const REREGISTRATION: Duration = Duration::from_hours(6);

/// How many members a sweep looks at in one call.
const PAGE: usize = 200;

impl Engine {
    /// Ends lingers and tells what is owed.
    pub(super) async fn keep_departures(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let lingering = self.take_due_lingers();
            each(lingering, |(room, user)| self.end_linger(room, user)).await;
            if self.pool.ready().is_ok() {
                let (owed, users) = self.take_due_debts();
                each(owed, |owed| self.tell_owed(owed)).await;
                each(users, |user| self.tell_owed_user(user)).await;
            }
        }
    }

    fn take_due_lingers(&self) -> Vec<(RoomName, UserId)> {
        let mut locals = self.presence.locals.lock();
        let now = Instant::now();
        let mut due = Vec::new();
        while locals
            .lingering
            .peek()
            .is_some_and(|Reverse((until, ..))| *until <= now)
        {
            if let Some(Reverse((_, room, user))) = locals.lingering.pop() {
                due.push((room, user));
            }
        }
        due
    }

    async fn end_linger(&self, room: RoomName, user: UserId) {
        let _turn = self.presence.turn(Some(&room), &user).await;
        if self.presence.locals.lock().stay(&room, &user) != Some(Stay::Lingering) {
            return;
        }
        let again = match self.tell_leave(&room, &user, "lingered").await {
            Ok(0) => None,
            Ok(ms) => Some(Duration::from_millis(ms)),
            Err(_) => Some(RETRY_PAUSE),
        };
        let mut locals = self.presence.locals.lock();
        match again {
            None => locals.remove(&room, &user),
            Some(pause) => locals
                .lingering
                .push(Reverse((Instant::now() + pause, room, user))),
        }
    }

    /// Tells at once of all departures of a user that were to be told later.
    pub(super) async fn end_lingers(&self, user: &UserId) {
        let rooms: HashSet<RoomName> = {
            let mut guard = self.presence.locals.lock();
            let locals = &mut *guard;
            let now = Instant::now();
            for owed in locals.owed.iter_mut().filter(|owed| owed.user == *user) {
                owed.due = owed.due.min(now);
            }
            let lingering = locals.lingering.iter();
            let of_user = lingering.filter(|Reverse((_, _, known))| known == user);
            of_user.map(|Reverse((_, room, _))| room.clone()).collect()
        };
        // Of one who is back it is an old entry; what fails is owed.
        each(rooms.into_iter().collect(), async |room| {
            self.leave(&room, user, Leave::EndLinger).await.ok();
        })
        .await;
    }

    fn take_due_debts(&self) -> (Vec<OwedLeave>, Vec<UserId>) {
        let mut locals = self.presence.locals.lock();
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut locals.owed)
            .into_iter()
            .partition(|owed| owed.due <= now);
        locals.owed = later;
        (due, locals.owed_users.drain().collect())
    }

    async fn tell_owed(&self, owed: OwedLeave) {
        let _turn = self.presence.turn(Some(&owed.room), &owed.user).await;
        // Back already.
        if self
            .presence
            .locals
            .lock()
            .stay(&owed.room, &owed.user)
            .is_some()
        {
            return;
        }
        if self
            .tell_leave(&owed.room, &owed.user, "now")
            .await
            .is_err()
        {
            let due = Instant::now() + RETRY_PAUSE;
            self.presence
                .locals
                .lock()
                .owed
                .push(OwedLeave { due, ..owed });
        }
    }

    async fn tell_owed_user(&self, user: UserId) {
        let _turn = self.presence.turn(None, &user).await;
        let online = self.presence.locals.lock().users.contains(&user);
        if self.tell_user(&user, online).await.is_err() {
            self.presence.locals.lock().owed_users.insert(user);
        }
    }

    /// Registers all members and users again whenever the gateway has a new id, and every few hours.
    pub(super) async fn keep_registered(self: Arc<Self>) {
        let mut ids = self.lease.ids();
        loop {
            let has_id = ids.borrow_and_update().is_some();
            let registered = !has_id || self.register_all().await;
            let pause = if registered {
                REREGISTRATION
            } else {
                RETRY_PAUSE
            };
            tokio::select! {
                _ = ids.changed() => {}
                () = tokio::time::sleep(pause) => self.presence.want_sweep_of_all(),
            }
        }
    }

    /// False if something has to be tried again.
    async fn register_all(&self) -> bool {
        let (members, users) = {
            let locals = self.presence.locals.lock();
            let members = locals
                .rooms
                .iter()
                .flat_map(|(room, users)| users.keys().map(|user| (room.clone(), user.clone())));
            (
                members.collect::<Vec<_>>(),
                locals.users.iter().cloned().collect::<Vec<_>>(),
            )
        };
        let members = each(members, async |(room, user): (RoomName, UserId)| {
            let _turn = self.presence.turn(Some(&room), &user).await;
            // Who lingers does so under the old id, until that lease runs out.
            let here = self.presence.locals.lock().stay(&room, &user) == Some(Stay::Here);
            !here || self.tell_join(&room, &user).await.is_ok()
        });
        let members = members.await;
        let users = each(users, async |user: UserId| {
            let _turn = self.presence.turn(None, &user).await;
            let online = self.presence.locals.lock().users.contains(&user);
            !online || self.tell_user(&user, true).await.is_ok()
        });
        users.await.into_iter().chain(members).all(|told| told)
    }

    /// Takes a new id when a server has another replication history than it had: it may have lost members.
    pub(super) async fn keep_history(self: Arc<Self>) {
        let mut changes = self.pool.changes();
        let mut histories: HashMap<Address, Arc<str>> = HashMap::new();
        let mut settled = false;
        loop {
            changes.mark_unchanged();
            let mut news = false;
            for node in self.pool.nodes() {
                let history = node.replication().id;
                let before = histories.insert(node.address.clone(), Arc::clone(&history));
                news |= before != Some(history);
            }
            // The servers that are there from the beginning are no news.
            if settled && news {
                self.lease.renounce();
            }
            settled |= self.pool.ready().is_ok();
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Looks rooms through for members of dead gateways.
    pub(super) async fn keep_swept(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !self.lease.may_sweep() {
                continue;
            }
            let rooms: Vec<RoomName> = self.presence.locals.lock().unswept.drain().collect();
            let roster = self.lease.roster();
            each(rooms, async |room: RoomName| {
                if let Err(error) = self.sweep(&room, &roster).await {
                    tracing::debug!(%room, %error, "can't sweep a room");
                    self.presence.locals.lock().unswept.insert(room);
                }
            })
            .await;
        }
    }

    async fn sweep(&self, room: &RoomName, roster: &Roster) -> Result<(), BrokerError> {
        let ttl_ms = millis(self.presence.ttl());
        let living: Vec<&str> = roster.living().collect();
        let mut cursor = "0".to_owned();
        loop {
            let mut command = SWEEP.on(&[self.keys.here(room)]);
            command
                .arg(self.keys.channel(room))
                .arg(&cursor)
                .arg(PAGE)
                .arg(living.join(" "));
            command
                .arg(roster.unknown_before_ms())
                .arg(millis(EMPTY_EXPIRY));
            command.arg(roster.now_ms().saturating_sub(ttl_ms));
            for (id, expired_ms) in roster.dead() {
                command.arg(id).arg(expired_ms.saturating_sub(ttl_ms));
            }
            let call = Call::of(self.keys.slot(room), &command, &SWEEP);
            let answer = self.pool.call(call).await?;
            text(&answer)?.clone_into(&mut cursor);
            if cursor == "0" {
                return Ok(());
            }
        }
    }
}

/// Does something for each, several at once.
async fn each<T, R, F: Future<Output = R>>(items: Vec<T>, act: impl FnMut(T) -> F) -> Vec<R> {
    futures::stream::iter(items)
        .map(act)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}
