//! This gateway's lease, and what it knows of the other gateways.
//!
//! A member is in a room while its gateway's lease holds and has not taken it out. The lease is one entry of the sorted set `P:gw`, renewed every
//! two seconds or more often, whatever the number of rooms. When it was lost, or a server has a new replication history (and may have
//! lost what was told to it), the gateway takes a new id and registers its members again under it; what is left under the old one
//! is swept when that lease runs out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::super::ttl::PresenceTtl;
use super::super::{BrokerError, millis};
use super::Engine;
use super::call::Call;
use super::keys::slot;
use super::scripts::LEASE;
use super::wire::{array, list, number, text};

/// The longest time between two renewals.
const RENEWAL: Duration = Duration::from_secs(2);

/// How long an expired lease is remembered, so that its gateway's members are found by whoever looks next.
pub(super) const REMEMBERED: Duration = Duration::from_hours(24);

/// A gateway that isn't listed is taken for dead only when it is older than this: it may have come after the list was read.
const UNKNOWN_AGE_MS: u64 = 10 * 60 * 1000;

/// How many former ids are remembered. Older ones are dead, and swept, by then.
const FORMER_IDS: usize = 8;

/// How long a call waits for the first lease.
const PATIENCE: Duration = Duration::from_secs(1);

/// All gateways at one instant, by Redis's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roster {
    now_ms: u64,
    /// When each gateway's lease expires or expired.
    leases: HashMap<String, u64>,
}

impl Roster {
    /// When the gateway gave its last sign of life, if it is dead.
    pub(super) fn died(&self, gateway: &str, ttl: Duration) -> Option<u64> {
        let ttl_ms = millis(ttl);
        match self.leases.get(gateway) {
            Some(expires_ms) if *expires_ms <= self.now_ms => {
                Some(expires_ms.saturating_sub(ttl_ms))
            }
            Some(_) => None,
            None => {
                let made_ms: u64 = gateway
                    .split('.')
                    .next()
                    .and_then(|ms| ms.parse().ok())
                    .unwrap_or(0);
                (made_ms < self.unknown_before_ms()).then(|| self.now_ms.saturating_sub(ttl_ms))
            }
        }
    }

    pub(super) fn dead(&self) -> impl Iterator<Item = (&str, u64)> {
        let now_ms = self.now_ms;
        self.leases
            .iter()
            .filter(move |(_, expires)| **expires <= now_ms)
            .map(|(id, expires)| (id.as_str(), *expires))
    }

    pub(super) fn living(&self) -> impl Iterator<Item = &str> {
        let now_ms = self.now_ms;
        self.leases
            .iter()
            .filter(move |(_, expires)| **expires > now_ms)
            .map(|(id, _)| id.as_str())
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Gateways made before this would be listed if they lived.
    pub(super) fn unknown_before_ms(&self) -> u64 {
        self.now_ms.saturating_sub(UNKNOWN_AGE_MS)
    }
}

/// See the module.
pub(super) struct Lease {
    ttl: Arc<PresenceTtl>,
    state: Mutex<State>,
    /// The present id.
    id: watch::Sender<Option<Arc<str>>>,
    /// Wakes up the renewal.
    pub(super) due: Notify,
}

#[derive(Default)]
struct State {
    former: Vec<Arc<str>>,
    begun: Option<Instant>,
    renewed: Option<Instant>,
    roster: Arc<Roster>,
}

impl Lease {
    pub(super) fn new(ttl: Arc<PresenceTtl>) -> Self {
        Self {
            ttl,
            state: Mutex::default(),
            id: watch::Sender::new(None),
            due: Notify::new(),
        }
    }

    pub(super) fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.state.lock().roster)
    }

    /// Moves with each new id.
    pub(super) fn ids(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.id.subscribe()
    }

    /// The ids this gateway had before, parted by spaces.
    pub(super) fn former(&self) -> String {
        self.state.lock().former.join(" ")
    }

    /// The gateway's id, once it has one.
    pub(super) async fn id(&self) -> Result<Arc<str>, BrokerError> {
        let mut ids = self.id.subscribe();
        let id = tokio::time::timeout(PATIENCE, ids.wait_for(Option::is_some)).await;
        match id {
            Ok(Ok(id)) => Ok(id.clone().unwrap_or_default()),
            _ => Err(BrokerError::Unavailable(
                "this gateway has no lease yet".into(),
            )),
        }
    }

    /// It has held for a whole TTL: whoever came back after an outage has had the time to renew its own.
    pub(super) fn may_sweep(&self) -> bool {
        let state = self.state.lock();
        let since = |at: Option<Instant>| at.map(|at| at.elapsed());
        since(state.begun).is_some_and(|held| held >= self.ttl.get())
            && since(state.renewed).is_some_and(|age| age < self.ttl.get())
    }

    /// Has the next renewal begin a lease under a new id.
    pub(super) fn renounce(&self) {
        self.drop_id();
        self.due.notify_one();
    }

    fn drop_id(&self) {
        let Some(old) = self.id.send_replace(None) else {
            return;
        };
        let mut state = self.state.lock();
        state.former.push(old);
        if state.former.len() > FORMER_IDS {
            state.former.remove(0);
        }
    }

    /// Takes an answer in. Gives whether a gateway is dead now that wasn't before.
    fn take(&self, id: &str, roster: Roster) -> bool {
        let news = {
            let mut state = self.state.lock();
            state.renewed = Some(Instant::now());
            let news = roster
                .dead()
                .any(|(gateway, _)| state.roster.died(gateway, self.ttl.get()).is_none());
            state.roster = Arc::new(roster);
            news
        };
        if self.id.borrow().as_deref() != Some(id) {
            self.state.lock().begun = Some(Instant::now());
            self.id.send_replace(Some(id.into()));
        }
        news
    }

    fn interval(&self) -> Duration {
        (self.ttl.get() / 4).min(RENEWAL)
    }
}

impl Engine {
    /// Renews the lease for ever.
    pub(super) async fn keep_lease(self: Arc<Self>) {
        let mut failing = false;
        loop {
            let renewed = self.renew_lease().await;
            let was_failing = std::mem::replace(&mut failing, renewed.is_err());
            let pause = match renewed {
                Ok(()) => self.lease.interval(),
                Err(error) => {
                    if !was_failing {
                        tracing::warn!(%error, "can't renew the lease of this gateway");
                    }
                    self.lease.interval() / 4
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.lease.due.notified() => {}
            }
        }
    }

    async fn renew_lease(&self) -> Result<(), BrokerError> {
        let mut wanted = self
            .lease
            .id
            .borrow()
            .as_deref()
            .unwrap_or_default()
            .to_owned();
        loop {
            let (id, roster) = self.ask_for_lease(&wanted).await?;
            if id.is_empty() {
                tracing::warn!(
                    "the lease of this gateway was lost, its members are registered again"
                );
                self.lease.drop_id();
                wanted = String::new();
                continue;
            }
            // Renounced in the meantime: that answer is of the past.
            if !wanted.is_empty() && self.lease.id.borrow().as_deref() != Some(&*wanted) {
                wanted = String::new();
                continue;
            }
            if self.lease.take(&id, roster) {
                tracing::info!("another gateway is gone, its members are swept");
                self.presence.want_sweep_of_all();
            }
            return Ok(());
        }
    }

    async fn ask_for_lease(&self, id: &str) -> Result<(String, Roster), BrokerError> {
        let key = self.keys.gateways();
        let mut command = LEASE.on(&[&key]);
        command
            .arg(id)
            .arg(format!("{:08x}", rand::random::<u32>()));
        command
            .arg(millis(self.lease.ttl.get()))
            .arg(millis(REMEMBERED));
        let call = Call::of(slot(&key), &command, &LEASE);
        let [id, now, gateways] = array(self.pool.call(call).await?)?;
        let mut leases = HashMap::new();
        for pair in list(gateways)?.chunks_exact(2) {
            leases.insert(text(&pair[0])?.to_owned(), expiry(&pair[1])?);
        }
        let roster = Roster {
            now_ms: number(&now)?,
            leases,
        };
        Ok((text(&id)?.to_owned(), roster))
    }
}

/// Redis writes large scores with an exponent at times.
fn expiry(score: &Value) -> Result<u64, BrokerError> {
    if let Ok(exact) = number(score) {
        return Ok(exact);
    }
    let score: f64 = text(score)?
        .parse()
        .map_err(|_| super::wire::corrupt("a lease without expiry"))?;
    Ok(
        u64::try_from(Duration::from_secs_f64(score.max(0.0) / 1000.0).as_millis())
            .unwrap_or(u64::MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn roster() -> Roster {
        let leases = [
            ("999990000.live", 1_000_020_000),
            ("999000000.dead", 1_000_000_000),
        ];
        Roster {
            now_ms: 1_000_000_000,
            leases: leases.map(|(id, expires)| (id.to_owned(), expires)).into(),
        }
    }

    #[test]
    fn the_dead_are_those_whose_lease_has_expired() {
        assert_eq!(roster().died("999990000.live", TTL), None);
        assert_eq!(roster().died("999000000.dead", TTL), Some(999_970_000));
    }

    #[test]
    fn the_unknown_are_dead_unless_they_may_be_new() {
        assert_eq!(roster().died("999999000.new", TTL), None);
        assert_eq!(roster().died("1000005000.newer", TTL), None);
        assert_eq!(roster().died("900000000.old", TTL), Some(999_970_000));
    }

    #[test]
    fn news_is_a_death_that_was_not_known() {
        let lease = Lease::new(Arc::new(PresenceTtl::new(TTL)));
        assert!(lease.take("a", roster()));
        assert!(!lease.take("a", roster()));
        let mut later = roster();
        later.now_ms = 1_000_020_000;
        assert!(lease.take("a", later));
    }

    #[tokio::test(start_paused = true)]
    async fn sweeping_waits_until_the_lease_has_held_for_a_ttl() {
        let lease = Lease::new(Arc::new(PresenceTtl::new(TTL)));
        lease.take("a", roster());
        assert!(!lease.may_sweep());
        tokio::time::advance(TTL).await;
        assert!(!lease.may_sweep(), "it may have been lost meanwhile");
        lease.take("a", roster());
        assert!(lease.may_sweep());
        lease.drop_id();
        lease.take("b", roster());
        assert!(!lease.may_sweep());
        assert_eq!(lease.former(), "a");
    }
}
