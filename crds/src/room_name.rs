//! Names of rooms: checked once, then shared without copying.
//!
//! A name is 1 to 200 of `A-Z a-z 0-9 _ . : @ % -`; its segments part at `:`. Names that start with `user:` are reserved:
//! `user:<id, percent-encoded>` is the room of that one user.

use std::{borrow::Borrow, fmt, ops::Deref, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Most bytes of a name; all its characters are ASCII.
pub const MAX_LENGTH: usize = 200;

/// What reserved names start with.
pub const USER_PREFIX: &str = "user:";

/// Has a character that names can't have.
const CONTROL: &str = "!control";

/// Name of a room. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

/// Why a text is no room name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RoomNameError {
    /// Nothing there.
    #[error("a room name can't be empty")]
    Empty,
    /// Past [`MAX_LENGTH`].
    #[error("a room name has at most {MAX_LENGTH} characters, this one has {0} bytes")]
    TooLong(usize),
    /// A character that names can't have, and where (in bytes).
    #[error(
        "a room name consists of A-Z a-z 0-9 _ . : @ % -, {found:?} at position {at} isn't one of them"
    )]
    Character {
        /// The character.
        found: char,
        /// Byte offset.
        at: usize,
    },
}

impl RoomName {
    /// Checks a text and makes a name of it.
    pub fn parse(text: &str) -> Result<Self, RoomNameError> {
        if text.is_empty() {
            return Err(RoomNameError::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(RoomNameError::TooLong(text.len()));
        }
        match text.char_indices().find(|(_, c)| !is_name_char(*c)) {
            Some((at, found)) => Err(RoomNameError::Character { found, at }),
            None => Ok(Self(text.into())),
        }
    }

    /// The log in which gateways read what the application has them do. No text parses to this name, so nobody can join it or publish to it.
    pub fn control() -> Self {
        Self(CONTROL.into())
    }

    /// Whether it is [`control`](Self::control).
    pub fn is_control(&self) -> bool {
        &*self.0 == CONTROL
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts between the `:`.
    pub fn segments(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.split(':')
    }

    /// Whether it is one of the reserved `user:` names.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(USER_PREFIX)
    }

    /// The user whose room it is: `None` for a room that isn't reserved, and for a reserved name that is nobody's, because what stands
    /// after `user:` isn't written the way [`user_room`] writes it.
    pub fn owner(&self) -> Option<String> {
        let user = decode(self.0.strip_prefix(USER_PREFIX)?)?;
        (!user.is_empty() && self.is_room_of(&user)).then_some(user)
    }

    /// Whether it is the room of that user.
    pub fn is_room_of(&self, user: &str) -> bool {
        self.0.strip_prefix(USER_PREFIX).is_some_and(|rest| {
            let mut rest = rest.bytes();
            encoded(user).all(|byte| rest.next() == Some(byte)) && rest.next().is_none()
        })
    }
}

/// Whether names may have this character.
pub(crate) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '@' | '%' | '-')
}

/// The reserved room of a user, `user:<id>` with everything but `A-Z a-z 0-9 _ . -` percent-encoded (upper-case hex).
/// An error for an id that is empty or too long to have one.
pub fn user_room(user: &str) -> Result<RoomName, RoomNameError> {
    if user.is_empty() {
        return Err(RoomNameError::Empty);
    }
    let length = USER_PREFIX.len() + encoded(user).count();
    if length > MAX_LENGTH {
        return Err(RoomNameError::TooLong(length));
    }
    let name: String = USER_PREFIX
        .chars()
        .chain(encoded(user).map(char::from))
        .collect();
    RoomName::parse(&name)
}

/// A user's id as it stands in a room's name. `:` and `@` and `%` are encoded too, so that an id is one segment and no two
/// ids share a room.
fn encoded(user: &str) -> impl Iterator<Item = u8> + '_ {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    user.bytes().flat_map(|byte| {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let (bytes, length) = if plain {
            ([byte, 0, 0], 1)
        } else {
            (
                [
                    b'%',
                    HEX[usize::from(byte >> 4)],
                    HEX[usize::from(byte & 15)],
                ],
                3,
            )
        };
        bytes.into_iter().take(length)
    })
}

/// Undoes percent-encoding; `None` for what isn't that, or isn't UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(digit()? << 4 | digit()?).ok()?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Deref for RoomName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for RoomName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoomName {
    type Err = RoomNameError;

    fn from_str(text: &str) -> Result<Self, RoomNameError> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for RoomName {
    type Error = RoomNameError;

    fn try_from(text: &str) -> Result<Self, RoomNameError> {
        Self::parse(text)
    }
}

impl Serialize for RoomName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RoomName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
