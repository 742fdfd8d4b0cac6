//! The task of one event stream: joins its rooms, writes what waits, keeps the heartbeat.
//!
//! The client can say nothing on it: what it publishes comes by requests of their own. So a room that can't be joined because something is
//! away ends the stream, and the client comes back.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use rand::Rng;
use rotunda_crds::RoomName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Connection;
use super::alarm::Alarm;
use super::ending::CLOSE_TIMEOUT;
use super::event_stream::EventStream;
use super::heartbeat::{Due, Heartbeat};
use super::seat::Seat;
use super::state::{Running, State};
use crate::actions;
use crate::dialect::{CloseReason, ErrorCode, event};
use crate::gateway::Gateway;
use crate::ids::Position;
use crate::overload::Turn;
use crate::shutdown;

/// An EventSource that lost its stream comes back after a time in this range of milliseconds: it can't back off by itself.
const RETRY_MS: std::ops::Range<u64> = 500..2500;

/// The same while something that the gateway needs is away.
const AWAY_RETRY_MS: std::ops::Range<u64> = 2000..8000;

/// Runs a stream to its end. It is boxed so that the layers of this future don't each hold room for it.
pub async fn run<S>(
    mut seat: Seat,
    mut stream: Box<EventStream<S>>,
    rooms: Vec<(RoomName, Option<Position>)>,
    turn: Option<Turn>,
) -> CloseReason
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    stream.retry(random(RETRY_MS));
    let joining = join_all(seat.gateway(), seat.connection(), rooms, turn);
    let serving = serve(seat.gateway(), seat.connection(), &mut stream, joining);
    let reason = AssertUnwindSafe(serving)
        .catch_unwind()
        .await
        .unwrap_or(CloseReason::Internal);
    seat.leave(reason);
    let after = come_back_after(reason);
    let (outbox, metrics) = (&seat.connection().outbox, &seat.gateway().metrics);
    let closing = stream.close(reason, after, outbox, metrics);
    // The client may be gone or stuck; its connection ends either way.
    tokio::time::timeout(CLOSE_TIMEOUT, closing).await.ok();
    reason
}

/// When the client should come back by itself.
fn come_back_after(reason: CloseReason) -> Option<Duration> {
    match reason {
        _ if reason.bars_return() => None,
        // With the same token it would be refused.
        CloseReason::Unauthorized(_) => None,
        CloseReason::Drained | CloseReason::Aged | CloseReason::GoingAway => {
            Some(shutdown::jitter())
        }
        CloseReason::Unavailable | CloseReason::Internal => Some(random(AWAY_RETRY_MS)),
        _ => Some(random(RETRY_MS)),
    }
}

fn random(range_ms: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rand::rng().random_range(range_ms))
}

enum Step {
    /// The rooms are joined, or can't be.
    Joined,
    End(CloseReason),
    Deadline,
}

async fn serve<S>(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    stream: &mut EventStream<S>,
    joining: Running,
) -> CloseReason
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let now = Instant::now();
    let mut heartbeat = Heartbeat::of(&gateway.settings().config.heartbeat, now);
    heartbeat.expires_in(connection.identity().remaining(SystemTime::now()), now);
    let mut state = State::new(Some(joining));
    let mut alarm = Alarm::at(heartbeat.wake_at());
    loop {
        if let Some(reason) = state.closing() {
            return reason;
        }
        let step = poll_fn(|context| {
            if state.poll_running(context).is_ready() {
                return Poll::Ready(Step::Joined);
            }
            if let Poll::Ready(reason) =
                stream.poll_drive(context, &connection.outbox, &gateway.metrics)
            {
                return Poll::Ready(Step::End(reason));
            }
            alarm.poll(context).map(|()| Step::Deadline)
        })
        .await;
        match step {
            Step::Joined => {}
            Step::End(reason) => state.close(reason),
            Step::Deadline => {
                match heartbeat.due(Instant::now(), true) {
                    Due::Expired => state.close(CloseReason::Unauthorized("the token has expired")),
                    Due::Ping => stream.heartbeat(),
                    Due::Dead | Due::Nothing => {}
                }
                // Nothing answers a comment: whether the client is there, the kernel finds out.
                heartbeat.alive();
                alarm.reset(heartbeat.wake_at());
            }
        }
    }
}

/// Joins the rooms, one after the other, as the last part of the handshake.
fn join_all(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    rooms: Vec<(RoomName, Option<Position>)>,
    turn: Option<Turn>,
) -> Running {
    let (gateway, connection) = (Arc::clone(gateway), Arc::clone(connection));
    let joining = async move {
        for (room, last_seen) in rooms {
            let joined = actions::join(&gateway, &connection, &room, last_seen, &None).await;
            if let Err(failure) = joined {
                let error = event::error(&None, Some(&room), &failure);
                connection.outbox.push(error).ok();
                if matches!(failure.code, ErrorCode::Unavailable | ErrorCode::Internal) {
                    return Err(CloseReason::Unavailable);
                }
            }
        }
        Ok(())
    };
    match turn {
        Some(mut turn) => Box::pin(async move { turn.during(joining).await }),
        None => Box::pin(joining),
    }
}
