//! How long to wait before trying again: 100 ms doubling to 1 s, each half fixed and half random, so that many gateways don't come at once.
//! A server that is back is so found within a second, and one that is away for long costs each gateway one try a second.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.step()).await;
    }

    fn step(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(LONGEST);
        full / 2 + (full / 2).mul_f64(rand::random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_start_over() {
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            backoff.step();
        }
        let longest = backoff.step();
        assert!(longest >= LONGEST / 2 && longest <= LONGEST);
        backoff.reset();
        assert!(backoff.step() <= FIRST);
    }
}
