//! The task of one WebSocket connection: reads commands, carries them out one after the other, writes what waits, keeps the heartbeat.
//!
//! One task does it all, and its [`State`] says what is next: while a command waits for the broker, writing goes on, and reading goes on until
//! the next command has come.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use bytes::Bytes;
use futures::FutureExt;
use rotunda_crds::RoomName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Connection;
use super::alarm::Alarm;
use super::ending::CLOSE_TIMEOUT;
use super::heartbeat::{Due, Heartbeat};
use super::seat::Seat;
use super::socket::{Incoming, Socket};
use super::state::{Running, State};
use crate::actions::{self, Actor};
use crate::dialect::command::{self, Command, ParseError, Request};
use crate::dialect::{CloseReason, ErrorCode, EventKind, Failure, event};
use crate::gateway::Gateway;
use crate::ids::Position;
use crate::limits::{Admission, Kind, RateLimits};
use crate::overload::Turn;

/// What a client asked for when it connected.
#[derive(Debug, Default)]
pub struct Wishes {
    /// Rooms to join at once, each with where to go on.
    pub rooms: Vec<(RoomName, Option<Position>)>,
    /// Answers to room parameters that couldn't be understood.
    pub failures: Vec<Failure>,
    /// Text frames beside the pings.
    pub heartbeat_frames: bool,
    /// Kept until the rooms are joined.
    pub turn: Option<Turn>,
}

/// Runs a connection to its end. The socket is boxed so that the layers of this future don't each hold room for it.
pub async fn run<S>(mut seat: Seat, mut socket: Box<Socket<S>>, wishes: Wishes) -> CloseReason
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let serving = serve(seat.gateway(), seat.connection(), &mut socket, wishes);
    let reason = AssertUnwindSafe(serving)
        .catch_unwind()
        .await
        .unwrap_or(CloseReason::Internal);
    seat.leave(reason);
    let closing = socket.close(reason, &seat.connection().outbox, &seat.gateway().metrics);
    // The client may be gone or stuck; its connection ends either way.
    tokio::time::timeout(CLOSE_TIMEOUT, closing).await.ok();
    reason
}

enum Step {
    /// A command is done.
    Done,
    Incoming(Incoming),
    Deadline,
}

async fn serve<S>(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    socket: &mut Socket<S>,
    wishes: Wishes,
) -> CloseReason
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let settings = gateway.settings();
    let config = &settings.config;
    let now = Instant::now();
    let mut heartbeat = Heartbeat::of(&config.heartbeat, now);
    heartbeat.expires_in(connection.identity().remaining(SystemTime::now()), now);
    let mut rates = RateLimits::new(&config.limits, now.into_std());
    drop(settings);
    let heartbeat_frames = wishes.heartbeat_frames;
    let mut state = State::new(connect_wishes(gateway, connection, wishes));
    let mut alarm = Alarm::at(heartbeat.wake_at());
    loop {
        if let Some(reason) = state.closing() {
            return reason;
        }
        let reading = state.is_reading();
        let step = poll_fn(|context| {
            if state.poll_running(context).is_ready() {
                return Poll::Ready(Step::Done);
            }
            if let Poll::Ready(incoming) =
                socket.poll_drive(context, &connection.outbox, reading, &gateway.metrics)
            {
                return Poll::Ready(Step::Incoming(incoming));
            }
            alarm.poll(context).map(|()| Step::Deadline)
        })
        .await;
        match step {
            Step::Done => {
                // It may have been a refresh.
                heartbeat.expires_in(
                    connection.identity().remaining(SystemTime::now()),
                    Instant::now(),
                );
                alarm.reset(heartbeat.wake_at());
            }
            Step::Incoming(Incoming::End(reason)) => state.close(reason),
            Step::Incoming(Incoming::Alive) => {
                // Moved now, or it would wake the connection up for nothing.
                if heartbeat.alive() {
                    alarm.reset(heartbeat.wake_at());
                }
                // There is nothing to refuse, but a flood of pings is a flood.
                let limits = &gateway.settings().config.limits;
                let admission = rates.admit(Kind::Command, limits, std::time::Instant::now());
                if admission == Admission::Exhausted {
                    state.close(CloseReason::RateLimited);
                }
            }
            Step::Incoming(Incoming::Text(text)) => {
                heartbeat.alive();
                match take_command(gateway, connection, &mut rates, &text) {
                    Ok(None) => {}
                    Ok(Some(command)) => state.take(command),
                    Err(reason) => state.close(reason),
                }
            }
            Step::Deadline => {
                match heartbeat.due(Instant::now(), reading) {
                    Due::Expired => state.close(CloseReason::Unauthorized("the token has expired")),
                    Due::Dead => state.close(CloseReason::HeartbeatTimeout),
                    Due::Ping => {
                        if let Err(reason) = Socket::<S>::ping(&connection.outbox) {
                            state.close(reason);
                        } else if heartbeat_frames {
                            connection.outbox.push(event::heartbeat()).ok();
                        }
                    }
                    Due::Nothing => {}
                }
                alarm.reset(heartbeat.wake_at());
            }
        }
    }
}

/// Parses and admits one frame. `None` when it was answered already.
fn take_command(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    rates: &mut RateLimits,
    text: &Bytes,
) -> Result<Option<Running>, CloseReason> {
    let parsed = match command::parse(text) {
        Err(ParseError::Malformed(detail)) => return Err(CloseReason::Malformed(detail)),
        Err(ParseError::Refused { reference, failure }) => Err((reference, failure)),
        Ok(request) => Ok(request),
    };
    let kind = match &parsed {
        Ok(Request {
            command: Command::Publish { data, .. },
            ..
        }) => Kind::Message { bytes: data.len() },
        Ok(Request {
            command: Command::Signal { data, .. },
            ..
        }) => Kind::Message {
            bytes: data.as_ref().map_or(0, Bytes::len),
        },
        _ => Kind::Command,
    };
    let limits = &gateway.settings().config.limits;
    let admission = rates.admit(kind, limits, std::time::Instant::now());
    let (reference, failure, room) = match (admission, parsed) {
        (Admission::Exhausted, _) => return Err(CloseReason::RateLimited),
        (Admission::Admitted, Ok(request)) => {
            let (gateway, connection) = (Arc::clone(gateway), Arc::clone(connection));
            return Ok(Some(Box::pin(async move {
                execute(&gateway, &connection, request).await
            })));
        }
        (Admission::Admitted, Err((reference, failure))) => (reference, failure, None),
        (Admission::Refused { retry_after }, parsed) => {
            gateway.metrics.rate_limited.inc();
            let (reference, room) = match parsed {
                Ok(request) => (request.reference, request.command.room().cloned()),
                Err((reference, _)) => (reference, None),
            };
            (
                reference,
                Failure::rate_limited("too many commands; slow down", retry_after),
                room,
            )
        }
    };
    connection
        .outbox
        .push(event::error(&reference, room.as_ref(), &failure))
        .ok();
    Ok(None)
}

/// The joins that came with the request, one after the other.
fn connect_wishes(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    wishes: Wishes,
) -> Option<Running> {
    for failure in &wishes.failures {
        connection
            .outbox
            .push(event::error(&None, None, failure))
            .ok();
    }
    if wishes.rooms.is_empty() {
        return None;
    }
    let (gateway, connection) = (Arc::clone(gateway), Arc::clone(connection));
    let joining = async move {
        for (room, last_seen) in wishes.rooms {
            let request = Request {
                reference: None,
                command: Command::Join { room, last_seen },
            };
            execute(&gateway, &connection, request).await?;
        }
        Ok(())
    };
    Some(match wishes.turn {
        Some(mut turn) => Box::pin(async move { turn.during(joining).await }),
        None => Box::pin(joining),
    })
}

/// Carries out one command; an error ends the connection.
async fn execute(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    request: Request,
) -> Result<(), CloseReason> {
    let Request { reference, command } = request;
    let room = command.room().cloned();
    let frame = match answer(gateway, connection, &reference, command).await {
        Ok(Some(frame)) => frame,
        Ok(None) => return Ok(()),
        Err(failure) => {
            if failure.code == ErrorCode::RateLimited {
                gateway.metrics.rate_limited.inc();
            }
            event::error(&reference, room.as_ref(), &failure)
        }
    };
    // A full outbox has ended the connection already.
    connection.outbox.push(frame).ok();
    Ok(())
}

/// The frame that answers a command; `None` where it has been sent.
async fn answer(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    reference: &event::Reference,
    command: Command,
) -> Result<Option<crate::dialect::Frame>, Failure> {
    let identity = connection.identity();
    let actor = Actor::User(&identity);
    Ok(Some(match command {
        Command::Join { room, last_seen } => {
            actions::join(gateway, connection, &room, last_seen, reference).await?;
            return Ok(None);
        }
        Command::Leave { room } => {
            actions::leave(gateway, connection, &room)?;
            event::left(reference, &room, None)
        }
        Command::Publish { room, data, key } => {
            let published = actions::publish(gateway, actor, &room, &data, key).await?;
            event::ack(reference, published.position)
        }
        Command::Signal { room, name, data } => {
            actions::signal(gateway, actor, &room, &name, data.as_deref()).await?;
            // Nothing to tell apart: a signal without a mark needs no answer.
            if reference.is_none() {
                return Ok(None);
            }
            event::done(EventKind::Signaled, reference)
        }
        Command::History { room, query } => {
            let page = actions::history(gateway, actor, &room, &query).await?;
            event::history(reference, &room, &page)
        }
        Command::Members { room } => {
            let members = actions::members(gateway, actor, &room).await?;
            event::members(reference, &room, &members)
        }
        Command::Refresh { token } => {
            actions::refresh(gateway, connection, &token).await?;
            event::done(EventKind::Refreshed, reference)
        }
    }))
}

#[cfg(test)]
mod tests;
