//! Who asks: on the public port whoever a token names, on the server API's port the server that has the API key.

use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};

use super::token;
use super::{Port, Side};
use crate::actions::Actor;
use crate::auth::{AuthError, Identity};
use crate::dialect::{ErrorCode, Failure};
use crate::ids::UserId;
use crate::limits::Kind;

/// Who asks.
pub(super) enum Caller {
    User(Identity),
    /// By the name of its API key.
    Server(String),
}

impl FromRequestParts<Port> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, port: &Port) -> Result<Self, Failure> {
        Self::of(port, &parts.headers, &parts.uri).await
    }
}

impl Caller {
    async fn of(port: &Port, headers: &HeaderMap, uri: &Uri) -> Result<Self, Failure> {
        let settings = port.gateway.settings();
        match port.side {
            Side::Public => {
                let token = token::find(headers, uri);
                let identity = settings
                    .authenticator
                    .authenticate(token.as_deref())
                    .await
                    .map_err(AuthError::failure)?;
                Ok(Self::User(identity))
            }
            Side::Server => {
                let name = token::from_authorization(headers)
                    .and_then(|key| settings.api_keys.name_of(key));
                let failure = || {
                    Failure::new(
                        ErrorCode::Unauthorized,
                        "an API key is needed in `Authorization: Bearer …`, one of the entries of the Secret in spec.auth.apiKeysSecretRef",
                    )
                };
                name.map(|name| Self::Server(name.to_owned()))
                    .ok_or_else(failure)
            }
        }
    }

    /// Servers may speak for anyone, clients for themselves.
    pub(super) fn actor<'a>(&'a self, from: Option<&'a UserId>) -> Actor<'a> {
        match self {
            Self::User(identity) => Actor::User(identity),
            Self::Server(key) => Actor::Server { key, from },
        }
    }

    /// Whom a body's `from` makes the caller speak for. `from` is for servers; a client speaks for itself.
    pub(super) fn speaks_for(&self, from: Option<&str>) -> Result<Option<UserId>, Failure> {
        let Some(from) = from else { return Ok(None) };
        if matches!(self, Self::User(_)) {
            return Err(Failure::new(
                ErrorCode::Forbidden,
                "`from` is for servers; a client speaks for itself: leave it out",
            ));
        }
        super::path::user_id("from", from).map(Some)
    }

    /// Counts a request against the rate of its user; servers have none.
    pub(super) fn admit(&self, port: &Port, kind: Kind) -> Result<(), Failure> {
        match self {
            Self::User(identity) => {
                let settings = port.gateway.settings();
                let admitted = port.gateway.user_limits.admit(
                    &identity.user,
                    kind,
                    &settings.config.limits,
                    Instant::now(),
                );
                if admitted.is_err() {
                    port.gateway.metrics.rate_limited.inc();
                }
                admitted
            }
            Self::Server(_) => Ok(()),
        }
    }
}
