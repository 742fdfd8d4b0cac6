//! The controller of RealtimeClusters, in five stages:
//!
//! ```text
//! dereference (reads what it names) → validate (pure) → build (pure) → apply (server-side) → status (pure, then written)
//! ```
//!
//! Between apply and status the gateways are told which config they should run, and Redis is looked at. A stage that
//! refuses or fails skips the following ones but the status, which tells in any case what runs.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Pod, Service},
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::{
    Resource,
    runtime::{controller::Action, events::EventType},
};
use rotunda_crds::{RealtimeCluster, RealtimeClusterStatus};

use crate::{
    context::{Context, is_paused},
    error_chain::{as_sentence, describe},
    gateways::Target,
    key::Key,
    metrics::Kind,
    notify, redis,
};

pub mod admission;
pub mod apply;
pub mod build;
pub mod dereference;
mod error;
pub mod model;
pub mod pods;
pub mod status;
pub mod validate;

use build::Component;
pub use error::Error;
use model::{Applied, Problem, RedisStatus, Resources, Validated};
use status::{Observed, Outcome};
use validate::Refusal;

/// Looked at again after this long, whatever happened: a safety net, since changes are watched.
const CALM: Duration = Duration::from_mins(5);
/// Steps of Redis's repair by which messages may be lost.
const LOSSES: [&str; 2] = ["ReplicaTookOver", "ShardLost"];

/// How far the stages came.
enum Progress {
    /// Something of our own had to be made first: run the stages again.
    Again,
    /// To the end, or as far as they could.
    Done(Box<Done>),
}

/// What the stages leave for the status.
struct Done {
    /// What the user must put right, or what has to be tried again.
    result: Result<Option<Refusal>, Error>,
    resources: Option<Resources<Applied>>,
    redis: Option<RedisStatus>,
    /// Sentences about what was left out.
    left_out: Vec<String>,
}

/// Makes the world as one RealtimeCluster says.
pub async fn reconcile(cluster: Arc<RealtimeCluster>, ctx: Arc<Context>) -> Result<Action, Error> {
    let key = Key::of(cluster.as_ref());
    if !ctx.settings.handles(cluster.as_ref()) {
        ctx.forget_cluster(&key);
        return Ok(Action::await_change());
    }
    if cluster.metadata.deletion_timestamp.is_some() || ctx.stores.is_leaving(&key.namespace) {
        // What it owns is collected; until then nothing is made anew.
        return Ok(Action::await_change());
    }
    if is_paused(cluster.as_ref()) {
        let status = status::compute_paused_status(&cluster, now());
        write_status(&ctx, &key, &cluster, status).await?;
        return Ok(Action::await_change());
    }
    // Boxed: what the stages hold is large, and there is one such future for each reconcile under way.
    let done = match run_stages(&ctx, &key, &cluster).boxed().await {
        Ok(Progress::Again) => {
            ctx.queues.clusters.push(key);
            return Ok(Action::await_change());
        }
        Ok(Progress::Done(done)) => *done,
        Err(error) => Done {
            result: Err(error),
            resources: None,
            // What was seen last time is better than nothing.
            redis: ctx.redis.lock().get(&key).cloned(),
            left_out: Vec::new(),
        },
    };
    if done.result.as_ref().is_err_and(Error::is_namespace_gone) {
        return Ok(Action::await_change());
    }
    tell(&ctx, &key, &cluster, &done).boxed().await?;
    let look_again = done.redis.and_then(|redis| redis.look_again);
    done.result
        .map(|_| Action::requeue(look_again.unwrap_or(CALM)))
}

async fn run_stages(
    ctx: &Context,
    key: &Key,
    cluster: &Arc<RealtimeCluster>,
) -> Result<Progress, Error> {
    let dereferenced = dereference::dereference(ctx, cluster.clone()).await?;
    let validate::Outcome { validated, config } =
        match validate::validate(&dereferenced, &ctx.settings) {
            Ok(outcome) => outcome,
            Err(refusal) => return Ok(Progress::Done(Box::new(refuse(ctx, key, refusal).await))),
        };
    let validated = Arc::new(validated);
    ctx.validated.lock().insert(key.clone(), validated.clone());
    let prepared = build::build(&validated);
    if apply::create_password(ctx, &prepared).await? {
        return Ok(Progress::Again);
    }
    let applied = apply::apply(ctx, &validated, prepared).boxed().await;
    // One object that was refused must not keep configs from the pods, nor Redis from being looked after.
    ctx.configs.lock().insert(key.clone(), config);
    observe_gateways(ctx, key, Some(&validated));
    let redis = look_after_redis(ctx, key, &validated).await;
    let (resources, fixed, result) = match applied {
        Ok((resources, fixed)) => (Some(resources), fixed, Ok(None)),
        Err(error) => (None, Vec::new(), Err(error)),
    };
    let (redis, result) = match redis {
        Ok(redis) => (Some(redis), result),
        Err(error) => (None, result.and(Err(error))),
    };
    let left_out = validated.left_out.iter().cloned().chain(fixed).collect();
    Ok(Progress::Done(Box::new(Done {
        result,
        resources,
        redis,
        left_out,
    })))
}

/// What still has to be done while the user has something to put right: what runs is looked after as it is.
async fn refuse(ctx: &Context, key: &Key, refusal: Refusal) -> Done {
    ctx.metrics.failed(Kind::RealtimeCluster, refusal.reason());
    observe_gateways(ctx, key, None);
    let last = ctx.validated.lock().get(key).cloned();
    let (redis, result) = match last {
        None => (None, Ok(Some(refusal))),
        Some(validated) => match look_after_redis(ctx, key, &validated).await {
            Ok(redis) => (Some(redis), Ok(Some(refusal))),
            Err(error) => (None, Err(error)),
        },
    };
    Done {
        result,
        resources: None,
        redis,
        left_out: Vec::new(),
    }
}

async fn look_after_redis(
    ctx: &Context,
    key: &Key,
    validated: &Validated,
) -> Result<RedisStatus, Error> {
    let pods = pods_of(ctx, key, Component::Redis);
    let status = redis::reconcile(validated, &pods).boxed().await?;
    // Without its events: each is told once.
    let remembered = RedisStatus {
        events: Vec::new(),
        ..status.clone()
    };
    ctx.redis.lock().insert(key.clone(), remembered);
    Ok(status)
}

/// Tells the observer which pods there are, and which config they should run; without a new one, the one as before.
fn observe_gateways(ctx: &Context, key: &Key, validated: Option<&Validated>) {
    let pods = pods_of(ctx, key, Component::Gateway);
    let revision = match validated {
        Some(validated) => Some(validated.config.revision.clone()),
        None => ctx.gateways.revision(key),
    };
    let mut pods: Vec<_> = pods.iter().filter_map(|pod| pods::to_target(pod)).collect();
    pods.sort_by(|a, b| a.uid.cmp(&b.uid));
    ctx.gateways.set_target(key, Target { revision, pods });
}

/// Computes and writes the status, and publishes what is worth an Event.
async fn tell(
    ctx: &Context,
    key: &Key,
    cluster: &RealtimeCluster,
    done: &Done,
) -> Result<(), Error> {
    let (known_deployment, known_service) = known(ctx, key);
    let problem = done.result.as_ref().err().map(Error::problem);
    let report = ctx.gateways.report(key);
    let applied = done.resources.as_ref();
    let observed = Observed {
        cluster,
        outcome: match (&problem, &done.result) {
            (Some(problem), _) => Outcome::Failed(problem),
            (None, Ok(Some(refusal))) => Outcome::Refused(refusal),
            (None, _) => Outcome::Applied(&done.left_out),
        },
        deployment: applied
            .map(|applied| &applied.deployment)
            .or(known_deployment.as_deref()),
        service: applied
            .map(|applied| &applied.service)
            .or(known_service.as_deref()),
        pods: &pods_of(ctx, key, Component::Gateway),
        redis_pods: &pods_of(ctx, key, Component::Redis),
        report: &report,
        redis: done.redis.as_ref(),
        now: now(),
    };
    let status = status::compute_status(&observed);
    write_status(ctx, key, cluster, status).await?;
    for event in done.redis.iter().flat_map(|redis| &redis.events) {
        let type_ = if LOSSES.contains(&event.reason) {
            EventType::Warning
        } else {
            EventType::Normal
        };
        publish(
            ctx,
            cluster,
            type_,
            event.reason,
            as_sentence(&event.message),
        )
        .await;
    }
    Ok(())
}

/// Writes a status that differs from the one there, then tells people what changed.
async fn write_status(
    ctx: &Context,
    key: &Key,
    cluster: &RealtimeCluster,
    status: RealtimeClusterStatus,
) -> Result<(), Error> {
    ctx.metrics.set_ready(
        Kind::RealtimeCluster,
        key.clone(),
        status::is_ready(&status),
    );
    let before = cluster.status.clone().unwrap_or_default();
    if cluster.status.as_ref() == Some(&status) {
        return Ok(());
    }
    ctx.status
        .write::<RealtimeCluster, _>(key, &status)
        .await
        .map_err(Error::Status)?;
    for note in status::compute_notes(&before.conditions, &status.conditions) {
        publish(ctx, cluster, note.type_, &note.reason, note.text).await;
    }
    Ok(())
}

/// After a failure: tells it, and says when to try again.
pub fn on_error(cluster: &RealtimeCluster, error: &Error, ctx: &Context, delay: Duration) {
    let key = Key::of(cluster);
    ctx.metrics.failed(Kind::RealtimeCluster, error.reason());
    tracing::warn!(
        kind = Kind::RealtimeCluster.as_str(),
        object = %key,
        reason = error.reason(),
        error = describe(error),
        retry_in = ?delay,
        "reconcile failed"
    );
    let (recorder, object) = (ctx.recorder.clone(), reference(cluster));
    let Problem { reason, message } = error.problem();
    ctx.tasks.spawn(async move {
        notify::publish(&recorder, &object, EventType::Warning, reason, message).await;
    });
}

async fn publish(
    ctx: &Context,
    cluster: &RealtimeCluster,
    type_: EventType,
    reason: &str,
    note: String,
) {
    notify::publish(&ctx.recorder, &reference(cluster), type_, reason, note).await;
}

/// The object of an Event. Without its version: Events about any version of it belong together.
fn reference(cluster: &RealtimeCluster) -> k8s_openapi::api::core::v1::ObjectReference {
    let mut reference = cluster.object_ref(&());
    reference.resource_version = None;
    reference
}

fn pods_of(ctx: &Context, key: &Key, component: Component) -> Vec<Arc<Pod>> {
    let pods = ctx.stores.children(&ctx.stores.pods, key);
    pods.into_iter()
        .filter(|pod| pods::is_of(pod, component))
        .collect()
}

fn known(ctx: &Context, key: &Key) -> (Option<Arc<Deployment>>, Option<Arc<Service>>) {
    let deployment = Key::new(&key.namespace, build::names::gateway(&key.name));
    let service = Key::new(&key.namespace, build::names::service(&key.name));
    (
        ctx.stores.deployments.get(&deployment.to_ref()),
        ctx.stores.services.get(&service.to_ref()),
    )
}

fn now() -> Time {
    // A condition's time has whole seconds.
    Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests;
