//! A model of Redis Cluster and of Kubernetes around it, just deep enough to run plans against: nodes know each other at
//! addresses, gossip spreads, pods are replaced, restarted, or out of reach. It fails a test as soon as a step does harm.

mod redis;

use std::collections::BTreeMap;

use super::{
    super::{
        slots::SlotSet,
        topology::{Address, Member, NodeId, PodKey, State, Topology, Wanted},
    },
    Plan, Step, plan,
};

/// What happens to a pod from outside.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mishap {
    /// It is replaced and its data is gone.
    Replaced,
    /// It comes back with its data, at another address.
    Moved,
    /// The operator can't reach it; it goes on otherwise.
    OutOfReach,
    /// Its process has not started again, its data is gone.
    Pending,
}

/// Redis, its pods, and what the operator can see of them.
pub(super) struct World {
    wanted: Wanted,
    pods: Vec<SimPod>,
    nodes: BTreeMap<NodeId, Node>,
    counter: u16,
    /// Whether the nodes tell each other about others, besides what the operator introduces.
    pub(super) gossip: bool,
}

struct SimPod {
    key: PodKey,
    node: NodeId,
    running: bool,
    reachable: bool,
}

#[derive(Clone)]
struct Node {
    at: Address,
    primary: Option<NodeId>,
    slots: SlotSet,
    known: BTreeMap<NodeId, Address>,
}

impl World {
    /// All pods of `wanted`, freshly started.
    pub(super) fn new(wanted: Wanted) -> Self {
        let mut world = Self {
            wanted,
            pods: Vec::new(),
            nodes: BTreeMap::new(),
            counter: 0,
            gossip: true,
        };
        for shard in 0..wanted.shards {
            for ordinal in 0..wanted.pods_per_shard() {
                let node = world.new_node();
                let key = world.key(shard, &format!("chat-redis-{shard}-{ordinal}"));
                world.pods.push(SimPod {
                    key,
                    node,
                    running: true,
                    reachable: true,
                });
            }
        }
        world
    }

    pub(super) fn pod_count(&self) -> usize {
        self.pods.len()
    }

    /// Something happens to the pod of this number.
    pub(super) fn suffer(&mut self, pod: usize, mishap: Mishap) {
        match mishap {
            Mishap::Replaced | Mishap::Pending => {
                let fresh = self.new_node();
                let key = self.key(self.pods[pod].key.shard, &self.pods[pod].key.name.clone());
                let running = matches!(mishap, Mishap::Replaced);
                self.pods[pod] = SimPod {
                    key,
                    node: fresh,
                    running,
                    reachable: true,
                };
            }
            Mishap::Moved => {
                let at = self.address();
                let key = self.key(self.pods[pod].key.shard, &self.pods[pod].key.name.clone());
                self.pods[pod].key = key;
                self.node_mut(pod).at = at;
            }
            Mishap::OutOfReach => self.pods[pod].reachable = false,
        }
    }

    /// Every pod runs and can be reached again.
    pub(super) fn recover(&mut self) {
        for pod in &mut self.pods {
            pod.running = true;
            pod.reachable = true;
        }
    }

    /// One look and one step of the operator, then one moment for the nodes themselves.
    pub(super) fn turn(&mut self) -> Plan {
        let plan = plan(&self.observe(), self.wanted);
        if let Plan::Do(step) = &plan {
            self.execute(step);
        }
        self.elect();
        if self.gossip {
            self.spread();
        }
        plan
    }

    /// Takes turns until nothing is left to do.
    pub(super) fn settle(&mut self) -> Plan {
        let mut last = Plan::Settled;
        for _ in 0..200 {
            last = self.turn();
            if matches!(last, Plan::Settled | Plan::Refused(_)) {
                break;
            }
        }
        last
    }

    /// Fails unless each slot has one owner, and each shard one primary that all its other pods copy.
    pub(super) fn assert_complete(&self) {
        let mut owned = SlotSet::default();
        for shard in 0..self.wanted.shards {
            let pods = self.pods.iter().filter(|pod| pod.key.shard == shard);
            let (primaries, replicas): (Vec<_>, Vec<_>) = pods
                .map(|pod| (&pod.node, &self.nodes[&pod.node]))
                .partition(|(_, node)| node.primary.is_none());
            assert_eq!(primaries.len(), 1, "shard {shard} has one primary");
            let (id, primary) = primaries[0];
            assert!(
                !primary.slots.is_empty(),
                "the primary of shard {shard} has slots"
            );
            assert!(!owned.overlaps(&primary.slots), "no slot has two owners");
            owned.extend(&primary.slots);
            assert!(
                replicas
                    .iter()
                    .all(|(_, node)| node.primary.as_ref() == Some(id)),
                "replicas copy their primary"
            );
        }
        assert!(owned.is_all(), "every slot has an owner: {owned:?}");
    }

    /// How many slots the primary of each shard owns.
    pub(super) fn slots_by_shard(&self) -> Vec<usize> {
        let of = |shard| self.pods.iter().filter(move |pod| pod.key.shard == shard);
        (0..self.wanted.shards)
            .map(|shard| of(shard).map(|pod| self.nodes[&pod.node].slots.len()).sum())
            .collect()
    }

    /// Which node serves which slots.
    pub(super) fn owners(&self) -> BTreeMap<NodeId, SlotSet> {
        let serving = self
            .pods
            .iter()
            .map(|pod| &pod.node)
            .filter(|id| !self.nodes[*id].slots.is_empty());
        serving
            .map(|id| (id.clone(), self.nodes[id].slots.clone()))
            .collect()
    }

    pub(super) fn observe(&self) -> Topology {
        let members = self.pods.iter().map(|pod| {
            let state = if !pod.running {
                State::NotStarted
            } else if pod.reachable {
                State::Up(Box::new(self.view(&pod.node)))
            } else {
                State::Silent("it doesn't answer in time".to_owned())
            };
            Member {
                pod: pod.key.clone(),
                state,
            }
        });
        Topology {
            members: members.collect(),
        }
    }

    fn is_our_node(&self, id: &NodeId) -> bool {
        self.running().any(|running| running == id)
    }

    fn running(&self) -> impl Iterator<Item = &NodeId> {
        self.pods
            .iter()
            .filter(|pod| pod.running)
            .map(|pod| &pod.node)
    }

    fn node_mut(&mut self, pod: usize) -> &mut Node {
        let id = self.pods[pod].node.clone();
        self.nodes.get_mut(&id).expect("every pod has a node")
    }

    fn new_node(&mut self) -> NodeId {
        let at = self.address();
        let id = NodeId(format!("node-{}", self.counter));
        let node = Node {
            at,
            primary: None,
            slots: SlotSet::default(),
            known: BTreeMap::new(),
        };
        self.nodes.insert(id.clone(), node);
        id
    }

    fn key(&mut self, shard: u32, name: &str) -> PodKey {
        self.counter += 1;
        PodKey {
            shard,
            name: name.to_owned(),
            uid: format!("uid-{}", self.counter),
        }
    }

    fn address(&mut self) -> Address {
        self.counter += 1;
        let [high, low] = self.counter.to_be_bytes();
        Address {
            client: ([10, 0, high, low], 6379).into(),
            bus_port: 16_379,
        }
    }
}
