//! How a managed Redis is doing, from what was observed and planned. Pure.

use std::time::Duration;

use super::{
    plan::Plan,
    slots::{SLOT_COUNT, SlotSet},
    topology::{Member, Role, State, Topology, Wanted},
};
use crate::cluster::model::{Problem, RedisStatus, Verdict};

/// How often to look while something isn't as it should be.
const WHILE_BROKEN: Duration = Duration::from_secs(1);
/// How often to look while it works with less than asked for.
const WHILE_DEGRADED: Duration = Duration::from_secs(5);

/// The status of what was observed, with `plan` as what happens next.
pub fn assess(topology: &Topology, wanted: Wanted, plan: &Plan) -> RedisStatus {
    let mut served = SlotSet::default();
    for (_, view) in topology
        .up()
        .filter(|(_, view)| view.serves() && view.cluster_ok)
    {
        served.extend(&view.slots);
    }
    let ready_shards = (0..wanted.shards)
        .filter(|shard| serves(topology, *shard))
        .count();
    let ready_shards = u32::try_from(ready_shards).unwrap_or(u32::MAX);
    let silent = silent_pods(topology);
    let missing_replicas = missing_replicas(topology, wanted);
    let refusal = match plan {
        Plan::Refused(problem) => Some(problem.clone()),
        Plan::Settled | Plan::Wait(_) | Plan::Do(_) => None,
    };

    let ready = if served.is_all() {
        Verdict::Yes(Problem {
            reason: "Ready",
            message: match shards_serving(topology) {
                1 => "one shard serves all slots".to_owned(),
                shards => format!("{shards} shards serve all slots"),
            },
        })
    } else {
        Verdict::No(why_not_ready(&served, plan, &silent, ready_shards, wanted))
    };
    let working = matches!(ready, Verdict::Yes(_));
    let degraded = refusal
        .or_else(|| degraded(wanted, &missing_replicas))
        .filter(|_| working);
    let in_motion = matches!(plan, Plan::Do(_) | Plan::Wait(_));
    let look_again = if !working || in_motion {
        Some(WHILE_BROKEN)
    } else {
        (!missing_replicas.is_empty() || !silent.is_empty()).then_some(WHILE_DEGRADED)
    };
    RedisStatus {
        shards: wanted.shards,
        ready_shards,
        ready,
        degraded,
        replicas_in_sync: missing_replicas.is_empty(),
        look_again,
        events: Vec::new(),
    }
}

fn serves(topology: &Topology, shard: u32) -> bool {
    topology
        .up()
        .any(|(pod, view)| pod.shard == shard && view.serves() && view.cluster_ok)
}

fn shards_serving(topology: &Topology) -> usize {
    topology.up().filter(|(_, view)| view.serves()).count()
}

fn silent_pods(topology: &Topology) -> Vec<String> {
    let sentence = |member: &Member| match &member.state {
        State::Up(_) => None,
        State::NotStarted => Some(format!("pod {} hasn't started", member.pod.name)),
        State::Silent(why) => Some(format!("pod {}: {why}", member.pod.name)),
    };
    topology.members.iter().filter_map(sentence).collect()
}

/// One sentence for each shard that has fewer replicas in sync than asked for.
fn missing_replicas(topology: &Topology, wanted: Wanted) -> Vec<String> {
    let in_sync = |shard: u32| {
        topology
            .up()
            .filter(|(pod, view)| {
                pod.shard == shard && matches!(view.role, Role::Replica { in_sync: true, .. })
            })
            .count()
    };
    let asked = wanted.replicas_per_shard as usize;
    (0..wanted.shards)
        .filter_map(|shard| {
            let in_sync = in_sync(shard);
            (in_sync < asked)
                .then(|| format!("shard {shard} has {in_sync} of {asked} replicas in sync"))
        })
        .collect()
}

fn degraded(wanted: Wanted, missing_replicas: &[String]) -> Option<Problem> {
    if !missing_replicas.is_empty() {
        return Some(Problem {
            reason: "ReplicasMissing",
            message: missing_replicas.join("; "),
        });
    }
    (wanted.replicas_per_shard == 0).then(|| Problem {
        reason: "NoReplicas",
        message: if wanted.persistent {
            "each Redis shard is a single pod: while it restarts, nothing is served. Set \
             spec.redis.managed.replicasPerShard to 1 to be spared that"
                .to_owned()
        } else {
            "each Redis shard is a single pod without a volume: when it is replaced, its history is lost. Set \
             spec.redis.managed.replicasPerShard to 1, or storage, to be spared that"
                .to_owned()
        },
    })
}

fn why_not_ready(
    served: &SlotSet,
    plan: &Plan,
    silent: &[String],
    ready_shards: u32,
    wanted: Wanted,
) -> Problem {
    match plan {
        Plan::Refused(problem) | Plan::Wait(problem) => problem.clone(),
        Plan::Do(_) => Problem {
            reason: "RedisForming",
            message: format!(
                "{ready_shards} of {} shards are ready; the next step is under way",
                wanted.shards
            ),
        },
        Plan::Settled if silent.is_empty() => Problem {
            reason: "RedisForming",
            message: format!(
                "{} of {SLOT_COUNT} slots are served; the nodes are about to agree on the rest",
                served.len()
            ),
        },
        Plan::Settled => Problem {
            reason: "RedisPodsSilent",
            message: silent.join("; "),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::topology::{Address, NodeId, PodKey, View},
        *,
    };

    const WANTED: Wanted = Wanted {
        shards: 1,
        replicas_per_shard: 1,
        persistent: true,
    };

    fn member(name: &str, role: Role, slots: SlotSet) -> Member {
        let view = View {
            id: NodeId(name.to_owned()),
            at: Address {
                client: ([10, 0, 0, 1], 6379).into(),
                bus_port: 16_379,
            },
            role,
            slots,
            keys: 0,
            offset: 0,
            cluster_ok: true,
            peers: BTreeMap::new(),
        };
        let pod = PodKey {
            shard: 0,
            name: name.to_owned(),
            uid: format!("uid-of-{name}"),
        };
        Member {
            pod,
            state: State::Up(Box::new(view)),
        }
    }

    fn pair(in_sync: bool) -> Topology {
        let of = NodeId("a".to_owned());
        Topology {
            members: vec![
                member("a", Role::Primary, SlotSet::all()),
                member("b", Role::Replica { of, in_sync }, SlotSet::default()),
            ],
        }
    }

    #[test]
    fn a_whole_shard_with_its_replica_needs_no_further_look() {
        let status = assess(&pair(true), WANTED, &Plan::Settled);
        assert!(matches!(status.ready, Verdict::Yes(_)));
        assert_eq!(
            (status.ready_shards, status.degraded, status.look_again),
            (1, None, None)
        );
        assert!(status.replicas_in_sync);
    }

    #[test]
    fn a_replica_that_lags_degrades_and_closes_the_budget() {
        let status = assess(&pair(false), WANTED, &Plan::Settled);
        assert!(matches!(status.ready, Verdict::Yes(_)), "it still serves");
        assert!(!status.replicas_in_sync);
        let problem = status.degraded.expect("it is degraded");
        assert_eq!(problem.message, "shard 0 has 0 of 1 replicas in sync");
        assert_eq!(status.look_again, Some(WHILE_DEGRADED));
    }

    #[test]
    fn a_refused_change_degrades_what_serves() {
        let refusal = Problem {
            reason: "ScaleOutUnsupported",
            message: "no".to_owned(),
        };
        let status = assess(&pair(true), WANTED, &Plan::Refused(refusal.clone()));
        assert!(matches!(status.ready, Verdict::Yes(_)));
        assert_eq!(status.degraded, Some(refusal));
    }

    #[test]
    fn a_primary_that_cannot_reach_the_majority_serves_nothing() {
        let mut topology = pair(true);
        if let State::Up(view) = &mut topology.members[0].state {
            view.cluster_ok = false;
        }
        let status = assess(&topology, WANTED, &Plan::Settled);
        assert!(matches!(status.ready, Verdict::No(_)));
        assert_eq!(
            (status.ready_shards, status.look_again),
            (0, Some(WHILE_BROKEN))
        );
    }

    #[test]
    fn pods_that_do_not_answer_are_named() {
        let mut topology = pair(true);
        topology.members[0].state = State::Silent("the connection is refused".to_owned());
        let Verdict::No(problem) = assess(&topology, WANTED, &Plan::Settled).ready else {
            panic!("nobody serves")
        };
        assert_eq!(problem.message, "pod a: the connection is refused");
    }
}
