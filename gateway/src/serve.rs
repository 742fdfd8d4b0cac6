//! `rotunda-gateway serve`: a gateway in a pod, run by a folder of files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::memory::MemoryBroker;
use crate::broker::redis::{RedisBroker, RedisOptions, RedisUrl};
use crate::broker::{Broker, BrokerMetrics};
use crate::cli::Addresses;
use crate::config::{self, Settings};
use crate::dialect::CloseReason;
use crate::gateway::Gateway;
use crate::http::PublicEntrance;
use crate::hub::Rooms;
use crate::metrics::Metrics;
use crate::ops::{self, Ops};
use crate::policy::PublishCounters;
use crate::server::Terms;
use crate::{http, server, shutdown};

/// Serves until told to stop, then drains.
pub async fn run(folder: PathBuf, addresses: Addresses) -> anyhow::Result<()> {
    let mut signals = shutdown::Signals::listen()?;
    let metrics = Arc::new(Metrics::new());
    let ports = Ports::open(&addresses, &metrics)?;
    let counters = PublishCounters::default();
    let ops = Arc::clone(&ports.ops);
    let first = config::wait_for_first(&folder, &counters, |error| {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "waiting for a config"
        );
        ops.waiting_for(error.to_string());
    });
    let settings = tokio::select! {
        settings = first => settings,
        () = signals.requested() => return Ok(()),
    };
    tracing::info!(revision = settings.config.revision, "config loaded");
    let gateway = start(settings, counters, metrics)?;
    let watching = gateway
        .stopping()
        .clone()
        .run_until_cancelled_owned(config::watch(Arc::clone(&gateway), folder));
    let watching = tokio::spawn(watching);
    let serving = ports.serve(&gateway, http::public(&gateway, None));
    tokio::select! {
        () = signals.requested() => {}
        // It ends only by a panic: then it's better to start over than to go on with an old config.
        ended = watching => anyhow::bail!("the config is no longer followed: {ended:?}"),
    }
    let window = Duration::from_secs(u64::from(gateway.settings().config.drain_seconds));
    shutdown::drain(&gateway, window, &serving.listeners).await;
    serving.finish().await;
    Ok(())
}

/// Starts a gateway on the broker that its settings ask for.
pub fn start(
    settings: Settings,
    counters: PublishCounters,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Arc<Gateway>> {
    let presence_ttl = settings.presence_ttl();
    let url = settings
        .redis_url
        .as_deref()
        .map(RedisUrl::parse)
        .transpose()
        .context("the URL of Redis")?;
    let key_prefix = settings.config.key_prefix.clone();
    let broker_metrics: Arc<dyn BrokerMetrics> = Arc::clone(&metrics) as _;
    let broker = move |rooms: Arc<Rooms>| -> Arc<dyn Broker> {
        match url {
            Some(url) => {
                let options = RedisOptions {
                    url,
                    key_prefix,
                    presence_ttl,
                };
                RedisBroker::start(options, rooms, broker_metrics)
            }
            None => MemoryBroker::start(presence_ttl, rooms),
        }
    };
    Ok(Gateway::start(settings, counters, metrics, broker))
}

/// The three ports, listening. The one for operations answers from the start.
pub struct Ports {
    pub client: tokio::net::TcpListener,
    pub api: tokio::net::TcpListener,
    pub ops: Arc<Ops>,
    ops_tasks: TaskTracker,
    ops_stop: CancellationToken,
}

impl Ports {
    pub fn open(addresses: &Addresses, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let listen = |address, what: &str| {
            server::listen(address).with_context(|| format!("can't listen on {address} for {what}"))
        };
        let client = listen(addresses.listen, "clients")?;
        let api = listen(addresses.api_listen, "the server API")?;
        let operations = listen(addresses.ops_listen, "operations")?;
        let ops = Ops::new(Arc::clone(metrics));
        let (ops_tasks, ops_stop) = (TaskTracker::new(), CancellationToken::new());
        let router = ops::router(Arc::clone(&ops));
        ops_tasks.spawn(server::serve(
            operations,
            router,
            ops_tasks.clone(),
            ops_stop.clone(),
        ));
        Ok(Self {
            client,
            api,
            ops,
            ops_tasks,
            ops_stop,
        })
    }

    /// Starts serving clients and servers.
    pub fn serve(self, gateway: &Arc<Gateway>, public: axum::Router) -> Serving {
        // Set once, here.
        self.ops.gateway.set(Arc::clone(gateway)).ok();
        let listeners = CancellationToken::new();
        let tracker = &gateway.tracker;
        let terms = Terms {
            entrance: PublicEntrance::new(gateway),
            ..Terms::default()
        };
        tracker.spawn(server::serve_on(
            terms,
            self.client,
            public,
            tracker.clone(),
            listeners.clone(),
        ));
        tracker.spawn(server::serve(
            self.api,
            http::server_api(gateway),
            tracker.clone(),
            listeners.clone(),
        ));
        Serving {
            listeners,
            ops_tasks: self.ops_tasks,
            ops_stop: self.ops_stop,
        }
    }
}

/// Ports in use.
pub struct Serving {
    /// Ends the accepting of clients and servers.
    pub listeners: CancellationToken,
    ops_tasks: TaskTracker,
    ops_stop: CancellationToken,
}

impl Serving {
    /// Ends every connection at once.
    pub async fn stop(self, gateway: &Gateway) {
        self.listeners.cancel();
        gateway
            .stop(CloseReason::GoingAway, Duration::from_secs(1))
            .await;
        self.finish().await;
    }

    /// Closes the port for operations, the last one.
    pub async fn finish(self) {
        self.ops_stop.cancel();
        self.ops_tasks.close();
        tokio::time::timeout(Duration::from_secs(1), self.ops_tasks.wait())
            .await
            .ok();
    }
}
