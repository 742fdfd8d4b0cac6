//! How fast one connection may ask for things: token buckets that refill with time.
//!
//! Messages and other commands have buckets of their own, so that a client that rejoins a hundred rooms isn't taken for a flood. Who goes on
//! at more than twice the allowed rate despite the errors runs out of warnings too, and is closed. Pure: it is told the time.

use std::time::{Duration, Instant};

use rotunda_crds::config::LimitsConfig;

/// Tokens that refill at a steady rate up to a burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn full(burst: f64, now: Instant) -> Self {
        Self {
            tokens: burst,
            at: now,
        }
    }

    /// Takes tokens; or says when they will be there.
    pub(crate) fn take(
        &mut self,
        amount: f64,
        rate: f64,
        burst: f64,
        now: Instant,
    ) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + passed * rate).min(burst);
        if self.tokens >= amount {
            self.tokens -= amount;
            return Ok(());
        }
        let wait = (amount - self.tokens) / rate;
        Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::from_hours(1)))
    }
}

/// Which bucket something is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message or a signal, with the bytes of its data.
    Message { bytes: usize },
    /// Any other command.
    Command,
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// Refused; trying again makes sense after this time.
    Refused {
        retry_after: Duration,
    },
    /// Refused once too often.
    Exhausted,
}

/// The buckets of one connection, or of one user over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    messages: Bucket,
    bytes: Bucket,
    commands: Bucket,
    warnings: Bucket,
}

impl RateLimits {
    pub fn new(limits: &LimitsConfig, now: Instant) -> Self {
        let rates = Rates::new(limits);
        Self {
            messages: Bucket::full(rates.burst, now),
            bytes: Bucket::full(rates.byte_burst, now),
            commands: Bucket::full(rates.command_burst, now),
            warnings: Bucket::full(rates.warnings, now),
        }
    }

    /// Counts one command.
    pub fn admit(&mut self, kind: Kind, limits: &LimitsConfig, now: Instant) -> Admission {
        let rates = Rates::new(limits);
        if rates.per_second == 0.0 && rates.bytes_per_second == 0.0 {
            return Admission::Admitted;
        }
        let taken = match kind {
            _ if rates.per_second == 0.0 => Ok(()),
            Kind::Message { .. } => self.messages.take(1.0, rates.per_second, rates.burst, now),
            Kind::Command => self
                .commands
                .take(1.0, rates.per_second, rates.command_burst, now),
        };
        let taken = match (taken, kind) {
            (Ok(()), Kind::Message { bytes }) if rates.bytes_per_second > 0.0 => {
                // A message larger than the burst would never fit: it costs the whole burst instead.
                let cost = to_f64(bytes as u64).min(rates.byte_burst);
                self.bytes
                    .take(cost, rates.bytes_per_second, rates.byte_burst, now)
            }
            (taken, _) => taken,
        };
        match taken {
            Ok(()) => Admission::Admitted,
            Err(retry_after) => {
                match self
                    .warnings
                    .take(1.0, rates.warning_rate, rates.warnings, now)
                {
                    Ok(()) => Admission::Refused { retry_after },
                    Err(_) => Admission::Exhausted,
                }
            }
        }
    }
}

/// The configured numbers, as the buckets need them.
struct Rates {
    per_second: f64,
    burst: f64,
    bytes_per_second: f64,
    byte_burst: f64,
    command_burst: f64,
    warnings: f64,
    warning_rate: f64,
}

impl Rates {
    fn new(limits: &LimitsConfig) -> Self {
        let per_second = f64::from(limits.messages_per_second);
        let burst = f64::from(limits.burst.max(1));
        let bytes_per_second = to_f64(limits.bytes_per_second);
        Self {
            per_second,
            burst,
            bytes_per_second,
            // Two seconds' worth, and at least one message of the largest size.
            byte_burst: (bytes_per_second * 2.0).max(f64::from(limits.message_bytes)),
            // A reconnecting client joins all its rooms at once, and may leave as many.
            command_burst: burst.max(2.0 * f64::from(limits.rooms_per_connection)),
            warnings: (2.0 * burst).max(10.0),
            warning_rate: per_second.max(1.0),
        }
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "rates and sizes are far below 2^52"
)]
fn to_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> LimitsConfig {
        LimitsConfig {
            messages_per_second: 10,
            burst: 5,
            rooms_per_connection: 10,
            ..LimitsConfig::default()
        }
    }

    const MESSAGE: Kind = Kind::Message { bytes: 10 };

    #[test]
    fn a_burst_is_admitted_and_the_next_is_told_when_to_come_back() {
        let start = Instant::now();
        let mut rates = RateLimits::new(&limits(), start);
        for _ in 0..5 {
            assert_eq!(rates.admit(MESSAGE, &limits(), start), Admission::Admitted);
        }
        let Admission::Refused { retry_after } = rates.admit(MESSAGE, &limits(), start) else {
            panic!("the sixth was admitted")
        };
        assert_eq!(retry_after.as_millis(), 100);
        let later = start + Duration::from_millis(101);
        assert_eq!(rates.admit(MESSAGE, &limits(), later), Admission::Admitted);
    }

    #[test]
    fn joining_many_rooms_does_not_use_up_the_messages() {
        let now = Instant::now();
        let mut rates = RateLimits::new(&limits(), now);
        for _ in 0..20 {
            assert_eq!(
                rates.admit(Kind::Command, &limits(), now),
                Admission::Admitted
            );
        }
        assert!(matches!(
            rates.admit(Kind::Command, &limits(), now),
            Admission::Refused { .. }
        ));
        assert_eq!(rates.admit(MESSAGE, &limits(), now), Admission::Admitted);
    }

    #[test]
    fn a_flood_runs_out_of_warnings() {
        let start = Instant::now();
        let mut rates = RateLimits::new(&limits(), start);
        let exhausted = (0..1000).any(|n| {
            rates.admit(MESSAGE, &limits(), start + Duration::from_millis(n * 10))
                == Admission::Exhausted
        });
        assert!(exhausted);
    }

    #[test]
    fn someone_a_little_too_fast_is_slowed_down_for_ever_but_never_closed() {
        let start = Instant::now();
        let mut rates = RateLimits::new(&limits(), start);
        let exhausted = (0..10_000).any(|n| {
            rates.admit(MESSAGE, &limits(), start + Duration::from_millis(n * 66))
                == Admission::Exhausted
        });
        assert!(!exhausted);
    }

    #[test]
    fn zero_is_no_limit() {
        let now = Instant::now();
        let limits = LimitsConfig {
            messages_per_second: 0,
            ..limits()
        };
        let mut rates = RateLimits::new(&limits, now);
        for _ in 0..1000 {
            assert_eq!(rates.admit(MESSAGE, &limits, now), Admission::Admitted);
        }
    }

    #[test]
    fn bytes_have_a_rate_of_their_own() {
        let now = Instant::now();
        let limits = LimitsConfig {
            messages_per_second: 0,
            bytes_per_second: 1000,
            message_bytes: 2000,
            ..limits()
        };
        let mut rates = RateLimits::new(&limits, now);
        assert_eq!(
            rates.admit(Kind::Message { bytes: 2000 }, &limits, now),
            Admission::Admitted
        );
        let Admission::Refused { retry_after } =
            rates.admit(Kind::Message { bytes: 500 }, &limits, now)
        else {
            panic!("the bucket was empty")
        };
        assert_eq!(retry_after.as_millis(), 500);
    }
}
