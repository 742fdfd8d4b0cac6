//! Events into frames: everything a server tells a client.
//!
//! What is passed through (bodies, `data`, `ref`) is copied as the bytes that came; the rest is written here, in the order in which the
//! protocol shows it. A room's name needs no escaping: its alphabet has neither quote nor backslash.

use std::time::Duration;

use rotunda_crds::{GatewayConfig, RoomName};
use serde::Serialize;
use serde_json::value::RawValue;

use super::failure::Failure;
use super::frame::{Frame, FrameBuilder, Mark};
use super::words::words;
use crate::broker::{Members, Message, PresenceChange};
use crate::history::Page;
use crate::ids::{ConnectionId, Position, UserId};

words! {
    /// Why messages can't be had any more.
    pub enum GapReason {
        /// Beyond the room's `maxMessages`.
        Trimmed = "trimmed",
        /// Older than the room's `maxAge`.
        Expired = "expired",
        /// Lost, or not known to be whole, after a failover.
        Failover = "failover",
        /// Left out for a slow consumer.
        Dropped = "dropped",
        /// Deleted on request.
        Deleted = "deleted",
    }
}

words! {
    /// What a frame tells: its `type`.
    pub enum EventKind {
        Welcome = "welcome",
        Joined = "joined",
        Left = "left",
        Message = "message",
        Signal = "signal",
        Signaled = "signaled",
        Presence = "presence",
        Gap = "gap",
        Ack = "ack",
        History = "history",
        Members = "members",
        Refreshed = "refreshed",
        Error = "error",
        Reconnect = "reconnect",
        Heartbeat = "heartbeat",
    }
}

/// The client's `ref`, echoed.
pub type Reference = Option<Box<RawValue>>;

/// What a connection may use, as the welcome tells it.
#[derive(Serialize)]
struct WelcomeLimits {
    messages_per_second: u32,
    burst: u32,
    message_bytes: u32,
    rooms_per_connection: u32,
}

/// The first frame of every connection.
pub fn welcome(connection: ConnectionId, user: &UserId, config: &GatewayConfig) -> Frame {
    let limits = WelcomeLimits {
        messages_per_second: config.limits.messages_per_second,
        burst: config.limits.burst,
        message_bytes: config.limits.message_bytes,
        rooms_per_connection: config.limits.rooms_per_connection,
    };
    let mut frame = start(EventKind::Welcome, 256);
    frame
        .raw(r#","connection":""#)
        .raw(&connection.to_string())
        .raw(r#"","user":"#)
        .json(user);
    frame
        .raw(r#","heartbeat_ms":"#)
        .json(&(u64::from(config.heartbeat.interval_seconds) * 1000));
    frame.raw(r#","limits":"#).json(&limits).raw("}");
    frame.finish()
}

/// What a join led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The position after which the stream goes on: a client may keep it as its `last_seen_id` at once.
    pub id: Position,
    /// Every message after the client's `last_seen_id` follows. `None` for a join that asked for nothing.
    pub recovered: Option<bool>,
    /// How many messages of the past follow this frame.
    pub replayed: u64,
    /// How many users are in the room; `None` where presence is off.
    pub members: Option<u64>,
}

/// The answer to `join`, before what is replayed.
pub fn joined(reference: &Reference, room: &RoomName, joined: &Joined) -> Frame {
    let mut frame = answer(EventKind::Joined, reference, room);
    frame
        .mark(match joined.recovered {
            None => Mark::Starts(joined.id),
            Some(true) => Mark::Resumes(joined.id),
            // The gap that follows moves on: whoever is cut off before it must be told again.
            Some(false) => Mark::Stays,
        })
        .raw(r#","id":""#)
        .raw(&joined.id.to_string())
        .raw("\"");
    if let Some(recovered) = joined.recovered {
        frame
            .raw(r#","recovered":"#)
            .json(&recovered)
            .raw(r#","replayed":"#)
            .json(&joined.replayed);
    }
    if let Some(members) = joined.members {
        frame.raw(r#","members":"#).json(&members);
    }
    frame.raw("}");
    frame.finish()
}

/// The answer to `leave`, or news of a membership that ended otherwise: then with a reason.
pub fn left(reference: &Reference, room: &RoomName, reason: Option<&str>) -> Frame {
    let mut frame = answer(EventKind::Left, reference, room);
    if let Some(reason) = reason {
        frame.raw(r#","reason":"#).json(reason);
    }
    frame.raw("}");
    frame.finish()
}

/// A stored message.
pub fn message(room: &RoomName, message: &Message) -> Frame {
    let mut frame = start(EventKind::Message, 96 + room.len() + message.body.len());
    frame
        .room(room)
        .raw(",")
        .mark(Mark::Moves(message.position));
    message_members(&mut frame, message);
    frame.raw("}");
    frame.finish()
}

/// `"id":…,"time":…,` and the body.
fn message_members(frame: &mut FrameBuilder, message: &Message) {
    frame
        .raw(r#""id":""#)
        .raw(&message.position.to_string())
        .raw(r#"","time":"#)
        .json(&message.time_ms)
        .raw(",");
    frame.bytes(&message.body);
}

/// A signal.
pub fn signal(room: &RoomName, body: &[u8]) -> Frame {
    let mut frame = start(EventKind::Signal, 48 + room.len() + body.len());
    frame.room(room).raw(",").bytes(body).raw("}");
    frame.finish()
}

#[derive(Serialize)]
struct WireMember<'a> {
    user: &'a UserId,
}

#[derive(Serialize)]
struct WireDeparted<'a> {
    user: &'a UserId,
    last_seen: u64,
}

/// Who came and went. `names: false` tells the count alone.
pub fn presence(room: &RoomName, change: &PresenceChange, names: bool) -> Frame {
    let mut frame = start(
        EventKind::Presence,
        96 + room.len() + 48 * (change.joined.len() + change.left.len()),
    );
    frame.room(room);
    if names {
        let joined: Vec<_> = change
            .joined
            .iter()
            .map(|user| WireMember { user })
            .collect();
        let left: Vec<_> = change
            .left
            .iter()
            .map(|departed| WireDeparted {
                user: &departed.user,
                last_seen: departed.last_seen_ms,
            })
            .collect();
        frame
            .raw(r#","joined":"#)
            .json(&joined)
            .raw(r#","left":"#)
            .json(&left);
    }
    frame.raw(r#","count":"#).json(&change.count).raw("}");
    frame.finish()
}

/// Who is there, all of them: for a client to take in place of what it knew, since a change was missed.
pub fn all_present(room: &RoomName, members: &Members) -> Frame {
    let size = 96 + room.len() + 32 * members.members.len();
    let mut frame = start(EventKind::Presence, size);
    frame.room(room);
    write_members(&mut frame, members);
    frame.raw("}");
    frame.finish()
}

/// Messages that can't be had: those after `after` up to and with `next`.
pub fn gap(room: &RoomName, after: Position, next: Position, reason: GapReason) -> Frame {
    let mut frame = start(EventKind::Gap, 128 + room.len());
    // One that skips nothing is only news.
    let mark = if after == next {
        Mark::Stays
    } else {
        Mark::Moves(next)
    };
    frame
        .room(room)
        .mark(mark)
        .raw(r#","after":""#)
        .raw(&after.to_string());
    frame
        .raw(r#"","next":""#)
        .raw(&next.to_string())
        .raw(r#"","reason":""#)
        .raw(reason.as_str())
        .raw("\"}");
    frame.finish()
}

/// The answer to `publish`.
pub fn ack(reference: &Reference, id: Position) -> Frame {
    let mut frame = start(EventKind::Ack, 64);
    write_reference(&mut frame, reference);
    frame.raw(r#","id":""#).raw(&id.to_string()).raw("\"}");
    frame.finish()
}

/// An acknowledgement of a command whose answer holds nothing, such as `refresh`.
pub fn done(kind: EventKind, reference: &Reference) -> Frame {
    let mut frame = start(kind, 64);
    write_reference(&mut frame, reference);
    frame.raw("}");
    frame.finish()
}

/// The answer to `history`. `next` is where the next page in the same direction starts, if there is one.
pub fn history(reference: &Reference, room: &RoomName, page: &Page) -> Frame {
    let mut frame = answer(EventKind::History, reference, room);
    frame.raw(",");
    write_page(&mut frame, page);
    frame.raw("}");
    frame.finish()
}

/// The same page as an HTTP answer.
pub fn history_page(page: &Page) -> Vec<u8> {
    let bodies: usize = page.messages.iter().map(|m| m.body.len() + 64).sum();
    let mut frame = FrameBuilder::with_capacity(EventKind::History, 64 + bodies);
    frame.raw("{");
    write_page(&mut frame, page);
    frame.raw("}");
    frame.finish().json().to_vec()
}

fn write_page(frame: &mut FrameBuilder, page: &Page) {
    frame.raw(r#""messages":"#);
    write_messages(frame, &page.messages);
    write_next(frame, page.next);
    if let Some(gap) = &page.gap {
        frame
            .raw(r#","gap":{"after":""#)
            .raw(&gap.after.to_string())
            .raw(r#"","next":""#)
            .raw(&gap.next.to_string())
            .raw(r#"","reason":""#)
            .raw(gap.reason.as_str())
            .raw("\"}");
    }
}

fn write_messages(frame: &mut FrameBuilder, messages: &[Message]) {
    frame.raw("[");
    for (index, message) in messages.iter().enumerate() {
        frame.raw(if index == 0 { "{" } else { ",{" });
        message_members(frame, message);
        frame.raw("}");
    }
    frame.raw("]");
}

fn write_next(frame: &mut FrameBuilder, next: Option<Position>) {
    match next {
        Some(next) => frame.raw(r#","next":""#).raw(&next.to_string()).raw("\""),
        None => frame.raw(r#","next":null"#),
    };
}

/// The answer to `members`.
pub fn members(reference: &Reference, room: &RoomName, members: &Members) -> Frame {
    let mut frame = answer(EventKind::Members, reference, room);
    write_members(&mut frame, members);
    frame.raw("}");
    frame.finish()
}

fn write_members(frame: &mut FrameBuilder, members: &Members) {
    let users = members.members.iter().map(|member| &member.user);
    let wire: Vec<_> = users.map(|user| WireMember { user }).collect();
    frame
        .raw(r#","members":"#)
        .json(&wire)
        .raw(r#","count":"#)
        .json(&members.count);
}

/// A command was refused; the connection goes on.
pub fn error(reference: &Reference, room: Option<&RoomName>, failure: &Failure) -> Frame {
    let mut frame = start(EventKind::Error, 128 + failure.message.len());
    write_reference(&mut frame, reference);
    if let Some(room) = room {
        frame.room(room);
    }
    frame
        .raw(r#","code":""#)
        .raw(failure.code.as_str())
        .raw(r#"","message":"#)
        .json(&failure.message);
    if let Some(ms) = failure.retry_after_ms() {
        frame.raw(r#","retry_after_ms":"#).json(&ms);
    }
    frame.raw("}");
    frame.finish()
}

/// Part of a drain: open another connection after this time, then close this one.
pub fn reconnect(after: Duration) -> Frame {
    let mut frame = start(EventKind::Reconnect, 48);
    frame
        .raw(r#","after_ms":"#)
        .json(&u64::try_from(after.as_millis()).unwrap_or(u64::MAX))
        .raw("}");
    frame.finish()
}

/// For scripts in browsers, which can't see pings.
pub fn heartbeat() -> Frame {
    let mut frame = start(EventKind::Heartbeat, 24);
    frame.raw("}");
    frame.finish()
}

/// `{"type":…` without the closing brace. Every frame starts here, so that none has a type outside [`EventKind`].
fn start(kind: EventKind, capacity: usize) -> FrameBuilder {
    let mut frame = FrameBuilder::with_capacity(kind, capacity);
    frame.raw(r#"{"type":""#).raw(kind.as_str()).raw("\"");
    frame
}

/// `{"type":…,"ref":…,"room":…` without the closing brace.
fn answer(kind: EventKind, reference: &Reference, room: &RoomName) -> FrameBuilder {
    let mut frame = start(kind, 128 + room.len());
    write_reference(&mut frame, reference);
    frame.room(room);
    frame
}

fn write_reference(frame: &mut FrameBuilder, reference: &Reference) {
    if let Some(reference) = reference {
        frame.raw(r#","ref":"#).raw(reference.get());
    }
}

#[cfg(test)]
mod tests;
