//! The real gateways: HTTP to a pod's operations port, annotations through the API server.

use std::{net::IpAddr, time::Duration};

use axum::http::{Request, StatusCode, header};
use futures::{FutureExt, future::BoxFuture};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};

use super::{PodTarget, Pods, Stats, StatsError};

/// Annotation with the revision that a pod's files should have.
pub const REVISION_ANNOTATION: &str = "rotunda.dev/config-revision";
/// Operations port of a gateway.
const OPS_PORT: u16 = 9090;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Largest answer; ten thousand Rooms make about 2 MiB.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// Gateways in pods.
pub struct LivePods {
    client: Client,
}

impl LivePods {
    /// Gateways in the pods of this API server.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

impl Pods for LivePods {
    fn stats<'a>(&'a self, pod: &'a PodTarget) -> BoxFuture<'a, Result<Stats, StatsError>> {
        async {
            timeout(PATIENCE, fetch_stats(&pod.ip, OPS_PORT))
                .await
                .unwrap_or(Err(StatsError::Timeout))
        }
        .boxed()
    }

    fn annotate<'a>(
        &'a self,
        pod: &'a PodTarget,
        value: String,
    ) -> BoxFuture<'a, Result<(), kube::Error>> {
        async move {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
            // With the UID as a precondition: the pod of that name may be a younger one by now.
            let patch = json!({ "metadata": { "uid": pod.uid, "annotations": { REVISION_ANNOTATION: value } } });
            api.patch_status(&pod.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
        }
        .boxed()
    }
}

async fn fetch_stats(ip: &str, port: u16) -> Result<Stats, StatsError> {
    let address: IpAddr = ip
        .parse()
        .map_err(|error| StatsError::Connect(std::io::Error::other(error)))?;
    let stream = TcpStream::connect((address, port))
        .await
        .map_err(StatsError::Connect)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(StatsError::Http)?;
    let exchange = async {
        let request = Request::get("/stats")
            .header(header::HOST, "gateway")
            .body(Empty::<Bytes>::new())
            .expect("a constant request is valid");
        let answer = sender
            .send_request(request)
            .await
            .map_err(StatsError::Http)?;
        if answer.status() != StatusCode::OK {
            return Err(StatsError::Status(answer.status().as_u16()));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(StatsError::Body)?;
        serde_json::from_slice(&body.to_bytes()).map_err(StatsError::Json)
    };
    // Driven here and not in a task of its own, so that nothing outlives the timeout around it.
    tokio::select! {
        answer = exchange => answer,
        Err(error) = connection => Err(StatsError::Http(error)),
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use tokio::net::TcpListener;

    use super::*;

    async fn gateway(answer: &'static str, status: StatusCode) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let router = Router::new().route("/stats", get(async move || (status, answer)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        port
    }

    #[tokio::test]
    async fn stats_are_read_over_http() {
        let port = gateway(r#"{"revision":"abc","connections":7}"#, StatusCode::OK).await;
        let stats = fetch_stats("127.0.0.1", port).await.expect("an answer");
        assert_eq!(
            (stats.revision.as_deref(), stats.connections),
            (Some("abc"), 7)
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_no_success_or_no_json_is_an_error() {
        let port = gateway("busy", StatusCode::SERVICE_UNAVAILABLE).await;
        assert!(matches!(
            fetch_stats("127.0.0.1", port).await,
            Err(StatsError::Status(503))
        ));
        let port = gateway("hello", StatusCode::OK).await;
        assert!(matches!(
            fetch_stats("127.0.0.1", port).await,
            Err(StatsError::Json(_))
        ));
        assert!(matches!(
            fetch_stats("no address", port).await,
            Err(StatsError::Connect(_))
        ));
    }
}
