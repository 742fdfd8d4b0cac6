//! Which epoch a room is in, and opening one.
//!
//! An epoch belongs to one replication history: the primary's `master_replid` is kept beside it in the room's `top`, and what is remembered here
//! counts only while the primary still names the same history. Redis replicates asynchronously, so a promoted replica may lack the
//! newest messages; were it to go on in the same epoch, it would give their offsets to others.
//!
//! Rooms are tended when an eighth of their `max_age` has passed, not with each publish: aged messages are taken out, and the expiries of the
//! keys renewed. Gateways that publish or listen do that. A log that nobody tends expires: so aged messages are gone from Redis at most an
//! eighth of `max_age` and a minute late, whether anybody comes or not. Readers never see them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::Value;
use rotunda_crds::RoomName;
use tokio::time::Instant;

use super::super::{BrokerError, Retention, millis};
use super::Engine;
use super::call::Call;
use super::scripts::{OPEN, TEND};
use super::wire::{number, text};

/// How many rooms' epochs are remembered, twice over; any other is opened anew, which changes nothing.
const REMEMBERED: usize = 50_000;

/// How often a call opens an epoch before it takes the server for confused.
pub(super) const OPENINGS: usize = 5;

/// When a room's keys expire, in milliseconds from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiries {
    pub(super) log_ms: u64,
    pub(super) top_ms: u64,
}

impl Expiries {
    /// The log outlives its newest message, which may come just before it is to be tended; `top` outlives the log.
    pub(super) fn of(retention: Retention) -> Self {
        const MINUTE_MS: u64 = 60_000;
        const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
        let age_ms = millis(retention.max_age);
        let log_ms = age_ms
            .saturating_add(millis(tending_interval(retention)))
            .saturating_add(MINUTE_MS)
            .min(i64::MAX as u64 / 4);
        Self {
            log_ms,
            top_ms: log_ms.saturating_add(DAY_MS),
        }
    }
}

/// How long after a room was tended that is due again.
pub(super) fn tending_interval(retention: Retention) -> Duration {
    retention.max_age / 8
}

/// What is known of a room's epoch.
#[derive(Clone, Debug)]
pub(super) struct OpenEpoch {
    pub(super) epoch: u64,
    pub(super) history: Arc<str>,
    tended: Instant,
    max_age: Duration,
}

impl OpenEpoch {
    pub(super) fn wants_tending(&self, retention: Retention) -> bool {
        self.max_age != retention.max_age || self.tended.elapsed() >= tending_interval(retention)
    }
}

/// Remembers epochs, as many as [`REMEMBERED`] and the ones used lately.
#[derive(Debug, Default)]
pub(super) struct Epochs(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<RoomName, OpenEpoch>,
    old: HashMap<RoomName, OpenEpoch>,
}

impl Epochs {
    fn get(&self, room: &RoomName, history: &Arc<str>) -> Option<OpenEpoch> {
        let mut generations = self.0.lock();
        if !generations.young.contains_key(room) {
            let epoch = generations.old.remove(room)?;
            generations.insert(room.clone(), epoch);
        }
        generations
            .young
            .get(room)
            .filter(|epoch| epoch.history == *history)
            .cloned()
    }

    fn insert(&self, room: &RoomName, epoch: OpenEpoch) {
        self.0.lock().insert(room.clone(), epoch);
    }

    /// Another gateway has opened a higher one, or the log is gone.
    pub(super) fn forget(&self, room: &RoomName) {
        let mut generations = self.0.lock();
        generations.young.remove(room);
        generations.old.remove(room);
    }

    /// The room was tended.
    pub(super) fn tended(&self, room: &RoomName, retention: Retention) {
        if let Some(epoch) = self.0.lock().young.get_mut(room) {
            epoch.tended = Instant::now();
            epoch.max_age = retention.max_age;
        }
    }
}

impl Generations {
    fn insert(&mut self, room: RoomName, epoch: OpenEpoch) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(room, epoch);
    }
}

impl Engine {
    /// The room's epoch, as remembered or opened now.
    pub(super) async fn epoch(
        &self,
        room: &RoomName,
        retention: Retention,
    ) -> Result<OpenEpoch, BrokerError> {
        let history = self
            .pool
            .history(self.keys.slot(room), Instant::now())
            .await?;
        match self.epochs.get(room, &history) {
            Some(epoch) => Ok(epoch),
            None => self.open_epoch(room, retention).await,
        }
    }

    /// Makes sure that the room has an epoch of the present replication history.
    pub(super) async fn open_epoch(
        &self,
        room: &RoomName,
        retention: Retention,
    ) -> Result<OpenEpoch, BrokerError> {
        for _ in 0..OPENINGS {
            if let Some(epoch) = self.try_open_epoch(room, retention).await? {
                return Ok(epoch);
            }
        }
        Err(BrokerError::Unavailable("Redis is failing over".into()))
    }

    /// Gives nothing if the slot has another history by the time that it is asked.
    async fn try_open_epoch(
        &self,
        room: &RoomName,
        retention: Retention,
    ) -> Result<Option<OpenEpoch>, BrokerError> {
        let slot = self.keys.slot(room);
        // Asked anew: two gateways that disagree would open one epoch after the other.
        let node = self.pool.connection(slot, None, Instant::now()).await?;
        let before = node.replication();
        if node.check().await.map_err(BrokerError::Unavailable)? != before {
            self.pool.announce();
        }
        let history = self.pool.history(slot, Instant::now()).await?;
        let ancestors = self.lineage.ancestors(slot, &history).await;
        let expiries = Expiries::of(retention);
        let mut command = OPEN.on(&[self.keys.log(room), self.keys.top(room)]);
        command
            .arg(&*history)
            .arg(expiries.log_ms)
            .arg(expiries.top_ms)
            .arg(
                ancestors
                    .iter()
                    .map(|ancestor| &**ancestor)
                    .collect::<Vec<_>>(),
            );
        let call = Call {
            history: Some(history.clone()),
            ..Call::of(slot, &command, &OPEN)
        };
        let answer = self.pool.call(call).await?;
        if answer == Value::Nil {
            return Ok(None);
        }
        let epoch = OpenEpoch {
            epoch: number(&answer)?,
            history,
            tended: Instant::now(),
            max_age: retention.max_age,
        };
        tracing::debug!(%room, epoch = text(&answer)?, "opened the epoch");
        self.epochs.insert(room, epoch.clone());
        Ok(Some(epoch))
    }

    /// Takes aged messages out of the room's log and renews the expiries of its keys.
    pub(super) async fn tend(
        &self,
        room: &RoomName,
        retention: Retention,
    ) -> Result<(), BrokerError> {
        let expiries = Expiries::of(retention);
        let mut command = TEND.on(&[self.keys.log(room), self.keys.top(room)]);
        command
            .arg(retention.max_messages.max(1))
            .arg(millis(retention.max_age).min(i64::MAX as u64))
            .arg(expiries.log_ms)
            .arg(expiries.top_ms);
        let call = Call::of(self.keys.slot(room), &command, &TEND);
        self.pool.call(call).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).expect("a fine name")
    }

    fn epoch(epoch: u64, history: &Arc<str>) -> OpenEpoch {
        OpenEpoch {
            epoch,
            history: Arc::clone(history),
            tended: Instant::now(),
            max_age: Duration::from_mins(1),
        }
    }

    #[test]
    fn an_epoch_counts_only_in_its_replication_history() {
        let (old, new): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let epochs = Epochs::default();
        epochs.insert(&room("r"), epoch(1, &old));
        assert_eq!(
            epochs.get(&room("r"), &old).map(|epoch| epoch.epoch),
            Some(1)
        );
        assert!(epochs.get(&room("r"), &new).is_none());
        epochs.forget(&room("r"));
        assert!(epochs.get(&room("r"), &old).is_none());
    }

    #[test]
    fn rooms_used_lately_are_remembered_and_their_number_is_bounded() {
        let history: Arc<str> = "a".into();
        let epochs = Epochs::default();
        for number in 0..5 * REMEMBERED {
            epochs.insert(&room(&number.to_string()), epoch(1, &history));
            assert!(
                epochs.get(&room("0"), &history).is_some(),
                "used all the time"
            );
        }
        let generations = epochs.0.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * REMEMBERED);
    }

    #[tokio::test(start_paused = true)]
    async fn tending_is_due_after_an_eighth_of_the_age_and_when_the_age_changes() {
        let epoch = epoch(1, &"a".into());
        let retention = |secs| Retention {
            max_messages: 1,
            max_age: Duration::from_secs(secs),
        };
        assert!(!epoch.wants_tending(retention(60)));
        assert!(epoch.wants_tending(retention(61)));
        tokio::time::advance(Duration::from_millis(7500)).await;
        assert!(epoch.wants_tending(retention(60)));
    }

    #[test]
    fn expiries_cant_overflow() {
        let retention = Retention {
            max_messages: 1,
            max_age: Duration::MAX,
        };
        let expiries = Expiries::of(retention);
        assert!(i64::try_from(expiries.top_ms).is_ok());
        assert!(expiries.top_ms > expiries.log_ms);
    }
}
