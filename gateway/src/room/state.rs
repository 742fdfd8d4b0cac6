//! What a room knows, and how each event changes it. All of it happens under the room's lock.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use indexmap::IndexMap;
use rotunda_crds::RoomName;

use super::batch::{PresenceBatch, Told};
use super::recent::Recent;
use super::{Caught, Switch, Todo};
use crate::broker::{LogState, Members, Message, PresenceChange};
use crate::connection::backlog::{Backlog, Held};
use crate::connection::{Connection, Flusher};
use crate::dialect::{Frame, GapReason, event};
use crate::ids::{ConnectionId, Position};
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::presence::LocalUsers;
use crate::recovery::{Verdict, assess};

/// What may wait in one room while a hole is being read; and in all rooms together no more than the backlog takes. Past it everything waiting is thrown
/// away and read instead.
const MAX_BUFFERED_MESSAGES: usize = 512;
const MAX_BUFFERED_BYTES: usize = 1024 * 1024;

/// What a waiting message takes beside its bytes.
const PLACE: usize = size_of::<(Message, Held)>();

#[derive(Debug)]
pub(super) struct State {
    pub(super) policy: Arc<Policy>,
    /// Also knows where what waits while a hole is being read is counted, over all rooms.
    pub(super) flusher: Flusher,
    /// In the order in which they joined, as far as nobody left. What belongs to neighbours, also the kernel's, lies side by side in memory: walked in
    /// another order, a delivery costs noticeably more.
    pub(super) subscribers: IndexMap<ConnectionId, Subscriber>,
    pub(super) progress: Progress,
    /// What was told lately; kept only while someone replays.
    pub(super) recent: Recent,
    pub(super) replaying: usize,
    pub(super) users: LocalUsers,
    /// Users over all gateways, as far as known.
    pub(super) count: u64,
    pub(super) batch: PresenceBatch,
    pub(super) members_read: MembersRead,
    pub(super) next_ticket: u64,
    /// Taken off the hub's map: whoever still holds it must ask the hub again.
    pub(super) closed: bool,
}

/// Whether the members are being read because a change was missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MembersRead {
    #[default]
    Done,
    UnderWay,
    /// And once more, since another change was missed meanwhile.
    Again,
}

#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) connection: Arc<Connection>,
    /// Which of its joins counts; a replay of an earlier one stops.
    pub(super) ticket: u64,
    pub(super) phase: Phase,
    /// It has been told that it is in.
    pub(super) told: bool,
    /// Its user is counted in `users`.
    pub(super) counted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing was sent yet.
    Joining,
    /// It has been told that it joined and gets the past; the live stream passes it by.
    Replaying,
    /// It gets what comes after this position.
    Live { after: Position },
}

/// How far the room has told its live listeners.
#[derive(Debug)]
pub(super) enum Progress {
    /// The broker delivers nothing.
    Cold,
    /// Something is being read; `None` while the room finds out where it starts.
    Catching {
        last: Option<Position>,
        buffer: Buffer,
    },
    Live {
        last: Position,
    },
}

#[derive(Debug, Default)]
pub(super) struct Buffer {
    messages: VecDeque<(Message, Held)>,
    pub(super) bytes: usize,
    /// Read again after the current read, whatever it gives.
    pub(super) again: bool,
}

impl Buffer {
    fn push(&mut self, message: Message, backlog: &Arc<Backlog>) {
        let bytes = message.body.len();
        let fits =
            self.messages.len() < MAX_BUFFERED_MESSAGES && self.bytes + bytes <= MAX_BUFFERED_BYTES;
        if let Some(held) = fits.then(|| backlog.hold(bytes + PLACE)).flatten() {
            self.bytes += bytes;
            self.messages.push_back((message, held));
        } else {
            *self = Self::default();
            self.again = true;
        }
    }
}

impl State {
    pub(super) fn last(&self) -> Option<Position> {
        match self.progress {
            Progress::Cold => None,
            Progress::Catching { last, .. } => last,
            Progress::Live { last } => Some(last),
        }
    }

    pub(super) fn end_replay(&mut self) {
        self.replaying = self.replaying.saturating_sub(1);
        if self.replaying == 0 {
            self.recent = Recent::default();
        }
    }

    pub(super) fn send_and_set(
        &mut self,
        connection: ConnectionId,
        ticket: u64,
        frame: Frame,
        phase: Phase,
    ) -> Switch {
        let Some(subscriber) = self
            .subscribers
            .get_mut(&connection)
            .filter(|subscriber| subscriber.ticket == ticket)
        else {
            return Switch::Gone;
        };
        if subscriber.connection.outbox.push(frame).is_err() {
            return Switch::Gone;
        }
        subscriber.phase = phase;
        subscriber.told = true;
        if matches!(phase, Phase::Live { .. }) {
            self.end_replay();
        }
        Switch::Live
    }

    pub(super) fn on_message(&mut self, name: &RoomName, message: Message) -> Todo {
        match &mut self.progress {
            Progress::Cold => Todo::Nothing,
            Progress::Catching { buffer, .. } => {
                buffer.push(message, self.flusher.backlog());
                Todo::Nothing
            }
            Progress::Live { last } if message.position <= *last => Todo::Nothing,
            Progress::Live { last } if message.position == last.next() => {
                *last = message.position;
                self.tell_message(name, &message, Some(Instant::now()));
                Todo::Nothing
            }
            Progress::Live { last } => {
                let mut buffer = Buffer::default();
                let last = Some(*last);
                tracing::debug!(room = %name, position = %message.position, "hole in the stream");
                buffer.push(message, self.flusher.backlog());
                self.progress = Progress::Catching { last, buffer };
                Todo::Heal
            }
        }
    }

    pub(super) fn interrupt(&mut self) -> Todo {
        match &mut self.progress {
            Progress::Cold => Todo::Nothing,
            Progress::Catching { buffer, .. } => {
                buffer.again = true;
                Todo::Nothing
            }
            Progress::Live { last } => {
                self.progress = Progress::Catching {
                    last: Some(*last),
                    buffer: Buffer::default(),
                };
                Todo::Heal
            }
        }
    }

    /// After a read: tells what waited, as far as it follows, and goes live if all of it did.
    pub(super) fn drain_buffer(&mut self, name: &RoomName, progressed: bool) -> Caught {
        let Progress::Catching {
            last: Some(last),
            buffer,
        } = &mut self.progress
        else {
            return Caught::Up;
        };
        let (mut last, waiting) = (*last, mem::take(buffer));
        let mut again = waiting.again;
        let mut told = false;
        let mut rest = waiting.messages;
        while let Some((message, _)) = rest.front() {
            if message.position > last && message.position != last.next() {
                again = true;
                break;
            }
            if let Some((message, _held)) = rest.pop_front()
                && message.position > last
            {
                last = message.position;
                told = true;
                self.tell_message(name, &message, Some(Instant::now()));
            }
        }
        if again {
            // What is left is in the log as well: the next read brings it.
            self.progress = Progress::Catching {
                last: Some(last),
                buffer: Buffer::default(),
            };
            Caught::More {
                progressed: progressed || told,
            }
        } else {
            self.progress = Progress::Live { last };
            Caught::Up
        }
    }

    pub(super) fn tell_message(
        &mut self,
        name: &RoomName,
        message: &Message,
        stamp: Option<Instant>,
    ) {
        let frame = event::message(name, message);
        let count = self.subscribers.len();
        let mut round = self.flusher.round();
        for (index, subscriber) in self.subscribers.values().enumerate() {
            if let Phase::Live { after } = subscriber.phase
                && message.position > after
            {
                // Sampled at the one that waits longest. A full outbox ends its own connection.
                let stamp = stamp.filter(|_| index + 1 == count);
                let connection = &subscriber.connection;
                if let Ok(written) = connection.outbox.push_to_flush(frame.clone(), stamp) {
                    round.note(connection, written);
                }
            }
        }
        drop(round);
        if self.replaying > 0 {
            self.recent.push(message.position, frame);
        }
    }

    pub(super) fn tell_gap(
        &mut self,
        name: &RoomName,
        after: Position,
        next: Position,
        reason: GapReason,
        metrics: &Metrics,
    ) {
        metrics.gap(reason);
        let frame = event::gap(name, after, next, reason);
        // A gap may lead back: the log ends earlier than what was told.
        let back = next < after;
        for subscriber in self.subscribers.values_mut() {
            let Phase::Live { after: seen } = &mut subscriber.phase else {
                continue;
            };
            let frame = if *seen <= after {
                frame.clone()
            } else if back || *seen < next && seen.epoch == next.epoch {
                // Its replay went further than the room has; it is told where its own stream breaks off.
                event::gap(name, *seen, next, reason)
            } else {
                // It has been told what comes after the gap already, or how it stands to it.
                continue;
            };
            if back {
                // Nobody may skip what comes then.
                *seen = (*seen).min(next);
            }
            subscriber.connection.outbox.push(frame).ok();
        }
        self.recent = Recent::default();
    }

    /// A replay may have gone further in an epoch than the room has; what a newer epoch means for it is no matter of where the room stands.
    pub(super) fn judge_those_ahead(
        &mut self,
        name: &RoomName,
        last: Position,
        log: &LogState,
        metrics: &Metrics,
    ) {
        for subscriber in self.subscribers.values_mut() {
            let Phase::Live { after: seen } = &mut subscriber.phase else {
                continue;
            };
            if *seen <= last || seen.epoch >= log.top.epoch {
                continue;
            }
            let missed = match assess(*seen, log, &self.policy.retention) {
                Verdict::Incomplete { next, reason, .. } => Some((next, reason)),
                // The room itself may skip this end, and all before it, in one gap that begins before what this one has seen.
                Verdict::Torn { torn, next, .. } if torn == *seen => {
                    Some((next, GapReason::Failover))
                }
                // As may be with the gap of a deletion. That of a torn end further on comes after what the room tells before it.
                Verdict::Complete { .. } | Verdict::Torn { .. } => log
                    .deleted
                    .filter(|deleted| *deleted > *seen)
                    .map(|deleted| (deleted, GapReason::Deleted)),
            };
            if let Some((next, reason)) = missed {
                metrics.gap(reason);
                let frame = event::gap(name, *seen, next, reason);
                subscriber.connection.outbox.push(frame).ok();
                *seen = next;
            }
        }
    }

    pub(super) fn on_presence(&mut self, name: &RoomName, change: PresenceChange) -> Todo {
        self.count = change.count;
        if !self.policy.counts_members() {
            return Todo::Nothing;
        }
        let first = self.batch.add(change, self.policy.presence_names);
        self.gather(name, first)
    }

    /// Tells what was gathered at once, or when the time has come that its first part begins.
    fn gather(&mut self, name: &RoomName, first: bool) -> Todo {
        let time = self.policy.presence_batch;
        if time.is_zero() {
            self.flush_presence(name);
            Todo::Nothing
        } else if first {
            Todo::FlushPresence(time)
        } else {
            Todo::Nothing
        }
    }

    pub(super) fn flush_presence(&mut self, name: &RoomName) {
        let frame = match self.batch.take() {
            Some(Told::Changes(change)) => event::presence(name, &change, true),
            Some(Told::All(members)) => event::all_present(name, &members),
            Some(Told::Count(count)) => {
                let change = PresenceChange {
                    count,
                    ..PresenceChange::default()
                };
                event::presence(name, &change, false)
            }
            None => return,
        };
        if self.policy.counts_members() {
            self.tell_present(&frame);
        }
    }

    pub(super) fn on_presence_missed(&mut self) -> Todo {
        match self.members_read {
            _ if !self.policy.counts_members() => Todo::Nothing,
            MembersRead::Done => {
                self.members_read = MembersRead::UnderWay;
                Todo::ReadMembers
            }
            MembersRead::UnderWay | MembersRead::Again => {
                self.members_read = MembersRead::Again;
                Todo::Nothing
            }
        }
    }

    pub(super) fn on_members(&mut self, name: &RoomName, members: Members) -> Todo {
        self.count = members.count;
        let first = self.batch.replace(members, self.policy.presence_names);
        self.gather(name, first)
    }

    /// A deletion has its place in the order of the messages: one that is missing, or comes while others are read, is read too.
    pub(super) fn on_deleted(&mut self, name: &RoomName, at: Position, metrics: &Metrics) -> Todo {
        match &mut self.progress {
            Progress::Live { last } if at <= *last => Todo::Nothing,
            Progress::Live { last } if at == last.next() => {
                let after = mem::replace(last, at);
                self.tell_gap(name, after, at, GapReason::Deleted, metrics);
                Todo::Nothing
            }
            _ => self.interrupt(),
        }
    }

    /// To everyone who has been told that it joined.
    pub(super) fn tell_present(&self, frame: &Frame) {
        for subscriber in self
            .subscribers
            .values()
            .filter(|subscriber| subscriber.phase != Phase::Joining)
        {
            subscriber.connection.outbox.push(frame.clone()).ok();
        }
    }
}
