//! The life of the operator: connect, serve the operations port, wait for the lease, watch and reconcile, stop.
//!
//! Whatever ends unexpectedly (a watch, a controller, the lease) ends the process with an error: Kubernetes starts it
//! again, and another replica may lead by then.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use futures::future::{BoxFuture, FutureExt};
use kube::Client;
use rand::Rng;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cli::RunOptions,
    context::{Context, FIELD_MANAGER, Parts, Queues},
    controllers::{run_clusters, run_rooms},
    gateways::{Changed, Gateways, OnChange, pods::LivePods},
    leader::{Elector, Leadership, Timing},
    metrics::Metrics,
    ops::{self, Health, Stage},
    queue::queue,
    stores::stores,
    watches::watches,
};

/// How long reconciles under way may take to finish when the process stops.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs until SIGTERM or SIGINT, or until something ends that must not.
pub async fn run(options: RunOptions) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    let failed = CancellationToken::new();
    fail_on_panic(failed.clone());

    let health = Health::default();
    let metrics = Arc::new(Metrics::default());
    let listener = TcpListener::bind(options.ops_listen)
        .await
        .with_context(|| format!("can't listen on {} (--ops-listen)", options.ops_listen))?;
    // Served to the very end, so that probes see how the process stops.
    let end = CancellationToken::new();
    let ops = tokio::spawn(ops::serve(
        listener,
        health.clone(),
        metrics.clone(),
        end.clone(),
    ));

    let result = tokio::select! {
        result = lead(&options, &health, &metrics, &stop) => result,
        () = failed.cancelled() => Err(anyhow::anyhow!("a task panicked")),
    };
    end.cancel();
    ops.await
        .context("the operations port panicked")?
        .context("the operations port failed")?;
    result
}

/// Waits for the lease, works while it is ours, gives it up.
async fn lead(
    options: &RunOptions,
    health: &Health,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("no connection to a Kubernetes API server is configured")?;
    let version = client
        .apiserver_version()
        .await
        .context("the Kubernetes API server doesn't answer")?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        kubernetes = %version.git_version,
        scope = ?options.scope(),
        "connected"
    );
    let leadership = if options.leader_election {
        health.set(Stage::Standby);
        let elector = elector(options, client.clone());
        tokio::select! {
            leadership = elector.acquire() => Some(leadership),
            () = stop.cancelled() => return Ok(()),
        }
    } else {
        None
    };
    metrics.set_leader(true);
    health.set(Stage::Listing);
    // The lease is held until the last reconcile is done, and only then given up.
    let release = CancellationToken::new();
    let holding = hold(leadership, release.clone());
    tokio::pin!(holding);
    let working = work(options, client, health, metrics, stop);
    let worked = tokio::select! {
        lost = &mut holding => return lost.and_then(|()| bail!("the lease was given up while working")),
        worked = working => worked,
    };
    health.set(Stage::Stopping);
    release.cancel();
    holding.await?;
    worked
}

fn elector(options: &RunOptions, client: Client) -> Elector {
    let suffix: u32 = rand::rng().random();
    let pod = options.pod_name.as_deref().unwrap_or("rotunda-operator");
    let settings = options.settings();
    let name = match &settings.controller_class {
        Some(class) => format!("{FIELD_MANAGER}-{class}"),
        None => FIELD_MANAGER.to_owned(),
    };
    let namespace = settings
        .operator_namespace
        .unwrap_or_else(|| client.default_namespace().to_owned());
    Elector::new(
        client,
        &namespace,
        &name,
        format!("{pod}_{suffix:08x}"),
        Timing::default(),
    )
}

fn hold(
    leadership: Option<Leadership>,
    release: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    match leadership {
        Some(leadership) => leadership
            .hold(release)
            .map(|held| held.context("lost the lease"))
            .boxed(),
        None => release.cancelled_owned().map(Ok).boxed(),
    }
}

/// Watches and reconciles until `stop` fires, then finishes what is under way.
async fn work(
    options: &RunOptions,
    client: Client,
    health: &Health,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let (stores, writers) = stores();
    let (clusters, cluster_requests) = queue();
    let (rooms, room_requests) = queue();
    let queues = Queues { clusters, rooms };
    let tasks = TaskTracker::new();
    let gateways = Gateways::new(
        Arc::new(LivePods::new(client.clone())),
        on_gateways_changed(&queues, &stores),
        tasks.clone(),
    );
    let ctx = Arc::new(Context::new(Parts {
        client,
        settings: options.settings(),
        stores,
        gateways,
        queues,
        metrics: metrics.clone(),
        tasks: tasks.clone(),
        instance: options.pod_name.clone(),
    }));

    let mut watching = JoinSet::new();
    for watch in watches(&ctx, &options.scope(), writers) {
        watching.spawn(watch.running.map(move |()| watch.kind));
    }
    tokio::select! {
        ready = ctx.stores.wait_until_ready() => ready.context("a watch ended before its first list")?,
        () = stop.cancelled() => return Ok(()),
    }
    health.set(Stage::Leading);
    tracing::info!(
        clusters = ctx.stores.clusters.len(),
        rooms = ctx.stores.rooms.len(),
        "everything is listed; reconciling"
    );

    let mut controllers = JoinSet::new();
    controllers.spawn(run_clusters(ctx.clone(), cluster_requests, stop.clone()));
    controllers.spawn(run_rooms(ctx.clone(), room_requests, stop.clone()));
    tokio::select! {
        () = stop.cancelled() => {}
        Some(ended) = watching.join_next() => bail!("the watch of {} ended", ended.unwrap_or("an unknown kind")),
        Some(_) = controllers.join_next() => if !stop.is_cancelled() { bail!("a controller ended") },
    }
    tracing::info!("stopping; finishing what is under way");
    let finish = async {
        while controllers.join_next().await.is_some() {}
        ctx.gateways.stop();
        tasks.close();
        tasks.wait().await;
    };
    if timeout(PATIENCE, finish).await.is_err() {
        tracing::warn!("reconciles under way took too long and were cut off");
    }
    Ok(())
}

/// What the gateways say is part of statuses.
fn on_gateways_changed(queues: &Queues, stores: &crate::stores::Stores) -> OnChange {
    let (queues, stores) = (queues.clone(), stores.clone());
    Arc::new(move |cluster, changed| {
        for room in stores.rooms_of(cluster) {
            queues.rooms.push(crate::key::Key::of(room.as_ref()));
        }
        match changed {
            Changed::Programming => queues.clusters.push(cluster.clone()),
            // Not urgent, and perhaps together with something else.
            Changed::Counts => queues
                .clusters
                .push_within(cluster.clone(), Duration::from_secs(1)),
        }
    })
}

fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("can't handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't handle SIGINT")?;
    let fired = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        fired.cancel();
    });
    Ok(stop)
}

/// A panic in any task ends the process, in an orderly way.
fn fail_on_panic(failed: CancellationToken) {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default(panic);
        failed.cancel();
    }));
}
