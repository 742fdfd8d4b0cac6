//! How long an object that failed waits before it is tried again: longer with each failure in a row, forgotten upon the
//! first success. Knows keys and durations, nothing of Kubernetes.

use std::{collections::HashMap, hash::Hash, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Delay after the first failure.
pub const FIRST: Duration = Duration::from_secs(1);
/// The longest delay, jitter aside.
pub const LONGEST: Duration = Duration::from_mins(5);

/// Failures in a row, by key.
#[derive(Debug)]
pub struct Backoff<K> {
    failures: Mutex<HashMap<K, Failures>>,
}

/// The failures in a row of one key.
#[derive(Debug, Clone, Copy)]
struct Failures {
    attempts: u32,
    /// When it is due again.
    due: Instant,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Failures in a row, this one included.
    pub attempts: u32,
    /// Wait for so long.
    pub delay: Duration,
    /// False if it failed before it was due, because something else asked for it: then it still is due when it was.
    pub counted: bool,
}

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self {
            failures: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash> Backoff<K> {
    /// One more failure. It counts once a delay: a busy object, tried at each of its changes, must not use up its patience
    /// within seconds.
    pub fn failed(&self, key: K, jitter: f64) -> Retry {
        let now = Instant::now();
        let mut failures = self.failures.lock();
        let known = failures.get(&key).copied();
        if let Some(Failures { attempts, due }) = known.filter(|known| now < known.due) {
            return Retry {
                attempts,
                delay: due - now,
                counted: false,
            };
        }
        let attempts = known.map_or(0, |known| known.attempts).saturating_add(1);
        let delay = compute_delay(attempts, jitter);
        failures.insert(
            key,
            Failures {
                attempts,
                due: now + delay,
            },
        );
        Retry {
            attempts,
            delay,
            counted: true,
        }
    }

    /// Forgets the failures of `key`.
    pub fn succeeded(&self, key: &K) {
        self.failures.lock().remove(key);
    }
}

/// Delay before the next try after `attempts` failures: doubling from [`FIRST`] to [`LONGEST`], and up to a fifth less by
/// `jitter` (0 to 1), so that objects that failed together don't return together.
pub fn compute_delay(attempts: u32, jitter: f64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(31);
    let full = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    full.mul_f64(1.0 - 0.2 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn delay_stays_between_four_fifths_of_the_first_and_the_longest(attempts in any::<u32>(), jitter in 0.0..=1.0) {
            let delay = compute_delay(attempts, jitter);
            prop_assert!(delay >= FIRST.mul_f64(0.8) && delay <= LONGEST);
        }

        #[test]
        fn delay_never_shrinks_with_more_failures(attempts in 0..u32::MAX, jitter in 0.0..=1.0) {
            prop_assert!(compute_delay(attempts + 1, jitter) >= compute_delay(attempts, jitter));
        }

        #[test]
        fn count_is_the_number_of_due_failures_since_the_last_success(
            outcomes in prop::collection::vec((any::<bool>(), any::<bool>()), 0..64),
        ) {
            paused(async {
                let backoff = Backoff::default();
                let (mut expected, mut delay) = (0, Duration::ZERO);
                for (ok, wait) in outcomes {
                    if ok {
                        backoff.succeeded(&"one");
                        expected = 0;
                        continue;
                    }
                    let due = wait || expected == 0;
                    if wait {
                        tokio::time::advance(delay).await;
                    }
                    expected += u32::from(due);
                    let retry = backoff.failed("one", 0.0);
                    assert_eq!((retry.attempts, retry.counted), (expected, due));
                    delay = retry.delay;
                }
            });
        }
    }

    fn paused(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.expect("a runtime").block_on(test);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_before_it_is_due_neither_count_nor_put_it_off() {
        let backoff = Backoff::default();
        for _ in 0..3 {
            backoff.failed("one", 0.0);
            tokio::time::advance(LONGEST).await;
        }
        let fourth = backoff.failed("one", 0.0);
        assert_eq!((fourth.attempts, fourth.delay), (4, Duration::from_secs(8)));
        tokio::time::advance(Duration::from_secs(3)).await;
        let early = backoff.failed("one", 0.0);
        assert_eq!(
            (early.attempts, early.delay, early.counted),
            (4, Duration::from_secs(5), false)
        );
        assert_eq!(backoff.failed("another", 0.0).attempts, 1);
    }

    #[test]
    fn delays_double_from_one_second_to_five_minutes() {
        let delays: Vec<u64> = (1..=10).map(|n| compute_delay(n, 0.0).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    }
}
