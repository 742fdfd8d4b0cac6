//! `POST /v1/publish`: one call of a server publishes to many rooms.
//!
//! Either one message to all of `rooms` and `users`, or a list of messages each with its own destination. A body that is wrong anywhere is refused
//! whole and nothing is published; from then on each room succeeds or fails for itself, and says so in its result. With a `key` the
//! whole call can be sent again: rooms that have the message answer with its id.

use std::collections::HashMap;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use rotunda_crds::RoomName;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::caller::Caller;
use super::routes::Routes;
use super::{Port, body, path};
use crate::actions;
use crate::dialect::command;
use crate::dialect::{ErrorCode, Failure};
use crate::ids::{Position, UserId};

/// Most messages that one call may lead to.
const MAX_MESSAGES: usize = 1000;

/// What a body may have beside the largest message: a thousand names of rooms, or other messages.
const BODY_ROOM: usize = 4 * 1024 * 1024;

/// Rooms that are published to at the same time by one call.
const ROOMS_AT_ONCE: usize = 32;

pub(super) fn routes() -> Routes {
    Routes::default().post("/v1/publish", publish)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call<'a> {
    rooms: Option<Vec<String>>,
    users: Option<Vec<String>>,
    #[serde(borrow, default, deserialize_with = "body::present")]
    data: Option<&'a RawValue>,
    key: Option<String>,
    from: Option<String>,
    #[serde(borrow)]
    messages: Option<Vec<Entry<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    room: Option<String>,
    user: Option<String>,
    #[serde(borrow, default, deserialize_with = "body::present")]
    data: Option<&'a RawValue>,
    key: Option<String>,
    from: Option<String>,
}

/// One message on its way to one room.
#[derive(Clone, Debug)]
struct Letter<'a> {
    room: RoomName,
    data: &'a [u8],
    key: Option<String>,
    from: Option<UserId>,
}

async fn publish(
    State(port): State<Port>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let largest = port.gateway.settings().config.limits.message_bytes as usize;
    let bytes = body::read(&headers, body, largest + BODY_ROOM).await?;
    let letters = letters(&bytes, &caller)?;
    let outcomes = send(&port, &caller, &letters).await;
    Ok(answer(&letters, outcomes))
}

/// What the body asks for, in its order.
fn letters<'a>(bytes: &'a Bytes, caller: &Caller) -> Result<Vec<Letter<'a>>, Failure> {
    let call: Call<'a> = body::parse(bytes)?;
    let letters = match call.messages {
        Some(entries) => {
            let other = [
                ("rooms", call.rooms.is_some()),
                ("users", call.users.is_some()),
                ("data", call.data.is_some()),
                ("key", call.key.is_some()),
                ("from", call.from.is_some()),
            ];
            if let Some((name, _)) = other.iter().find(|(_, present)| *present) {
                return Err(bad(format!(
                    "`{name}` stands beside `messages`: write it into each of the messages"
                )));
            }
            check_number("messages", entries.len())?;
            let numbered = entries.into_iter().enumerate();
            numbered
                .map(|(index, entry)| {
                    letter_of(entry, caller).map_err(|failure| at("messages", index, &failure))
                })
                .collect::<Result<Vec<_>, _>>()?
        }
        None => one_to_many(call, caller)?,
    };
    Ok(letters)
}

fn letter_of<'a>(entry: Entry<'a>, caller: &Caller) -> Result<Letter<'a>, Failure> {
    let room = match (entry.room, entry.user) {
        (Some(room), None) => command::room_name(Some(&room))?,
        (None, Some(user)) => path::room_of(&user)?,
        _ => return Err(bad("give either `room` or `user`")),
    };
    Ok(Letter {
        room,
        data: data_of(entry.data)?,
        key: key_of(entry.key.as_deref())?,
        from: caller.speaks_for(entry.from.as_deref())?,
    })
}

fn one_to_many<'a>(call: Call<'a>, caller: &Caller) -> Result<Vec<Letter<'a>>, Failure> {
    let (rooms, users) = (
        call.rooms.unwrap_or_default(),
        call.users.unwrap_or_default(),
    );
    check_number("rooms", rooms.len() + users.len())?;
    let (data, key) = (data_of(call.data)?, key_of(call.key.as_deref())?);
    let from = caller.speaks_for(call.from.as_deref())?;
    let by_name = rooms.iter().enumerate().map(|(index, room)| {
        command::room_name(Some(room)).map_err(|failure| at("rooms", index, &failure))
    });
    let by_user = users
        .iter()
        .enumerate()
        .map(|(index, user)| path::room_of(user).map_err(|failure| at("users", index, &failure)));
    let rooms: Vec<RoomName> = by_name.chain(by_user).collect::<Result<_, _>>()?;
    let mut seen = HashMap::with_capacity(rooms.len());
    for (index, room) in rooms.iter().enumerate() {
        if let Some(before) = seen.insert(room, index) {
            return Err(bad(format!(
                "the room {room} stands there twice, at {before} and {index} of `rooms` and `users`: name it once"
            )));
        }
    }
    let letter = |room: &RoomName| Letter {
        room: room.clone(),
        data,
        key: key.clone(),
        from: from.clone(),
    };
    Ok(rooms.iter().map(letter).collect())
}

fn check_number(member: &str, number: usize) -> Result<(), Failure> {
    match number {
        0 => Err(bad(
            "there is no destination: give `rooms`, `users` or `messages`, with at least one entry",
        )),
        1..=MAX_MESSAGES => Ok(()),
        _ => Err(bad(format!(
            "`{member}` leads to {number} messages, one call takes {MAX_MESSAGES}: split it"
        ))),
    }
}

fn data_of(data: Option<&RawValue>) -> Result<&[u8], Failure> {
    data.map(|data| data.get().as_bytes())
        .ok_or_else(|| command::missing("data"))
}

fn key_of(key: Option<&str>) -> Result<Option<String>, Failure> {
    key.map(command::idempotency_key).transpose()
}

fn bad(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::BadRequest, message)
}

fn at(member: &str, index: usize, failure: &Failure) -> Failure {
    Failure::new(
        failure.code,
        format!("{member}[{index}]: {}", failure.message),
    )
}

/// Publishes all, a few rooms at a time. Messages to the same room go one after the other, in the call's order.
async fn send(
    port: &Port,
    caller: &Caller,
    letters: &[Letter<'_>],
) -> Vec<Result<Position, Failure>> {
    let mut by_room: HashMap<&RoomName, Vec<usize>> = HashMap::new();
    for (index, letter) in letters.iter().enumerate() {
        by_room.entry(&letter.room).or_default().push(index);
    }
    let rooms = futures::stream::iter(by_room.into_values())
        .map(|indices| send_to_one_room(port, caller, letters, indices));
    let mut sent = rooms.buffer_unordered(ROOMS_AT_ONCE).concat().await;
    sent.sort_unstable_by_key(|(index, _)| *index);
    sent.into_iter().map(|(_, outcome)| outcome).collect()
}

async fn send_to_one_room(
    port: &Port,
    caller: &Caller,
    letters: &[Letter<'_>],
    indices: Vec<usize>,
) -> Vec<(usize, Result<Position, Failure>)> {
    let mut outcomes = Vec::with_capacity(indices.len());
    let mut stopped: Option<Failure> = None;
    for index in indices {
        let letter = &letters[index];
        let outcome = match &stopped {
            Some(failure) => Err(failure.clone()),
            None => actions::publish(
                &port.gateway,
                caller.actor(letter.from.as_ref()),
                &letter.room,
                letter.data,
                letter.key.clone(),
            )
            .await
            .map(|published| published.position),
        };
        if let Err(failure) = &outcome
            && stopped.is_none()
            && may_succeed_later(failure.code)
        {
            // The rest waits for this one, or a retry would bring it after them.
            stopped = Some(Failure {
                code: not_tried(failure.code),
                message: format!(
                    "not tried, since a message before it to this room failed: {}",
                    failure.message
                ),
                retry_after: failure.retry_after,
            });
        }
        outcomes.push((index, outcome));
    }
    outcomes
}

fn may_succeed_later(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::RateLimited | ErrorCode::Unavailable | ErrorCode::OutcomeUnknown
    )
}

/// What wasn't tried has a known outcome.
fn not_tried(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::OutcomeUnknown => ErrorCode::Unavailable,
        code => code,
    }
}

/// 200 when every room has it; 207 when some have; and when none has, the status of the first failure.
fn answer(letters: &[Letter<'_>], outcomes: Vec<Result<Position, Failure>>) -> Response {
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    let results: Vec<Value> = letters
        .iter()
        .zip(&outcomes)
        .map(|(letter, outcome)| match outcome {
            Ok(position) => json!({ "room": letter.room, "id": position.to_string() }),
            Err(failure) => json!({ "room": letter.room, "error": failure.object() }),
        })
        .collect();
    let mut body = json!({ "results": results, "failed": failed });
    if failed == 0 {
        return Json(body).into_response();
    }
    if failed < outcomes.len() {
        return (StatusCode::MULTI_STATUS, Json(body)).into_response();
    }
    let Some(first) = outcomes.into_iter().find_map(Result::err) else {
        return Json(body).into_response();
    };
    body["error"] = first.object();
    let (mut head, _) = first.into_response().into_parts();
    head.headers.remove(axum::http::header::CONTENT_LENGTH);
    Response::from_parts(head, Json(body).into_response().into_body())
}
