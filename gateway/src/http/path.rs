//! What a path names: a room, by its name or as the room of a user; or a user.
//!
//! A segment is percent-decoded once. A user's own room has percent signs of its own in its name (`user:alice%40example.com`), which a
//! path has to encode again (`user:alice%2540example.com`): whoever forgets that asks for a name that is nobody's, and is told
//! so. Under `/v1/users/{user}/…` the same room goes by the user's id, encoded once.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use rotunda_crds::RoomName;
use rotunda_crds::room_name::user_room;

use super::Port;
use crate::dialect::command;
use crate::dialect::{ErrorCode, Failure};
use crate::ids::UserId;

/// The room of the path: `{room}`, or that of `{user}`.
#[derive(Debug)]
pub(super) struct Room(pub(super) RoomName);

impl FromRequestParts<Port> for Room {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, port: &Port) -> Result<Self, Failure> {
        let parameters = parameters(parts, port).await?;
        match (value_of(&parameters, "room"), value_of(&parameters, "user")) {
            (None, Some(user)) => room_of(user).map(Self),
            (room, _) => command::room_name(room).map(Self),
        }
    }
}

/// The `{user}` of the path.
#[derive(Debug)]
pub(super) struct User(pub(super) UserId);

impl FromRequestParts<Port> for User {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, port: &Port) -> Result<Self, Failure> {
        let parameters = parameters(parts, port).await?;
        user_id("user", value_of(&parameters, "user").unwrap_or_default()).map(Self)
    }
}

async fn parameters(parts: &mut Parts, port: &Port) -> Result<RawPathParams, Failure> {
    RawPathParams::from_request_parts(parts, port)
        .await
        .map_err(|_| {
            Failure::new(
                ErrorCode::BadRequest,
                "the path is not UTF-8 once its percent-encoding is undone",
            )
        })
}

fn value_of<'a>(parameters: &'a RawPathParams, name: &str) -> Option<&'a str> {
    parameters
        .iter()
        .find_map(|(known, value)| (known == name).then_some(value))
}

/// A user's id, or the error that names the member it came in.
pub(super) fn user_id(member: &str, text: &str) -> Result<UserId, Failure> {
    UserId::parse(text).map_err(|error| {
        let shown: String = text.chars().take(40).collect();
        Failure::new(
            ErrorCode::BadRequest,
            format!("`{member}` is {shown:?} ({} bytes): {error}", text.len()),
        )
    })
}

/// The room of the user with that id.
pub(super) fn room_of(user: &str) -> Result<RoomName, Failure> {
    user_id("user", user)?;
    user_room(user).map_err(|error| {
        Failure::new(
            ErrorCode::InvalidRoom,
            format!("this user's id is too long to have a room of its own: {error}"),
        )
    })
}
