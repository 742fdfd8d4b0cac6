//! What travels through a room's channel and lies in its stream: read here, written by the scripts in `lua/` (and signals here).
//!
//! A channel message is `<format version><kind>[<head>]\n<body>`. Kinds: `m` message (head `<id> <seconds> <microseconds>`), `s` signal, `p` presence (head: its
//! version and the one before, body JSON), `d` deleted (head: id of the deletion's own entry). A stream entry is two pairs, `<seconds> <microseconds>` and `b1 <body>`, or
//! `d1` (nothing) for a deletion; the format version stands in that name, since another field would cost every publish. The time is Redis's own, as its `TIME` gives it.

use bytes::Bytes;
use redis::Value;
use serde::Deserialize;

use super::super::{BrokerError, Departed, Event, Message, PresenceChange};
use crate::ids::{Position, UserId};

/// The format this version writes, and the only one it reads.
const VERSION: u8 = b'1';

/// A channel message of a signal.
pub(super) fn encode_signal(body: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(body.len() + 3);
    payload.extend_from_slice(&[VERSION, b's', b'\n']);
    payload.extend_from_slice(body);
    payload
}

/// A channel message that isn't what this version writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What a channel message is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Event(Event),
    Announcement(Announcement),
}

/// A change of presence and its place in the room's chain of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) change: PresenceChange,
    pub(super) version: u64,
    /// The version of the announcement before this one; 0 for the first.
    pub(super) previous: u64,
}

/// Reads a channel message. Copies the body: it may wait in queues for long, and mustn't hold the whole read buffer.
pub(super) fn decode(payload: &[u8]) -> Result<Payload, Malformed> {
    let end = payload
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or(Malformed)?;
    let (head, body) = (&payload[..end], &payload[end + 1..]);
    let [VERSION, kind, head @ ..] = head else {
        return Err(Malformed);
    };
    let head = std::str::from_utf8(head).map_err(|_| Malformed)?;
    let event = match kind {
        b'm' => {
            let (position, time) = head.split_once(' ').ok_or(Malformed)?;
            let (seconds, micros) = time.split_once(' ').ok_or(Malformed)?;
            let number = |text: &str| text.parse().map_err(|_| Malformed);
            Event::Message(Message {
                position: position.parse().map_err(|_| Malformed)?,
                time_ms: join_time(number(seconds)?, number(micros)?),
                body: Bytes::copy_from_slice(body),
            })
        }
        b's' => Event::Signal(Bytes::copy_from_slice(body)),
        b'p' => {
            let (version, previous) = head.split_once(' ').ok_or(Malformed)?;
            let change: WireChange = serde_json::from_slice(body).map_err(|_| Malformed)?;
            return Ok(Payload::Announcement(Announcement {
                change: change.into(),
                version: version.parse().map_err(|_| Malformed)?,
                previous: previous.parse().map_err(|_| Malformed)?,
            }));
        }
        b'd' => Event::Deleted {
            at: head.parse().map_err(|_| Malformed)?,
        },
        _ => return Err(Malformed),
    };
    Ok(Payload::Event(event))
}

/// A presence change as the scripts write it.
#[derive(Deserialize)]
struct WireChange {
    #[serde(default, rename = "j")]
    joined: Vec<UserId>,
    #[serde(default, rename = "l")]
    left: Vec<(UserId, u64)>,
    #[serde(rename = "c")]
    count: u64,
}

impl From<WireChange> for PresenceChange {
    fn from(change: WireChange) -> Self {
        let departed = |(user, last_seen_ms)| Departed { user, last_seen_ms };
        Self {
            joined: change.joined,
            left: change.left.into_iter().map(departed).collect(),
            count: change.count,
        }
    }
}

pub(super) fn corrupt(what: &str) -> BrokerError {
    BrokerError::Corrupt(what.into())
}

/// Reads a stream entry, `[id, [field, value, …]]`.
pub(super) fn entry(value: Value) -> Result<Message, BrokerError> {
    let [id, fields] = array(value)?;
    let position = position(&id)?;
    let fields: [Value; 4] = array(fields)?;
    let [seconds, micros, version, Value::BulkString(body)] = fields else {
        return Err(corrupt("a stream entry without a body"));
    };
    if text(&version)? == "d1" {
        return Err(corrupt("a stream entry that is no message"));
    }
    if text(&version)? != "b1" {
        return Err(corrupt("a stream entry of an unknown format version"));
    }
    Ok(Message {
        position,
        time_ms: join_time(number(&seconds)?, number(&micros)?),
        body: Bytes::from(body),
    })
}

/// Milliseconds of what `TIME` gives.
fn join_time(seconds: u64, micros: u64) -> u64 {
    seconds.saturating_mul(1000).saturating_add(micros / 1000)
}

/// An array of exactly `N` values.
pub(super) fn array<const N: usize>(value: Value) -> Result<[Value; N], BrokerError> {
    let values = list(value)?;
    values
        .try_into()
        .map_err(|_| corrupt("an answer of another length"))
}

pub(super) fn list(value: Value) -> Result<Vec<Value>, BrokerError> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(corrupt("something else than a list")),
    }
}

pub(super) fn text(value: &Value) -> Result<&str, BrokerError> {
    match value {
        Value::BulkString(bytes) => {
            std::str::from_utf8(bytes).map_err(|_| corrupt("text that isn't UTF-8"))
        }
        Value::SimpleString(text) => Ok(text),
        _ => Err(corrupt("something else than text")),
    }
}

pub(super) fn number(value: &Value) -> Result<u64, BrokerError> {
    let number = match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        other => text(other)?.parse().ok(),
    };
    number.ok_or_else(|| corrupt("something else than a number"))
}

pub(super) fn position(value: &Value) -> Result<Position, BrokerError> {
    text(value)?
        .parse()
        .map_err(|_| corrupt("an id that isn't one"))
}

/// As [`position`], where an empty text stands for none.
pub(super) fn optional_position(value: &Value) -> Result<Option<Position>, BrokerError> {
    if text(value)?.is_empty() {
        return Ok(None);
    }
    position(value).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).expect("a fine name")
    }

    #[test]
    fn messages_are_read() {
        let message = Message {
            position: Position::new(7, 42),
            time_ms: 99_012,
            body: Bytes::from_static(b"a\nb"),
        };
        let event = |payload: &[u8]| {
            decode(payload).map(|payload| match payload {
                Payload::Event(event) => event,
                Payload::Announcement(_) => panic!("no event"),
            })
        };
        assert_eq!(event(b"1m7-42 99 12345\na\nb"), Ok(Event::Message(message)));
        assert_eq!(
            event(&encode_signal(b"\n")),
            Ok(Event::Signal(Bytes::from_static(b"\n")))
        );
        let at = Position::new(7, 3);
        assert_eq!(event(b"1d7-3\n"), Ok(Event::Deleted { at }));
    }

    #[test]
    fn announcements_are_read() {
        let change = PresenceChange {
            joined: vec![],
            left: vec![Departed {
                user: user("a/b"),
                last_seen_ms: 1_700_000_000_000,
            }],
            count: 3,
        };
        assert_eq!(
            decode(b"1p9 7\n{\"l\":[[\"a\\/b\",1700000000000]],\"c\":3}"),
            Ok(Payload::Announcement(Announcement {
                change,
                version: 9,
                previous: 7
            }))
        );
    }

    #[test]
    fn what_another_version_writes_is_told_apart() {
        for payload in [
            "2m7-42 99\nx",
            "1x\n",
            "1m7-42 99 1",
            "1m7-42\nx",
            "1m7-42 99\nx",
            "1p1 0\n{}",
            "1p1\n{\"c\":1}",
            "1p1 0\n{\"j\":[\"\"],\"c\":1}",
            "",
        ] {
            assert_eq!(decode(payload.as_bytes()), Err(Malformed), "{payload}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_makes_the_reader_panic(payload: Vec<u8>) {
            drop(decode(&payload));
        }
    }
}
