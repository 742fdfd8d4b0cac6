//! What is known about the pods of a managed Redis after one look at all of them: the input of the plan and of the
//! readiness. Plain data; roles and slots are what Redis itself says, never guessed from a pod's ordinal.

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use super::slots::SlotSet;

/// A node's id as Redis draws it: 40 hex digits, kept in `nodes.conf`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub String);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the spec asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Shards, at least 1.
    pub shards: u32,
    /// Replicas of each shard.
    pub replicas_per_shard: u32,
    /// Whether the pods' data outlives them (`storage` is set).
    pub persistent: bool,
}

impl Wanted {
    /// Pods of one shard.
    pub fn pods_per_shard(self) -> usize {
        1 + self.replicas_per_shard as usize
    }
}

/// Where a node listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// For clients.
    pub client: SocketAddr,
    /// Port of the cluster bus, on the same IP.
    pub bus_port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(f)
    }
}

/// One pod of a shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodKey {
    /// The shard whose StatefulSet made the pod.
    pub shard: u32,
    /// Name of the pod.
    pub name: String,
    /// UID of the pod: tells it from an earlier one of the same name.
    pub uid: String,
}

/// A node that has been logged in to: pod, node id and address belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The pod it runs in.
    pub pod: PodKey,
    /// The node's id.
    pub id: NodeId,
    /// Where it listens.
    pub at: Address,
}

/// All pods of one managed Redis.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// In order of shard and name.
    pub members: Vec<Member>,
}

/// A pod and what it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The pod.
    pub pod: PodKey,
    /// What it answered.
    pub state: State,
}

/// What a pod answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its Redis has never run: no process of it exists, and without storage it holds no data.
    NotStarted,
    /// It runs or has run, but doesn't answer as this pod now; the sentence says why.
    Silent(String),
    /// It answered.
    Up(Box<View>),
}

/// One node's view of itself and of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its id.
    pub id: NodeId,
    /// Where it was reached.
    pub at: Address,
    /// Its role.
    pub role: Role,
    /// Slots it owns.
    pub slots: SlotSet,
    /// Keys it holds.
    pub keys: u64,
    /// How much of the replication stream it has.
    pub offset: u64,
    /// Whether it considers the cluster able to serve (`cluster_state:ok`).
    pub cluster_ok: bool,
    /// Every other node it knows.
    pub peers: BTreeMap<NodeId, Peer>,
}

/// Primary or replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Serves its slots; without slots it is an empty node.
    Primary,
    /// Copies another node.
    Replica {
        /// The node it copies.
        of: NodeId,
        /// Whether the copy is complete and being kept up to date.
        in_sync: bool,
    },
}

/// What a node knows of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where it was last seen, if known.
    pub at: Option<Address>,
    /// Whether it is reached there.
    pub reach: Reach,
    /// The primary it copies, where it is a replica.
    pub replica_of: Option<NodeId>,
    /// Slots it owns.
    pub slots: SlotSet,
}

/// Whether a node reaches another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Yes.
    Connected,
    /// Not now, or only this node says so.
    Suspected,
    /// No, and the majority of primaries agrees.
    Failed,
    /// Being introduced; its id isn't its own yet.
    Handshake,
}

impl Topology {
    /// The pods that answered.
    pub fn up(&self) -> impl Iterator<Item = (&PodKey, &View)> + Clone {
        self.members
            .iter()
            .filter_map(|member| match &member.state {
                State::Up(view) => Some((&member.pod, &**view)),
                State::NotStarted | State::Silent(_) => None,
            })
    }

    /// The answering node with this id.
    pub fn node(&self, id: &NodeId) -> Option<(&PodKey, &View)> {
        self.up().find(|(_, view)| view.id == *id)
    }

    /// The pods of `shard`.
    pub fn shard(&self, shard: u32) -> impl Iterator<Item = &Member> {
        self.members
            .iter()
            .filter(move |member| member.pod.shard == shard)
    }
}

impl View {
    /// Whether it serves slots.
    pub fn serves(&self) -> bool {
        self.role == Role::Primary && !self.slots.is_empty()
    }

    /// Whether it is a primary that owns nothing and holds nothing.
    pub fn is_blank(&self) -> bool {
        self.role == Role::Primary && self.slots.is_empty() && self.keys == 0
    }

    /// Whether it knows the node `id` by more than an introduction in progress.
    pub fn knows(&self, id: &NodeId) -> bool {
        self.peers
            .get(id)
            .is_some_and(|peer| peer.reach != Reach::Handshake)
    }

    /// This node together with its pod.
    pub fn identity(&self, pod: &PodKey) -> Identity {
        Identity {
            pod: pod.clone(),
            id: self.id.clone(),
            at: self.at,
        }
    }
}
