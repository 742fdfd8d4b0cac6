//! Which replication histories flowed into a slot's present one with nothing lost on the way.
//!
//! Where another history begins, messages that the old primary acknowledged may be missing. That none is must be proven, in one of two ways:
//!
//! - *Taken over*: the process that wrote the old history still runs and follows the new primary by a partial resynchronization, which Redis
//!   grants only to a server that has nothing its primary lacks (`master_replid2` then names the old history).
//! - *Moved*: the process that wrote the old history still writes it and says itself that the slot now belongs to the new owner, which has
//!   had its history for longer than the slot map may be old. `MIGRATE` copies a key before it deletes it.
//!
//! Whatever else happens (a restart, a primary that is gone, a change that this gateway wasn't there to see) proves nothing. The rules are pure;
//! [`Engine::keep_lineage`] watches and asks. Sources: <https://redis.io/docs/latest/operate/oss_and_stack/management/replication/>,
//! `INFO replication`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Engine;
use super::discovery::read_slot_map;
use super::keys::SLOTS;
use super::node::Node;
use super::pool::Pool;
use super::topology::SlotMap;
use super::url::{Address, Mode};

/// How long a proof is looked for. Calls that need the epoch wait as long.
const PROOF_PATIENCE: Duration = Duration::from_secs(2);

/// How long who needs the answer waits for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long to wait before a server is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// For how long a slot's new owner must have had its history: longer than the slot map may be out of date. Tests don't have the time.
const SEASONED: Duration = if cfg!(test) {
    Duration::from_secs(1)
} else {
    Duration::from_secs(10)
};

/// How many histories back are remembered for each slot.
const GENERATIONS: usize = 16;

/// A process that orders messages, under the name of its replication history.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Writer {
    address: Address,
    run: Arc<str>,
    history: Arc<str>,
}

impl Writer {
    fn of(node: &Node) -> Option<Self> {
        let replication = node.replication();
        replication.primary.then(|| Self {
            address: node.address.clone(),
            run: Arc::clone(&node.run),
            history: replication.id,
        })
    }
}

/// Where a slot's messages come from. Shared by the slots that have always changed together.
#[derive(Debug)]
struct Line {
    writer: Writer,
    ancestry: Ancestry,
}

#[derive(Debug)]
enum Ancestry {
    /// It is being found out.
    Asked,
    /// These histories flowed into the writer's whole, the latest first.
    Known(Vec<Arc<str>>),
}

/// A change of a slot's writer that has to be proven whole.
struct Border {
    old: Writer,
    /// What is known to have flowed into the old one.
    ancestors: Vec<Arc<str>>,
    new: Arc<Line>,
    /// The new writer had its history before the slots can have come to it.
    seasoned: bool,
    slots: Vec<u16>,
}

impl Border {
    /// Whether all of its slots belong to the new writer, by the old one's map of them.
    fn is_given_away(&self, slots: &SlotMap) -> bool {
        let to = Some(&self.new.writer.address);
        self.slots.iter().all(|slot| slots.owner(*slot) == to)
    }
}

/// The line of each slot.
struct Lines(Vec<Option<Arc<Line>>>);

impl Lines {
    /// Takes note of who writes each slot now, where that is known, and gives the borders to be proven.
    fn observe(
        &mut self,
        writer_of: impl Fn(u16) -> Option<Arc<Writer>>,
        is_seasoned: impl Fn(&Writer) -> bool,
    ) -> Vec<Border> {
        let mut borders: Vec<(*const Line, Border)> = Vec::new();
        let mut first: Vec<Arc<Line>> = Vec::new();
        for (slot, line) in (0_u16..).zip(&mut self.0) {
            let Some(writer) = writer_of(slot) else {
                continue;
            };
            let Some(known) = line else {
                // This gateway didn't see what was before.
                let fresh = first.iter().find(|fresh| fresh.writer == *writer).cloned();
                let fresh = fresh.unwrap_or_else(|| {
                    let fresh = Arc::new(Line {
                        writer: Writer::clone(&writer),
                        ancestry: Ancestry::Known(Vec::new()),
                    });
                    first.push(Arc::clone(&fresh));
                    fresh
                });
                *line = Some(fresh);
                continue;
            };
            if known.writer == *writer {
                continue;
            }
            let before = Arc::as_ptr(known);
            let same = borders
                .iter_mut()
                .find(|(old, border)| *old == before && border.new.writer == *writer);
            let border = if let Some((_, border)) = same {
                border
            } else {
                let border = Border {
                    old: known.writer.clone(),
                    ancestors: match &known.ancestry {
                        Ancestry::Known(ancestors) => ancestors.clone(),
                        Ancestry::Asked => Vec::new(),
                    },
                    new: Arc::new(Line {
                        writer: Writer::clone(&writer),
                        ancestry: Ancestry::Asked,
                    }),
                    seasoned: is_seasoned(&writer),
                    slots: Vec::new(),
                };
                borders.push((before, border));
                let Some((_, border)) = borders.last_mut() else {
                    continue;
                };
                border
            };
            border.slots.push(slot);
            *line = Some(Arc::clone(&border.new));
        }
        borders.into_iter().map(|(_, border)| border).collect()
    }

    /// Takes note of whether a border was proven whole.
    fn settle(&mut self, border: &Border, whole: bool) {
        let ancestors = std::iter::once(&border.old.history).chain(&border.ancestors);
        let known = if whole { GENERATIONS } else { 0 };
        let settled = Arc::new(Line {
            writer: border.new.writer.clone(),
            ancestry: Ancestry::Known(ancestors.take(known).cloned().collect()),
        });
        for slot in &border.slots {
            let Some(Some(line)) = self.0.get_mut(usize::from(*slot)) else {
                continue;
            };
            // Another change may have come since.
            if Arc::ptr_eq(line, &border.new) {
                *line = Arc::clone(&settled);
            }
        }
    }

    /// The histories that flowed whole into this one; `None` while that isn't known.
    fn ancestors(&self, slot: u16, history: &str) -> Option<Vec<Arc<str>>> {
        let line = self.0.get(usize::from(slot))?.as_ref()?;
        match &line.ancestry {
            Ancestry::Known(ancestors) if *line.writer.history == *history => {
                Some(ancestors.clone())
            }
            _ => None,
        }
    }
}

/// See the module.
pub(super) struct Lineage {
    lines: Mutex<Lines>,
    settled: watch::Sender<()>,
}

impl Default for Lineage {
    fn default() -> Self {
        Self {
            lines: Mutex::new(Lines(vec![None; SLOTS.into()])),
            settled: watch::Sender::new(()),
        }
    }
}

impl Lineage {
    /// The histories that are proven to have flowed into a slot's present one whole. None, where that can't be known in time.
    pub(super) async fn ancestors(&self, slot: u16, history: &str) -> Vec<Arc<str>> {
        let mut settled = self.settled.subscribe();
        let found = async {
            loop {
                settled.mark_unchanged();
                if let Some(ancestors) = self.lines.lock().ancestors(slot, history) {
                    return ancestors;
                }
                if settled.changed().await.is_err() {
                    return Vec::new();
                }
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .unwrap_or_default()
    }

    fn settle(&self, border: &Border, whole: bool) {
        self.lines.lock().settle(border, whole);
        self.settled.send_replace(());
    }
}

/// The primaries that are connected, and since when each has had its history.
#[derive(Default)]
struct Primaries(HashMap<Address, (Arc<Writer>, Instant)>);

impl Primaries {
    /// Those who are there now; gives how to tell who was there in good time before.
    fn renew(&mut self, nodes: &[Arc<Node>]) {
        let now = Instant::now();
        let before = std::mem::take(&mut self.0);
        for node in nodes {
            let Some(writer) = Writer::of(node) else {
                continue;
            };
            let since = match before.get(&node.address) {
                Some((known, since)) if **known == writer => *since,
                // One that never followed another has had it since it was started.
                _ if node.replication().predecessor.is_none() => node.started,
                _ => now,
            };
            self.0
                .insert(node.address.clone(), (Arc::new(writer), since));
        }
    }

    fn at(&self, address: &Address) -> Option<Arc<Writer>> {
        self.0.get(address).map(|(writer, _)| Arc::clone(writer))
    }

    fn is_seasoned(&self, writer: &Writer) -> bool {
        self.0
            .get(&writer.address)
            .is_some_and(|(known, since)| **known == *writer && since.elapsed() >= SEASONED)
    }
}

impl Engine {
    /// Watches who writes each slot.
    pub(super) async fn keep_lineage(self: Arc<Self>) {
        let mut changes = self.pool.changes();
        let mut primaries = Primaries::default();
        let mut proofs = FuturesUnordered::new();
        loop {
            changes.mark_unchanged();
            primaries.renew(&self.pool.nodes());
            let slots = self.pool.slots();
            let borders = self.lineage.lines.lock().observe(
                |slot| primaries.at(slots.owner(slot)?),
                |writer| primaries.is_seasoned(writer),
            );
            self.lineage.settled.send_replace(());
            for border in borders {
                proofs.push(async {
                    let proof = tokio::time::timeout(PROOF_PATIENCE, self.pool.is_whole(&border));
                    let whole = proof.await.unwrap_or(false);
                    (border, whole)
                });
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                Some((border, whole)) = proofs.next() => {
                    tracing::info!(
                        from = %border.old.address,
                        to = %border.new.writer.address,
                        slots = border.slots.len(),
                        whole,
                        "another replication history begins"
                    );
                    self.lineage.settle(&border, whole);
                }
            }
        }
    }
}

impl Pool {
    /// Asks the one who wrote the old history until it proves the border or can't any more.
    async fn is_whole(&self, border: &Border) -> bool {
        let mut own = None;
        loop {
            let node = match self.nodes().into_iter().chain(own.take()).find(|node| {
                node.address == border.old.address && node.run == border.old.run && !node.is_lost()
            }) {
                Some(node) => node,
                None => match Node::connect(&border.old.address, &self.url, &self.tasks).await {
                    Ok(node) if node.run == border.old.run => Arc::new(node),
                    // It was restarted or is gone, and what it alone had with it.
                    Ok(_) | Err(_) => return false,
                },
            };
            let Ok(found) = node.check().await else {
                return false;
            };
            if found.primary {
                if found.id != border.old.history {
                    return false;
                }
                if has_given_away(&node, border, &self.url.mode).await {
                    return true;
                }
            } else if found.id == border.new.writer.history {
                return found.predecessor.as_ref() == Some(&border.old.history);
            }
            own = Some(node);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Whether the old owner says that it gave the slots away, to one who could keep them.
async fn has_given_away(node: &Node, border: &Border, mode: &Mode) -> bool {
    if *mode != Mode::Cluster || !border.seasoned {
        return false;
    }
    let slots = read_slot_map(node).await;
    slots.is_ok_and(|slots| border.is_given_away(&slots))
}

#[cfg(test)]
mod tests;
