//! A client's frame into a command.
//!
//! Two kinds of mistakes: what isn't a frame of this protocol at all (no object, no or an unknown `type`, a member of the wrong kind,
//! nested too deeply) closes the connection; a command that is one but asks for the impossible (a bad room name, a bad id) is answered
//! with an error. `data` is checked to be JSON by the parser's scanner and kept as the bytes that came.

use bytes::Bytes;
use rotunda_crds::RoomName;
use rotunda_crds::room_name::{USER_PREFIX, user_room};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::cursor::LastSeen;
use super::event::Reference;
use super::failure::{ErrorCode, Failure};
use crate::history::{Order, PageQuery};
use crate::ids::Position;

/// How deep arrays and objects may nest, the frame's own object included. serde_json's own default.
pub const MAX_DEPTH: usize = 128;

/// The longest idempotency key in bytes.
pub const MAX_KEY_BYTES: usize = 128;

/// The longest `ref` in bytes, as it stands in the frame.
pub const MAX_REFERENCE_BYTES: usize = 64;

/// The longest name of a signal in bytes.
pub const MAX_SIGNAL_NAME_BYTES: usize = 64;

/// Messages in one page of history, when the client doesn't say, and at most.
pub const DEFAULT_PAGE: usize = 50;
pub const MAX_PAGE: usize = 1000;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Join {
        room: RoomName,
        last_seen: Option<Position>,
    },
    Leave {
        room: RoomName,
    },
    Publish {
        room: RoomName,
        data: Bytes,
        key: Option<String>,
    },
    Signal {
        room: RoomName,
        name: String,
        data: Option<Bytes>,
    },
    History {
        room: RoomName,
        query: PageQuery,
    },
    Members {
        room: RoomName,
    },
    Refresh {
        token: Token,
    },
}

/// A bearer token; its text never shows in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Command {
    /// The room it is about.
    pub fn room(&self) -> Option<&RoomName> {
        match self {
            Self::Join { room, .. }
            | Self::Leave { room }
            | Self::Publish { room, .. }
            | Self::Signal { room, .. }
            | Self::History { room, .. }
            | Self::Members { room } => Some(room),
            Self::Refresh { .. } => None,
        }
    }
}

/// A command and the mark that its answer carries.
#[derive(Clone, Debug)]
pub struct Request {
    pub reference: Reference,
    pub command: Command,
}

/// Why a frame is no command.
#[derive(Clone, Debug)]
pub enum ParseError {
    /// Not a frame of this protocol: close with 4400 and this text.
    Malformed(&'static str),
    /// A command that can't be carried out: answer with an error.
    Refused {
        reference: Reference,
        failure: Failure,
    },
}

/// All members of all commands; unknown ones are ignored, so that newer clients can talk to older gateways.
#[derive(Deserialize)]
struct Wire<'a> {
    r#type: String,
    #[serde(borrow, rename = "ref")]
    reference: Option<&'a RawValue>,
    room: Option<String>,
    last_seen_id: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    key: Option<String>,
    name: Option<String>,
    before: Option<String>,
    after: Option<String>,
    order: Option<String>,
    limit: Option<u64>,
    token: Option<String>,
}

/// `"data":null` is data; only a missing member is none.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// Parses one text frame.
pub fn parse(text: &Bytes) -> Result<Request, ParseError> {
    check_depth(text)?;
    let wire: Wire<'_> =
        serde_json::from_slice(text).map_err(|error| ParseError::Malformed(describe(&error)))?;
    let reference = match wire.reference {
        None => None,
        Some(raw) if is_reference(raw.get()) => Some(raw.to_owned()),
        Some(_) => {
            return Err(ParseError::Malformed(
                "`ref` must be a number or a string of at most 64 bytes",
            ));
        }
    };
    match command(&wire, text) {
        Ok(command) => Ok(Request { reference, command }),
        Err(Mistake::Malformed(reason)) => Err(ParseError::Malformed(reason)),
        Err(Mistake::Refused(failure)) => Err(ParseError::Refused { reference, failure }),
    }
}

enum Mistake {
    Malformed(&'static str),
    Refused(Failure),
}

impl From<Failure> for Mistake {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

fn command(wire: &Wire<'_>, text: &Bytes) -> Result<Command, Mistake> {
    let room = || room_name(wire.room.as_deref());
    let keep = |raw: &RawValue| text.slice_ref(raw.get().as_bytes());
    Ok(match wire.r#type.as_str() {
        "join" => {
            let room = room()?;
            let id = wire.last_seen_id.as_deref();
            let last_seen = id.map(|id| last_seen(&room, id)).transpose()?.flatten();
            Command::Join { room, last_seen }
        }
        "leave" => Command::Leave { room: room()? },
        "publish" => Command::Publish {
            room: room()?,
            data: keep(wire.data.ok_or_else(|| missing("data"))?),
            key: wire.key.as_deref().map(idempotency_key).transpose()?,
        },
        "signal" => Command::Signal {
            room: room()?,
            name: signal_name(wire.name.as_deref())?,
            data: wire.data.map(keep),
        },
        "history" => Command::History {
            room: room()?,
            query: page_query(
                wire.before.as_deref(),
                wire.after.as_deref(),
                wire.order.as_deref(),
                wire.limit,
            )?,
        },
        "members" => Command::Members { room: room()? },
        "refresh" => Command::Refresh {
            token: Token(wire.token.clone().ok_or_else(|| missing("token"))?),
        },
        _ => return Err(Mistake::Malformed("unknown `type`")),
    })
}

/// A room's name, or the error that names what is wrong with it. A reserved name has to be some user's.
pub fn room_name(text: Option<&str>) -> Result<RoomName, Failure> {
    let text = text.ok_or_else(|| missing("room"))?;
    let invalid = |message| Failure::new(ErrorCode::InvalidRoom, message);
    let room = RoomName::parse(text).map_err(|error| invalid(error.to_string()))?;
    if !room.is_reserved() || room.owner().is_some() {
        return Ok(room);
    }
    let id = &text[USER_PREFIX.len()..];
    Err(invalid(match user_room(id) {
        Ok(meant) => format!(
            "{text} is no user's room: after `user:` stands the user's id, percent-encoded but for A-Z a-z 0-9 _ . - (is {meant} meant? in the \
             path of a URL each % of it is written %25)"
        ),
        Err(error) => format!("{text} is no user's room: {error}"),
    }))
}

/// An id as a position.
pub fn position(member: &str, id: &str) -> Result<Position, Failure> {
    id.parse().map_err(|error| invalid_id(member, error))
}

/// Where an id stands in a room, be it one of the room or one that a stream or a poll gave for all of its rooms.
fn last_seen(room: &RoomName, id: &str) -> Result<Option<Position>, Failure> {
    let seen: LastSeen = id
        .parse()
        .map_err(|error| invalid_id("last_seen_id", error))?;
    Ok(seen.in_room(room, true))
}

fn invalid_id(member: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(
        ErrorCode::InvalidId,
        format!("`{member}`: {error}; use one from a frame, or leave it out"),
    )
}

/// Which page of history is meant.
pub fn page_query(
    before: Option<&str>,
    after: Option<&str>,
    order: Option<&str>,
    limit: Option<u64>,
) -> Result<PageQuery, Failure> {
    Ok(PageQuery {
        after: after.map(|id| position("after", id)).transpose()?,
        before: before.map(|id| position("before", id)).transpose()?,
        order: order.map(page_order).transpose()?,
        limit: page_limit(limit)?,
    })
}

fn page_order(order: &str) -> Result<Order, Failure> {
    match order {
        "asc" => Ok(Order::OldestFirst),
        "desc" => Ok(Order::NewestFirst),
        _ => Err(Failure::new(
            ErrorCode::BadRequest,
            "`order` must be `asc` (oldest first) or `desc` (newest first)",
        )),
    }
}

/// The page's size.
fn page_limit(limit: Option<u64>) -> Result<usize, Failure> {
    match limit {
        None => Ok(DEFAULT_PAGE),
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=MAX_PAGE).contains(limit))
            .ok_or_else(|| {
                Failure::new(
                    ErrorCode::BadRequest,
                    format!("`limit` is {limit}, it must be 1 to {MAX_PAGE}"),
                )
            }),
    }
}

/// An idempotency key within its bounds.
pub fn idempotency_key(key: &str) -> Result<String, Failure> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(Failure::new(
            ErrorCode::BadRequest,
            format!("`key` must have 1 to {MAX_KEY_BYTES} bytes"),
        ));
    }
    Ok(key.to_owned())
}

/// A signal's name within its bounds.
pub fn signal_name(name: Option<&str>) -> Result<String, Failure> {
    let name = name.ok_or_else(|| missing("name"))?;
    if name.is_empty() || name.len() > MAX_SIGNAL_NAME_BYTES {
        return Err(Failure::new(
            ErrorCode::BadRequest,
            format!("`name` must have 1 to {MAX_SIGNAL_NAME_BYTES} bytes"),
        ));
    }
    Ok(name.to_owned())
}

/// The error for a member that has to be there.
pub fn missing(member: &str) -> Failure {
    Failure::new(ErrorCode::BadRequest, format!("`{member}` is missing"))
}

fn is_reference(raw: &str) -> bool {
    raw.len() <= MAX_REFERENCE_BYTES
        && raw.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
}

/// Text for the close frame: a sentence of ours, since a parser's could quote what it read.
fn describe(error: &serde_json::Error) -> &'static str {
    use serde_json::error::Category;
    match error.classify() {
        Category::Data => "not an object with a `type` and members of the right kind, each once",
        Category::Syntax | Category::Eof | Category::Io => "not JSON",
    }
}

/// Whether JSON stays within [`MAX_DEPTH`]: one pass that knows strings and brackets. The parser's scanner for `data` has no limit of its
/// own, and what is passed on must not break the parsers of other clients.
pub fn check_depth(text: &[u8]) -> Result<(), ParseError> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(ParseError::Malformed("nested too deeply"));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
