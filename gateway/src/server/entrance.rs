//! What a connection has to say before HTTP: on which port it comes in decides.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Terms, proxy_header};

/// What a connection has to begin with.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// A PROXY protocol header comes first.
    pub proxy_protocol: bool,
}

/// Why a connection got no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No PROXY protocol header, or none that can be read, in time.
    ProxyHeader,
}

impl Refusal {
    /// A word for metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ProxyHeader => "proxy_header",
        }
    }
}

/// Decides what connections of a port have to begin with. It is asked for each of them, so that the rules may change meanwhile.
pub trait Entrance: Send + Sync + 'static {
    fn rules(&self) -> Rules;

    /// A connection didn't begin as it has to, and is closed without an answer: it may not even speak HTTP.
    fn refused(&self, refusal: Refusal);
}

/// HTTP from the first byte on.
#[derive(Clone, Copy, Debug)]
pub struct Open;

impl Entrance for Open {
    fn rules(&self) -> Rules {
        Rules::default()
    }

    fn refused(&self, _: Refusal) {}
}

/// Takes what comes before HTTP; returns whose connection it is, unless it is refused.
pub(super) async fn pass(
    terms: &Terms,
    stream: &mut TcpStream,
    peer: SocketAddr,
    stop: &CancellationToken,
) -> Option<SocketAddr> {
    if !terms.entrance.rules().proxy_protocol {
        return Some(peer);
    }
    // On the heap: what a handshake needs is not to be kept room for on every connection.
    let reading = timeout(terms.timeouts.opening, Box::pin(proxy_header::read(stream)));
    let read = tokio::select! {
        () = stop.cancelled() => return None,
        read = reading => read,
    };
    match read {
        Ok(Ok(source)) => return Some(source.unwrap_or(peer)),
        Ok(Err(error)) => tracing::debug!(%peer, %error, "refused before HTTP"),
        Err(_) => tracing::debug!(%peer, "no PROXY protocol header in time"),
    }
    terms.entrance.refused(Refusal::ProxyHeader);
    None
}
