//! What waits in all outboxes of a gateway together, held to a cap: past it the largest outboxes give way.
//!
//! Counted is memory: a frame once, however many outboxes hold it, and each place in line. A push past the cap wakes [`shed`], which ends
//! the largest as slow consumers. Should pushes be faster than that, those past an eighth more fail at once, but for connections with so
//! little in line that all of them together stay within another eighth: nobody is cut off for what others don't read. So the cap and a quarter is
//! never passed.
//!
//! What waits elsewhere counts too, by [`hold`](Backlog::hold): messages of rooms that heal, and answers on their way to slow readers. It has a part
//! of the cap, and is refused past it: it can be had again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

use super::Connection;
use super::registry::Registry;
use crate::dialect::CloseReason;

/// How long connections that gave way may take to let go of what they hold, before the next are asked; and how often that is looked at.
const LETTING_GO: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(10);

/// What waits elsewhere than in outboxes may take this part of the cap.
const ELSEWHERE_SHARE: i64 = 4;

/// The bytes in all outboxes, and how many there may be.
#[derive(Debug)]
pub struct Backlog {
    /// Also the metric `outbox_bytes`.
    held: Gauge,
    /// The part of it that isn't in outboxes.
    elsewhere: AtomicI64,
    cap: AtomicI64,
    outboxes: AtomicUsize,
    crowded: Notify,
}

impl Backlog {
    /// Counts in `held`, without a cap.
    pub fn new(held: Gauge) -> Arc<Self> {
        Arc::new(Self {
            held,
            elsewhere: AtomicI64::new(0),
            cap: AtomicI64::new(i64::MAX),
            outboxes: AtomicUsize::new(0),
            crowded: Notify::new(),
        })
    }

    /// From now on there may be so many bytes.
    pub fn set_cap(&self, bytes: u64) {
        self.cap
            .store(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Bytes in line at this moment.
    pub fn held(&self) -> i64 {
        self.held.get()
    }

    pub(super) fn held_gauge(&self) -> &Gauge {
        &self.held
    }

    /// Counts in, and tells how full it is now: one atomic addition on the usual path.
    pub(super) fn add(&self, bytes: usize) -> Fullness {
        // The gauge answers with what it was before.
        let held = self
            .held
            .inc_by(as_gauge(bytes))
            .saturating_add(as_gauge(bytes));
        let cap = self.cap.load(Ordering::Relaxed);
        if held <= cap {
            return Fullness::Fine;
        }
        self.crowded.notify_one();
        if held <= cap.saturating_add(cap / 8) {
            return Fullness::Fine;
        }
        let share = cap / 8 / as_gauge(self.outboxes.load(Ordering::Relaxed)).max(1);
        Fullness::Full {
            share: usize::try_from(share).unwrap_or_default(),
        }
    }

    pub(super) fn subtract(&self, bytes: usize) {
        self.held.dec_by(as_gauge(bytes));
    }

    /// Counts bytes that wait elsewhere than in an outbox, for as long as what is returned lives. `None` when they would be too many.
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let cap = self.cap.load(Ordering::Relaxed);
        let more = as_gauge(bytes);
        let elsewhere = self.elsewhere.fetch_add(more, Ordering::Relaxed) + more;
        if elsewhere > cap / ELSEWHERE_SHARE || self.held().saturating_add(more) > cap {
            self.elsewhere.fetch_sub(more, Ordering::Relaxed);
            return None;
        }
        self.held.inc_by(more);
        Some(Held {
            backlog: Arc::clone(self),
            bytes,
        })
    }

    /// As [`hold`](Self::hold), for as long as anyone has the bytes.
    pub fn hold_bytes(self: &Arc<Self>, bytes: Bytes) -> Option<Bytes> {
        let held = self.hold(bytes.len())?;
        Some(Bytes::from_owner(HeldBytes { bytes, _held: held }))
    }

    pub(super) fn opened(&self) {
        self.outboxes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.outboxes.fetch_sub(1, Ordering::Relaxed);
    }

    /// How much has to go to be well below the cap.
    fn excess(&self) -> i64 {
        let cap = self.cap.load(Ordering::Relaxed);
        let held = self.held();
        if held > cap {
            held - (cap - cap / 8)
        } else {
            0
        }
    }
}

/// Bytes that count with those in outboxes until this is dropped.
#[derive(Debug)]
pub struct Held {
    backlog: Arc<Backlog>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = as_gauge(self.bytes);
        self.backlog.elsewhere.fetch_sub(bytes, Ordering::Relaxed);
        self.backlog.subtract(self.bytes);
    }
}

struct HeldBytes {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What a push may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fullness {
    Fine,
    /// Only an outbox with no more than this in line may take it.
    Full {
        share: usize,
    },
}

/// Has the largest outboxes give way whenever there is too much in all of them. Never ends.
pub async fn shed(backlog: &Backlog, registry: &Registry) {
    loop {
        backlog.crowded.notified().await;
        while backlog.excess() > 0 {
            let given_way = shed_once(backlog.excess(), registry.all());
            tracing::warn!(
                connections = given_way,
                bytes = backlog.held(),
                "too much waits for slow clients: the slowest are closed"
            );
            let letting_go = async {
                while backlog.excess() > 0 {
                    tokio::time::sleep(LOOK).await;
                }
            };
            tokio::time::timeout(LETTING_GO, letting_go).await.ok();
        }
    }
}

/// Ends the largest until `excess` bytes are about to go; how many.
fn shed_once(excess: i64, connections: Vec<Arc<Connection>>) -> usize {
    let mut by_size: Vec<_> = connections
        .into_iter()
        .filter(|connection| connection.outbox.closing().is_none())
        .map(|connection| (connection.outbox.bytes(), connection))
        .filter(|(bytes, _)| *bytes > 0)
        .collect();
    by_size.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let (mut going, mut given_way) = (0, 0);
    for (bytes, connection) in by_size {
        if going >= excess {
            break;
        }
        connection.outbox.close(CloseReason::SlowConsumer);
        going += as_gauge(bytes);
        given_way += 1;
    }
    given_way
}

fn as_gauge(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
