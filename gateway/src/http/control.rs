//! What the application's servers have the gateways do with its users. Thin: the work is in [`actions`].

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::post;

use super::Port;
use super::rooms::Caller;
use crate::actions;
use crate::dialect::{ErrorCode, Failure, command};
use crate::ids::UserId;

pub(super) fn router() -> Router<Port> {
    Router::new()
        .route("/v1/users/{user}/disconnect", post(disconnect))
        .route("/v1/rooms/{room}/members/{user}/remove", post(remove))
}

/// Accepted, not done: other gateways carry it out a moment later.
async fn disconnect(
    State(port): State<Port>,
    Path(user): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<StatusCode, Failure> {
    Caller::of(&port, &headers, &uri)?;
    actions::disconnect(&port.gateway, user_of(&user)?).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn remove(
    State(port): State<Port>,
    Path((room, user)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<StatusCode, Failure> {
    let caller = Caller::of(&port, &headers, &uri)?;
    let room = command::room_name(Some(&room))?;
    actions::remove(&port.gateway, caller.actor(None), room, user_of(&user)?).await?;
    Ok(StatusCode::ACCEPTED)
}

fn user_of(user: &str) -> Result<UserId, Failure> {
    UserId::parse(user).map_err(|error| Failure::new(ErrorCode::BadRequest, error.to_string()))
}
