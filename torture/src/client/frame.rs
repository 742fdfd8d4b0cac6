//! Frames from a gateway, as far as they matter here. All transports carry the same objects.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Trouble;
use crate::history::Position;
use crate::redis::truth::Data;

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Frame {
    Joined {
        room: String,
        id: String,
        recovered: Option<bool>,
        #[serde(default)]
        replayed: u64,
    },
    Message {
        room: String,
        id: String,
        data: Data,
    },
    Gap {
        room: String,
        after: String,
        next: String,
        reason: String,
    },
    Left {
        room: String,
    },
    Ack {
        r#ref: Option<u64>,
        id: String,
    },
    Error {
        r#ref: Option<u64>,
        code: String,
        message: String,
    },
    Reconnect {
        after_ms: u64,
    },
    /// `welcome`, `presence`, and whatever comes with time.
    #[serde(other)]
    Other,
}

impl Frame {
    pub fn parse(text: &str) -> Result<Self, Trouble> {
        // An internally tagged enum can't borrow raw values; the tag decides, the rest is read twice.
        serde_json::from_str(text)
            .map_err(|error| Trouble::Nonsense(format!("{error} in {text:.200}")))
    }

    pub fn of_raw(raw: &RawValue) -> Result<Self, Trouble> {
        Self::parse(raw.get())
    }
}

/// An id as the checker understands it. To clients it is opaque.
pub fn position(id: &str) -> Result<Position, Trouble> {
    id.parse()
        .map_err(|error| Trouble::Nonsense(format!("{error}: {id:.100}")))
}
