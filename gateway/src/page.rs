//! The playground: one page, without anything from elsewhere, to join a room and chat.
//!
//! It is served where the config asks for it. It mints nothing: a token is pasted into it, unless `dev` hands some out.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use crate::dialect::{ErrorCode, Failure};
use crate::gateway::Gateway;

const PAGE: &str = include_str!("page/index.html");

/// Nothing from elsewhere, nobody may frame it; its own script and style are inline.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self' ws: wss:; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Serves the page at `/`, while the config says so.
pub fn router(gateway: &Arc<Gateway>) -> Router {
    Router::new()
        .route("/", get(page))
        .with_state(Arc::clone(gateway))
}

async fn page(State(gateway): State<Arc<Gateway>>) -> Response {
    if !gateway.settings().config.playground {
        return Failure::new(ErrorCode::NotFound, "there is nothing at this path").into_response();
    }
    let headers: [(HeaderName, HeaderValue); 2] = [
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    (headers, Html(PAGE)).into_response()
}
