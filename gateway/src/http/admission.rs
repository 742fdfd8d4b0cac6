//! Who may listen: whether this gateway has room, whether it is ready, and who asks. What each transport says before it begins.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Uri};

use super::token;
use crate::auth::Identity;
use crate::dialect::{ErrorCode, Failure};
use crate::gateway::Gateway;
use crate::handshakes::TooFast;

/// When a client that met a full gateway should come back.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(5);

/// When a client should come back whom something is missing for that is likely to return.
const AWAY_RETRY_AFTER: Duration = Duration::from_secs(2);

/// Refuses when the gateway has as many connections as it takes.
pub(super) fn has_room(gateway: &Gateway) -> Result<(), Failure> {
    if gateway.is_full() {
        gateway.metrics.refused("full");
        return Err(Failure {
            retry_after: Some(FULL_RETRY_AFTER),
            ..Failure::new(
                ErrorCode::Unavailable,
                "this gateway has as many connections as it takes; try again",
            )
        });
    }
    Ok(())
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
    has_room(gateway)?;
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
