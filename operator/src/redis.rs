//! The Redis of a cluster: looks at it, takes at most one step to make it what the spec asks for, and says how it is.
//!
//! ```text
//! pods ─► observe (logs in to each) ─► Topology ─► plan (pure) ─► Step ─► execute
//!                                          └─────► health (pure) ─► RedisStatus
//! ```
//!
//! An external Redis is only asked whether it is there and new enough. [`rooms`] deletes what is stored of a room.

pub mod execute;
pub mod external;
pub mod health;
pub mod link;
pub mod nodes;
pub mod observe;
pub mod plan;
mod primaries;
pub mod rooms;
pub mod slots;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;
pub mod topology;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use rotunda_crds::realtime_cluster::RedisMode;

pub use link::Error;
use observe::RedisPod;
use plan::{Plan, Step};
pub use rooms::delete_rooms;
use topology::Wanted;

use crate::cluster::model::{Hidden, ManagedRedis, Problem, RedisStatus, RedisTarget, Validated};

/// Time for one step; what isn't done by then is done with the next look.
const STEP_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon to look at what a step has changed.
const AFTER_A_STEP: Duration = Duration::from_millis(500);

/// Looks at the Redis of `cluster` and takes one step of repair where one is due. Bounded to a few seconds.
pub async fn reconcile(cluster: &Validated, pods: &[Arc<Pod>]) -> Result<RedisStatus, Error> {
    match &cluster.redis {
        RedisTarget::External { url } => Ok(external::check(url).await),
        RedisTarget::Managed(ManagedRedis { password, .. }) => {
            let pods: Vec<RedisPod> = pods.iter().filter_map(|pod| RedisPod::read(pod)).collect();
            advance(&pods, wanted(cluster), password).await
        }
    }
}

/// What the spec asks for.
fn wanted(cluster: &Validated) -> Wanted {
    let spec = match cluster.cluster.spec.redis_mode() {
        RedisMode::Managed(spec) => *spec,
        RedisMode::External(_) => rotunda_crds::realtime_cluster::ManagedRedis::default(),
    };
    Wanted {
        shards: u32::try_from(spec.shards()).unwrap_or(1).max(1),
        replicas_per_shard: u32::try_from(spec.replicas_per_shard()).unwrap_or(0),
        persistent: spec.storage.is_some(),
    }
}

/// One look at `pods`, and one step towards what is `wanted`.
pub async fn advance(
    pods: &[RedisPod],
    wanted: Wanted,
    password: &Hidden,
) -> Result<RedisStatus, Error> {
    let topology = observe::observe(pods, password).await;
    let plan = plan::plan(&topology, wanted);
    let mut status = health::assess(&topology, wanted, &plan);
    if let Plan::Do(step) = &plan {
        if take(step, password).await? {
            status.events.extend(event(step));
        }
        status.look_again = Some(AFTER_A_STEP);
    }
    Ok(status)
}

/// Takes `step`; false where a pod changed or went away before it, which the next look will show.
async fn take(step: &Step, password: &Hidden) -> Result<bool, Error> {
    match tokio::time::timeout(STEP_TIMEOUT, execute::execute(step, password)).await {
        Ok(Ok(())) => Ok(true),
        Ok(Err(error @ (Error::Unreachable { .. } | Error::Stranger { .. }))) => {
            tracing::info!(%error, "a step of Redis has to wait");
            Ok(false)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => {
            tracing::info!("a step of Redis took too long and will be taken again");
            Ok(false)
        }
    }
}

/// What people should hear about.
fn event(step: &Step) -> Option<Problem> {
    match step {
        Step::TakeOver { replica, .. } => Some(Problem {
            reason: "ReplicaTookOver",
            message: format!(
                "the primary of shard {} is gone; {} serves its slots now, and the newest messages may be lost",
                replica.pod.shard, replica.pod.name
            ),
        }),
        Step::Forget { slots, .. } if !slots.is_empty() => Some(Problem {
            reason: "ShardLost",
            message: format!(
                "a shard with {} slots is gone with every copy of its data; its slots start anew, empty",
                slots.len()
            ),
        }),
        Step::AssignSlots { to, slots } if slots.is_all() => Some(Problem {
            reason: "RedisFormed",
            message: format!("{} serves all slots", to.pod.name),
        }),
        Step::Forget { .. }
        | Step::Meet { .. }
        | Step::AssignSlots { .. }
        | Step::Replicate { .. } => None,
    }
}
