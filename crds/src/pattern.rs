//! Patterns of room names, and which of several policies a room gets.
//!
//! Segments part at `:`. `*` matches any text within a segment, `**` any text across segments; either may be empty, but a
//! name has no empty match as a whole. Names that start with `user:` are reserved: a pattern matches them only if it is
//! written with that prefix itself, so that no `**` widens who may join a user's own room.
//!
//! Matching is called for each join: it walks the bytes once with at most two marks to go back to, without a regular
//! expression and without allocating.

use std::{cmp::Ordering, fmt};

use thiserror::Error;

use crate::room_name::{MAX_LENGTH, RoomName, RoomNameError, USER_PREFIX, is_name_char};

/// Most stars of a pattern, each run counted once. Matching takes time in proportion to them at worst.
pub const MAX_STARS: usize = 8;

/// A pattern of room names.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RoomPattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Part {
    /// This text.
    Literal(Vec<u8>),
    /// `*`: any text without a `:`.
    Within,
    /// `**`: any text.
    Across,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// Nothing there.
    #[error("a pattern can't be empty: write `**` for every room")]
    Empty,
    /// Past the longest name.
    #[error("a pattern has at most {MAX_LENGTH} characters, this one has {0} bytes")]
    TooLong(usize),
    /// A character that no name has.
    #[error(
        "a pattern consists of A-Z a-z 0-9 _ . : @ % - and *, {found:?} at position {at} isn't one of them"
    )]
    Character {
        /// The character.
        found: char,
        /// Byte offset.
        at: usize,
    },
    /// Three or more stars in a row.
    #[error("three stars in a row mean nothing: write `*` within a segment or `**` across")]
    Stars,
    /// Past [`MAX_STARS`].
    #[error("a pattern has at most {MAX_STARS} stars or pairs of stars")]
    TooManyStars,
    /// No star at all.
    #[error("`{0}` has no `*`: write it as `name`, not as `pattern`")]
    NoStar(String),
}

impl RoomPattern {
    /// Checks a text and makes a pattern of it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(PatternError::TooLong(text.len()));
        }
        if let Some((at, found)) = text
            .char_indices()
            .find(|(_, c)| *c != '*' && !is_name_char(*c))
        {
            return Err(PatternError::Character { found, at });
        }
        if text.contains("***") {
            return Err(PatternError::Stars);
        }
        let parts = parts(text);
        match parts
            .iter()
            .filter(|part| !matches!(part, Part::Literal(_)))
            .count()
        {
            0 => Err(PatternError::NoStar(text.to_owned())),
            stars if stars > MAX_STARS => Err(PatternError::TooManyStars),
            _ => Ok(Self {
                text: text.to_owned(),
                parts,
            }),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands before the first star.
    pub fn literal_prefix(&self) -> &str {
        self.text.split('*').next().unwrap_or_default()
    }

    /// Whether a room has a name of this pattern.
    pub fn matches(&self, name: &RoomName) -> bool {
        if name.is_reserved() && !self.text.starts_with(USER_PREFIX) {
            return false;
        }
        matches(&self.parts, name.as_bytes())
    }
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (part, length) = if rest.starts_with("**") {
            (Part::Across, 2)
        } else if rest.starts_with('*') {
            (Part::Within, 1)
        } else {
            let length = rest.find('*').unwrap_or(rest.len());
            (Part::Literal(rest.as_bytes()[..length].to_vec()), length)
        };
        parts.push(part);
        rest = &rest[length..];
    }
    parts
}

/// Where to go on when a literal after a star isn't found: the part after the star, and how much the star took.
#[derive(Clone, Copy)]
struct Mark {
    part: usize,
    at: usize,
}

/// The usual wildcard walk with a mark for each kind of star. When it is stuck, the last `*` takes one byte more, unless
/// that is a `:`; then the last `**` does. A `*` before the last `**` never has to be tried again: whatever it could reach,
/// the `**` reaches too. A `*` before the last `*` does only within the same segment, where the last one covers it.
fn matches(parts: &[Part], name: &[u8]) -> bool {
    let (mut part, mut at) = (0, 0);
    let mut within: Option<Mark> = None;
    let mut across: Option<Mark> = None;
    loop {
        match parts.get(part) {
            Some(Part::Literal(literal)) if name[at..].starts_with(literal) => {
                at += literal.len();
                part += 1;
                continue;
            }
            Some(Part::Within) => {
                part += 1;
                within = Some(Mark { part, at });
                continue;
            }
            Some(Part::Across) => {
                part += 1;
                across = Some(Mark { part, at });
                within = None;
                continue;
            }
            None if at == name.len() => return true,
            Some(Part::Literal(_)) | None => {}
        }
        if let Some(mark) = &mut within {
            if mark.at < name.len() && name[mark.at] != b':' {
                mark.at += 1;
                (part, at) = (mark.part, mark.at);
                continue;
            }
            within = None;
        }
        match &mut across {
            Some(mark) if mark.at < name.len() => {
                mark.at += 1;
                (part, at) = (mark.part, mark.at);
            }
            _ => return false,
        }
    }
}

impl fmt::Display for RoomPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RoomPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Which rooms a policy is about, checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RoomMatcher {
    /// The one room of that name.
    Name(RoomName),
    /// Every room whose name matches.
    Pattern(RoomPattern),
}

/// Why a name or pattern can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MatcherError {
    /// The name.
    #[error(transparent)]
    Name(#[from] RoomNameError),
    /// The pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl RoomMatcher {
    /// Whether a room is one of them.
    pub fn matches(&self, name: &RoomName) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Pattern(pattern) => pattern.matches(name),
        }
    }
}

/// Which of two matches comes first where both match: an exact name, then the longer literal prefix. Equal ones are told
/// apart by age and then by name, which is up to the caller.
pub fn precedence(a: &crate::config::RoomMatch, b: &crate::config::RoomMatch) -> Ordering {
    let rank = |room: &crate::config::RoomMatch| match room {
        crate::config::RoomMatch::Name(_) => (0, 0),
        crate::config::RoomMatch::Pattern(text) => {
            (1, usize::MAX - text.find('*').unwrap_or(text.len()))
        }
    };
    rank(a).cmp(&rank(b))
}

#[cfg(test)]
mod tests;
