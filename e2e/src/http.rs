//! Plain HTTP/1.1 requests to gateways and their operations port.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Uri, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

/// How long a whole exchange may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

impl Response {
    /// The body of a successful answer as JSON.
    pub fn json(&self) -> Result<Value> {
        ensure!(
            (200..300).contains(&self.status),
            "status {}: {}",
            self.status,
            self.body
        );
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {}", self.body))
    }
}

/// `GET` an `http://` URL.
pub async fn get(url: &str) -> Result<Response> {
    send(Method::GET, url, &[], String::new()).await
}

/// `POST` JSON to an `http://` URL.
pub async fn post(url: &str, headers: &[(&str, &str)], body: &Value) -> Result<Response> {
    let headers = [headers, &[("content-type", "application/json")]].concat();
    send(Method::POST, url, &headers, body.to_string()).await
}

/// Any request.
pub async fn send(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Result<Response> {
    let exchange = exchange(method, url, headers, body);
    timeout(PATIENCE, exchange)
        .await
        .with_context(|| format!("{url} does not answer"))?
}

async fn exchange(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Result<Response> {
    let uri: Uri = url.parse()?;
    let host = uri
        .host()
        .with_context(|| format!("{url} has no host"))?
        .to_owned();
    let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body)))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::Ok(Response {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    };
    tokio::pin!(answer);
    tokio::select! {
        // The connection makes the exchange go on; it may end before the answer is read.
        ended = connection => {
            ended?;
            answer.await
        }
        answered = &mut answer => answered,
    }
}
