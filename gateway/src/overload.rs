//! Overload: who is still let in, and how fast, so that those who are connected stay well.
//!
//! Three things can stand in the way of a handshake. The gateway is **full**, or its **memory** is past the watermark: then it is answered 503.
//! Or **many come at once**, as after the end of another gateway: a few at a time are let in, which is as fast as processor and Redis allow and no
//! faster, since the next one begins when one before is done. The others wait in line, in the order in which they came; who would wait too long is
//! answered 503 too, with a time to come back that spreads them. It knows no HTTP and no transport.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::Rng;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::gateway::Gateway;
use crate::memory::{self, Usage};

/// Handshakes under way for each processor: enough that none is idle while some wait for Redis, few enough that a delivery that comes in
/// between waits for milliseconds.
const TURNS_PER_PROCESSOR: usize = 32;

/// What a client in line takes in memory, estimated generously: HTTP's buffers, its request, its task.
const BYTES_IN_LINE: u64 = 16 * 1024;

/// The part of the memory limit that those in line may take, and the bounds of their number.
const LINE_SHARE: u64 = 16;
const SHORTEST_LINE: usize = 256;
const LONGEST_LINE: usize = 8192;

/// How long one waits in line. Clients commonly give up after ten seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long each part of a turn is kept. What takes longer waits for Redis or for a set of keys, and must not keep out those who need another.
const LONGEST_TURN: Duration = Duration::from_millis(250);

/// When to come back to a gateway with a long line, in milliseconds: each at random, so that they don't come together again.
const CROWD_RETRY_MS: std::ops::Range<u64> = 1000..10_000;

/// The same where connections have to end first.
const FULL_RETRY_MS: std::ops::Range<u64> = 5000..15_000;

/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Once past its watermark, memory has to fall this many percent of the limit below it, or the door would swing.
const RELIEF_PERCENT: u64 = 2;

/// Why somebody isn't let in now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// There are as many connections as allowed.
    Full,
    /// Memory is past its watermark.
    Memory,
    /// Too many want in at once.
    Crowd,
}

impl Busy {
    /// The value of the metric's label `reason`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Memory => "memory",
            Self::Crowd => "crowd",
        }
    }

    /// A sentence for the client.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Full => "this gateway has as many connections as it takes; try again",
            Self::Memory => "this gateway is short of memory; try again",
            Self::Crowd => "more want to connect at once than this gateway takes in; try again",
        }
    }

    /// When to come back, another time for each.
    pub fn retry_after(self) -> Duration {
        let range = match self {
            Self::Full | Self::Memory => FULL_RETRY_MS,
            Self::Crowd => CROWD_RETRY_MS,
        };
        Duration::from_millis(rand::rng().random_range(range))
    }
}

/// The door of a gateway.
#[derive(Debug)]
pub struct Overload {
    turns: Arc<Semaphore>,
    line: AtomicUsize,
    longest_line: usize,
    /// Let in, and not among the connections yet.
    arriving: AtomicUsize,
    short_of_memory: AtomicBool,
}

impl Overload {
    /// A door for this machine, and for this much memory.
    pub fn new(memory_limit: Option<u64>) -> Arc<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let line = memory_limit.map_or(LONGEST_LINE, |limit| {
            let places = limit / LINE_SHARE / BYTES_IN_LINE;
            usize::try_from(places).unwrap_or(LONGEST_LINE)
        });
        Self::with(
            processors * TURNS_PER_PROCESSOR,
            line.clamp(SHORTEST_LINE, LONGEST_LINE),
        )
    }

    fn with(turns: usize, longest_line: usize) -> Arc<Self> {
        Arc::new(Self {
            turns: Arc::new(Semaphore::new(turns)),
            line: AtomicUsize::new(0),
            longest_line,
            arriving: AtomicUsize::new(0),
            short_of_memory: AtomicBool::new(false),
        })
    }

    /// Waits for one's turn. `connections` and `max` are asked for again afterwards: much may have changed meanwhile.
    pub async fn enter(
        self: &Arc<Self>,
        connections: impl Fn() -> usize,
        max: impl Fn() -> usize,
    ) -> Result<Turn, Busy> {
        if connections() >= max() {
            return Err(Busy::Full);
        }
        self.check_memory()?;
        let permit = self.wait_in_line().await?;
        self.check_memory()?;
        // First counted, then compared: two that take the last place at once may both be refused, never both be let in.
        let arriving = self.arriving.fetch_add(1, Ordering::SeqCst);
        let arrival = Arrival(Arc::clone(self));
        if connections() + arriving >= max() {
            return Err(Busy::Full);
        }
        Ok(Turn {
            permit: Some(permit),
            arrival: Some(arrival),
        })
    }

    fn check_memory(&self) -> Result<(), Busy> {
        if self.short_of_memory.load(Ordering::Relaxed) {
            return Err(Busy::Memory);
        }
        Ok(())
    }

    async fn wait_in_line(&self) -> Result<OwnedSemaphorePermit, Busy> {
        if let Ok(permit) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(permit);
        }
        let place = Place(&self.line);
        if self.line.fetch_add(1, Ordering::Relaxed) >= self.longest_line {
            return Err(Busy::Crowd);
        }
        let turn = timeout(LONGEST_WAIT, Arc::clone(&self.turns).acquire_owned()).await;
        drop(place);
        match turn {
            Ok(Ok(permit)) => Ok(permit),
            // The turns are never closed.
            Err(_) | Ok(Err(_)) => Err(Busy::Crowd),
        }
    }

    /// Takes in how much memory is used. Gives whether that opened or closed the door.
    fn note_memory(&self, usage: Usage, watermark_percent: u32) -> Option<bool> {
        let was_short = self.short_of_memory.load(Ordering::Relaxed);
        let watermark = u64::from(watermark_percent);
        let threshold = if was_short {
            watermark.saturating_sub(RELIEF_PERCENT)
        } else {
            watermark
        };
        let is_short = usage.is_past(threshold);
        self.short_of_memory.store(is_short, Ordering::Relaxed);
        (is_short != was_short).then_some(is_short)
    }
}

/// Compares the memory in use with the watermark now and then. Never ends.
pub async fn watch_memory(gateway: Arc<Gateway>) {
    loop {
        // Files of the kernel that may take it a while.
        let usage = tokio::task::spawn_blocking(memory::usage).await;
        if let Ok(Some(usage)) = usage {
            let watermark = gateway.settings().config.memory_high_watermark;
            match gateway.overload.note_memory(usage, watermark) {
                Some(true) => tracing::warn!(
                    used = usage.used,
                    limit = usage.limit,
                    watermark,
                    "memory is past its watermark: no more clients are let in"
                ),
                Some(false) => tracing::info!("memory is below its watermark again"),
                None => {}
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A handshake that is let in; the next one's turn comes when it is dropped.
#[derive(Debug)]
pub struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    arrival: Option<Arrival>,
}

impl Turn {
    /// From now on it counts among the connections.
    #[must_use]
    pub fn arrived(mut self) -> Self {
        self.arrival = None;
        self
    }

    /// Keeps the turn while this goes on, but not for ever.
    pub async fn during<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        if let Ok(done) = timeout(LONGEST_TURN, &mut work).await {
            return done;
        }
        self.permit = None;
        work.await
    }
}

#[derive(Debug)]
struct Arrival(Arc<Overload>);

impl Drop for Arrival {
    fn drop(&mut self) {
        self.0.arriving.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A place in line, given up also by who hangs up.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
