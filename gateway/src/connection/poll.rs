//! One poll: joins its rooms where the client stood, gathers what comes, and says where the client stands then.
//!
//! Nothing is kept between two polls, so any gateway answers any of them. The place moves with each frame that is put into the answer and
//! with nothing else: what was queued when the answer is cut comes with the next one.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use futures::future::{Future, join_all};
use rotunda_crds::RoomName;
use tokio::time::{Instant, sleep_until};

use super::Connection;
use super::outbox::{Outbox, Queued};
use super::seat::Seat;
use crate::actions;
use crate::dialect::cursor::Place;
use crate::dialect::{CloseReason, ErrorCode, EventKind, Failure, Frame, Mark, event};
use crate::gateway::Gateway;
use crate::ids::Position;
use crate::overload::Turn;

/// The largest answer.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// What an answer has beside its events: the id of 32 rooms takes most of it.
const ENVELOPE_BYTES: usize = 1024;

/// How long an answer waits for more once it has something, so that a burst isn't one poll a message.
const GATHER: Duration = Duration::from_millis(5);

/// How long a replay may bring nothing before the answer goes without the rest of it.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a poll is answered with.
#[derive(Debug)]
pub struct Answer {
    /// Where the client stands after these events.
    pub id: String,
    pub events: Vec<Frame>,
    /// There is more at once.
    pub more: bool,
}

/// Waits until there is something, and no longer than `wait`.
pub async fn gather(
    seat: &Seat,
    rooms: Vec<(RoomName, Option<Position>)>,
    mut turn: Turn,
    wait: Duration,
) -> Result<Answer, Failure> {
    let (gateway, connection) = (seat.gateway(), seat.connection());
    let names: Vec<_> = rooms.iter().map(|(room, _)| room.clone()).collect();
    let mut basket = Basket::new(Place::new(
        rooms.iter().map(|(room, position)| (room, *position)),
    ));
    let now = Instant::now();
    // A poll ends with its token; the next one is told.
    let remaining = connection.identity().remaining(SystemTime::now());
    let deadline = now + remaining.map_or(wait, |remaining| remaining.min(wait));
    let mut joining = Some(Box::pin(async move {
        turn.during(join_rooms(gateway, connection, rooms)).await
    }));
    let mut timer = pin!(sleep_until(deadline));
    let mut queued = VecDeque::new();
    // Since when there has been something, and when the last of it came.
    let (mut since, mut latest): (Option<Instant>, Instant) = (None, now);
    loop {
        let step = poll_fn(|context| {
            if let Poll::Ready(reason) = connection.outbox.poll_take(context, &mut queued) {
                return Poll::Ready(Step::Closed(reason));
            }
            if !queued.is_empty() {
                return Poll::Ready(Step::Frames);
            }
            if let Some(joins) = &mut joining
                && let Poll::Ready(joined) = joins.as_mut().poll(context)
            {
                return Poll::Ready(Step::Joined(joined));
            }
            timer.as_mut().poll(context).map(|()| Step::Deadline)
        })
        .await;
        let now = Instant::now();
        match step {
            Step::Frames => {
                latest = now;
                basket.fill(&mut queued, &connection.outbox);
                if !queued.is_empty() {
                    return Ok(basket.answer(true));
                }
            }
            Step::Joined(joined) => {
                joining = None;
                joined?;
                // What they brought is taken before anything is answered, however short the wait.
                continue;
            }
            Step::Closed(reason) => {
                basket.fill(&mut queued, &connection.outbox);
                return basket.closed(reason);
            }
            Step::Deadline => {}
        }
        if since.is_none() && basket.has_something {
            since = Some(now);
        }
        let due = since.map_or(deadline, |since| since + GATHER);
        let stalled = now >= latest + PATIENCE;
        if joining.is_none() && now >= due {
            let behind = is_behind(gateway, connection, &names);
            if !behind || stalled {
                return Ok(basket.answer(behind));
            }
        }
        // While a replay or a join goes on past the time, look again in a moment.
        timer
            .as_mut()
            .reset(due.max(now + GATHER).min(due.max(latest + PATIENCE)));
    }
}

enum Step {
    Frames,
    Joined(Result<(), Failure>),
    Closed(CloseReason),
    Deadline,
}

/// Joins all rooms at once. What can't be joined for the client's own sake is told by an event, as long as there is another room; what
/// can't be for the gateway's sake fails the poll, which is then asked again.
async fn join_rooms(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    rooms: Vec<(RoomName, Option<Position>)>,
) -> Result<(), Failure> {
    let joins = rooms.iter().map(async |(room, last_seen)| {
        actions::join(gateway, connection, room, *last_seen, &None).await
    });
    let results = join_all(joins).await;
    let refused = results.iter().filter(|result| result.is_err()).count();
    for ((room, _), result) in rooms.iter().zip(results) {
        if let Err(failure) = result {
            let ours = matches!(failure.code, ErrorCode::Unavailable | ErrorCode::Internal);
            if ours || refused == rooms.len() {
                return Err(failure);
            }
            let error = event::error(&None, Some(room), &failure);
            connection.outbox.push(error).ok();
        }
    }
    Ok(())
}

/// Whether the past of a room is still on its way.
fn is_behind(gateway: &Gateway, connection: &Connection, rooms: &[RoomName]) -> bool {
    rooms.iter().any(|name| {
        let room = gateway.hub.rooms().get(name);
        room.is_some_and(|room| room.is_replaying_to(connection.id))
    })
}

/// The events of an answer, as they are put into it.
#[derive(Debug)]
struct Basket {
    place: Place,
    events: Vec<Frame>,
    bytes: usize,
    /// There is something that a client would want to know at once.
    has_something: bool,
}

impl Basket {
    fn new(place: Place) -> Self {
        Self {
            place,
            events: Vec::new(),
            bytes: 0,
            has_something: false,
        }
    }

    /// Takes frames as long as they fit, one in any case.
    fn fill(&mut self, queued: &mut VecDeque<Queued>, outbox: &Outbox) {
        let (mut frames, mut bytes) = (0, 0);
        while let Some(next) = queued.front() {
            let size = next.frame.json().len() + 1;
            if !self.events.is_empty() && self.bytes + size > MAX_ANSWER_BYTES - ENVELOPE_BYTES {
                break;
            }
            if let Some(Queued { frame, .. }) = queued.pop_front() {
                frames += 1;
                bytes += frame.len();
                self.put(frame, size);
            }
        }
        outbox.written(frames, bytes);
    }

    fn put(&mut self, frame: Frame, size: usize) {
        self.place.follow(&frame);
        // That a chain of polls goes on, the client knows: it is what it asked for.
        if matches!(frame.mark(), Mark::Resumes(_)) {
            return;
        }
        // A refusal would come with each poll, and each would come at once.
        self.has_something |= frame.kind() != EventKind::Error;
        self.bytes += size;
        self.events.push(frame);
    }

    fn answer(self, more: bool) -> Answer {
        Answer {
            id: self.place.id(),
            events: self.events,
            more,
        }
    }

    /// What to say when the connection is ended from within.
    fn closed(self, reason: CloseReason) -> Result<Answer, Failure> {
        match reason {
            CloseReason::Forbidden => Err(Failure::new(ErrorCode::Forbidden, reason.text())),
            CloseReason::Unavailable if self.events.is_empty() => Err(Failure {
                retry_after: Some(Duration::from_secs(1)),
                ..Failure::new(ErrorCode::Unavailable, reason.text())
            }),
            // A slow consumer's queue was thrown away; what is in the answer came before it.
            CloseReason::SlowConsumer | CloseReason::Unavailable => Ok(self.answer(true)),
            CloseReason::Internal => Err(Failure::new(ErrorCode::Internal, reason.text())),
            _ => Ok(self.answer(false)),
        }
    }
}
