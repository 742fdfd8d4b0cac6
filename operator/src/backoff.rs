//! How long an object that failed waits before it is tried again: longer with each failure in a row, forgotten upon the
//! first success. Knows keys and durations, nothing of Kubernetes.

use std::{collections::HashMap, hash::Hash, time::Duration};

use parking_lot::Mutex;

/// Delay after the first failure.
pub const FIRST: Duration = Duration::from_secs(1);
/// The longest delay, jitter aside.
pub const LONGEST: Duration = Duration::from_mins(5);

/// Attempt counts by key.
#[derive(Debug)]
pub struct Backoff<K> {
    attempts: Mutex<HashMap<K, u32>>,
}

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self {
            attempts: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash> Backoff<K> {
    /// Counts one more failure and returns how many there were in a row, this one included.
    pub fn failed(&self, key: K) -> u32 {
        let mut attempts = self.attempts.lock();
        let count = attempts.entry(key).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }

    /// Forgets the failures of `key`.
    pub fn succeeded(&self, key: &K) {
        self.attempts.lock().remove(key);
    }

    /// Failures in a row of `key`.
    pub fn attempts(&self, key: &K) -> u32 {
        self.attempts.lock().get(key).copied().unwrap_or(0)
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
        fn count_is_the_number_of_failures_since_the_last_success(outcomes in prop::collection::vec(any::<bool>(), 0..64)) {
            let backoff = Backoff::default();
            let mut expected = 0;
            for ok in outcomes {
                if ok {
                    backoff.succeeded(&"one");
                    expected = 0;
                } else {
                    expected += 1;
                    prop_assert_eq!(backoff.failed("one"), expected);
                }
                prop_assert_eq!(backoff.attempts(&"one"), expected);
                prop_assert_eq!(backoff.attempts(&"another"), 0);
            }
        }
    }

    #[test]
    fn delays_double_from_one_second_to_five_minutes() {
        let delays: Vec<u64> = (1..=10).map(|n| compute_delay(n, 0.0).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    }
}
