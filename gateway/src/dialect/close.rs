//! How a connection ends: each end has a code for the client, a sentence for humans and a word for metrics.

use crate::broker::Leave;

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client closed with 1000.
    Client,
    /// The client went without a clean close: another code, or the network dropped.
    Lost,
    /// A poll was answered.
    Answered,
    /// The process stops without a drain.
    GoingAway,
    /// A drain's time is over.
    Drained,
    /// It is older than connections get, and didn't move on when told to.
    Aged,
    /// The WebSocket protocol was broken (RFC 6455, section 7.4.1).
    Protocol,
    /// A text frame that isn't UTF-8.
    NotUtf8,
    /// The broker is away.
    Unavailable,
    /// Not a frame of this protocol; what was wrong with it.
    Malformed(&'static str),
    /// No, a bad or an expired token; which of them.
    Unauthorized(&'static str),
    /// Disconnected by the server API.
    Forbidden,
    /// No answer to a ping.
    HeartbeatTimeout,
    /// More connections than the user may have.
    TooManyConnections,
    /// A frame past the cap.
    FrameTooLarge,
    /// Went on after many `rate_limited` errors.
    RateLimited,
    /// Didn't read fast enough.
    SlowConsumer,
    /// A bug.
    Internal,
}

impl CloseReason {
    /// Each of them once; those with a sentence of their own carry an empty one.
    pub const ALL: &[Self] = &[
        Self::Client,
        Self::Lost,
        Self::Answered,
        Self::GoingAway,
        Self::Drained,
        Self::Aged,
        Self::Protocol,
        Self::NotUtf8,
        Self::Unavailable,
        Self::Malformed(""),
        Self::Unauthorized(""),
        Self::Forbidden,
        Self::HeartbeatTimeout,
        Self::TooManyConnections,
        Self::FrameTooLarge,
        Self::RateLimited,
        Self::SlowConsumer,
        Self::Internal,
    ];

    /// The close code, as in the protocol's table.
    pub const fn code(self) -> u16 {
        match self {
            Self::Client | Self::Lost | Self::Answered => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::NotUtf8 => 1007,
            Self::Drained | Self::Aged => 1012,
            Self::Unavailable => 1013,
            Self::Malformed(_) => 4400,
            Self::Unauthorized(_) => 4401,
            Self::Forbidden => 4403,
            Self::HeartbeatTimeout => 4408,
            Self::TooManyConnections => 4409,
            Self::FrameTooLarge => 4413,
            Self::RateLimited => 4429,
            Self::SlowConsumer => 4430,
            Self::Internal => 4500,
        }
    }

    /// What the close frame says. At most 123 bytes, the room that a control frame leaves (RFC 6455, section 5.5).
    pub const fn text(self) -> &'static str {
        match self {
            Self::Client | Self::Lost | Self::Answered => "",
            Self::GoingAway => "the gateway is going away",
            Self::Drained => "the gateway was drained; reconnect",
            Self::Aged => "the connection is as old as they get; reconnect",
            Self::Protocol => "the WebSocket protocol was broken",
            Self::NotUtf8 => "a text frame must be UTF-8",
            Self::Unavailable => "the message broker is away; reconnect later",
            Self::Malformed(detail) | Self::Unauthorized(detail) => detail,
            Self::Forbidden => "disconnected by the application",
            Self::HeartbeatTimeout => "no answer to a ping",
            Self::TooManyConnections => "this user has as many connections as allowed",
            Self::FrameTooLarge => "the frame is larger than allowed",
            Self::RateLimited => "too many commands after repeated warnings",
            Self::SlowConsumer => "the connection reads too slowly; resume with last_seen_id",
            Self::Internal => "internal error",
        }
    }

    /// The value of the metric's label `reason`: a bounded set.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Lost => "lost",
            Self::Answered => "answered",
            Self::GoingAway => "going_away",
            Self::Drained => "drained",
            Self::Aged => "aged",
            Self::Protocol => "protocol",
            Self::NotUtf8 => "not_utf8",
            Self::Unavailable => "unavailable",
            Self::Malformed(_) => "malformed",
            Self::Unauthorized(_) => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::HeartbeatTimeout => "heartbeat_timeout",
            Self::TooManyConnections => "too_many_connections",
            Self::FrameTooLarge => "frame_too_large",
            Self::RateLimited => "rate_limited",
            Self::SlowConsumer => "slow_consumer",
            Self::Internal => "internal",
        }
    }

    /// Whether the user's absence is told at once: it left on purpose, or its device is known to be gone. Every other end lingers, so
    /// that a reconnect is invisible.
    pub const fn leave(self) -> Leave {
        match self {
            Self::Client | Self::HeartbeatTimeout | Self::Forbidden => Leave::Now,
            _ => Leave::Linger,
        }
    }

    /// Whether the client must not come back by itself, with all else unchanged.
    pub const fn bars_return(self) -> bool {
        matches!(
            self,
            Self::Protocol
                | Self::NotUtf8
                | Self::Malformed(_)
                | Self::Forbidden
                | Self::TooManyConnections
                | Self::FrameTooLarge
        )
    }

    /// Whether what is still queued may go out first. A slow consumer's queue is thrown away, and what broke the protocol gets nothing more.
    pub const fn flushes_queue(self) -> bool {
        !matches!(
            self,
            Self::Client | Self::Lost | Self::SlowConsumer | Self::Protocol | Self::NotUtf8
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_fits_a_control_frame() {
        for reason in CloseReason::ALL {
            assert!(reason.text().len() <= 123, "{reason:?}");
        }
    }

    #[test]
    fn all_holds_every_reason() {
        for reason in CloseReason::ALL {
            // A new one doesn't compile until it stands here; then it belongs into `ALL` as well.
            match reason {
                CloseReason::Client
                | CloseReason::Lost
                | CloseReason::Answered
                | CloseReason::GoingAway
                | CloseReason::Drained
                | CloseReason::Aged
                | CloseReason::Protocol
                | CloseReason::NotUtf8
                | CloseReason::Unavailable
                | CloseReason::Malformed(_)
                | CloseReason::Unauthorized(_)
                | CloseReason::Forbidden
                | CloseReason::HeartbeatTimeout
                | CloseReason::TooManyConnections
                | CloseReason::FrameTooLarge
                | CloseReason::RateLimited
                | CloseReason::SlowConsumer
                | CloseReason::Internal => {}
            }
        }
        let words: std::collections::HashSet<_> = CloseReason::ALL
            .iter()
            .map(|reason| reason.reason())
            .collect();
        assert_eq!(words.len(), CloseReason::ALL.len());
    }
}
