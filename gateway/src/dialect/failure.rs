//! What is answered to a command or request that was refused, while the connection goes on.

use std::time::Duration;

use super::words::words;

words! {
    /// What went wrong with a command, while the connection goes on.
    pub enum ErrorCode {
        BadRequest = "bad_request",
        InvalidRoom = "invalid_room",
        InvalidId = "invalid_id",
        Unauthorized = "unauthorized",
        Forbidden = "forbidden",
        NotJoined = "not_joined",
        NotFound = "not_found",
        MethodNotAllowed = "method_not_allowed",
        RequestTimeout = "request_timeout",
        UnsupportedMediaType = "unsupported_media_type",
        TooLarge = "too_large",
        TooManyRooms = "too_many_rooms",
        RoomFull = "room_full",
        TooManyConnections = "too_many_connections",
        RateLimited = "rate_limited",
        OutcomeUnknown = "outcome_unknown",
        Unavailable = "unavailable",
        Internal = "internal",
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
