//! Rooms over HTTP: publish, signal, read history, see members. Thin: the checks and the work are in [`actions`].
//!
//! A user's own room can be named by its user, too: `/v1/users/{user}/messages` is `/v1/rooms/user:…/messages`.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

pub(super) use super::caller::Caller;
use super::path::Room;
use super::routes::Routes;
use super::token::query_values;
use super::{Port, body};
use crate::actions;
use crate::dialect::command;
use crate::dialect::{ErrorCode, Failure, event};
use crate::limits::Kind;

/// What a body may have beside `data`.
const BODY_OVERHEAD: usize = 16 * 1024;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/v1/rooms/{room}/messages", history)
        .post("/v1/rooms/{room}/messages", publish)
        .post("/v1/rooms/{room}/signals", signal)
        .get("/v1/rooms/{room}/members", members)
        .get("/v1/users/{user}/messages", history)
        .post("/v1/users/{user}/messages", publish)
        .post("/v1/users/{user}/signals", signal)
}

/// What servers alone may do.
pub(super) fn server_routes() -> Routes {
    Routes::default()
        .delete("/v1/rooms/{room}/messages", delete_messages)
        .delete("/v1/users/{user}/messages", delete_messages)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageBody<'a> {
    #[serde(borrow, default, deserialize_with = "body::present")]
    data: Option<&'a RawValue>,
    key: Option<String>,
    from: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalBody<'a> {
    name: Option<String>,
    #[serde(borrow, default, deserialize_with = "body::present")]
    data: Option<&'a RawValue>,
    from: Option<String>,
}

/// The body of a publish or a signal, once its sender is admitted.
async fn read_body(
    port: &Port,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<Bytes, Failure> {
    let limit = port.gateway.settings().config.limits.message_bytes as usize + BODY_OVERHEAD;
    let bytes = body::read(headers, body, limit).await?;
    caller.admit(port, Kind::Message { bytes: bytes.len() })?;
    Ok(bytes)
}

async fn publish(
    State(port): State<Port>,
    caller: Caller,
    Room(room): Room,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let bytes = read_body(&port, &caller, &headers, body).await?;
    let body: MessageBody<'_> = body::parse(&bytes)?;
    let from = caller.speaks_for(body.from.as_deref())?;
    let data = body.data.ok_or_else(|| command::missing("data"))?;
    let key = body
        .key
        .as_deref()
        .map(command::idempotency_key)
        .transpose()?;
    let published = actions::publish(
        &port.gateway,
        caller.actor(from.as_ref()),
        &room,
        data.get().as_bytes(),
        key,
    )
    .await?;
    Ok(Json(json!({ "id": published.position.to_string() })).into_response())
}

async fn signal(
    State(port): State<Port>,
    caller: Caller,
    Room(room): Room,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Failure> {
    let bytes = read_body(&port, &caller, &headers, body).await?;
    let body: SignalBody<'_> = body::parse(&bytes)?;
    let from = caller.speaks_for(body.from.as_deref())?;
    let name = command::signal_name(body.name.as_deref())?;
    actions::signal(
        &port.gateway,
        caller.actor(from.as_ref()),
        &room,
        &name,
        body.data.map(|data| data.get().as_bytes()),
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn history(
    State(port): State<Port>,
    caller: Caller,
    Room(room): Room,
    uri: Uri,
) -> Result<Response, Failure> {
    caller.admit(&port, Kind::Command)?;
    let parameter = |name| {
        query_values(&uri, name)
            .next()
            .filter(|value| !value.is_empty())
    };
    let limit = parameter("limit")
        .map(|text| {
            text.parse().map_err(|_| {
                let message = format!("`limit` is {text:?}, it must be a whole number");
                Failure::new(ErrorCode::BadRequest, message)
            })
        })
        .transpose()?;
    let query = command::page_query(
        parameter("before").as_deref(),
        parameter("after").as_deref(),
        parameter("order").as_deref(),
        limit,
    )?;
    let page = actions::history(&port.gateway, caller.actor(None), &room, &query).await?;
    let body = port
        .gateway
        .hold_answer(event::history_page(&page).into())?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn members(
    State(port): State<Port>,
    caller: Caller,
    Room(room): Room,
) -> Result<Response, Failure> {
    caller.admit(&port, Kind::Command)?;
    let members = actions::members(&port.gateway, caller.actor(None), &room).await?;
    let names: Vec<_> = members
        .members
        .iter()
        .map(|member| json!({ "user": member.user }))
        .collect();
    Ok(Json(json!({ "members": names, "count": members.count })).into_response())
}

async fn delete_messages(
    State(port): State<Port>,
    // Only to be let in: a key may delete anything.
    _caller: Caller,
    Room(room): Room,
) -> Result<StatusCode, Failure> {
    actions::delete_messages(&port.gateway, &room).await?;
    Ok(StatusCode::NO_CONTENT)
}
