//! HTTP requests, each over a connection of its own.

use std::fmt;

use anyhow::anyhow;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Duration, timeout};

use super::Trouble;

/// How long connecting may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    pub method: Method,
    pub path: String,
    pub token: &'a str,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// It never left.
    NotSent(anyhow::Error),
    /// It may have arrived.
    Unknown(anyhow::Error),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(error) | Self::Unknown(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<NoAnswer> for Trouble {
    fn from(no_answer: NoAnswer) -> Self {
        match no_answer {
            NoAnswer::NotSent(error) | NoAnswer::Unknown(error) => Self::Broken(error),
        }
    }
}

/// What an answer that isn't a success says.
pub fn refused(status: StatusCode, body: &[u8]) -> Trouble {
    #[derive(Deserialize)]
    struct Failed {
        error: Detail,
    }
    #[derive(Deserialize)]
    struct Detail {
        code: String,
        message: String,
    }
    match serde_json::from_slice(body) {
        Ok(Failed {
            error: Detail { code, message },
        }) => Trouble::Refused { code, message },
        Err(_) => Trouble::Nonsense(format!("an answer that is none, {status}")),
    }
}

/// An answer whose body is still coming.
#[derive(Debug)]
pub struct Open {
    pub response: Response<Incoming>,
    _driver: Driver,
}

/// The task that moves the bytes; it ends with the connection.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a request and gives the answer when its head is there.
pub async fn open(
    address: (&str, u16),
    ask: Ask<'_>,
    patience: Duration,
) -> Result<Open, NoAnswer> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| NoAnswer::NotSent(anyhow!("no connection in time")))?
        .map_err(|error| NoAnswer::NotSent(error.into()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| NoAnswer::NotSent(error.into()))?;
    let driver = Driver(tokio::spawn(async move {
        connection.await.ok();
    }));
    let mut request = Request::builder()
        .method(ask.method)
        .uri(ask.path)
        .header(header::HOST, "gateway")
        .header(header::AUTHORIZATION, format!("Bearer {}", ask.token));
    for (name, value) in ask.headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::new(Bytes::from(ask.body)))
        .map_err(|error| NoAnswer::NotSent(error.into()))?;
    let response = timeout(patience, sender.send_request(request))
        .await
        .map_err(|_| NoAnswer::Unknown(anyhow!("no answer in time")))?
        .map_err(|error| NoAnswer::Unknown(error.into()))?;
    Ok(Open {
        response,
        _driver: driver,
    })
}

/// Sends a request and waits for the whole answer.
pub async fn ask(
    address: (&str, u16),
    ask: Ask<'_>,
    patience: Duration,
) -> Result<Answer, NoAnswer> {
    let whole = async {
        let open = open(address, ask, patience).await?;
        let status = open.response.status();
        let body = open
            .response
            .into_body()
            .collect()
            .await
            .map_err(|error| NoAnswer::Unknown(error.into()))?;
        Ok(Answer {
            status,
            body: body.to_bytes(),
        })
    };
    timeout(CONNECT_TIMEOUT + 2 * patience, whole)
        .await
        .unwrap_or_else(|_| Err(NoAnswer::Unknown(anyhow!("half an answer"))))
}

/// Percent-encodes what stands in a path or a query.
pub fn encode(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
