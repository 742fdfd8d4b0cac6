//! The operations port: `/livez`, `/readyz`, `/metrics`, `/stats`. Served by every replica, leader or not.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use parking_lot::RwLock;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Metrics, Resources};

/// How far this process has come, for `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// Not yet connected to the API server.
    #[default]
    Starting,
    /// Another replica leads; ready to take over.
    Standby,
    /// Leads, and reads the first lists.
    Listing,
    /// Leads and works.
    Leading,
    /// Told to stop.
    Stopping,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Standby => "standby",
            Self::Listing => "listing",
            Self::Leading => "leading",
            Self::Stopping => "stopping",
        }
    }

    fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::Starting => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not connected to the API server yet\n",
            ),
            Self::Standby => (StatusCode::OK, "standing by, another replica leads\n"),
            Self::Listing => (
                StatusCode::SERVICE_UNAVAILABLE,
                "leading, reading the first lists\n",
            ),
            Self::Leading => (StatusCode::OK, "leading\n"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        }
    }
}

/// Shared between the process and its operations port.
#[derive(Debug, Clone, Default)]
pub struct Health {
    stage: Arc<RwLock<Stage>>,
}

impl Health {
    /// Says how far the process has come.
    pub fn set(&self, stage: Stage) {
        *self.stage.write() = stage;
    }
}

#[derive(Clone)]
struct Ops {
    health: Health,
    metrics: Arc<Metrics>,
}

/// Serves until `stop` fires.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router(health, metrics))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

fn router(health: Health, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .route("/stats", get(stats))
        .with_state(Ops { health, metrics })
}

async fn readyz(State(ops): State<Ops>) -> impl IntoResponse {
    let stage = *ops.health.stage.read();
    stage.answer()
}

async fn scrape(State(ops): State<Ops>) -> impl IntoResponse {
    match ops.metrics.render() {
        Ok(text) => (
            StatusCode::OK,
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        ),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            "metrics can't be written\n".to_owned(),
        ),
    }
}

/// What people read when they look after the operator.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    version: &'static str,
    stage: &'static str,
    resources: BTreeMap<&'static str, Resources>,
}

async fn stats(State(ops): State<Ops>) -> Json<Stats> {
    Json(Stats {
        version: env!("CARGO_PKG_VERSION"),
        stage: ops.health.stage.read().name(),
        resources: ops.metrics.resources(),
    })
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::{key::Key, metrics::Kind};

    async fn status(health: &Health, path: &str) -> StatusCode {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        router(health.clone(), Arc::default())
            .oneshot(request)
            .await
            .expect("infallible")
            .status()
    }

    #[tokio::test]
    async fn standby_is_ready_and_alive() {
        let health = Health::default();
        assert_eq!(
            status(&health, "/readyz").await,
            StatusCode::SERVICE_UNAVAILABLE
        );
        health.set(Stage::Standby);
        assert_eq!(status(&health, "/readyz").await, StatusCode::OK);
        assert_eq!(status(&health, "/livez").await, StatusCode::OK);
        assert_eq!(status(&health, "/metrics").await, StatusCode::OK);
        health.set(Stage::Stopping);
        assert_eq!(
            status(&health, "/readyz").await,
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(status(&health, "/livez").await, StatusCode::OK);
    }
    #[tokio::test]
    async fn stats_name_what_is_not_ready() {
        let health = Health::default();
        health.set(Stage::Leading);
        let metrics = Arc::new(Metrics::default());
        metrics.set_ready(Kind::Room, Key::new("demo", "lobby"), true);
        metrics.set_ready(Kind::Room, Key::new("demo", "other"), false);
        let request = Request::get("/stats").body(Body::empty());
        let answer = router(health, metrics)
            .oneshot(request.expect("a request"))
            .await
            .expect("infallible");
        let body = answer.into_body().collect().await.expect("a body");
        let stats: serde_json::Value = serde_json::from_slice(&body.to_bytes()).expect("JSON");
        assert_eq!(stats["stage"], "leading");
        assert_eq!(
            stats["resources"],
            serde_json::json!({
                "RealtimeCluster": { "ready": 0, "notReady": [] },
                "Room": { "ready": 1, "notReady": ["demo/other"] },
            })
        );
    }
}
