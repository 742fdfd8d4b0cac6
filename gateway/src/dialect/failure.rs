//! What is answered to a command or request that was refused, while the connection goes on.

use std::time::Duration;

/// What went wrong with a command, while the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    BadRequest,
    InvalidRoom,
    InvalidId,
    Unauthorized,
    Forbidden,
    NotJoined,
    NotFound,
    TooLarge,
    TooManyRooms,
    RoomFull,
    RateLimited,
    OutcomeUnknown,
    Unavailable,
    Internal,
}

impl ErrorCode {
    /// The word in frames and HTTP answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::InvalidRoom => "invalid_room",
            Self::InvalidId => "invalid_id",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotJoined => "not_joined",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::TooManyRooms => "too_many_rooms",
            Self::RoomFull => "room_full",
            Self::RateLimited => "rate_limited",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

/// A refused command: the answer to one frame or one HTTP request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: ErrorCode,
    pub message: String,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
        }
    }

    pub fn rate_limited(message: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(ErrorCode::RateLimited, message)
        }
    }

    /// `retry_after` in whole milliseconds, rounded up so that a retry isn't too early.
    pub fn retry_after_ms(&self) -> Option<u64> {
        self.retry_after
            .map(|after| u64::try_from(after.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
    }
}
