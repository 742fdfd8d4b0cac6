//! Fifth stage: what a user should know. [`compute_status`] is pure; it is also called when an earlier stage refused or
//! failed, so that what runs is told in any case.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Pod, Service},
    },
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use rotunda_crds::{
    RealtimeCluster, RealtimeClusterStatus,
    conditions::{ConditionStatus, cluster as condition, is_true, reason, set_condition},
    realtime_cluster::{RedisMode, RedisStatus as ShardCounts},
};

use super::{
    build::{Component, labels},
    model::{Problem, RedisStatus, Verdict},
    validate::Refusal,
};
use crate::{
    digits::two_significant_digits,
    error_chain::as_sentence,
    gateways::{Report, State},
};

mod endpoint;
mod gateways;

pub use endpoint::Address;

/// How the earlier stages ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// Everything was applied; sentences about what was left out.
    Applied(&'a [String]),
    /// The user must put something right.
    Refused(&'a Refusal),
    /// Something failed and is tried again.
    Failed(&'a Problem),
}

/// Everything a status is computed from.
#[derive(Debug, Clone)]
pub struct Observed<'a> {
    /// The resource, with its status so far.
    pub cluster: &'a RealtimeCluster,
    /// How the earlier stages ended.
    pub outcome: Outcome<'a>,
    /// The gateways' Deployment.
    pub deployment: Option<&'a Deployment>,
    /// The public Service.
    pub service: Option<&'a Service>,
    /// The gateway pods.
    pub pods: &'a [Arc<Pod>],
    /// The pods of the managed Redis.
    pub redis_pods: &'a [Arc<Pod>],
    /// What the gateways say.
    pub report: &'a Report,
    /// The Redis, if it could be looked at.
    pub redis: Option<&'a RedisStatus>,
    /// Now.
    pub now: Time,
}

/// Computes the status that a cluster should have.
pub fn compute_status(observed: &Observed<'_>) -> RealtimeClusterStatus {
    let cluster = observed.cluster;
    let gateways = gateways::summarize(observed);
    let address = endpoint::compute_address(observed);
    let redis = redis_verdict(observed);
    let overall = overall(observed, &gateways, &address, &redis);

    let before = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation;
    let mut conditions = before.conditions;
    let mut set = |type_, (status, problem): (ConditionStatus, Problem)| {
        set_condition(
            &mut conditions,
            type_,
            status,
            problem.reason,
            problem.message,
            generation,
            observed.now.clone(),
        );
    };
    set(condition::READY, overall.ready);
    set(condition::RECONCILING, overall.reconciling);
    set(condition::STALLED, overall.stalled);
    set(condition::DEGRADED, overall.degraded);
    set(condition::REDIS_READY, split(redis));
    set(condition::GATEWAYS_READY, split(gateways.verdict.clone()));
    set(condition::ENDPOINT_READY, split(address.verdict()));

    let counts = count(observed.report);
    RealtimeClusterStatus {
        observed_generation: generation,
        conditions,
        endpoint: endpoint::compute_endpoint(cluster, &address),
        replicas: Some(gateways.replicas),
        ready_replicas: Some(gateways.ready),
        selector: Some(selector(cluster.name())),
        connections: Some(two_significant_digits(counts.connections)),
        rooms: Some(two_significant_digits(counts.rooms)),
        redis: shard_counts(observed),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
    }
}

/// The status of a cluster that the user paused: what was there, and that it is paused.
pub fn compute_paused_status(cluster: &RealtimeCluster, now: Time) -> RealtimeClusterStatus {
    let mut status = cluster.status.clone().unwrap_or_default();
    set_condition(
        &mut status.conditions,
        condition::RECONCILING,
        ConditionStatus::False,
        reason::PAUSED,
        format!(
            "Paused by the annotation {annotation}; changes of the spec wait. To go on: kubectl annotate realtimecluster {name} \
             -n {namespace} {annotation}-.",
            annotation = crate::context::PAUSED_ANNOTATION,
            name = cluster.name(),
            namespace = cluster.namespace()
        ),
        cluster.metadata.generation,
        now,
    );
    status
}

/// Whether the status says that clients can connect.
pub fn is_ready(status: &RealtimeClusterStatus) -> bool {
    is_true(&status.conditions, condition::READY)
}

type Stated = (ConditionStatus, Problem);

/// The conditions that sum up the others.
struct Overall {
    ready: Stated,
    reconciling: Stated,
    stalled: Stated,
    degraded: Stated,
}

fn overall(
    observed: &Observed<'_>,
    gateways: &gateways::Summary,
    address: &Address,
    redis: &Verdict,
) -> Overall {
    let stall = match observed.outcome {
        Outcome::Refused(refusal) => Some(problem(refusal.reason(), refusal.message())),
        _ => gateways.stall.clone(),
    };
    // The worst first: without gateways the rest hardly matters.
    let obstacle = [
        (!gateways.serves()).then(|| gateways.verdict.clone()),
        (!matches!(redis, Verdict::Yes(_))).then(|| redis.clone()),
        address.known.is_none().then(|| address.verdict()),
    ]
    .into_iter()
    .flatten()
    .next();
    let ready = match (&obstacle, &stall) {
        (None, _) => {
            let mut message = format!(
                "{} of {} gateway pods serve.",
                gateways.ready, gateways.desired
            );
            if let Outcome::Applied(left_out) = observed.outcome {
                for sentence in left_out {
                    message.push(' ');
                    message.push_str(sentence);
                }
            }
            (ConditionStatus::True, problem(reason::READY, message))
        }
        // Nothing serves yet, and the user has to act: that is the message that helps.
        (Some(_), Some(stall)) => (ConditionStatus::False, stall.clone()),
        (Some(Verdict::Unknown(problem)), None) => (ConditionStatus::Unknown, problem.clone()),
        (Some(Verdict::No(problem) | Verdict::Yes(problem)), None) => {
            (ConditionStatus::False, problem.clone())
        }
    };
    let reconciling = match (observed.outcome, &stall) {
        (Outcome::Failed(problem), _) => (ConditionStatus::True, problem.clone()),
        (_, Some(stall)) => (
            ConditionStatus::False,
            problem(
                stall.reason,
                "Waits until what is described in condition Stalled is put right.",
            ),
        ),
        (_, None) => match gateways
            .rolling
            .clone()
            .or_else(|| obstacle.map(|verdict| split(verdict).1))
        {
            Some(work) => (ConditionStatus::True, work),
            None => (
                ConditionStatus::False,
                problem(reason::UP_TO_DATE, "Everything is as the spec says."),
            ),
        },
    };
    let stalled = match stall {
        Some(stall) => (ConditionStatus::True, stall),
        None => (
            ConditionStatus::False,
            problem(reason::UP_TO_DATE, "Nothing for you to do."),
        ),
    };
    let degraded = match (
        observed
            .redis
            .and_then(|redis| redis.degraded.clone())
            .map(|found| problem(found.reason, as_sentence(&found.message))),
        gateways.reduced(),
    ) {
        (None, None) if !gateways.serves() => (
            ConditionStatus::False,
            problem(
                reason::NO_GATEWAYS,
                "Nothing serves yet, see condition Ready.",
            ),
        ),
        (None, None) => (
            ConditionStatus::False,
            problem(
                reason::FULL_REDUNDANCY,
                "Everything that was asked for is there.",
            ),
        ),
        (Some(redis), Some(gateways)) => (
            ConditionStatus::True,
            problem(
                redis.reason,
                format!("{} {}", redis.message, gateways.message),
            ),
        ),
        (Some(one), None) | (None, Some(one)) => (ConditionStatus::True, one),
    };
    Overall {
        ready,
        reconciling,
        stalled,
        degraded,
    }
}

fn redis_verdict(observed: &Observed<'_>) -> Verdict {
    let verdict = match (observed.redis, observed.outcome) {
        (Some(redis), _) => in_sentences(redis.ready.clone()),
        (None, Outcome::Refused(_)) => Verdict::Unknown(problem(
            reason::REDIS_NOT_READY,
            "Redis isn't looked at until the spec can be carried out.",
        )),
        (None, _) => Verdict::Unknown(problem(
            reason::REDIS_NOT_READY,
            "Redis hasn't been looked at yet.",
        )),
    };
    // Redis itself can't know why its pods don't start.
    match (verdict, gateways::find_pod_problem(observed.redis_pods)) {
        (Verdict::No(_) | Verdict::Unknown(_), Some(found)) => Verdict::No(found.problem),
        (verdict, _) => verdict,
    }
}

fn shard_counts(observed: &Observed<'_>) -> Option<ShardCounts> {
    match observed.cluster.spec.redis_mode() {
        RedisMode::External(_) => None,
        RedisMode::Managed(managed) => Some(match observed.redis {
            Some(redis) => ShardCounts {
                shards: i32::try_from(redis.shards).ok(),
                ready_shards: i32::try_from(redis.ready_shards).ok(),
            },
            None => ShardCounts {
                shards: Some(managed.shards()),
                ready_shards: Some(0),
            },
        }),
    }
}

struct Counts {
    connections: u64,
    rooms: u64,
}

/// Connections add up. A room may be open on several gateways, whose names of rooms we don't know: the fullest gateway's
/// count is what is certain.
fn count(report: &Report) -> Counts {
    Counts {
        connections: report.answers().map(|stats| stats.connections).sum(),
        rooms: report
            .answers()
            .filter(|stats| stats.state != State::Draining)
            .map(|stats| stats.active_rooms)
            .max()
            .unwrap_or(0),
    }
}

/// The selector of the gateway pods as text, for `kubectl scale` and autoscalers.
fn selector(cluster: &str) -> String {
    let labels = labels::selector(cluster, Component::Gateway);
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(",")
}

fn split(verdict: Verdict) -> Stated {
    match verdict {
        Verdict::Yes(problem) => (ConditionStatus::True, problem),
        Verdict::No(problem) => (ConditionStatus::False, problem),
        Verdict::Unknown(problem) => (ConditionStatus::Unknown, problem),
    }
}

fn in_sentences(verdict: Verdict) -> Verdict {
    let tidy = |found: Problem| problem(found.reason, as_sentence(&found.message));
    match verdict {
        Verdict::Yes(found) => Verdict::Yes(tidy(found)),
        Verdict::No(found) => Verdict::No(tidy(found)),
        Verdict::Unknown(found) => Verdict::Unknown(tidy(found)),
    }
}

fn problem(reason: &'static str, message: impl Into<String>) -> Problem {
    Problem {
        reason,
        message: message.into(),
    }
}

/// The conditions whose changes are worth an Event, and how they read.
pub const TOLD: [(&str, crate::notify::Polarity); 3] = [
    (condition::READY, crate::notify::Polarity::Positive),
    (condition::STALLED, crate::notify::Polarity::Negative),
    (condition::DEGRADED, crate::notify::Polarity::Negative),
];

/// What to tell people about the change from one set of conditions to another.
pub fn compute_notes(before: &[Condition], after: &[Condition]) -> Vec<crate::notify::Note> {
    TOLD.iter()
        .filter_map(|(type_, polarity)| {
            crate::notify::compute_note(before, after, type_, *polarity)
        })
        .collect()
}

#[cfg(test)]
mod tests;
