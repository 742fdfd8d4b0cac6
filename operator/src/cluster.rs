//! The controller of RealtimeClusters, in five stages:
//!
//! ```text
//! dereference (reads what it names) → validate (pure) → build (pure) → apply (server-side) → status (pure, then written)
//! ```
//!
//! Between apply and status the gateways are told which config they should run, and Redis is looked at. A stage that
//! refuses or fails skips the following ones but the status, which tells in any case what runs.

use std::{sync::Arc, time::Duration};

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
use rotunda_crds::{RealtimeCluster, RealtimeClusterStatus, conditions::reason};
use thiserror::Error;

use crate::{
    context::{Context, is_paused},
    error_chain::{describe, is_namespace_gone},
    gateways::Target,
    key::Key,
    metrics::Kind,
    notify, redis,
};

pub mod admission;
pub mod apply;
pub mod build;
pub mod dereference;
pub mod model;
pub mod pods;
pub mod status;
pub mod validate;

use build::Component;
use model::{Applied, Problem, RedisStatus, Resources, Validated};
use status::{Observed, Outcome};
use validate::Refusal;

/// Looked at again after this long, whatever happened: a safety net, since changes are watched.
const CALM: Duration = Duration::from_mins(5);

/// What can go wrong with the world outside; each is tried again, later with each failure.
#[derive(Debug, Error)]
pub enum Error {
    /// Something could not be read.
    #[error("could not read {kind} {name}")]
    Read {
        /// Kind of what was read.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the API server said.
        #[source]
        source: kube::Error,
    },
    /// The API server did not take an object.
    #[error("could not apply {kind} {name}")]
    Apply {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the API server said.
        #[source]
        source: kube::Error,
    },
    /// Something unwanted could not be deleted.
    #[error("could not prune {kind} {name}")]
    Prune {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the API server said.
        #[source]
        source: kube::Error,
    },
    /// The status could not be written.
    #[error("could not write the status")]
    Status(#[source] kube::Error),
    /// Redis could not be looked at, or a step failed.
    #[error("could not look after redis")]
    Redis(#[from] redis::Error),
}

impl Error {
    /// For conditions, Events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Read { .. } => "ReadFailed",
            Self::Apply { .. } => reason::APPLY_FAILED,
            Self::Prune { .. } => "PruneFailed",
            Self::Status(_) => "StatusFailed",
            Self::Redis(error) => error.reason(),
        }
    }

    /// Whether it failed because the namespace goes, and everything with it.
    fn is_namespace_gone(&self) -> bool {
        match self {
            Self::Read { source, .. }
            | Self::Apply { source, .. }
            | Self::Prune { source, .. }
            | Self::Status(source) => is_namespace_gone(source),
            Self::Redis(_) => false,
        }
    }

    fn problem(&self) -> Problem {
        Problem {
            reason: self.reason(),
            message: format!("{}; it is tried again.", sentence(self)),
        }
    }
}

/// An error and its causes on one line, beginning like a sentence.
fn sentence(error: &Error) -> String {
    let mut text = describe(error);
    if let Some(first) = text.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// How far the stages came.
enum Progress {
    /// All the way.
    Applied(Box<Done>),
    /// The user must put something right.
    Refused(Refusal),
    /// Something of our own had to be made first: run the stages again.
    Again,
}

/// What the stages leave for the status.
struct Done {
    resources: Resources<Applied>,
    redis: Result<RedisStatus, redis::Error>,
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
    let result = Box::pin(run_stages(&ctx, &key, &cluster)).await;
    let (outcome, done): (Result<_, Error>, _) = match result {
        Ok(Progress::Again) => {
            ctx.queues.clusters.push(key);
            return Ok(Action::await_change());
        }
        Ok(Progress::Refused(refusal)) => {
            ctx.metrics.failed(Kind::RealtimeCluster, refusal.reason());
            observe_gateways(&ctx, &key, None);
            (Ok(Some(refusal)), None)
        }
        Ok(Progress::Applied(done)) => {
            let Done {
                resources,
                redis,
                left_out,
            } = *done;
            match redis {
                Ok(redis) => (Ok(None), Some((resources, Some(redis), left_out))),
                Err(error) => (Err(error.into()), Some((resources, None, left_out))),
            }
        }
        Err(error) if error.is_namespace_gone() => return Ok(Action::await_change()),
        Err(error) => (Err(error), None),
    };
    let look_again = Box::pin(tell(&ctx, &key, &cluster, &outcome, done)).await?;
    outcome.map(|_| Action::requeue(look_again.unwrap_or(CALM)))
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
            Err(refusal) => return Ok(Progress::Refused(refusal)),
        };
    ctx.targets
        .lock()
        .insert(key.clone(), validated.redis.clone());
    let prepared = build::build(&validated);
    if apply::create_password(ctx, &prepared).await? {
        return Ok(Progress::Again);
    }
    let (resources, fixed) = Box::pin(apply::apply(ctx, &validated, prepared)).await?;
    ctx.configs.lock().insert(key.clone(), config);
    observe_gateways(ctx, key, Some(&validated));
    let redis_pods = pods_of(ctx, key, Component::Redis);
    let redis = redis::reconcile(&validated, &redis_pods).await;
    if let Ok(redis) = &redis {
        ctx.redis.lock().insert(key.clone(), redis.clone());
    }
    Ok(Progress::Applied(Box::new(Done {
        resources,
        redis,
        left_out: validated.left_out.into_iter().chain(fixed).collect(),
    })))
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

/// Computes and writes the status, and publishes what is worth an Event. Returns when Redis wants to be looked at again.
async fn tell(
    ctx: &Context,
    key: &Key,
    cluster: &RealtimeCluster,
    outcome: &Result<Option<Refusal>, Error>,
    done: Option<(Resources<Applied>, Option<RedisStatus>, Vec<String>)>,
) -> Result<Option<Duration>, Error> {
    let (resources, redis, left_out) = match done {
        Some((resources, redis, left_out)) => (Some(resources), redis, left_out),
        // What was seen last time is better than nothing.
        None => (None, ctx.redis.lock().get(key).cloned(), Vec::new()),
    };
    let (known_deployment, known_service) = known(ctx, key);
    let problem = outcome.as_ref().err().map(Error::problem);
    let report = ctx.gateways.report(key);
    let observed = Observed {
        cluster,
        outcome: match (&problem, outcome) {
            (Some(problem), _) => Outcome::Failed(problem),
            (None, Ok(Some(refusal))) => Outcome::Refused(refusal),
            (None, _) => Outcome::Applied(&left_out),
        },
        deployment: resources
            .as_ref()
            .map(|resources| &resources.deployment)
            .or(known_deployment.as_deref()),
        service: resources
            .as_ref()
            .map(|resources| &resources.service)
            .or(known_service.as_deref()),
        pods: &pods_of(ctx, key, Component::Gateway),
        redis_pods: &pods_of(ctx, key, Component::Redis),
        report: &report,
        redis: redis.as_ref(),
        now: now(),
    };
    let status = status::compute_status(&observed);
    write_status(ctx, key, cluster, status).await?;
    for event in redis.iter().flat_map(|redis| &redis.events) {
        publish(
            ctx,
            cluster,
            EventType::Normal,
            event.reason,
            event.message.clone(),
        )
        .await;
    }
    Ok(redis.and_then(|redis| redis.look_again))
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
