//! Rooms over HTTP: publish, signal, read history, see members. Thin: the checks and the work are in [`actions`].

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rotunda_crds::RoomName;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::token::{self, query_values};
use super::{Port, Side};
use crate::actions::{self, Actor};
use crate::auth::Identity;
use crate::dialect::command;
use crate::dialect::{ErrorCode, Failure, event};
use crate::ids::UserId;
use crate::limits::Kind;

/// How long the body of a request may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// What a body may have beside `data`.
const BODY_OVERHEAD: usize = 16 * 1024;

pub(super) fn router() -> Router<Port> {
    Router::new()
        .route("/v1/rooms/{room}/messages", get(history).post(publish))
        .route("/v1/rooms/{room}/signals", post(signal))
        .route("/v1/rooms/{room}/members", get(members))
}

/// What servers alone may do.
pub(super) fn server_router() -> Router<Port> {
    Router::new().route(
        "/v1/rooms/{room}/messages",
        axum::routing::delete(delete_messages),
    )
}

/// Who asks.
pub(super) enum Caller {
    User(Identity),
    Server(String),
}

impl Caller {
    pub(super) fn of(port: &Port, headers: &HeaderMap, uri: &Uri) -> Result<Self, Failure> {
        let settings = port.gateway.settings();
        match port.side {
            Side::Public => {
                let token = token::find(headers, uri);
                let identity = settings
                    .authenticator
                    .authenticate(token.as_deref())
                    .map_err(|error| {
                        let code = if error == crate::auth::AuthError::KeySourceAway {
                            ErrorCode::Unavailable
                        } else {
                            ErrorCode::Unauthorized
                        };
                        Failure::new(code, error.to_string())
                    })?;
                Ok(Self::User(identity))
            }
            Side::Server => {
                let name = token::from_authorization(headers)
                    .and_then(|key| settings.api_keys.name_of(key));
                let failure = || {
                    Failure::new(
                        ErrorCode::Unauthorized,
                        "an API key is needed in `Authorization: Bearer …`",
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

    fn admit(&self, port: &Port, kind: Kind) -> Result<(), Failure> {
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

/// The body of a publish or a signal.
#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    key: Option<String>,
    name: Option<String>,
    /// Of servers only.
    from: Option<UserId>,
}

/// A body that was read whole, and what it says.
struct Read<'a> {
    data: Option<Bytes>,
    content: Content<'a>,
}

/// Who sends what to which room: admitted, the body not looked into yet.
struct Sender {
    caller: Caller,
    room: RoomName,
    body: Bytes,
}

impl Sender {
    async fn of(
        port: &Port,
        headers: &HeaderMap,
        uri: &Uri,
        room: &str,
        body: Body,
    ) -> Result<Self, Failure> {
        let caller = Caller::of(port, headers, uri)?;
        let room = room_of(room)?;
        let body = read_body(port, body).await?;
        caller.admit(port, Kind::Message { bytes: body.len() })?;
        Ok(Self { caller, room, body })
    }

    fn read(&self) -> Result<Read<'_>, Failure> {
        parse_body(&self.caller, &self.body)
    }
}

async fn read_body(port: &Port, body: Body) -> Result<Bytes, Failure> {
    let limit = port.gateway.settings().config.limits.message_bytes as usize + BODY_OVERHEAD;
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Failure::new(
            ErrorCode::TooLarge,
            format!("the body is cut off or has more than {limit} bytes"),
        )),
        Err(_) => Err(Failure::new(
            ErrorCode::BadRequest,
            "the body took too long",
        )),
    }
}

fn parse_body<'a>(caller: &Caller, body: &'a Bytes) -> Result<Read<'a>, Failure> {
    actions::check_data(body)?;
    let content: Content<'_> = serde_json::from_slice(body).map_err(|error| {
        Failure::new(
            ErrorCode::BadRequest,
            format!("the body is not the object it should be: {error}"),
        )
    })?;
    if content.from.is_some() && matches!(caller, Caller::User(_)) {
        return Err(Failure::new(
            ErrorCode::Forbidden,
            "`from` is for servers; a client speaks for itself",
        ));
    }
    Ok(Read {
        data: content
            .data
            .map(|data| body.slice_ref(data.get().as_bytes())),
        content,
    })
}

fn room_of(room: &str) -> Result<RoomName, Failure> {
    command::room_name(Some(room))
}

async fn publish(
    State(port): State<Port>,
    Path(room): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response, Failure> {
    let sender = Sender::of(&port, &headers, &uri, &room, body).await?;
    let Read { data, content } = sender.read()?;
    let data = data.ok_or_else(|| Failure::new(ErrorCode::BadRequest, "`data` is missing"))?;
    let key = content
        .key
        .as_deref()
        .map(command::idempotency_key)
        .transpose()?;
    let published = actions::publish(
        &port.gateway,
        sender.caller.actor(content.from.as_ref()),
        &sender.room,
        &data,
        key,
    )
    .await?;
    Ok(Json(json!({ "id": published.position.to_string() })).into_response())
}

async fn signal(
    State(port): State<Port>,
    Path(room): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<StatusCode, Failure> {
    let sender = Sender::of(&port, &headers, &uri, &room, body).await?;
    let Read { data, content } = sender.read()?;
    let name = command::signal_name(content.name.as_deref())?;
    actions::signal(
        &port.gateway,
        sender.caller.actor(content.from.as_ref()),
        &sender.room,
        &name,
        data.as_deref(),
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn history(
    State(port): State<Port>,
    Path(room): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Failure> {
    let caller = Caller::of(&port, &headers, &uri)?;
    caller.admit(&port, Kind::Command)?;
    let room = room_of(&room)?;
    let parameter = |name| {
        query_values(&uri, name)
            .next()
            .filter(|value| !value.is_empty())
    };
    let range = command::range(
        parameter("before").as_deref(),
        parameter("after").as_deref(),
    )?;
    let limit = parameter("limit")
        .map(|text| {
            text.parse()
                .map_err(|_| Failure::new(ErrorCode::BadRequest, "`limit` must be a number"))
        })
        .transpose()?;
    let page = actions::history(
        &port.gateway,
        caller.actor(None),
        &room,
        range,
        command::page_limit(limit)?,
    )
    .await?;
    let body = event::history_page(&page.messages, page.next);
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn members(
    State(port): State<Port>,
    Path(room): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Failure> {
    let caller = Caller::of(&port, &headers, &uri)?;
    caller.admit(&port, Kind::Command)?;
    let room = room_of(&room)?;
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
    Path(room): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<StatusCode, Failure> {
    Caller::of(&port, &headers, &uri)?;
    let room = room_of(&room)?;
    port.gateway
        .hub
        .broker()
        .delete_messages(&room)
        .await
        .map_err(|error| crate::hub::unavailable(&error))?;
    Ok(StatusCode::NO_CONTENT)
}
