//! How much a user may ask for over HTTP: the same rates as on a connection, kept by user, on this gateway alone.

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;
use rotunda_crds::config::LimitsConfig;

use crate::dialect::Failure;
use crate::ids::UserId;
use crate::limits::{Admission, Kind, RateLimits};

/// Users that are remembered; past it everyone starts afresh, which errs on the side of admitting.
const MAX_USERS: usize = 100_000;

/// The rates of users over HTTP. One lock: it is held for a few instructions, and requests are rare beside frames.
#[derive(Debug, Default)]
pub struct UserLimits(Mutex<HashMap<UserId, RateLimits>>);

impl UserLimits {
    /// Counts one request.
    pub fn admit(
        &self,
        user: &UserId,
        kind: Kind,
        limits: &LimitsConfig,
        now: Instant,
    ) -> Result<(), Failure> {
        let mut users = self.0.lock();
        if users.len() >= MAX_USERS {
            users.clear();
        }
        let rates = users
            .entry(user.clone())
            .or_insert_with(|| RateLimits::new(limits, now));
        match rates.admit(kind, limits, now) {
            Admission::Admitted => Ok(()),
            Admission::Refused { retry_after } => Err(Failure::rate_limited(
                "too many requests; slow down",
                retry_after,
            )),
            Admission::Exhausted => Err(Failure::rate_limited(
                "too many requests after repeated warnings",
                std::time::Duration::from_secs(10),
            )),
        }
    }
}
