//! The HTTP side of the gateway: what is served on the public port and on the server API's port.
//!
//! Both serve the same paths. On the public port a token says who asks and the page's origin must be allowed; on the server API's port
//! an API key does.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, Request};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

pub use self::entrance::PublicEntrance;
use self::routes::{Route, Routes};
use crate::dialect::{ErrorCode, Failure};
use crate::gateway::Gateway;

mod admission;
mod body;
mod caller;
mod client_address;
pub mod control;
pub mod cors;
mod entrance;
pub mod limits;
mod openapi;
mod path;
pub mod poll;
mod publish;
pub mod rooms;
pub mod routes;
pub mod sse;
pub mod token;
pub mod users;
mod wanted;
pub mod ws;

/// The public port; `extra` paths stand under the same checks.
pub fn public(gateway: &Arc<Gateway>, extra: Option<Router>) -> Router {
    let port = Port {
        gateway: Arc::clone(gateway),
        side: Side::Public,
    };
    routes(Side::Public)
        .with(port)
        .merge(crate::page::router(gateway))
        .merge(extra.unwrap_or_default())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(
            Arc::clone(gateway),
            cors::check,
        ))
}

/// The server API's port.
pub fn server_api(gateway: &Arc<Gateway>) -> Router {
    let port = Port {
        gateway: Arc::clone(gateway),
        side: Side::Server,
    };
    routes(Side::Server)
        .with(port)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(no_store))
}

/// Everything that a port serves, but pages for people.
fn routes(side: Side) -> Routes {
    let both = rooms::routes().and(users::routes());
    match side {
        Side::Public => both
            .and(ws::routes())
            .and(sse::routes())
            .and(poll::routes()),
        Side::Server => both
            .and(rooms::server_routes())
            .and(control::routes())
            .and(publish::routes())
            .and(openapi::routes()),
    }
}

/// The routes of a port, sorted: what the OpenAPI document has to describe.
pub fn table(side: Side) -> Vec<Route> {
    routes(side).table()
}

/// Which port a request came in at.
#[derive(Clone, Debug)]
pub struct Port {
    pub gateway: Arc<Gateway>,
    pub side: Side,
}

impl FromRef<Port> for Arc<Gateway> {
    fn from_ref(port: &Port) -> Self {
        Self::clone(&port.gateway)
    }
}

/// Who is served there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Clients with tokens.
    Public,
    /// The application's servers with API keys.
    Server,
}

async fn not_found() -> Failure {
    Failure::new(ErrorCode::NotFound, "there is nothing at this path")
}

async fn method_not_allowed() -> Failure {
    Failure::new(
        ErrorCode::MethodNotAllowed,
        "this path doesn't take that method; `Allow` names those it takes",
    )
}

/// Answers are about this moment and this caller.
pub async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(header::HeaderValue::from_static("no-store"));
    response
}

impl Failure {
    /// `{"error":…}`.
    fn body(&self) -> axum::Json<serde_json::Value> {
        axum::Json(serde_json::json!({ "error": self.object() }))
    }

    /// `{"code":…,"message":…}`, and when to try again.
    fn object(&self) -> serde_json::Value {
        let mut error = serde_json::json!({ "code": self.code.as_str(), "message": self.message });
        if let Some(ms) = self.retry_after_ms() {
            error["retry_after_ms"] = ms.into();
        }
        error
    }

    fn status(&self) -> StatusCode {
        match self.code {
            ErrorCode::BadRequest
            | ErrorCode::InvalidRoom
            | ErrorCode::InvalidId
            | ErrorCode::TooManyRooms => StatusCode::BAD_REQUEST,
            ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
            ErrorCode::Forbidden | ErrorCode::NotJoined | ErrorCode::RoomFull => {
                StatusCode::FORBIDDEN
            }
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            ErrorCode::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::RateLimited | ErrorCode::TooManyConnections => StatusCode::TOO_MANY_REQUESTS,
            // The publish may have happened: 504 tells that the answer, not the request, got lost.
            ErrorCode::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
            ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.body()).into_response();
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up (RFC 9110, section 10.2.3).
            let seconds = after.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = header::HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        if self.code == ErrorCode::Unauthorized {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                header::HeaderValue::from_static("Bearer"),
            );
        }
        response
    }
}
