//! A room's rate as a leaky bucket that holds one second's worth (the generic cell rate algorithm, ITU-T I.371: one timestamp is all its state).

use std::time::Duration;

/// A second, which is also what a bucket holds.
const SECOND_US: u64 = 1_000_000;

#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// When the bucket will have run empty, in microseconds since the Unix epoch.
    empty_at_us: u64,
}

impl Bucket {
    /// Takes room for one message, or says when there will be some.
    pub(super) fn take(&mut self, per_second: u32, now_ms: u64) -> Result<(), Duration> {
        let now_us = now_ms.saturating_mul(1000);
        let next = self.empty_at_us.max(now_us) + SECOND_US / u64::from(per_second.max(1));
        if next > now_us + SECOND_US {
            let wait_us = next - now_us - SECOND_US;
            return Err(Duration::from_millis(wait_us.div_ceil(1000)));
        }
        self.empty_at_us = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_takes_as_many_as_the_rate_and_then_one_at_a_time() {
        let mut bucket = Bucket::default();
        for _ in 0..4 {
            assert_eq!(bucket.take(4, 1000), Ok(()));
        }
        assert_eq!(bucket.take(4, 1000), Err(Duration::from_millis(250)));
        assert_eq!(bucket.take(4, 1249), Err(Duration::from_millis(1)));
        assert_eq!(bucket.take(4, 1250), Ok(()));
        assert_eq!(bucket.take(4, 1250), Err(Duration::from_millis(250)));
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let mut bucket = Bucket::default();
        let taken = (0..100).filter(|_| bucket.take(10, 60_000).is_ok()).count();
        assert_eq!(taken, 10);
    }
}
