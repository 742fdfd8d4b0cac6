//! What all clients of a run share: the gateways, the rooms, the clock, what is counted.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::{Duration, Instant};

use crate::client::frame::Frame;
use crate::gateways::Gateways;
use crate::history::{GapReason, Millis, Position, RoomIndex, Transport};

/// How often gateways ping, and how long an answer may take. Short: a frozen gateway shall be noticed within seconds.
pub const HEARTBEAT: Duration = Duration::from_secs(3);

/// A connection on which nothing came for so long is taken for dead.
pub const SILENCE: Duration = Duration::from_secs(9);

/// What a room of the run is like.
#[derive(Clone, Copy, Debug)]
pub struct RoomSpec {
    pub name: &'static str,
    max_messages: u32,
    durability: &'static str,
    presence: &'static str,
}

impl RoomSpec {
    pub fn replicated(&self) -> bool {
        self.durability == "Replicated"
    }

    /// So much is kept that nothing of a run is trimmed.
    pub const fn keeps_all(&self) -> bool {
        self.max_messages >= KEEP_ALL
    }
}

const KEEP_ALL: u32 = 1_000_000;

/// The rooms: enough for each shard to have some. In the small ones, who stays away for some seconds misses something.
pub const ROOMS: [RoomSpec; 8] = [
    room("lobby", KEEP_ALL, "Async", "Full"),
    room("news", KEEP_ALL, "Async", "Off"),
    room("team:red", KEEP_ALL, "Async", "Batched"),
    room("team:blue", KEEP_ALL, "Async", "Count"),
    room("ledger:1", KEEP_ALL, "Replicated", "Off"),
    room("ledger:2", KEEP_ALL, "Replicated", "Full"),
    room("short:1", 25, "Async", "Off"),
    room("short:2", 25, "Replicated", "Off"),
];

const fn room(
    name: &'static str,
    max_messages: u32,
    durability: &'static str,
    presence: &'static str,
) -> RoomSpec {
    RoomSpec {
        name,
        max_messages,
        durability,
        presence,
    }
}

/// The manifests of the run's cluster and rooms.
pub fn manifests(drain_seconds: u32) -> String {
    let interval = HEARTBEAT.as_secs();
    let mut text = format!(
        "\
apiVersion: rotunda.dev/v1alpha1
kind: RealtimeCluster
metadata: {{ name: torture }}
spec:
  gateway: {{ drainSeconds: {drain_seconds} }}
  auth:
    jwt:
      keys: [{{ id: main, secretRef: {{ name: torture-jwt, key: secret }}, algorithms: [HS256] }}]
  heartbeat: {{ intervalSeconds: {interval}, timeoutSeconds: 3 }}
  presence: {{ ttlSeconds: 10 }}
  limits: {{ messagesPerSecond: 500, burst: 1000 }}
---
apiVersion: v1
kind: Secret
metadata: {{ name: torture-jwt }}
stringData: {{ secret: for-the-length-of-one-test-on-this-machine-alone }}
"
    );
    for (index, room) in ROOMS.iter().enumerate() {
        let RoomSpec {
            name,
            max_messages,
            durability,
            presence,
        } = room;
        write!(
            text,
            "\
---
apiVersion: rotunda.dev/v1alpha1
kind: Room
metadata: {{ name: room-{index} }}
spec:
  clusterRef: {{ name: torture }}
  name: \"{name}\"
  history: {{ maxMessages: {max_messages}, maxAge: 168h, durability: {durability} }}
  presence: {{ mode: \"{presence}\" }}
"
        )
        .expect("text into memory can't fail");
    }
    text
}

/// How far the run is.
#[derive(Clone, Debug)]
pub enum Phase {
    Running,
    /// Nothing new is published; what is outstanding is settled.
    Settling,
    /// All faults are over, and this is the last message of each room.
    Finishing(Arc<Vec<Option<Position>>>),
}

/// The time of the run.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    pub began_unix_ms: u64,
}

impl Clock {
    pub fn start() -> Self {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            began: Instant::now(),
            began_unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub fn now(&self) -> Millis {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What is counted while the run goes on.
#[derive(Debug, Default)]
pub struct Counters {
    pub acked: AtomicU64,
    pub refused: AtomicU64,
    pub unknown: AtomicU64,
    pub attempts: AtomicU64,
    deliveries: [AtomicU64; Transport::ALL.len()],
    sessions: [AtomicU64; Transport::ALL.len()],
    gaps: [AtomicU64; GapReason::ALL.len()],
    pub recovered: AtomicU64,
    pub not_recovered: AtomicU64,
    pub told_to_reconnect: AtomicU64,
}

impl Counters {
    /// A connection, or one poll.
    pub fn connected(&self, transport: Transport) {
        bump(&self.sessions[transport as usize]);
    }

    pub fn frame(&self, frame: &Frame, transport: Transport) {
        match frame {
            Frame::Message { .. } => bump(&self.deliveries[transport as usize]),
            Frame::Joined { recovered, .. } => match recovered {
                Some(true) => bump(&self.recovered),
                Some(false) => bump(&self.not_recovered),
                None => {}
            },
            Frame::Gap { reason, .. } => {
                if let Some(reason) = GapReason::parse(reason) {
                    bump(&self.gaps[reason as usize]);
                }
            }
            _ => {}
        }
    }

    pub fn deliveries_by(&self, transport: Transport) -> u64 {
        read(&self.deliveries[transport as usize])
    }

    pub fn sessions_by(&self, transport: Transport) -> u64 {
        read(&self.sessions[transport as usize])
    }

    pub fn gaps_by(&self, reason: GapReason) -> u64 {
        read(&self.gaps[reason as usize])
    }

    pub fn all_deliveries(&self) -> u64 {
        self.deliveries.iter().map(read).sum()
    }

    pub fn all_sessions(&self) -> u64 {
        self.sessions.iter().map(read).sum()
    }

    pub fn all_gaps(&self) -> u64 {
        self.gaps.iter().map(read).sum()
    }
}

pub fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// All of it.
pub struct Arena {
    pub gateways: Gateways,
    pub clock: Clock,
    pub counters: Counters,
    /// How long tokens must hold.
    pub duration: Duration,
    next_content: AtomicU64,
}

impl Arena {
    pub fn new(gateways: Gateways, clock: Clock, duration: Duration) -> Self {
        Self {
            gateways,
            clock,
            counters: Counters::default(),
            duration,
            next_content: AtomicU64::new(1),
        }
    }

    /// A number that no other message has.
    pub fn next_content(&self) -> crate::history::Content {
        crate::history::Content(self.next_content.fetch_add(1, Ordering::Relaxed))
    }
}

/// The name of a room.
pub fn name_of(room: RoomIndex) -> &'static str {
    ROOMS[room.0].name
}

pub fn index_of(name: &str) -> Option<RoomIndex> {
    ROOMS
        .iter()
        .position(|room| room.name == name)
        .map(RoomIndex)
}
