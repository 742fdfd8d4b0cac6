//! One GET of a key set: over TLS where the URL says so, with few redirects, bounded in time and in size.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use super::key_set::{KeySet, KeySetError};

/// All of it together: looking up the name, redirects, the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest set that is read; a key of 4096 bits takes about 1 KiB with its certificate.
const MAX_BYTES: usize = 256 * 1024;

/// The largest head of an answer.
const MAX_HEAD_BYTES: usize = 32 * 1024;

const MAX_REDIRECTS: usize = 3;

/// What came.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) keys: KeySet,
    /// What `Cache-Control: max-age` says (RFC 9111, section 5.2.2.1).
    pub(super) fresh_for: Option<Duration>,
}

/// Why nothing came. The host is named, not the whole URL, which may hold more than is anyone's business.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{host} can't be asked")]
    Request {
        host: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{host} didn't answer within {seconds} seconds", seconds = TIMEOUT.as_secs())]
    Timeout { host: String },
    #[error("{host} answered with status {status}")]
    Status { host: String, status: StatusCode },
    #[error("{host} redirects more than {max} times", max = MAX_REDIRECTS)]
    Redirects { host: String },
    #[error("{host} redirects to where keys can't be trusted: not https://, or no URL")]
    RedirectTarget { host: String },
    #[error("the answer of {host} is larger than {max} bytes", max = MAX_BYTES)]
    TooLarge { host: String },
    #[error("the answer of {host} is of no use")]
    KeySet {
        host: String,
        #[source]
        source: KeySetError,
    },
}

/// Asks for key sets. Connections aren't kept: the next fetch is minutes away.
#[derive(Clone, Debug)]
pub(super) struct Fetcher(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Fetcher {
    /// Trusts the authorities of this machine (`SSL_CERT_FILE`); `None` when the URL needs some and there are none.
    pub(super) fn of(url: &Url) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() && url.scheme() == "https" {
            return None;
        }
        Self::trusting(roots)
    }

    pub(super) fn trusting(roots: RootCertStore) -> Option<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(connector);
        Some(Self(client))
    }

    /// Fetches a set.
    pub(super) async fn fetch(&self, url: &Url) -> Result<Fetched, FetchError> {
        let host = host_of(url);
        tokio::time::timeout(TIMEOUT, self.follow(url))
            .await
            .unwrap_or(Err(FetchError::Timeout { host }))
    }

    async fn follow(&self, from: &Url) -> Result<Fetched, FetchError> {
        let mut url = from.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.get(&url).await?;
            match response.status() {
                StatusCode::OK => return read(&url, response).await,
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => url = target(from, &url, &response)?,
                status => {
                    let host = host_of(&url);
                    return Err(FetchError::Status { host, status });
                }
            }
        }
        Err(FetchError::Redirects {
            host: host_of(from),
        })
    }

    async fn get(&self, url: &Url) -> Result<Response<Incoming>, FetchError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| FetchError::Request {
            host: host_of(url),
            source,
        };
        let agent = concat!("rotunda-gateway/", env!("CARGO_PKG_VERSION"));
        let request = Request::get(url.as_str())
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::USER_AGENT, agent)
            .body(Empty::new())
            .map_err(|error| failed(error.into()))?;
        let answered = self.0.request(request).await;
        answered.map_err(|error| failed(error.into()))
    }
}

/// Where a redirect leads. Keys that were asked for over TLS must come over TLS; without it they must come from the same host, which the
/// RealtimeCluster names as trusted.
fn target(from: &Url, url: &Url, response: &Response<Incoming>) -> Result<Url, FetchError> {
    let location = response.headers().get(header::LOCATION);
    location
        .and_then(|location| url.join(location.to_str().ok()?).ok())
        .filter(|target| {
            let same_host = from.scheme() == "http" && target.host_str() == from.host_str();
            target.scheme() == "https" || target.scheme() == "http" && same_host
        })
        .filter(has_no_password)
        .ok_or_else(|| FetchError::RedirectTarget { host: host_of(url) })
}

async fn read(url: &Url, response: Response<Incoming>) -> Result<Fetched, FetchError> {
    let fresh_for = max_age(&response);
    let body = Limited::new(response.into_body(), MAX_BYTES);
    let bytes = body.collect().await.map_err(|source| {
        let host = host_of(url);
        if source.is::<LengthLimitError>() {
            FetchError::TooLarge { host }
        } else {
            FetchError::Request { host, source }
        }
    })?;
    let keys = KeySet::parse(&bytes.to_bytes()).map_err(|source| FetchError::KeySet {
        host: host_of(url),
        source,
    })?;
    Ok(Fetched { keys, fresh_for })
}

fn max_age(response: &Response<Incoming>) -> Option<Duration> {
    let value = response
        .headers()
        .get(header::CACHE_CONTROL)?
        .to_str()
        .ok()?;
    let mut directives = value.split(',').map(str::trim);
    let seconds = directives.find_map(|directive| directive.strip_prefix("max-age="))?;
    seconds
        .trim_matches('"')
        .parse()
        .ok()
        .map(Duration::from_secs)
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

fn has_no_password(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none()
}

/// The URL of a key set; `None` for what is none, or holds a password.
pub(super) fn parse_url(text: &str) -> Option<Url> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .filter(has_no_password)
}

#[cfg(test)]
mod tests;
