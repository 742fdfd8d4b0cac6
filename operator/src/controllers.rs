//! Runs the two controllers: takes keys from their queues, looks the objects up in the stores, reconciles, and tries what
//! failed again later.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use kube::{
    Resource,
    runtime::{
        applier,
        controller::{self, Action, Config},
        reflector::Store,
    },
};
use rotunda_crds::{RealtimeCluster, Room};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{cluster, context::Context, key::Key, metrics::Kind, queue::Requests, room};

/// Reconciles at once, for each kind.
const CONCURRENCY: u16 = 16;

/// Reconciles RealtimeClusters until `stop` fires and those under way are done.
pub async fn run_clusters(ctx: Arc<Context>, requests: Requests, stop: CancellationToken) {
    let run = |object: Arc<RealtimeCluster>, ctx: Arc<Context>| {
        observed(Kind::RealtimeCluster, object, ctx, cluster::reconcile)
    };
    let error = |object: Arc<RealtimeCluster>, error: &cluster::Error, ctx: Arc<Context>| {
        retry(Kind::RealtimeCluster, object.as_ref(), &ctx, |delay| {
            cluster::on_error(&object, error, &ctx, delay);
        })
    };
    let store = ctx.stores.clusters.clone();
    let results = applier(
        move |object, ctx| Box::pin(run(object, ctx)),
        error,
        ctx.clone(),
        store,
        keys(requests, stop),
        config(),
    );
    drain(Kind::RealtimeCluster, results).await;
}

/// Reconciles Rooms until `stop` fires and those under way are done.
pub async fn run_rooms(ctx: Arc<Context>, requests: Requests, stop: CancellationToken) {
    let run =
        |object: Arc<Room>, ctx: Arc<Context>| observed(Kind::Room, object, ctx, room::reconcile);
    let error = |object: Arc<Room>, error: &room::Error, ctx: Arc<Context>| {
        retry(Kind::Room, object.as_ref(), &ctx, |delay| {
            room::on_error(&object, error, &ctx, delay);
        })
    };
    let store: Store<Room> = ctx.stores.rooms.clone();
    let results = applier(
        move |object, ctx| Box::pin(run(object, ctx)),
        error,
        ctx.clone(),
        store,
        keys(requests, stop),
        config(),
    );
    drain(Kind::Room, results).await;
}

fn config() -> Config {
    Config::default().concurrency(CONCURRENCY)
}

/// What the controller works on; ends when it has to stop, and with it the controller, once it is done.
fn keys<K>(
    requests: Requests,
    stop: CancellationToken,
) -> impl Stream<Item = Result<kube::runtime::reflector::ObjectRef<K>, std::convert::Infallible>>
where
    K: Resource<DynamicType = ()>,
{
    requests
        .gathered()
        .map(|key| Ok(key.to_ref()))
        .take_until(stop.cancelled_owned())
}

/// One reconcile, measured, in a span of its own. A success is what ends a row of failures.
async fn observed<K, E, F>(
    kind: Kind,
    object: Arc<K>,
    ctx: Arc<Context>,
    reconcile: impl FnOnce(Arc<K>, Arc<Context>) -> F,
) -> Result<Action, E>
where
    K: Resource,
    F: Future<Output = Result<Action, E>>,
{
    let key = Key::of(object.as_ref());
    let span = tracing::info_span!("reconcile", kind = kind.as_str(), namespace = %key.namespace, name = %key.name);
    let start = Instant::now();
    let result = reconcile(object, ctx.clone()).instrument(span).await;
    ctx.metrics.reconciled(kind, start.elapsed());
    if result.is_ok() {
        ctx.backoff.succeeded(&(kind, key));
    }
    result
}

/// What to do about a failure; `tell` is called for those that count.
fn retry<K: Resource>(
    kind: Kind,
    object: &K,
    ctx: &Context,
    tell: impl FnOnce(Duration),
) -> Action {
    let retry = ctx.backoff.failed((kind, Key::of(object)), rand::random());
    if retry.counted {
        tell(retry.delay);
    }
    Action::requeue(retry.delay)
}

async fn drain<K, E, Q>(
    kind: Kind,
    results: impl Stream<Item = Result<(K, Action), controller::Error<E, Q>>>,
) where
    E: std::error::Error + 'static,
    Q: std::error::Error + 'static,
{
    results
        .for_each(|result| async {
            match result {
                // Failures of reconciles were told where they happened; an object that is gone needs nothing.
                Ok(_)
                | Err(
                    controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(_),
                ) => {}
                Err(error) => tracing::error!(kind = kind.as_str(), %error, "controller failed"),
            }
        })
        .await;
}
