//! The operations port: whether the gateway lives, whether it is ready, what it counts, and what the operator reads.
//!
//! It is up before there is a config, and until the process ends.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde::Serialize;

use crate::gateway::Gateway;
use crate::metrics::Metrics;

/// What the port tells of.
#[derive(Debug)]
pub struct Ops {
    pub metrics: Arc<Metrics>,
    /// Once there is a config.
    pub gateway: OnceLock<Arc<Gateway>>,
    /// Why there is none yet.
    waiting_for: Mutex<String>,
}

impl Ops {
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            gateway: OnceLock::new(),
            waiting_for: Mutex::new("no config has been loaded yet".to_owned()),
        })
    }

    /// Says why there is no config yet.
    pub fn waiting_for(&self, problem: String) {
        *self.waiting_for.lock() = problem;
    }

    fn readiness(&self) -> Result<(), String> {
        match self.gateway.get() {
            Some(gateway) => gateway.ready(),
            None => Err(self.waiting_for.lock().clone()),
        }
    }
}

/// The port's paths.
pub fn router(ops: Arc<Ops>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route(
            "/stats",
            get(async |State(ops): State<Arc<Ops>>| Json(stats(&ops))),
        )
        .with_state(ops)
}

async fn readyz(State(ops): State<Arc<Ops>>) -> Response {
    match ops.readiness() {
        Ok(()) => "ok\n".into_response(),
        Err(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")).into_response(),
    }
}

async fn metrics(State(ops): State<Arc<Ops>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], ops.metrics.render()).into_response()
}

/// What the operator reads for its status.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    version: &'static str,
    state: &'static str,
    revision: Option<String>,
    config_error: Option<String>,
    connections: usize,
    active_rooms: usize,
    rooms: Vec<RoomStats>,
}

/// One Room resource of the loaded config.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RoomStats {
    namespace: String,
    name: String,
    generation: i64,
    active_rooms: usize,
    members: usize,
    messages_published: u64,
    policy_error: Option<String>,
}

/// Gathers them; walks all rooms, so it is for every few seconds, not for every request.
pub fn stats(ops: &Ops) -> Stats {
    let mut stats = Stats {
        version: env!("CARGO_PKG_VERSION"),
        state: "serving",
        revision: None,
        config_error: None,
        connections: 0,
        active_rooms: 0,
        rooms: Vec::new(),
    };
    let Some(gateway) = ops.gateway.get() else {
        stats.config_error = Some(ops.waiting_for.lock().clone());
        return stats;
    };
    let settings = gateway.settings();
    let mut active: HashMap<(String, String), (usize, usize)> = HashMap::new();
    for room in gateway.hub.rooms().all() {
        stats.active_rooms += 1;
        if let Some(resource) = &room.policy().resource {
            let entry = active
                .entry((resource.namespace.clone(), resource.name.clone()))
                .or_default();
            entry.0 += 1;
            entry.1 += room.local_members();
        }
    }
    if gateway.is_draining() {
        stats.state = "draining";
    }
    stats.revision = Some(settings.config.revision.clone());
    stats.config_error = gateway.config_error();
    stats.connections = gateway.registry.count();
    for policy in settings.policies.declared() {
        let Some(resource) = &policy.resource else {
            continue;
        };
        let key = (resource.namespace.clone(), resource.name.clone());
        let (active_rooms, members) = active.get(&key).copied().unwrap_or_default();
        let (namespace, name) = key;
        stats.rooms.push(RoomStats {
            namespace,
            name,
            generation: resource.generation,
            active_rooms,
            members,
            messages_published: resource.published.get(),
            policy_error: policy.access.error().map(str::to_owned),
        });
    }
    stats
}
