//! Users over HTTP: whether one is online, and since when not.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Port;
use super::rooms::Caller;
use crate::actions;
use crate::dialect::{ErrorCode, Failure};
use crate::ids::UserId;

pub(super) fn router() -> Router<Port> {
    Router::new().route("/v1/users/{user}", get(user))
}

async fn user(
    State(port): State<Port>,
    Path(user): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Value>, Failure> {
    let caller = Caller::of(&port, &headers, &uri)?;
    let user = UserId::parse(&user)
        .map_err(|error| Failure::new(ErrorCode::BadRequest, error.to_string()))?;
    let presence = actions::user(&port.gateway, caller.actor(None), &user).await?;
    Ok(Json(
        json!({ "online": presence.online, "last_seen": presence.last_seen_ms }),
    ))
}
