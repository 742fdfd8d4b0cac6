//! What faults of Redis may have cost, and what they can't have: for the checker.

use std::collections::BTreeSet;

use super::Nemesis;
use super::schedule::{GatewayFault, RedisFault};
use crate::arena::{ROOMS, name_of};
use crate::history::{Change, Death, Millis, Planned, RoomIndex, Window};
use crate::redis::shards::{Shard, Shards};

/// Whether a fault was one that loses nothing, and nothing else took place beside it: on a busy machine a primary may be taken for dead.
pub(super) fn is_settled(fault: RedisFault, before: &Shards, after: &Shards) -> bool {
    let primaries = |shards: &Shards| -> BTreeSet<usize> {
        shards.0.iter().map(|shard| shard.primary).collect()
    };
    let mut planned = primaries(before);
    match fault {
        RedisFault::MoveSlot { .. } => {}
        RedisFault::Failover { shard } => {
            let shard = &before.0[shard % before.0.len()];
            if planned != primaries(after) {
                planned.remove(&shard.primary);
                planned.insert(shard.replica);
            }
        }
        _ => return false,
    }
    planned == primaries(after)
}

impl Nemesis {
    /// When even what a replica had may have been lost.
    pub fn double_losses(&self) -> Vec<Window> {
        self.double_losses.lock().clone()
    }

    /// When a new epoch may have begun with something lost, or with no gateway there to prove that nothing is.
    pub fn unsettled(&self) -> Vec<Window> {
        let mut windows = self.unsettled.lock().clone();
        let done = self.done.lock();
        let gateways = done
            .iter()
            .filter(|done| GatewayFault::KINDS.contains(&done.kind));
        windows.extend(gateways.map(|done| done.window));
        windows
    }

    /// What was done to Redis that loses nothing.
    pub fn planned(&self) -> Vec<Planned> {
        self.planned.lock().clone()
    }

    /// Which rooms lost their primary, and when.
    pub fn deaths(&self) -> Vec<Death> {
        self.deaths.lock().clone()
    }

    pub(super) fn note_planned(&self, fault: RedisFault, from: Millis) {
        let change = match fault {
            RedisFault::Failover { .. } => Change::Failover,
            RedisFault::MoveSlot { room, .. } => Change::Moved(room),
            _ => return,
        };
        let until = self.now();
        let window = Window { from, until };
        self.planned.lock().push(Planned { window, change });
    }

    pub(super) fn note_unsettled(&self, from: Millis, until: Millis) {
        self.unsettled.lock().push(Window { from, until });
    }

    /// Kills a primary for good, and with it whatever it alone had of its rooms.
    pub(super) async fn kill_primary(&self, shard: &Shard) -> anyhow::Result<()> {
        let mut rooms = Vec::new();
        for room in (0..ROOMS.len()).map(RoomIndex) {
            let slot = self.cluster.slot_of(name_of(room)).await?;
            if shard.owns(slot) {
                rooms.push(room);
            }
        }
        let from = self.now();
        self.cluster.kill(shard.primary).await?;
        let until = self.now();
        let window = Window { from, until };
        let deaths = rooms.into_iter().map(|room| Death { room, window });
        self.deaths.lock().extend(deaths);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(pairs: [(usize, usize); 2]) -> Shards {
        let shard = |(primary, replica): (usize, usize)| Shard {
            id: primary.to_string(),
            primary,
            replica,
            slots: vec![(0, 1)],
        };
        Shards(pairs.map(shard).to_vec())
    }

    #[test]
    fn only_what_was_planned_is_settled() {
        let before = shards([(0, 2), (1, 3)]);
        let (first, second) = (shards([(1, 3), (2, 0)]), shards([(0, 2), (3, 1)]));
        let failover = RedisFault::Failover { shard: 0 };
        assert!(is_settled(failover, &before, &first));
        assert!(is_settled(failover, &before, &before));
        assert!(!is_settled(failover, &before, &second));
        let moved = RedisFault::MoveSlot {
            room: RoomIndex(0),
            onward: 1,
        };
        assert!(is_settled(moved, &before, &before));
        assert!(!is_settled(moved, &before, &first));
        assert!(!is_settled(RedisFault::CutEveryone, &before, &before));
    }
}
