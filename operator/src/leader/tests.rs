use std::sync::Arc;

use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;

/// A stand-in for the API server that knows one Lease and may refuse to answer.
#[derive(Clone, Default)]
struct Server {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    lease: Option<Value>,
    version: u64,
    down: bool,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: axum::http::Request<Body>| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        Client::new(service, "rotunda-system")
    }

    async fn answer(&self, request: axum::http::Request<Body>) -> Result<axum::http::Response<Body>, std::convert::Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap_or_default();
        let mut state = self.state.lock();
        let (code, answer) = if state.down {
            (503, status(503))
        } else {
            match parts.method.as_str() {
                "GET" => state.lease.clone().map_or_else(|| (404, status(404)), |lease| (200, lease)),
                _ => {
                    let mut sent: Value = serde_json::from_slice(&body).expect("a lease");
                    let known = state.lease.as_ref().map(|lease| lease["metadata"]["resourceVersion"].clone());
                    if known.is_some_and(|known| known != sent["metadata"]["resourceVersion"]) {
                        (409, status(409))
                    } else {
                        state.version += 1;
                        sent["metadata"]["resourceVersion"] = json!(state.version.to_string());
                        state.lease = Some(sent.clone());
                        (200, sent)
                    }
                }
            }
        };
        Ok(axum::http::Response::builder()
            .status(code)
            .body(Body::from(answer.to_string().into_bytes()))
            .expect("a response"))
    }

    fn holder(&self) -> Value {
        self.state.lock().lease.as_ref().expect("a lease")["spec"]["holderIdentity"].clone()
    }

    /// Somebody else writes the lease.
    fn take_over(&self, holder: &str) {
        let mut state = self.state.lock();
        state.version += 1;
        let version = state.version.to_string();
        let lease = state.lease.as_mut().expect("a lease");
        lease["metadata"]["resourceVersion"] = json!(version);
        lease["spec"]["holderIdentity"] = json!(holder);
    }
}

fn status(code: u16) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Test", "message": "test", "code": code })
}

fn elector(server: &Server, identity: &str) -> Elector {
    Elector::new(server.client(), "rotunda-system", "rotunda-operator", identity.into(), Timing::default())
}

#[tokio::test(start_paused = true)]
async fn second_replica_waits_while_the_first_renews() {
    let server = Server::default();
    let first = elector(&server, "first").acquire().await;
    let stop = CancellationToken::new();
    let holding = tokio::spawn(first.hold(stop.clone()));
    let second = elector(&server, "second");
    let waited = tokio::time::timeout(Duration::from_secs(120), second.acquire()).await;
    assert!(waited.is_err(), "a renewed lease must not be taken");
    assert_eq!(server.holder(), "first");
    stop.cancel();
    holding.await.expect("no panic").expect("not lost");
}

#[tokio::test(start_paused = true)]
async fn released_lease_is_taken_at_once() {
    let server = Server::default();
    let first = elector(&server, "first").acquire().await;
    let stop = CancellationToken::new();
    stop.cancel();
    first.hold(stop).await.expect("released");
    let asked = Instant::now();
    elector(&server, "second").acquire().await;
    assert_eq!(server.holder(), "second");
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn lease_of_a_dead_holder_is_taken_after_its_duration() {
    let server = Server::default();
    elector(&server, "dead").acquire().await;
    let asked = Instant::now();
    elector(&server, "second").acquire().await;
    let waited = asked.elapsed();
    assert!(waited >= Duration::from_secs(15) && waited < Duration::from_secs(20), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn holder_ends_when_another_took_the_lease() {
    let server = Server::default();
    let first = elector(&server, "first").acquire().await;
    server.take_over("thief");
    let lost = first.hold(CancellationToken::new()).await.expect_err("lost");
    assert!(matches!(lost, Lost::Taken(holder) if holder == "thief"));
}

#[tokio::test(start_paused = true)]
async fn holder_ends_before_the_lease_runs_out_when_it_cannot_renew() {
    let server = Server::default();
    let first = elector(&server, "first").acquire().await;
    server.state.lock().down = true;
    let since = Instant::now();
    let lost = first.hold(CancellationToken::new()).await.expect_err("lost");
    assert!(matches!(lost, Lost::NotRenewed(_)));
    assert!(since.elapsed() < Timing::default().lease);
}
