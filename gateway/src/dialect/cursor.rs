//! Where a client stands in its rooms, as one text: the `id` of SSE events and poll answers, and what `last_seen_id` takes.
//!
//! A stream of one room uses the room's position as it is (`7-1042`). One of several rooms uses a [`Cursor`]: the letter `c` and base64url of,
//! for each room, a hash of its name and its position. Any gateway can read it; none keeps anything for it. Texts come from outside: decoding
//! is bounded, never panics, and takes only what encoding writes.

use std::fmt::{self, Write};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rotunda_crds::RoomName;
use sha2::{Digest, Sha256};

use super::frame::{Frame, Mark};
use crate::ids::Position;

/// Most rooms of one SSE stream or poll, and so of one cursor.
pub const MAX_ROOMS: usize = 32;

/// Starts the text of a cursor of several rooms. Another format would take another letter.
const SEVERAL: char = 'c';

/// Starts the id of an event after which the client must not come back by itself; where it stood follows.
const ENDED: char = '.';

const KEY_BYTES: usize = 8;

/// A number takes at most this as a varint: ten groups of seven bits.
const MAX_VARINT_BYTES: usize = 10;

const MAX_BYTES: usize = MAX_ROOMS * (KEY_BYTES + 2 * MAX_VARINT_BYTES);

/// A text that no gateway ever handed out as an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this service")]
pub struct InvalidCursor;

/// A room in a cursor: the first 64 bits of the SHA-256 of its name. The same in every release, since clients keep cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key([u8; KEY_BYTES]);

impl Key {
    fn of(room: &str) -> Self {
        let digest = Sha256::digest(room.as_bytes());
        let mut key = [0; KEY_BYTES];
        key.copy_from_slice(&digest[..KEY_BYTES]);
        Self(key)
    }
}

/// Positions in several rooms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Ascending by key, each once.
    entries: Vec<(Key, Position)>,
}

impl Cursor {
    /// The position in a room, if the cursor has one.
    pub fn position(&self, room: &RoomName) -> Option<Position> {
        let index = self
            .entries
            .binary_search_by_key(&Key::of(room), |(key, _)| *key);
        index.ok().map(|index| self.entries[index].1)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_several(f, self.entries.iter().copied())
    }
}

fn write_several(
    out: &mut impl Write,
    entries: impl Iterator<Item = (Key, Position)>,
) -> fmt::Result {
    let mut bytes = Vec::with_capacity(16 * entries.size_hint().0);
    for (key, position) in entries {
        bytes.extend_from_slice(&key.0);
        push_varint(&mut bytes, position.epoch.0);
        push_varint(&mut bytes, position.offset.0);
    }
    out.write_char(SEVERAL)?;
    out.write_str(&URL_SAFE_NO_PAD.encode(bytes))
}

/// Seven bits a byte, the lowest first, the highest bit set on all but the last (LEB128).
fn push_varint(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return bytes.push(low & 0x7f);
        }
        bytes.push(low | 0x80);
    }
}

/// Takes a number off the front; only in its shortest form.
fn take_varint(bytes: &mut &[u8]) -> Result<u64, InvalidCursor> {
    let mut number: u64 = 0;
    for group in 0..MAX_VARINT_BYTES {
        let (&byte, rest) = bytes.split_first().ok_or(InvalidCursor)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        let shifted = bits << (7 * group);
        if shifted >> (7 * group) != bits {
            return Err(InvalidCursor);
        }
        number |= shifted;
        if byte & 0x80 == 0 {
            // A last group of zeros would be another way to write the same.
            return if byte == 0 && group > 0 {
                Err(InvalidCursor)
            } else {
                Ok(number)
            };
        }
    }
    Err(InvalidCursor)
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let encoded = text.strip_prefix(SEVERAL).ok_or(InvalidCursor)?;
        if encoded.len() > MAX_BYTES.div_ceil(3) * 4 {
            return Err(InvalidCursor);
        }
        let decoded = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| InvalidCursor)?;
        let mut rest = decoded.as_slice();
        let mut entries: Vec<(Key, Position)> = Vec::new();
        while !rest.is_empty() {
            let (key, after) = rest.split_first_chunk().ok_or(InvalidCursor)?;
            rest = after;
            let key = Key(*key);
            let position = Position::new(take_varint(&mut rest)?, take_varint(&mut rest)?);
            let ascending = entries.last().is_none_or(|(last, _)| *last < key);
            if !ascending || entries.len() == MAX_ROOMS {
                return Err(InvalidCursor);
            }
            entries.push((key, position));
        }
        Ok(Self { entries })
    }
}

/// What a client gives as the last that it has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastSeen {
    /// In one room: which one, the place in the request tells.
    One(Position),
    Several(Cursor),
}

impl LastSeen {
    /// Where it stands in a room, `own` telling whether a position alone is meant for this one.
    pub fn in_room(&self, room: &RoomName, own: bool) -> Option<Position> {
        match self {
            Self::One(position) => own.then_some(*position),
            Self::Several(cursor) => cursor.position(room),
        }
    }
}

/// Parses a `last_seen_id`. The id of a stream's end stands for where the stream was then: whoever sends that deliberately wants to go on.
impl FromStr for LastSeen {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let text = match text.strip_prefix(ENDED) {
            // It ended before it had a place.
            Some("") => return Ok(Self::Several(Cursor::default())),
            Some(text) => text,
            None => text,
        };
        if text.starts_with(SEVERAL) {
            text.parse().map(Self::Several)
        } else {
            text.parse().map(Self::One).map_err(|_| InvalidCursor)
        }
    }
}

/// Whether this is the id of an event after which a client must not come back by itself.
pub fn is_ended(id: &str) -> bool {
    id.starts_with(ENDED)
}

/// Where one stream stands, followed frame by frame.
#[derive(Debug)]
pub struct Place {
    /// Ascending by key.
    rooms: Vec<Standing>,
}

#[derive(Debug)]
struct Standing {
    key: Key,
    name: RoomName,
    /// `None` until the stream has joined the room.
    position: Option<Position>,
}

impl Place {
    /// Starts where the client stood, so that a stream that is cut off before a room was joined loses nothing of it.
    pub fn new<'a>(rooms: impl IntoIterator<Item = (&'a RoomName, Option<Position>)>) -> Self {
        let mut rooms: Vec<_> = rooms
            .into_iter()
            .map(|(name, position)| Standing {
                key: Key::of(name),
                name: name.clone(),
                position,
            })
            .collect();
        rooms.sort_unstable_by_key(|standing| standing.key);
        Self { rooms }
    }

    /// Takes note of a frame that is delivered; whether the place changed.
    pub fn follow(&mut self, frame: &Frame) -> bool {
        let position = match frame.mark() {
            Mark::Stays => return false,
            Mark::Starts(position) | Mark::Resumes(position) | Mark::Moves(position) => position,
        };
        let mut rooms = self.rooms.iter_mut();
        match rooms.find(|standing| standing.name.as_bytes() == frame.room()) {
            Some(standing) => {
                standing.position = Some(position);
                true
            }
            None => false,
        }
    }

    /// Writes the id that stands for all rooms; nothing while no room has a position.
    pub fn write_id(&self, out: &mut impl Write) -> fmt::Result {
        match self.rooms.as_slice() {
            [only] => only
                .position
                .map_or(Ok(()), |position| write!(out, "{position}")),
            several if several.iter().all(|standing| standing.position.is_none()) => Ok(()),
            several => {
                let known = several
                    .iter()
                    .filter_map(|standing| Some((standing.key, standing.position?)));
                write_several(out, known)
            }
        }
    }

    /// Writes the id that tells a client not to come back by itself.
    pub fn write_ended_id(&self, out: &mut impl Write) -> fmt::Result {
        out.write_char(ENDED)?;
        self.write_id(out)
    }

    /// The id as text.
    pub fn id(&self) -> String {
        let mut id = String::new();
        // Writing into a string doesn't fail.
        self.write_id(&mut id).ok();
        id
    }
}

#[cfg(test)]
mod tests;
