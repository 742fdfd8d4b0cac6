//! One room on this gateway: who listens here, and how far it has told them.
//!
//! Broker events go in, at most once and possibly with holes; each listening connection gets every message once and in order, or a gap
//! that says what is missing. When a hole shows, live delivery stops, what comes is buffered, and the hub reads what is missing (healing).
//! Someone who joins with a position replays on its own, beside the live stream, and is switched over in the instant when both have met.
//! A room makes no calls: it says what is to be done next. It knows no sockets and no broker.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use parking_lot::Mutex;
use rotunda_crds::RoomName;

use crate::broker::{Chunk, Event, Leave};
use crate::connection::{Connection, Flusher};
use crate::dialect::{Frame, event};
use crate::ids::{ConnectionId, Position, UserId};
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::presence::LocalUsers;
use crate::recovery::{Step, merge};

mod batch;
mod presence;
mod recent;
mod state;

use batch::PresenceBatch;
use recent::Recent;
use state::{Buffer, MembersRead, Phase, Progress, State, Subscriber};

/// A room and its listeners.
#[derive(Debug)]
pub struct Room {
    pub name: RoomName,
    /// Held while one event is handed to all outboxes, and for moments by joins and leaves. One lock per room: rooms never wait for
    /// each other.
    state: Mutex<State>,
    /// Whether the broker delivers this room's events. Held across the calls that change it, so that an unsubscribe never overtakes the
    /// subscribe of a room that came back.
    pub activation: tokio::sync::Mutex<bool>,
}

/// What the hub must do after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Todo {
    Nothing,
    /// Read on from [`Room::healing_from`].
    Heal,
    /// Call [`Room::flush_presence`] after this time.
    FlushPresence(Duration),
    /// Read who is there, as [`Room::begin_members_read`] says, and hand it to [`Room::take_members`].
    ReadMembers,
}

/// Whether a room has caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caught {
    Up,
    /// There is more to read; `progressed` tells whether this read brought anything.
    More {
        progressed: bool,
    },
}

/// Whether a replay could be switched to the live stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    Live,
    /// The room is further than the replay and what lies between isn't at hand.
    ReadOn,
    /// The listener left, or joined again.
    Gone,
}

/// The room was taken off the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retired;

impl Room {
    pub fn new(name: RoomName, policy: Arc<Policy>, flusher: Flusher) -> Self {
        let state = State {
            policy,
            flusher,
            subscribers: IndexMap::new(),
            progress: Progress::Cold,
            recent: Recent::default(),
            replaying: 0,
            users: LocalUsers::default(),
            count: 0,
            batch: PresenceBatch::default(),
            members_read: MembersRead::default(),
            next_ticket: 0,
            closed: false,
        };
        Self {
            name,
            state: Mutex::new(state),
            activation: tokio::sync::Mutex::new(false),
        }
    }

    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.state.lock().policy)
    }

    /// Lets a connection in, with nothing sent to it yet. A second time starts over. Returns the ticket of this join.
    pub fn enter(&self, connection: &Arc<Connection>) -> Result<u64, Retired> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Retired);
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let counts = state.policy.counts_members();
        let before = state.subscribers.swap_remove(&connection.id);
        if before
            .as_ref()
            .is_none_or(|subscriber| matches!(subscriber.phase, Phase::Live { .. }))
        {
            state.replaying += 1;
        }
        let (told, counted) = before.map_or((false, false), |subscriber| {
            (subscriber.told, subscriber.counted)
        });
        if counts && !counted {
            state.users.add(&connection.user);
        }
        let subscriber = Subscriber {
            connection: Arc::clone(connection),
            ticket,
            phase: Phase::Joining,
            told,
            counted: counted || counts,
        };
        state.subscribers.insert(connection.id, subscriber);
        Ok(ticket)
    }

    /// Lets a connection go; its user may have a [`Room::next_call`] now. `None` if it wasn't there, else whether it had been told
    /// that it is in.
    pub fn exit(&self, connection: ConnectionId, leave: Leave) -> Option<bool> {
        let mut state = self.state.lock();
        let subscriber = state.subscribers.swap_remove(&connection)?;
        if !matches!(subscriber.phase, Phase::Live { .. }) {
            state.end_replay();
        }
        if subscriber.counted {
            state.users.remove(&subscriber.connection.user, leave);
        }
        Some(subscriber.told)
    }

    /// Closes an empty room for good; false while someone is in it.
    pub fn try_retire(&self) -> bool {
        let mut state = self.state.lock();
        let empty = state.subscribers.is_empty() && state.users.is_empty();
        state.closed |= empty;
        empty
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.subscribers.is_empty() && state.users.is_empty()
    }

    /// The broker is about to deliver: keep what comes until [`Room::activated`].
    pub fn begin_activation(&self) {
        self.state.lock().progress = Progress::Catching {
            last: None,
            buffer: Buffer::default(),
        };
    }

    /// The broker couldn't be reached, or delivers no more.
    pub fn deactivate(&self) {
        self.state.lock().progress = Progress::Cold;
    }

    /// The broker delivers and the room starts after this position.
    pub fn activated(&self, top: Position) -> Caught {
        let mut state = self.state.lock();
        if let Progress::Catching { last, .. } = &mut state.progress {
            *last = Some(top);
        }
        state.drain_buffer(&self.name, false)
    }

    /// Takes an event.
    pub fn deliver(&self, event: Event, metrics: &Metrics) -> Todo {
        let mut state = self.state.lock();
        match event {
            Event::Message(message) => state.on_message(&self.name, message),
            Event::Signal(body) => {
                let frame = event::signal(&self.name, &body);
                state.tell_present(&frame);
                Todo::Nothing
            }
            Event::Presence(change) => state.on_presence(&self.name, change),
            Event::PresenceMissed => state.on_presence_missed(),
            Event::Interrupted => state.interrupt(),
            Event::Deleted { at } => state.on_deleted(&self.name, at, metrics),
        }
    }

    /// Where a room that is catching up reads on; `None` once it needn't.
    pub fn healing_from(&self) -> Option<Position> {
        match &self.state.lock().progress {
            Progress::Catching { last, .. } => *last,
            _ => None,
        }
    }

    /// Tells what a read for healing brought.
    pub fn heal(&self, chunk: Chunk, metrics: &Metrics) -> Caught {
        let mut state = self.state.lock();
        let Progress::Catching {
            last: Some(last), ..
        } = state.progress
        else {
            return Caught::Up;
        };
        let more = chunk.more;
        state.judge_those_ahead(&self.name, last, &chunk.state, metrics);
        let (steps, cursor) = merge(last, chunk, &state.policy.retention);
        for step in steps {
            match step {
                Step::Message(message) => {
                    metrics.healed_messages.inc();
                    state.tell_message(&self.name, &message, None);
                }
                Step::Gap {
                    after,
                    next,
                    reason,
                } => state.tell_gap(&self.name, after, next, reason, metrics),
            }
        }
        if let Progress::Catching { last, .. } = &mut state.progress {
            *last = Some(cursor);
        }
        if more {
            return Caught::More { progressed: true };
        }
        state.drain_buffer(&self.name, cursor != last)
    }

    /// Switches someone who wants nothing of the past to the live stream; `joined` makes its first frame from the position.
    pub fn go_live(
        &self,
        connection: ConnectionId,
        ticket: u64,
        joined: impl FnOnce(Position) -> Frame,
    ) -> Switch {
        let mut state = self.state.lock();
        let Some(last) = state.last() else {
            return Switch::ReadOn;
        };
        state.send_and_set(
            connection,
            ticket,
            joined(last),
            Phase::Live { after: last },
        )
    }

    /// Switches someone who has seen all the room has told to the live stream.
    pub fn resume(
        &self,
        connection: ConnectionId,
        ticket: u64,
        last_seen: Position,
        joined: Frame,
    ) -> Switch {
        let mut state = self.state.lock();
        if state.last() != Some(last_seen) {
            return Switch::ReadOn;
        }
        state.send_and_set(connection, ticket, joined, Phase::Live { after: last_seen })
    }

    /// Sends the first frame of someone whose past follows.
    pub fn begin_replay(&self, connection: ConnectionId, ticket: u64, joined: Frame) -> Switch {
        self.state
            .lock()
            .send_and_set(connection, ticket, joined, Phase::Replaying)
    }

    /// Switches a replay that has come to `cursor` to the live stream, with what the room told meanwhile if that is at hand.
    pub fn end_replay(&self, connection: ConnectionId, ticket: u64, cursor: Position) -> Switch {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(last) = state.last() else {
            return Switch::ReadOn;
        };
        let Some(subscriber) = state
            .subscribers
            .get_mut(&connection)
            .filter(|subscriber| subscriber.ticket == ticket)
        else {
            return Switch::Gone;
        };
        if cursor < last {
            let Some(frames) = state.recent.between(cursor, last) else {
                return Switch::ReadOn;
            };
            let size = frames.clone().map(Frame::len).sum();
            if !subscriber.connection.outbox.has_space(size) {
                return Switch::ReadOn;
            }
            for frame in frames {
                if subscriber.connection.outbox.push(frame.clone()).is_err() {
                    return Switch::Gone;
                }
            }
        }
        subscriber.phase = Phase::Live {
            after: cursor.max(last),
        };
        state.end_replay();
        Switch::Live
    }

    /// Whether a replay still has someone to replay to.
    pub fn is_replaying(&self, connection: ConnectionId, ticket: u64) -> bool {
        self.state
            .lock()
            .subscribers
            .get(&connection)
            .is_some_and(|subscriber| subscriber.ticket == ticket)
    }

    /// Whether a connection hasn't been told all of the past that it asked for yet.
    pub fn is_replaying_to(&self, connection: ConnectionId) -> bool {
        self.state
            .lock()
            .subscribers
            .get(&connection)
            .is_some_and(|subscriber| !matches!(subscriber.phase, Phase::Live { .. }))
    }

    /// Takes over a new policy. Returns the users whose presence the broker must hear of.
    pub fn set_policy(&self, policy: Arc<Policy>) -> Vec<UserId> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let counts = policy.counts_members();
        state.policy = policy;
        let mut changed = Vec::new();
        for subscriber in state
            .subscribers
            .values_mut()
            .filter(|subscriber| subscriber.counted != counts)
        {
            subscriber.counted = counts;
            let user = &subscriber.connection.user;
            if counts {
                state.users.add(user);
            } else {
                state.users.remove(user, Leave::Now);
            }
            changed.push(user.clone());
        }
        changed
    }

    /// Everyone who is in here.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.state
            .lock()
            .subscribers
            .values()
            .map(|subscriber| Arc::clone(&subscriber.connection))
            .collect()
    }
}

#[cfg(test)]
mod tests;
