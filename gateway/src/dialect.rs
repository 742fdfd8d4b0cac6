//! Version 1 of the client protocol: bytes into commands, events into bytes.
//!
//! Pure: it knows no socket, no room's state and no policy, so that another dialect can stand beside it. [`command`] parses what a
//! client sends, [`event`] encodes what a server sends, [`failure`] is what a refused command is answered with, [`frame`] is what an encoded
//! event looks like on the way to many sockets, and [`close`] holds every way in which a connection ends. [`cursor`] is the one id of a
//! stream of several rooms, [`sse`] wraps events for Server-Sent Events.

pub mod close;
pub mod command;
pub mod cursor;
pub mod event;
pub mod failure;
pub mod frame;
pub mod sse;
mod words;

pub use close::CloseReason;
pub use command::{Command, ParseError, Request};
pub use event::{EventKind, GapReason};
pub use failure::{ErrorCode, Failure};
pub use frame::{Frame, Mark};

/// The subprotocol that clients may ask for.
pub const SUBPROTOCOL: &str = "rotunda.v1";

/// The subprotocol that carries a token: this and the token in base64url.
pub const BEARER_PREFIX: &str = "bearer.";
