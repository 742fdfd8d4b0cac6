//! The small types that a mix-up would cost dearly: users, connections, and where a message stands in its room.
//!
//! A [`Position`] is what clients know as an *id*: `<epoch>-<offset>`, opaque to them. It knows no broker; both engines
//! order a room's messages by it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One replication history of a room. Epochs of a room only ever rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The place of a message within its epoch: 1, 2, 3, … without holes. 0 stands before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

/// Where a message stands in its room; also its entry id in the Redis stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub epoch: Epoch,
    pub offset: Offset,
}

impl Position {
    pub const fn new(epoch: u64, offset: u64) -> Self {
        Self {
            epoch: Epoch(epoch),
            offset: Offset(offset),
        }
    }

    /// The position right after this one in the same epoch.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::new(self.epoch.0, self.offset.0.saturating_add(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch.0, self.offset.0)
    }
}

/// A text that no gateway ever handed out as an id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an id of this service")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, offset) = text.split_once('-').ok_or(InvalidPosition)?;
        Ok(Self::new(parse_part(epoch)?, parse_part(offset)?))
    }
}

/// Only what `Display` writes: `u64::from_str` would also take a leading `+` and zeros.
fn parse_part(text: &str) -> Result<u64, InvalidPosition> {
    let canonical =
        text == "0" || (text.starts_with(|c: char| c.is_ascii_digit()) && !text.starts_with('0'));
    if !canonical {
        return Err(InvalidPosition);
    }
    text.parse().map_err(|_| InvalidPosition)
}

/// The longest user id in bytes.
pub const MAX_USER_ID_BYTES: usize = 128;

/// Who a connection speaks for: a token's `sub`, or a generated name for the anonymous. 1 to 128 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(Arc<str>);

/// A text that can't be a user's id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a user id has 1 to {MAX_USER_ID_BYTES} bytes and no control characters")]
pub struct InvalidUserId;

impl UserId {
    pub fn parse(text: &str) -> Result<Self, InvalidUserId> {
        if text.is_empty() || text.len() > MAX_USER_ID_BYTES || text.chars().any(char::is_control) {
            return Err(InvalidUserId);
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UserId {
    type Error = InvalidUserId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<UserId> for String {
    fn from(user: UserId) -> Self {
        user.0.as_ref().to_owned()
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One client's connection, unique over all gateways and restarts: 64 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// A number from 0 to 1 that is another one for each connection, and always the same for one.
    pub fn share(self) -> f64 {
        // As many bits as such a number holds.
        f64::from(u32::try_from(self.0 >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_position_survives_its_text(epoch: u64, offset: u64) {
            let position = Position::new(epoch, offset);
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let parsed: Result<Position, _> = text.parse();
            if let Ok(position) = parsed {
                prop_assert_eq!(position.to_string(), text);
            }
        }
    }

    #[test]
    fn only_the_canonical_form_is_an_id() {
        for text in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "+1-1",
            "01-1",
            "1-00",
            "1-1-1",
            "1- 1",
            "18446744073709551616-0",
        ] {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text:?}");
        }
    }

    #[test]
    fn user_ids_have_bounds() {
        assert!(UserId::parse("alice@example.com").is_ok());
        for text in ["", "a\nb", &"x".repeat(MAX_USER_ID_BYTES + 1)] {
            assert_eq!(UserId::parse(text), Err(InvalidUserId));
        }
    }
}
