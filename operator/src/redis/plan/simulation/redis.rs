//! The Redis half of the model: what nodes say, what a step does to them, and what they do among themselves.

use std::collections::BTreeSet;

use super::{
    super::super::topology::{NodeId, Peer, Reach, Role, View},
    Step, World,
};

impl World {
    pub(super) fn view(&self, id: &NodeId) -> View {
        let node = &self.nodes[id];
        let peers = node.known.iter().map(|(peer, at)| {
            let other = &self.nodes[peer];
            let reach = if self.connected(id, peer) {
                Reach::Connected
            } else {
                Reach::Failed
            };
            let peer_view = Peer {
                at: Some(*at),
                reach,
                replica_of: other.primary.clone(),
                slots: other.slots.clone(),
            };
            (peer.clone(), peer_view)
        });
        View {
            id: id.clone(),
            at: node.at,
            role: node
                .primary
                .clone()
                .map_or(Role::Primary, |of| Role::Replica { of, in_sync: true }),
            slots: node.slots.clone(),
            keys: 0,
            offset: 0,
            cluster_ok: true,
            peers: peers.collect(),
        }
    }

    pub(super) fn execute(&mut self, step: &Step) {
        match step {
            Step::Meet { by, others } => {
                for other in others {
                    assert!(
                        self.is_our_node(&other.id),
                        "a stranger was introduced: {other:?}"
                    );
                    assert_eq!(
                        self.nodes[&other.id].at, other.at,
                        "introduced at its address"
                    );
                    self.introduce(&by.id, &other.id);
                }
            }
            Step::TakeOver { replica, lost } => {
                assert!(
                    !self.is_our_node(lost),
                    "took over from a primary that is alive"
                );
                self.promote(&replica.id);
            }
            Step::Forget { by, lost, .. } => {
                assert!(!self.is_our_node(lost), "forgot a node that is alive");
                for node in by {
                    self.nodes
                        .get_mut(&node.id)
                        .expect("it was observed")
                        .known
                        .remove(lost);
                }
            }
            Step::AssignSlots { to, slots } => {
                for pod in &self.pods {
                    let owned = &self.nodes[&pod.node].slots;
                    assert!(
                        !owned.overlaps(slots),
                        "slots of {:?} were given away",
                        pod.key
                    );
                }
                assert!(
                    self.nodes[&to.id].primary.is_none(),
                    "slots were given to a replica"
                );
                self.nodes
                    .get_mut(&to.id)
                    .expect("it was observed")
                    .slots
                    .extend(slots);
            }
            Step::Replicate { replica, primary } => {
                assert!(
                    self.nodes[&replica.id].slots.is_empty(),
                    "a node that serves slots was made a replica"
                );
                assert!(
                    self.nodes[&replica.id].known.contains_key(&primary.id),
                    "it knows whom to copy"
                );
                assert_eq!(
                    replica.pod.shard, primary.pod.shard,
                    "replicas stay within their shard"
                );
                self.nodes
                    .get_mut(&replica.id)
                    .expect("it was observed")
                    .primary = Some(primary.id.clone());
            }
        }
    }

    /// Redis's own failover: most of the primaries with slots agree that one is gone.
    pub(super) fn elect(&mut self) {
        let serving: BTreeSet<NodeId> = self.known_primaries();
        let alive = serving.iter().filter(|id| self.is_our_node(id)).count();
        if alive * 2 <= serving.len() {
            return;
        }
        for lost in serving
            .iter()
            .filter(|id| !self.is_our_node(id))
            .cloned()
            .collect::<Vec<_>>()
        {
            let heir = self
                .running()
                .find(|id| self.nodes[*id].primary.as_ref() == Some(&lost))
                .cloned();
            if let Some(heir) = heir {
                self.promote(&heir);
            }
        }
    }

    fn known_primaries(&self) -> BTreeSet<NodeId> {
        let known = self
            .running()
            .flat_map(|id| self.nodes[id].known.keys().chain([id]));
        known
            .filter(|id| !self.nodes[*id].slots.is_empty())
            .cloned()
            .collect()
    }

    fn promote(&mut self, heir: &NodeId) {
        let lost = self.nodes[heir].primary.clone().expect("it was a replica");
        let slots = std::mem::take(&mut self.nodes.get_mut(&lost).expect("it existed").slots);
        for node in self
            .nodes
            .values_mut()
            .filter(|node| node.primary.as_ref() == Some(&lost))
        {
            node.primary = Some(heir.clone());
        }
        let node = self.nodes.get_mut(heir).expect("it was observed");
        node.primary = None;
        node.slots = slots;
    }

    /// Everybody tells whom they reach of whom they reach.
    pub(super) fn spread(&mut self) {
        let running: Vec<NodeId> = self.running().cloned().collect();
        for one in &running {
            for other in &running {
                if self.connected(one, other) {
                    let told: Vec<NodeId> = self.nodes[other]
                        .known
                        .keys()
                        .filter(|third| self.connected(other, third))
                        .cloned()
                        .collect();
                    for third in told.iter().filter(|third| *third != one) {
                        let at = self.nodes[third].at;
                        self.nodes
                            .get_mut(one)
                            .expect("it runs")
                            .known
                            .insert(third.clone(), at);
                    }
                    let at = self.nodes[one].at;
                    self.nodes
                        .get_mut(other)
                        .expect("it runs")
                        .known
                        .insert(one.clone(), at);
                }
            }
        }
    }

    fn introduce(&mut self, one: &NodeId, other: &NodeId) {
        for (from, to) in [(one, other), (other, one)] {
            let at = self.nodes[to].at;
            self.nodes
                .get_mut(from)
                .expect("it was observed")
                .known
                .insert(to.clone(), at);
        }
    }

    fn connected(&self, from: &NodeId, to: &NodeId) -> bool {
        self.is_our_node(to) && self.nodes[from].known.get(to) == Some(&self.nodes[to].at)
    }
}
