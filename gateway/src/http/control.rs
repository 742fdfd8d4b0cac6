//! What the application's servers have the gateways do with its users. Thin: the work is in [`actions`].

use axum::extract::State;
use axum::http::StatusCode;

use super::Port;
use super::caller::Caller;
use super::path::{Room, User};
use super::routes::Routes;
use crate::actions;
use crate::dialect::Failure;

pub(super) fn routes() -> Routes {
    Routes::default()
        .post("/v1/users/{user}/disconnect", disconnect)
        .post("/v1/rooms/{room}/members/{user}/remove", remove)
}

/// Accepted, not done: other gateways carry it out a moment later.
async fn disconnect(
    State(port): State<Port>,
    // Only to be let in: a key may disconnect anyone.
    _caller: Caller,
    User(user): User,
) -> Result<StatusCode, Failure> {
    actions::disconnect(&port.gateway, user).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn remove(
    State(port): State<Port>,
    caller: Caller,
    Room(room): Room,
    User(user): User,
) -> Result<StatusCode, Failure> {
    actions::remove(&port.gateway, caller.actor(None), room, user).await?;
    Ok(StatusCode::ACCEPTED)
}
