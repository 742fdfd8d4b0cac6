//! A time that a reload may change while others go by it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::millis;

/// How long a member stays without a sign of life.
#[derive(Debug)]
pub(super) struct PresenceTtl(AtomicU64);

impl PresenceTtl {
    pub(super) fn new(ttl: Duration) -> Self {
        Self(AtomicU64::new(millis(ttl)))
    }

    pub(super) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, ttl: Duration) {
        self.0.store(millis(ttl), Ordering::Relaxed);
    }
}
