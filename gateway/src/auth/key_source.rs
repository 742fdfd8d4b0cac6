//! A key set that is kept at a URL: fetched by a task of its own, kept in memory, fetched again before it is too old.
//!
//! Tokens are checked with what is in memory. Who brings a token of an unknown key waits for a fetch that all such tokens share, and that is made at
//! most every [`MIN_INTERVAL`], so that made-up key ids can't be turned against the source. A set that was once fetched stays until a
//! newer one is there: a source that is away locks nobody out whose key is known.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::Rng;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::fetch::{FetchError, Fetched};
use super::key_set::KeySet;
use crate::metrics::Metrics;

/// The least time between two fetches that tokens of unknown keys ask for.
pub(super) const MIN_INTERVAL: Duration = Duration::from_secs(10);

/// How long a set counts as fresh whose source doesn't say (`Cache-Control: max-age`), and the limits of what it may say.
const FRESH: Duration = Duration::from_mins(5);
const FRESH_AT_LEAST: Duration = Duration::from_mins(1);
const FRESH_AT_MOST: Duration = Duration::from_hours(1);

/// The next fetch is made after this part of that time, in percent, so that it comes before the end and gateways don't all come at once.
const AHEAD_PERCENT: std::ops::Range<u32> = 70..90;

/// After a fetch that failed: doubling from the first to the last of these.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// How long a token waits for a fetch: a little more than one may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(6);

/// Most tokens that wait at the same time; the others are told that the source is away.
const MAX_WAITING: usize = 1024;

/// Fetches a set once.
pub(super) type Fetch =
    Box<dyn Fn() -> BoxFuture<'static, Result<Fetched, FetchError>> + Send + Sync>;

/// A set and where it comes from. Dropping the last handle ends its task.
#[derive(Debug)]
pub(super) struct KeySource {
    pub(super) url: String,
    shared: Arc<Shared>,
    /// Until the task is started.
    fetch: Mutex<Option<FetchOnce>>,
    stop: CancellationToken,
    _stop_with_me: DropGuard,
}

struct FetchOnce(Fetch);

impl std::fmt::Debug for FetchOnce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FetchOnce")
    }
}

#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    wanted: Notify,
    waiting: Semaphore,
}

#[derive(Clone, Debug, Default)]
struct State {
    keys: Arc<KeySet>,
    /// When the last fetch ended, and how.
    last: Option<(Instant, Looked)>,
}

/// What is known after looking once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// The set is as new as can be asked for.
    Fresh,
    Away,
}

impl KeySource {
    pub(super) fn new(url: String, fetch: Fetch) -> Self {
        let stop = CancellationToken::new();
        Self {
            url,
            shared: Arc::new(Shared {
                state: watch::Sender::default(),
                wanted: Notify::new(),
                waiting: Semaphore::new(MAX_WAITING),
            }),
            fetch: Mutex::new(Some(FetchOnce(fetch))),
            _stop_with_me: stop.clone().drop_guard(),
            stop,
        }
    }

    /// Starts to fetch, unless that was done before.
    pub(super) fn start(
        &self,
        tracker: &TaskTracker,
        stopping: &CancellationToken,
        metrics: &Arc<Metrics>,
    ) {
        let Some(FetchOnce(fetch)) = self.fetch.lock().take() else {
            return;
        };
        let (shared, metrics) = (Arc::clone(&self.shared), Arc::clone(metrics));
        let (stop, stopping) = (self.stop.clone(), stopping.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = stopping.cancelled() => {}
                () = shared.follow(fetch, &metrics) => {}
            }
        });
    }

    /// The keys at hand; none before the first fetch.
    pub(super) fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.shared.state.borrow().keys)
    }

    /// Sees to it that the set is no older than [`MIN_INTERVAL`], as far as it can be had.
    pub(super) async fn look_again(&self) -> Looked {
        let mut state = self.shared.state.subscribe();
        if let Some(looked) = state.borrow_and_update().recent() {
            return looked;
        }
        let Ok(_place) = self.shared.waiting.try_acquire() else {
            return Looked::Away;
        };
        self.shared.wanted.notify_one();
        let changed = tokio::time::timeout(LOOK_TIMEOUT, state.changed()).await;
        match (changed, state.borrow().last) {
            (Ok(Ok(())), Some((_, looked))) => looked,
            _ => Looked::Away,
        }
    }
}

impl State {
    /// How the last fetch ended, if it is too early for another one.
    fn recent(&self) -> Option<Looked> {
        self.last
            .filter(|(at, _)| at.elapsed() < MIN_INTERVAL)
            .map(|(_, looked)| looked)
    }
}

impl Shared {
    async fn follow(&self, fetch: Fetch, metrics: &Metrics) {
        let mut failures = 0;
        loop {
            let fetched = fetch().await;
            metrics.key_set_fetched(fetched.is_ok());
            let pause = match fetched {
                Ok(fetched) => {
                    if std::mem::take(&mut failures) > 0 {
                        tracing::info!("a set of token keys can be fetched again");
                    }
                    let fresh_for = fetched.fresh_for;
                    self.note(Some(fetched.keys), Looked::Fresh);
                    ahead_of(fresh_for)
                }
                Err(error) => {
                    failures += 1;
                    self.tell(&error, failures);
                    self.note(None, Looked::Away);
                    retry_after(failures)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.asked() => {}
            }
        }
    }

    /// Once a while is enough: a source that is away for a day shouldn't fill the log.
    fn tell(&self, error: &FetchError, failures: u32) {
        if failures.is_power_of_two() {
            let have_some = !self.state.borrow().keys.keys().is_empty();
            tracing::warn!(
                error = error as &dyn std::error::Error,
                failures,
                have_some,
                "a set of token keys can't be fetched, what was fetched before stays"
            );
        }
    }

    fn note(&self, keys: Option<KeySet>, looked: Looked) {
        self.state.send_modify(|state| {
            if let Some(keys) = keys {
                state.keys = Arc::new(keys);
            }
            state.last = Some((Instant::now(), looked));
        });
    }

    /// Waits until a token asks for a key, and it isn't too early.
    async fn asked(&self) {
        loop {
            self.wanted.notified().await;
            if self.state.borrow().recent().is_none() {
                return;
            }
        }
    }
}

/// When to fetch again what is fresh for so long.
fn ahead_of(fresh_for: Option<Duration>) -> Duration {
    let fresh = fresh_for
        .unwrap_or(FRESH)
        .clamp(FRESH_AT_LEAST, FRESH_AT_MOST);
    fresh * rand::rng().random_range(AHEAD_PERCENT) / 100
}

/// When to try again after so many failures: somewhere in the second half of a time that doubles.
fn retry_after(failures: u32) -> Duration {
    let (first, last) = RETRY;
    let most = first
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(last);
    most * rand::rng().random_range(50..=100) / 100
}
