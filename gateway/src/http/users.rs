//! Users over HTTP: whether one is online, and since when not.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Port;
use super::caller::Caller;
use super::path::User;
use super::routes::Routes;
use crate::actions;
use crate::dialect::Failure;
use crate::limits::Kind;

pub(super) fn routes() -> Routes {
    Routes::default().get("/v1/users/{user}", user)
}

async fn user(
    State(port): State<Port>,
    caller: Caller,
    User(user): User,
) -> Result<Json<Value>, Failure> {
    caller.admit(&port, Kind::Command)?;
    let presence = actions::user(&port.gateway, caller.actor(None), &user).await?;
    Ok(Json(
        json!({ "online": presence.online, "last_seen": presence.last_seen_ms }),
    ))
}
