//! `rotunda-gateway dev`: the same gateway from manifests on this machine, without Kubernetes.
//!
//! The manifests are turned into the config that the operator would render, by the same function, and run through the same code as `serve`.
//! Three things differ: the broker is the memory unless a Redis is named, the page at `/` is always there, and it is handed tokens.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::extract::State;
use axum::http::Uri;
use axum::routing::get;
use axum::{Json, Router};
use rotunda_crds::GatewayConfig;
use serde_json::{Map, Value, json};

use crate::cli::{Addresses, Manifests};
use crate::config::{Files, Settings};
use crate::dialect::{ErrorCode, Failure};
use crate::gateway::Gateway;
use crate::http::token::query_values;
use crate::ids::UserId;
use crate::metrics::Metrics;
use crate::policy::PublishCounters;
use crate::serve::{self, Ports};
use crate::{http, shutdown, token};

pub mod manifests;

/// How long the page's tokens are valid.
const PAGE_TOKEN_VALIDITY: Duration = Duration::from_hours(12);

/// A config and what stands beside it.
#[derive(Debug)]
pub struct Loaded {
    pub config: GatewayConfig,
    pub files: Files,
}

/// Reads manifests as they would be rendered; `redis` when the broker is to be one.
pub fn load(manifests: &Manifests, redis: bool) -> anyhow::Result<Loaded> {
    let read = manifests::read(&manifests.files)?;
    manifests::render_cluster(&read, manifests.cluster.as_deref(), redis)
}

/// Serves until Ctrl-C.
pub async fn run(
    manifests: &Manifests,
    redis: Option<String>,
    addresses: &Addresses,
) -> anyhow::Result<()> {
    let mut signals = shutdown::Signals::listen()?;
    let Loaded {
        mut config,
        mut files,
    } = load(manifests, redis.is_some())?;
    if let Some(url) = redis {
        files.insert(
            rotunda_crds::config::files::REDIS_URL_FILE.to_owned(),
            url.into_bytes(),
        );
    }
    config.playground = true;
    let proxy_protocol = std::mem::take(&mut config.proxy_protocol);
    if config.tls.take().is_some() || proxy_protocol {
        tracing::warn!("TLS and the PROXY protocol are left out in dev");
    }
    let metrics = Arc::new(Metrics::new());
    let ports = Ports::open(addresses, &metrics)?;
    let counters = PublishCounters::default();
    let settings = Settings::build(config.clone(), &files, &counters)?;
    let gateway = serve::start(settings, counters, metrics)?;
    let public = http::public(&gateway, Some(tokens(config, files)));
    let address = ports
        .client
        .local_addr()
        .context("the listener has no address")?;
    let serving = ports.serve(&gateway, public);
    announce(&gateway, address);
    signals.requested().await;
    serving.stop(&gateway).await;
    Ok(())
}

fn announce(gateway: &Gateway, address: std::net::SocketAddr) {
    let settings = gateway.settings();
    let cluster = &settings.config.cluster;
    let rooms: Vec<_> = settings
        .config
        .rooms
        .iter()
        .map(|room| room.matches.as_str())
        .collect();
    tracing::info!(
        cluster = format!("{}/{}", cluster.namespace, cluster.name),
        rooms = rooms.join(", "),
        broker = if settings.redis_url.is_some() {
            "redis"
        } else {
            "memory"
        },
        page = format!("http://{address}/"),
        websocket = format!("ws://{address}/v1/ws"),
        "serving; stop with Ctrl-C",
    );
}

/// `GET /dev/token?user=…[&NAME=VALUE…]`: a token for the page. Only `dev` has this path.
fn tokens(config: GatewayConfig, files: Files) -> Router {
    let signer = Arc::new((config, files));
    Router::new()
        .route("/dev/token", get(mint))
        .with_state(signer)
}

async fn mint(
    State(signer): State<Arc<(GatewayConfig, Files)>>,
    uri: Uri,
) -> Result<Json<Value>, Failure> {
    let refuse = |message: String| Failure::new(ErrorCode::BadRequest, message);
    let user = query_values(&uri, "user").next().unwrap_or_default();
    let user = UserId::parse(&user).map_err(|error| refuse(error.to_string()))?;
    let claims: Map<String, Value> = query_values(&uri, "claims")
        .next()
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|_| refuse("`claims` must be a JSON object".to_owned()))?
        .unwrap_or_default();
    let (config, files) = &*signer;
    let token = token::mint(config, files, &user, claims, PAGE_TOKEN_VALIDITY)
        .map_err(|error| refuse(error.to_string()))?;
    Ok(Json(json!({ "token": token })))
}

/// The cluster to serve: the one that is named, or the only one.
fn pick<'a, T>(
    clusters: &'a [T],
    name: Option<&str>,
    name_of: impl Fn(&T) -> &str,
) -> anyhow::Result<&'a T> {
    let names = || clusters.iter().map(&name_of).collect::<Vec<_>>().join(", ");
    match (name, clusters) {
        (Some(wanted), _) => clusters
            .iter()
            .find(|cluster| name_of(cluster) == wanted)
            .with_context(|| format!("no RealtimeCluster `{wanted}`; there is: {}", names())),
        (None, [only]) => Ok(only),
        (None, []) => bail!("the manifests hold no RealtimeCluster"),
        (None, _) => bail!(
            "the manifests hold several RealtimeClusters, choose one with --cluster: {}",
            names()
        ),
    }
}
