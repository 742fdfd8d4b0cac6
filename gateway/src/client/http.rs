//! Requests over plain TCP, one on each connection, for the small client.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_util::task::AbortOnDropHandle;

/// How long connecting and each answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// Where a gateway is, from any URL of it: of the server, or of one of its endpoints as a RealtimeCluster's status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gateway {
    authority: String,
    host: String,
    port: u16,
    /// In front of `/v1`, where something on the way has put it.
    prefix: String,
}

impl Gateway {
    pub(super) fn at(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url
            .parse()
            .context("the URL must be like http://host:port or ws://host:port/v1/ws")?;
        if !matches!(uri.scheme_str(), Some("http" | "ws")) {
            bail!("the URL must start with http:// or ws://");
        }
        let authority = uri.authority().context("the URL needs a host")?;
        let path = uri.path().trim_end_matches('/');
        let endpoints = ["/v1/ws", "/v1/sse", "/v1/poll"];
        let prefix = endpoints.iter().find_map(|end| path.strip_suffix(end));
        let host = authority.host();
        Ok(Self {
            authority: authority.to_string(),
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: authority.port_u16().unwrap_or(80),
            prefix: prefix.unwrap_or(path).to_owned(),
        })
    }

    /// The URL of a path there.
    pub(super) fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{}{path}", self.authority, self.prefix)
    }

    /// Sends a request; returns the head of the answer, whose body is then read as it comes.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: String,
    ) -> anyhow::Result<Answer> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .with_context(|| format!("can't connect to {}", self.authority))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // What goes wrong, whoever reads the answer is told.
            connection.await.ok();
        }));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json");
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = sender.send_request(request.body(body)?).await?;
        Ok(Answer {
            response,
            _connection: connection,
        })
    }
}

/// An answer whose body may still be on its way.
#[derive(Debug)]
pub(super) struct Answer {
    response: Response<Incoming>,
    /// Ends with it.
    _connection: AbortOnDropHandle<()>,
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// More of the body; `None` at its end.
    pub(super) async fn more(&mut self) -> anyhow::Result<Option<Bytes>> {
        while let Some(frame) = self.response.frame().await {
            if let Ok(bytes) = frame.context("the connection broke")?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The whole of a body of JSON. An error of the gateway becomes an error here.
    pub(super) async fn json<T: DeserializeOwned>(mut self) -> anyhow::Result<T> {
        let mut body = Vec::new();
        while let Some(bytes) = self.more().await? {
            body.extend_from_slice(&bytes);
        }
        let status = self.status();
        let unknown = || format!("an answer that isn't understood, with status {status}");
        if status.is_success() {
            return serde_json::from_slice(&body).with_context(unknown);
        }
        let answer: Value = serde_json::from_slice(&body).with_context(unknown)?;
        let message = answer["error"]["message"].as_str();
        bail!("{}", message.unwrap_or(status.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_url_of_a_gateway_says_where_it_is() {
        for (url, there) in [
            ("ws://127.0.0.1:8080/v1/ws", "http://127.0.0.1:8080/v1/sse"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/sse"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1/sse"),
            (
                "http://example.com/chat/v1/poll",
                "http://example.com/chat/v1/sse",
            ),
            ("http://[::1]:80/v1/sse", "http://[::1]:80/v1/sse"),
        ] {
            let gateway = Gateway::at(url).unwrap();
            assert_eq!(gateway.url("http", "/v1/sse"), there, "{url}");
        }
        for url in ["wss://example.com/v1/ws", "example.com", "/v1/ws", ""] {
            Gateway::at(url).unwrap_err();
        }
    }
}
