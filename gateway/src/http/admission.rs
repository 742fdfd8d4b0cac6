//! Who may listen: whether this gateway has room, whether it is ready, and who asks. What each transport says before it begins.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};

use super::token;
use crate::auth::Identity;
use crate::dialect::{ErrorCode, Failure};
use crate::gateway::Gateway;
use crate::handshakes::TooFast;
use crate::overload::{Busy, Turn};

/// When a client should come back whom something is missing for that is likely to return.
const AWAY_RETRY_AFTER: Duration = Duration::from_secs(2);

/// Waits until this gateway has the time and the room for another client.
pub(super) async fn enter(gateway: &Gateway) -> Result<Turn, Busy> {
    let max = || gateway.settings().config.max_connections as usize;
    let turn = gateway.overload.enter(|| gateway.registry.count(), max);
    turn.await.inspect_err(|busy| {
        gateway.metrics.refused(busy.reason());
    })
}

impl IntoResponse for Busy {
    fn into_response(self) -> Response {
        let failure = Failure {
            retry_after: Some(self.retry_after()),
            ..Failure::new(ErrorCode::Unavailable, self.text())
        };
        let mut response = failure.into_response();
        // Who waits elsewhere needs no connection, and may find another gateway by the next one.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        response
    }
}

/// Refuses when handshakes come faster than the gateway takes them, in all or from where this client is.
pub(super) fn in_time(gateway: &Gateway, client: Option<IpAddr>) -> Result<(), Failure> {
    let limits = &gateway.settings().config.limits;
    let admitted = gateway.handshakes.admit(client, limits, Instant::now());
    admitted.map_err(|too_fast| match too_fast {
        TooFast::Source(retry_after) => {
            gateway.metrics.refused("rate_of_address");
            Failure::rate_limited(
                "too many connections from your address; slow down",
                retry_after,
            )
        }
        TooFast::Gateway(retry_after) => {
            gateway.metrics.refused("rate_of_gateway");
            Failure {
                retry_after: Some(retry_after),
                ..Failure::new(
                    ErrorCode::Unavailable,
                    "this gateway takes no more connections right now; try again",
                )
            }
        }
    })
}

/// Admits a request whose answer is the stream itself: here a refusal is a status.
pub(super) async fn admit(
    gateway: &Gateway,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Identity, Failure> {
    let token = token::find(headers, uri);
    let identity = gateway
        .settings()
        .authenticator
        .authenticate(token.as_deref())
        .await
        .map_err(|error| {
            gateway.metrics.refused(error.close_reason().reason());
            retryable(error.failure())
        })?;
    gateway.ready().map_err(|_| {
        gateway.metrics.refused("unavailable");
        retryable(Failure::new(
            ErrorCode::Unavailable,
            "the message broker is away; try again",
        ))
    })?;
    Ok(identity)
}

/// Says when to come back to whom something is missing for that is likely to return.
fn retryable(failure: Failure) -> Failure {
    Failure {
        retry_after: (failure.code == ErrorCode::Unavailable).then_some(AWAY_RETRY_AFTER),
        ..failure
    }
}

/// A user who has as many connections as allowed.
pub(super) fn too_many_connections(gateway: &Gateway) -> Failure {
    gateway.metrics.refused("too_many_connections");
    Failure::new(
        ErrorCode::TooManyConnections,
        "this user has as many connections as allowed",
    )
}
