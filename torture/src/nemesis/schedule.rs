//! Which faults come, in which order and with which measures: a function of the seed alone.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::arena::ROOMS;
use crate::history::RoomIndex;

/// What can happen to gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayFault {
    Kill { which: usize, down: Duration },
    Drain { which: usize },
    Freeze { which: usize, time: Duration },
    KillAll { down: Duration },
}

/// What can happen to Redis. Shards are named by their place at that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisFault {
    /// Killed; comes back as a replica some time after its replica has taken over.
    KillPrimary {
        shard: usize,
        down: Duration,
    },
    /// Killed and started again before anyone takes over.
    RestartPrimary {
        shard: usize,
    },
    KillReplica {
        shard: usize,
        down: Duration,
    },
    /// A planned one.
    Failover {
        shard: usize,
    },
    /// Stopped in its tracks; if for long, its replica takes over meanwhile.
    FreezePrimary {
        shard: usize,
        time: Duration,
    },
    FreezeReplica {
        shard: usize,
        time: Duration,
    },
    PauseClients {
        shard: usize,
        time: Duration,
        writes_only: bool,
    },
    CutSubscribers,
    CutEveryone,
    TinyBuffers {
        time: Duration,
    },
    MoveSlot {
        room: RoomIndex,
        onward: usize,
    },
    /// The replica is cut off, and then takes over from a primary that had acknowledged more.
    LoseWrites {
        shard: usize,
        time: Duration,
    },
    RestartAll {
        down: Duration,
    },
}

impl GatewayFault {
    pub const KINDS: [&str; 4] = [
        "kill-gateway",
        "drain-gateway",
        "freeze-gateway",
        "kill-all-gateways",
    ];

    pub const fn kind(self) -> &'static str {
        match self {
            Self::Kill { .. } => Self::KINDS[0],
            Self::Drain { .. } => Self::KINDS[1],
            Self::Freeze { .. } => Self::KINDS[2],
            Self::KillAll { .. } => Self::KINDS[3],
        }
    }

    fn draw(kind: &str, gateways: usize, random: &mut StdRng) -> Self {
        let which = random.random_range(0..gateways);
        let down = millis(random, 0, 3000);
        let time = millis(random, 300, 6000);
        match kind {
            "kill-gateway" => Self::Kill { which, down },
            "drain-gateway" => Self::Drain { which },
            "freeze-gateway" => Self::Freeze { which, time },
            _ => Self::KillAll { down },
        }
    }
}

impl RedisFault {
    pub const KINDS: [&str; 13] = [
        "kill-primary",
        "restart-primary",
        "kill-replica",
        "failover",
        "freeze-primary",
        "freeze-replica",
        "pause-clients",
        "cut-subscribers",
        "cut-everyone",
        "tiny-buffers",
        "move-slot",
        "lose-writes",
        "restart-all",
    ];

    pub const fn kind(self) -> &'static str {
        match self {
            Self::KillPrimary { .. } => Self::KINDS[0],
            Self::RestartPrimary { .. } => Self::KINDS[1],
            Self::KillReplica { .. } => Self::KINDS[2],
            Self::Failover { .. } => Self::KINDS[3],
            Self::FreezePrimary { .. } => Self::KINDS[4],
            Self::FreezeReplica { .. } => Self::KINDS[5],
            Self::PauseClients { .. } => Self::KINDS[6],
            Self::CutSubscribers => Self::KINDS[7],
            Self::CutEveryone => Self::KINDS[8],
            Self::TinyBuffers { .. } => Self::KINDS[9],
            Self::MoveSlot { .. } => Self::KINDS[10],
            Self::LoseWrites { .. } => Self::KINDS[11],
            Self::RestartAll { .. } => Self::KINDS[12],
        }
    }

    fn draw(kind: &str, random: &mut StdRng) -> Self {
        let shard = random.random_range(0..3);
        let down = millis(random, 0, 3000);
        let time = millis(random, 300, 5000);
        let writes_only = random.random_bool(0.5);
        let room = RoomIndex(random.random_range(0..ROOMS.len()));
        let onward = random.random_range(1..3);
        match kind {
            "kill-primary" => Self::KillPrimary { shard, down },
            "restart-primary" => Self::RestartPrimary { shard },
            "kill-replica" => Self::KillReplica { shard, down },
            "failover" => Self::Failover { shard },
            "freeze-primary" => Self::FreezePrimary { shard, time },
            "freeze-replica" => Self::FreezeReplica { shard, time },
            "pause-clients" => Self::PauseClients {
                shard,
                time,
                writes_only,
            },
            "cut-subscribers" => Self::CutSubscribers,
            "cut-everyone" => Self::CutEveryone,
            "tiny-buffers" => Self::TinyBuffers { time },
            "move-slot" => Self::MoveSlot { room, onward },
            "lose-writes" => Self::LoseWrites {
                shard,
                time: time / 3,
            },
            _ => Self::RestartAll { down },
        }
    }
}

fn millis(random: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(random.random_range(from..to))
}

/// An endless row of kinds, in which each comes once before any comes again.
#[derive(Debug)]
struct Deck {
    kinds: Vec<&'static str>,
    left: VecDeque<&'static str>,
}

impl Deck {
    fn of(all: &[&'static str], wanted: &[String]) -> Self {
        let is_wanted = |kind: &&&str| wanted.is_empty() || wanted.iter().any(|one| one == *kind);
        Self {
            kinds: all.iter().filter(is_wanted).copied().collect(),
            left: VecDeque::new(),
        }
    }

    fn next(&mut self, random: &mut StdRng) -> Option<&'static str> {
        if self.left.is_empty() {
            let mut kinds = self.kinds.clone();
            kinds.shuffle(random);
            self.left.extend(kinds);
        }
        self.left.pop_front()
    }
}

/// Makes a fault of a kind, with measures drawn at random.
type Draw<F> = Box<dyn Fn(&str, &mut StdRng) -> F + Send>;

/// One lane's faults, each with the time to wait before it.
pub struct Lane<F> {
    random: StdRng,
    deck: Deck,
    pauses: (u64, u64),
    draw: Draw<F>,
}

impl<F> Iterator for Lane<F> {
    type Item = (Duration, F);

    fn next(&mut self) -> Option<Self::Item> {
        let kind = self.deck.next(&mut self.random)?;
        let pause = millis(&mut self.random, self.pauses.0, self.pauses.1);
        Some((pause, (self.draw)(kind, &mut self.random)))
    }
}

/// The faults of gateways; `kinds` empty means all.
pub fn gateways(seed: u64, count: usize, kinds: &[String]) -> Lane<GatewayFault> {
    Lane {
        random: StdRng::seed_from_u64(seed ^ 0x6761_7465),
        deck: Deck::of(&GatewayFault::KINDS, kinds),
        pauses: (1000, 5000),
        draw: Box::new(move |kind, random| GatewayFault::draw(kind, count, random)),
    }
}

/// The faults of Redis; `kinds` empty means all.
pub fn redis(seed: u64, kinds: &[String]) -> Lane<RedisFault> {
    Lane {
        random: StdRng::seed_from_u64(seed ^ 0x0072_6564),
        deck: Deck::of(&RedisFault::KINDS, kinds),
        pauses: (500, 2500),
        draw: Box::new(RedisFault::draw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let take = |seed| redis(seed, &[]).take(50).collect::<Vec<_>>();
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
        let take = |seed| gateways(seed, 2, &[]).take(50).collect::<Vec<_>>();
        assert_eq!(take(7), take(7));
    }

    #[test]
    fn each_kind_comes_once_in_every_round() {
        let mut kinds: Vec<_> = redis(1, &[])
            .take(RedisFault::KINDS.len())
            .map(|(_, fault)| fault.kind())
            .collect();
        kinds.sort_unstable();
        let mut all = RedisFault::KINDS.to_vec();
        all.sort_unstable();
        assert_eq!(kinds, all);
    }

    #[test]
    fn only_wanted_kinds_come() {
        let wanted = ["failover".to_owned()];
        let faults: Vec<_> = redis(1, &wanted)
            .take(5)
            .map(|(_, fault)| fault.kind())
            .collect();
        assert_eq!(faults, ["failover"; 5]);
        assert!(gateways(1, 2, &wanted).next().is_none());
    }
}
