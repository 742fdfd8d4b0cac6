//! Clients that speak the protocol over each transport, as a well-behaved client library would, and note what they see.

pub mod feed;
pub mod frame;
pub mod http;
pub mod notebook;
pub mod polls;
pub mod publisher;
pub mod sse;
pub mod subscriber;
pub mod wishes;
pub mod ws;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::Duration;

/// The longest wait between two attempts. The protocol's 20 s would be most of a short run.
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
const FIRST_BACKOFF: Duration = Duration::from_millis(500);

/// Why a subscriber gets nothing.
#[derive(Debug)]
pub enum Trouble {
    /// The connection broke, or never came about: what the faults do.
    Broken(anyhow::Error),
    /// The gateway said no, with a code of the protocol.
    Refused { code: String, message: String },
    /// What no gateway should ever say.
    Nonsense(String),
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}

/// How long until the next attempt: a random time up to a bound that doubles (full jitter).
#[derive(Debug)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_BACKOFF)
    }
}

impl Backoff {
    pub fn next(&mut self, random: &mut StdRng) -> Duration {
        let wait = self.0.mul_f64(random.random_range(0.0..1.0));
        self.0 = (self.0 * 2).min(LONGEST_BACKOFF);
        wait
    }

    pub fn reset(&mut self) {
        *self = Self::default();
    }
}
