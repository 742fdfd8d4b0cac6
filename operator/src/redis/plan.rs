//! From what was observed and what is wanted to the next step, as a pure function. Each call sees the whole situation
//! anew, so a step that got lost or an operator that was restarted half way needs no memory.
//!
//! What it must never do: give away a slot that somebody may own, introduce a node that isn't one of this cluster's
//! pods, or copy over data. Where the observation doesn't rule these out, it waits and says for whom.

#[cfg(test)]
mod simulation;
mod situation;
#[cfg(test)]
mod tests;

use situation::{Obstacle, Situation};

use super::{
    slots::SlotSet,
    topology::{Identity, NodeId, Reach, Role, Topology, Wanted},
};
use crate::cluster::model::Problem;

/// What a replica reports as its offset before its first copy is complete (`INFO replication`).
const FIRST_OFFSET: u64 = 1;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: the layout is as wanted.
    Settled,
    /// Nothing now; something is on its way. Look again soon.
    Wait(Problem),
    /// This one step.
    Do(Step),
    /// Nothing, until a person changes something.
    Refused(Problem),
}

/// One change. Doing it twice is the same as doing it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Introduces `others` to `by`: nodes that don't know each other yet, or not at their address of today.
    Meet {
        /// The node that gets to know the others.
        by: Identity,
        /// Nodes of this cluster's own pods.
        others: Vec<Identity>,
    },
    /// Makes `replica` the owner of the slots of a primary whose pod is gone for good. Only where Redis can't do it by
    /// itself: fewer than three primaries, or most of them lost.
    TakeOver {
        /// The replica that has most of the data.
        replica: Identity,
        /// The primary it replaces.
        lost: NodeId,
    },
    /// Takes a node whose pod is gone for good out of the others' tables.
    Forget {
        /// Those who still know it.
        by: Vec<Identity>,
        /// The node that is gone.
        lost: NodeId,
        /// The slots that were lost with it: no copy of them is left.
        slots: SlotSet,
    },
    /// Gives slots that nobody owns to an empty primary.
    AssignSlots {
        /// The new owner.
        to: Identity,
        /// The slots.
        slots: SlotSet,
    },
    /// Makes an empty node, or one that copies somebody else, a replica of `primary`.
    Replicate {
        /// The node that will copy.
        replica: Identity,
        /// The node to copy.
        primary: Identity,
    },
}

/// The next step for `topology` to become what is `wanted`.
pub fn plan(topology: &Topology, wanted: Wanted) -> Plan {
    let situation = match Situation::read(topology, wanted) {
        Ok(situation) => situation,
        Err(Obstacle::NothingAnswers(problem)) => return Plan::Wait(problem),
        Err(Obstacle::Split(problem)) => return Plan::Refused(problem),
    };
    situation
        .take_over()
        // Before anyone is forgotten: two nodes may be of one cluster only by knowing the one that is gone.
        .or_else(|| situation.introduce())
        .or_else(|| situation.forget())
        .or_else(|| situation.assign_slots())
        .or_else(|| situation.attach_replica())
        .or_else(|| situation.await_failover())
        .or_else(|| situation.refuse_resharding())
        .unwrap_or(Plan::Settled)
}

impl Situation<'_> {
    /// A primary is gone for good and a replica of it is there.
    fn take_over(&self) -> Option<Plan> {
        let heirs = self.orphans().filter(|(pod, view, lost)| {
            let alive = view
                .peers
                .get(lost)
                .is_some_and(|peer| peer.reach == Reach::Connected);
            // One that never got a copy must not displace a primary whose volume may come back.
            let has_copy = view.offset > FIRST_OFFSET || view.keys > 0;
            !alive && !self.may_still_run(pod.shard) && (has_copy || self.unaccounted.is_empty())
        });
        let (pod, view, lost) = heirs.max_by_key(|(_, view, _)| view.offset)?;
        let replica = view.identity(pod);
        (!self.majority_can_vote()).then(|| {
            Plan::Do(Step::TakeOver {
                replica,
                lost: lost.clone(),
            })
        })
    }

    /// A node is gone for good: the others should stop asking for it, and its slots are nobody's.
    fn forget(&self) -> Option<Plan> {
        if !self.unaccounted.is_empty() {
            return None;
        }
        let lost = self.gone_nodes().find(|id| {
            let known = self.core.iter().filter_map(|(_, view)| view.peers.get(id));
            let alive = known.clone().any(|peer| peer.reach == Reach::Connected);
            let copied = self
                .core
                .iter()
                .any(|(_, view)| matches!(&view.role, Role::Replica { of, .. } if of == *id));
            !alive && !copied
        })?;
        let knowing = self.core.iter().filter(|(_, view)| view.knows(lost));
        let mut slots = SlotSet::default();
        for (_, view) in knowing.clone() {
            slots.extend(&view.peers[lost].slots);
        }
        let by = knowing.map(|(pod, view)| view.identity(pod)).collect();
        Some(Plan::Do(Step::Forget {
            by,
            lost: lost.clone(),
            slots,
        }))
    }

    /// Two nodes that should know each other don't, or only at an old address.
    fn introduce(&self) -> Option<Plan> {
        let members = self.members();
        members.iter().find_map(|(pod, view)| {
            let others: Vec<Identity> = members
                .iter()
                .filter(|(_, other)| other.id != view.id)
                .filter(|(_, other)| match view.peers.get(&other.id) {
                    None => true,
                    Some(peer) => match peer.reach {
                        Reach::Handshake => true,
                        Reach::Connected => false,
                        Reach::Suspected | Reach::Failed => peer.at != Some(other.at),
                    },
                })
                .map(|(pod, other)| other.identity(pod))
                .collect();
            (!others.is_empty()).then(|| {
                Plan::Do(Step::Meet {
                    by: view.identity(pod),
                    others,
                })
            })
        })
    }

    /// Slots that nobody owns: all of them in a new cluster, those of a lost shard later.
    fn assign_slots(&self) -> Option<Plan> {
        if self.unowned.is_empty() {
            return None;
        }
        if !self.unaccounted.is_empty() {
            return Some(waiting(format!(
                "slots are given out once all pods answer, in case one of them owns some: {}",
                self.unaccounted.join("; ")
            )));
        }
        let bare = self.bare_shards();
        if let Some(shard) = bare.first() {
            let share = self.unowned.len().div_ceil(bare.len());
            let Some((pod, view)) = self.blank_of(*shard) else {
                return Some(waiting(format!("shard {shard} has no running pod yet")));
            };
            return Some(Plan::Do(Step::AssignSlots {
                to: view.identity(pod),
                slots: self.unowned.first(share),
            }));
        }
        let smallest = self
            .core
            .iter()
            .filter(|(_, view)| view.serves())
            .min_by_key(|(_, view)| view.slots.len());
        smallest.map(|(pod, view)| {
            Plan::Do(Step::AssignSlots {
                to: view.identity(pod),
                slots: self.unowned.clone(),
            })
        })
    }

    /// A node of a served shard doesn't copy that shard's primary.
    fn attach_replica(&self) -> Option<Plan> {
        self.members().iter().find_map(|(pod, view)| {
            let (primary_pod, primary) = self.primary_of(pod.shard)?;
            let attached = match &view.role {
                Role::Primary => view.serves(),
                Role::Replica { of, .. } => *of == primary.id,
            };
            if attached {
                return None;
            }
            if view.role == Role::Primary && view.keys > 0 {
                return Some(Plan::Refused(Problem {
                    reason: "UnexpectedKeys",
                    message: format!(
                        "pod {} holds {} keys but owns no slot, and would lose them as a replica: \
                         save what is needed, then delete the pod and its volume",
                        pod.name, view.keys
                    ),
                }));
            }
            Some(Plan::Do(Step::Replicate {
                replica: view.identity(pod),
                primary: primary.identity(primary_pod),
            }))
        })
    }

    /// A shard is between two primaries.
    fn await_failover(&self) -> Option<Plan> {
        let (pod, ..) = self.orphans().next()?;
        Some(waiting(if self.may_still_run(pod.shard) {
            format!(
                "the primary of shard {} doesn't answer; its replica {} takes over once it is sure that it is gone",
                pod.shard, pod.name
            )
        } else {
            format!("Redis is promoting a replica of shard {}", pod.shard)
        }))
    }

    /// Moving slots that hold data isn't something this version can do.
    fn refuse_resharding(&self) -> Option<Plan> {
        let wanted = self.wanted.shards;
        let serving = self.serving_shards();
        if serving.iter().any(|shard| *shard >= wanted) {
            return Some(Plan::Refused(Problem {
                reason: "ScaleInUnsupported",
                message: format!(
                    "{} shards hold data and this version can't take one away: set spec.redis.managed.shards back to {}",
                    serving.len(),
                    serving.last().map_or(wanted, |last| last + 1)
                ),
            }));
        }
        let bare = self.bare_shards();
        if self.unowned.is_empty() && !serving.is_empty() && !bare.is_empty() {
            return Some(Plan::Refused(Problem {
                reason: "ScaleOutUnsupported",
                message: format!(
                    "the data is spread over {} shards already and this version can't move it to {wanted}: \
                     set spec.redis.managed.shards back to {}",
                    serving.len(),
                    serving.len()
                ),
            }));
        }
        None
    }
}

fn waiting(message: String) -> Plan {
    Plan::Wait(Problem {
        reason: "RedisForming",
        message,
    })
}
