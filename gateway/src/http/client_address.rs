//! Where the client of a request is, behind whatever proxies are trusted.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap, HeaderName};

use crate::config::Settings;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address; `None` for a request that came by no socket.
pub(super) fn find(
    settings: &Settings,
    extensions: &Extensions,
    headers: &HeaderMap,
) -> Option<IpAddr> {
    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    // What is no text is no address either.
    let forwarded = headers
        .get_all(FORWARDED_FOR)
        .into_iter()
        .map(|value| value.to_str().unwrap_or_default());
    Some(settings.trusted_proxies.client(peer.ip(), forwarded))
}
