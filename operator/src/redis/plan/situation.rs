//! What the observation means: which nodes are the cluster, which slots nobody owns, which pods can't be judged.

use std::collections::BTreeSet;

use crate::{
    cluster::model::Problem,
    redis::{
        slots::SlotSet,
        topology::{NodeId, PodKey, Reach, Role, State, Topology, View, Wanted},
    },
};

type Node<'a> = (&'a PodKey, &'a View);

/// An observation, judged.
pub(super) struct Situation<'a> {
    pub(super) topology: &'a Topology,
    pub(super) wanted: Wanted,
    /// The nodes that form the cluster: those that know each other and hold data, or the largest group of empty ones.
    pub(super) core: Vec<Node<'a>>,
    /// Slots that no node of the core knows an owner of, be it a dead one.
    pub(super) unowned: SlotSet,
    /// One sentence for each pod that may hold data and can't be asked.
    pub(super) unaccounted: Vec<String>,
}

/// Why nothing can be done at all.
pub(super) enum Obstacle {
    /// There is nobody to ask.
    NothingAnswers(Problem),
    /// There are two clusters.
    Split(Problem),
}

impl<'a> Situation<'a> {
    /// Judges `topology`, or says at once why nothing can be done.
    pub(super) fn read(topology: &'a Topology, wanted: Wanted) -> Result<Self, Obstacle> {
        let unaccounted = unaccounted(topology, wanted);
        let groups = groups(topology);
        let mut holding = groups
            .iter()
            .filter(|group| group.iter().any(|(_, view)| holds_data(view)));
        let core = match (holding.next(), holding.next()) {
            (Some(one), Some(other)) => return Err(split(one[0].0, other[0].0)),
            (Some(one), None) => one.clone(),
            (None, _) => {
                // Of several groups of the same size the first: the choice must not flip between two looks.
                let largest = groups.iter().rev().max_by_key(|group| group.len());
                largest.cloned().ok_or_else(|| {
                    let names = if unaccounted.is_empty() {
                        "no pod exists".to_owned()
                    } else {
                        unaccounted.join("; ")
                    };
                    Obstacle::NothingAnswers(Problem {
                        reason: "RedisNotRunning",
                        message: format!("no Redis pod answers: {names}"),
                    })
                })?
            }
        };
        let mut owned = SlotSet::default();
        for (_, view) in &core {
            owned.extend(&view.slots);
            for peer in view.peers.values() {
                owned.extend(&peer.slots);
            }
        }
        Ok(Self {
            topology,
            wanted,
            core,
            unowned: SlotSet::all().without(&owned),
            unaccounted,
        })
    }

    /// The core, and the empty nodes that may join it: those of a served shard, and of a shard that is to get slots.
    pub(super) fn members(&self) -> Vec<Node<'a>> {
        let mut members = self.core.clone();
        let bare = self.bare_shards();
        members.extend(self.topology.up().filter(|(pod, view)| {
            let wanted =
                self.primary_of(pod.shard).is_some() || self.is_expecting(pod.shard, &bare);
            pod.shard < self.wanted.shards && view.is_blank() && !self.is_core(view) && wanted
        }));
        // Whoever serves introduces the others, so that they join it and not the other way round.
        members.sort_by_key(|(pod, view)| (!view.serves(), *pod));
        members
    }

    /// The replicas whose primary owns slots and is none of the answering nodes, with that primary.
    pub(super) fn orphans(&self) -> impl Iterator<Item = (&'a PodKey, &'a View, &'a NodeId)> {
        self.core.iter().filter_map(|(pod, view)| match &view.role {
            Role::Replica { of, .. } if self.topology.node(of).is_none() => {
                let served = view
                    .peers
                    .get(of)
                    .is_some_and(|primary| !primary.slots.is_empty());
                served.then_some((*pod, *view, of))
            }
            Role::Primary | Role::Replica { .. } => None,
        })
    }

    /// The nodes the core knows which are in none of today's pods.
    pub(super) fn gone_nodes(&self) -> impl Iterator<Item = &'a NodeId> {
        let known: BTreeSet<&NodeId> = self
            .core
            .iter()
            .flat_map(|(_, view)| &view.peers)
            .filter(|(_, peer)| peer.reach != Reach::Handshake)
            .map(|(id, _)| id)
            .collect();
        known
            .into_iter()
            .filter(|id| self.topology.node(id).is_none())
    }

    /// The shards that should have slots and have none: every pod of theirs is known to own nothing.
    pub(super) fn bare_shards(&self) -> Vec<u32> {
        let is_bare = |shard: &u32| {
            let mut pods = self.topology.shard(*shard).peekable();
            pods.peek().is_some()
                && pods.all(|member| match &member.state {
                    State::NotStarted => !self.wanted.persistent,
                    State::Silent(_) => false,
                    State::Up(view) => view.role == Role::Primary && view.slots.is_empty(),
                })
        };
        (0..self.wanted.shards).filter(is_bare).collect()
    }

    /// The shards with a serving primary, ascending.
    pub(super) fn serving_shards(&self) -> Vec<u32> {
        let shards: BTreeSet<u32> = self
            .core
            .iter()
            .filter(|(_, view)| view.serves())
            .map(|(pod, _)| pod.shard)
            .collect();
        shards.into_iter().collect()
    }

    /// The node that serves `shard`.
    pub(super) fn primary_of(&self, shard: u32) -> Option<Node<'a>> {
        let serving = self
            .core
            .iter()
            .filter(|(pod, view)| pod.shard == shard && view.serves());
        serving.max_by_key(|(_, view)| view.slots.len()).copied()
    }

    /// The node of a bare shard that is to serve it.
    pub(super) fn blank_of(&self, shard: u32) -> Option<Node<'a>> {
        self.topology
            .up()
            .find(|(pod, view)| pod.shard == shard && view.is_blank())
    }

    /// Whether a pod of `shard` that doesn't answer may be running all the same.
    pub(super) fn may_still_run(&self, shard: u32) -> bool {
        self.topology
            .shard(shard)
            .any(|member| matches!(member.state, State::Silent(_)))
    }

    /// Whether the primaries that answer can elect a replica by themselves: Redis asks for a majority, and a single
    /// primary or one of two isn't one once another is lost.
    pub(super) fn majority_can_vote(&self) -> bool {
        let mut primaries: BTreeSet<&NodeId> = BTreeSet::new();
        let mut answering = 0;
        for (_, view) in &self.core {
            if view.serves() {
                answering += 1;
                primaries.insert(&view.id);
            }
            primaries.extend(
                view.peers
                    .iter()
                    .filter(|(_, peer)| !peer.slots.is_empty())
                    .map(|(id, _)| id),
            );
        }
        answering > primaries.len() / 2
    }

    fn is_expecting(&self, shard: u32, bare: &[u32]) -> bool {
        !self.unowned.is_empty() && bare.contains(&shard)
    }

    fn is_core(&self, view: &View) -> bool {
        self.core.iter().any(|(_, member)| member.id == view.id)
    }
}

fn holds_data(view: &View) -> bool {
    let knows_data = view.peers.values().any(|peer| !peer.slots.is_empty());
    view.keys > 0 || !view.slots.is_empty() || view.role != Role::Primary || knows_data
}

/// The answering nodes, in groups that know each other.
fn groups(topology: &Topology) -> Vec<Vec<Node<'_>>> {
    let mut groups: Vec<Vec<Node<'_>>> = Vec::new();
    for (pod, view) in topology.up() {
        let acquainted =
            |group: &Vec<Node<'_>>| group.iter().any(|(_, other)| are_acquainted(view, other));
        let (mine, rest): (Vec<_>, Vec<_>) = groups.into_iter().partition(acquainted);
        let mut joined: Vec<Node<'_>> = mine.into_iter().flatten().collect();
        joined.push((pod, view));
        groups = rest;
        groups.push(joined);
    }
    groups.sort_by_key(|group| group[0].0.clone());
    groups
}

/// Whether one knows the other, or both know a third: only nodes of one cluster do.
fn are_acquainted(one: &View, other: &View) -> bool {
    one.knows(&other.id)
        || other.knows(&one.id)
        || one.peers.keys().any(|id| one.knows(id) && other.knows(id))
}

/// The pods that should be there, may hold data, and can't be asked.
fn unaccounted(topology: &Topology, wanted: Wanted) -> Vec<String> {
    let mut reasons = Vec::new();
    for member in &topology.members {
        match &member.state {
            State::Silent(why) => reasons.push(format!("pod {}: {why}", member.pod.name)),
            State::NotStarted if wanted.persistent => {
                reasons.push(format!("pod {} hasn't started", member.pod.name));
            }
            State::NotStarted | State::Up(_) => {}
        }
    }
    for shard in 0..wanted.shards {
        let missing = wanted
            .pods_per_shard()
            .saturating_sub(topology.shard(shard).count());
        if missing > 0 {
            reasons.push(format!("shard {shard} lacks {missing} of its pods"));
        }
    }
    reasons
}

fn split(one: &PodKey, other: &PodKey) -> Obstacle {
    Obstacle::Split(Problem {
        reason: "SplitRedis",
        message: format!(
            "pods {} and {} belong to different Redis clusters that both hold data, and joining them would lose some: \
             delete the pod and the volume of the one that isn't needed",
            one.name, other.name
        ),
    })
}
