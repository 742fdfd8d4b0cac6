//! A broker in memory whose faults are chosen: what it loses, what fails, when another server takes over.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rotunda_crds::RoomName;

use super::{at, room};
use crate::broker::{
    Broker, BrokerError, Chunk, Departed, Event, Leave, LogState, Member, Members, Message,
    PresenceChange, PreviousEpoch, Publication, Published, Range, Retention, RoomEvents,
    UserPresence,
};
use crate::hub::Rooms;
use crate::ids::{Position, UserId};

/// One room's log.
#[derive(Debug)]
struct Log {
    state: LogState,
    messages: Vec<Message>,
    subscribed: bool,
    members: BTreeSet<UserId>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            state: LogState {
                top: at(1, 0),
                previous: None,
                oldest: None,
                deleted: None,
            },
            messages: Vec::new(),
            subscribed: false,
            members: BTreeSet::new(),
        }
    }
}

/// What is known of how an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing was lost.
    Whole,
    /// What is left of it.
    Torn,
    /// Not even where.
    Unknown,
}

/// What goes wrong next.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// So many published messages are stored but not delivered.
    pub(crate) lose: u32,
    /// So many reads fail.
    pub(crate) fail_reads: u32,
    pub(crate) fail_subscribes: u32,
    pub(crate) fail_joins: u32,
    pub(crate) fail_leaves: u32,
    pub(crate) fail_members: u32,
    /// The next publish ends like this.
    pub(crate) publish_error: Option<BrokerError>,
    /// The next publish panics.
    pub(crate) panic: bool,
    /// Publishes wait for a permit.
    pub(crate) gate_publishes: bool,
    /// Reads wait for a permit.
    pub(crate) gate_reads: bool,
    /// What was read waits for a permit of `answers`, and may be old news by then.
    pub(crate) hold_answers: bool,
    pub(crate) not_ready: Option<String>,
}

/// A broker in memory, without time, whose faults are chosen.
#[derive(Debug)]
pub(crate) struct FakeBroker {
    sink: Arc<Rooms>,
    logs: Mutex<HashMap<RoomName, Log>>,
    pub(crate) faults: Mutex<Faults>,
    /// Calls in order, such as `join lobby alice`.
    calls: Mutex<Vec<String>>,
    pub(crate) gate: tokio::sync::Semaphore,
    pub(crate) answers: tokio::sync::Semaphore,
}

impl FakeBroker {
    pub(super) fn new(sink: Arc<Rooms>) -> Arc<Self> {
        Arc::new(Self {
            sink,
            logs: Mutex::default(),
            faults: Mutex::default(),
            calls: Mutex::default(),
            gate: tokio::sync::Semaphore::new(0),
            answers: tokio::sync::Semaphore::new(0),
        })
    }

    fn with<T>(&self, room: &RoomName, act: impl FnOnce(&mut Log) -> T) -> T {
        act(self.logs.lock().entry(room.clone()).or_default())
    }

    fn called(&self, call: String) {
        self.calls.lock().push(call);
    }

    /// The calls that start with a word, since the last time they were asked for.
    pub(crate) fn calls(&self, words: &[&str]) -> Vec<String> {
        let mut calls = std::mem::take(&mut *self.calls.lock());
        calls.retain(|call| words.iter().any(|word| call.starts_with(word)));
        calls
    }

    fn counts_down(count: &mut u32) -> Result<(), BrokerError> {
        if *count > 0 {
            *count -= 1;
            return Err(BrokerError::Unavailable("told to".to_owned()));
        }
        Ok(())
    }

    /// Stores and delivers messages.
    pub(crate) fn say(&self, name: &str, count: u32) {
        for _ in 0..count {
            self.publish_now(&room(name), Bytes::from_static(br#""from":"bob","data":1"#));
        }
    }

    /// The state of a room's log.
    pub(crate) fn state(&self, name: &str) -> LogState {
        self.with(&room(name), |log| log.state)
    }

    /// Stores a message that is delivered later, or never.
    pub(crate) fn store(&self, name: &str) -> Message {
        self.append(&room(name), Bytes::from_static(br#""from":"bob","data":1"#))
    }

    /// Delivers what was stored, if anyone listens.
    pub(crate) fn deliver(&self, name: &str, message: Message) {
        let room = room(name);
        if self.with(&room, |log| log.subscribed) {
            self.sink.deliver(&room, Event::Message(message));
        }
    }

    fn append(&self, room: &RoomName, body: Bytes) -> Message {
        self.with(room, |log| {
            let message = Message {
                position: log.state.top.next(),
                time_ms: 0,
                body,
            };
            log.state.top = message.position;
            log.state.oldest.get_or_insert(message.position);
            log.messages.push(message.clone());
            message
        })
    }

    fn publish_now(&self, room: &RoomName, body: Bytes) -> Position {
        let lose = Self::counts_down(&mut self.faults.lock().lose).is_err();
        let message = self.append(room, body);
        let deliver = !lose && self.with(room, |log| log.subscribed);
        let position = message.position;
        if deliver {
            self.sink.deliver(room, Event::Message(message));
        }
        position
    }

    pub(crate) fn interrupt(&self, name: &str) {
        self.sink.deliver(&room(name), Event::Interrupted);
    }

    /// The log of orders may have something that wasn't delivered.
    pub(crate) fn interrupt_control(&self) {
        self.sink.deliver(&RoomName::control(), Event::Interrupted);
    }

    /// Orders up to this position are gone.
    pub(crate) fn trim_control(&self, through: Position) {
        self.trim_room(&RoomName::control(), through);
    }

    /// Delivers a message again.
    pub(crate) fn repeat(&self, name: &str, position: Position) {
        let room = room(name);
        let message = self.with(&room, |log| {
            log.messages
                .iter()
                .find(|message| message.position == position)
                .cloned()
                .unwrap()
        });
        self.sink.deliver(&room, Event::Message(message));
    }

    /// Only messages after this position are kept.
    pub(crate) fn trim(&self, name: &str, through: Position) {
        self.trim_room(&room(name), through);
    }

    fn trim_room(&self, room: &RoomName, through: Position) {
        self.with(room, |log| {
            log.messages.retain(|message| message.position > through);
            log.state.oldest = log.messages.first().map(|message| message.position);
            log.state.deleted = None;
        });
    }

    /// Another server takes over, without the newest messages. A new epoch begins.
    pub(crate) fn fail_over(&self, name: &str, lost: u64, end: End) {
        assert!(lost == 0 || end != End::Whole, "that isn't whole");
        self.with(&room(name), |log| {
            let top = log.state.top;
            let last = at(top.epoch.0, top.offset.0.saturating_sub(lost));
            log.messages.retain(|message| message.position <= last);
            log.state = LogState {
                top: at(log.state.top.epoch.0 + 1, 0),
                previous: (end != End::Unknown).then_some(PreviousEpoch {
                    end: last,
                    whole: end == End::Whole,
                }),
                oldest: log.messages.first().map(|message| message.position),
                deleted: None,
            };
        });
    }

    /// A user joins through another gateway.
    pub(crate) fn join_elsewhere(&self, name: &str, user: &str) {
        let (room, user) = (room(name), super::user(user));
        let count = self.slip_into(&room, &user);
        let change = PresenceChange {
            joined: vec![user],
            left: vec![],
            count,
        };
        self.announce(&room, change);
    }

    /// As [`join_elsewhere`](Self::join_elsewhere), but nobody is told.
    pub(crate) fn slip_in(&self, name: &str, user: &str) {
        self.slip_into(&room(name), &super::user(user));
    }

    fn slip_into(&self, room: &RoomName, user: &UserId) -> u64 {
        self.with(room, |log| {
            log.members.insert(user.clone());
            log.members.len() as u64
        })
    }

    /// It is noticed that a change of presence got lost.
    pub(crate) fn miss_presence(&self, name: &str) {
        self.sink.deliver(&room(name), Event::PresenceMissed);
    }

    fn announce(&self, room: &RoomName, change: PresenceChange) {
        if self.with(room, |log| log.subscribed) {
            self.sink.deliver(room, Event::Presence(change));
        }
    }
}

#[async_trait]
impl Broker for FakeBroker {
    async fn publish(
        &self,
        room: &RoomName,
        publication: Publication,
    ) -> Result<Published, BrokerError> {
        if self.faults.lock().gate_publishes {
            self.gate.acquire().await.unwrap().forget();
        }
        assert!(!self.faults.lock().panic, "told to");
        if let Some(error) = self.faults.lock().publish_error.take() {
            return Err(error);
        }
        let position = self.publish_now(room, publication.body);
        Ok(Published {
            position,
            duplicate: false,
        })
    }

    async fn signal(&self, room: &RoomName, body: Bytes) -> Result<(), BrokerError> {
        self.sink.deliver(room, Event::Signal(body));
        Ok(())
    }

    async fn subscribe(&self, room: &RoomName) -> Result<(), BrokerError> {
        if room.is_control() {
            // Nobody's faults are about it.
            self.with(room, |log| log.subscribed = true);
            return Ok(());
        }
        Self::counts_down(&mut self.faults.lock().fail_subscribes)?;
        self.called(format!("subscribe {room}"));
        self.with(room, |log| log.subscribed = true);
        Ok(())
    }

    async fn unsubscribe(&self, room: &RoomName) {
        self.called(format!("unsubscribe {room}"));
        self.with(room, |log| log.subscribed = false);
    }

    async fn read(
        &self,
        room: &RoomName,
        range: Range,
        limit: usize,
        _: Retention,
    ) -> Result<Chunk, BrokerError> {
        if !room.is_control() {
            if self.faults.lock().gate_reads {
                self.gate.acquire().await.unwrap().forget();
            }
            Self::counts_down(&mut self.faults.lock().fail_reads)?;
            self.called(format!("read {room}"));
        }
        let chunk = self.with(room, |log| {
            let fits = |message: &&Message| match range {
                Range::After(position) => message.position > position,
                Range::Before(position) => message.position < position,
                Range::Latest => true,
            };
            let mut messages: Vec<_> = log.messages.iter().filter(fits).cloned().collect();
            let more = messages.len() > limit;
            if more && matches!(range, Range::After(_)) {
                messages.truncate(limit);
            } else if more {
                messages.drain(..messages.len() - limit);
            }
            Chunk {
                state: log.state,
                messages,
                more,
            }
        });
        if self.faults.lock().hold_answers && !room.is_control() {
            self.answers.acquire().await.unwrap().forget();
        }
        Ok(chunk)
    }

    async fn delete_messages(&self, room: &RoomName, _: Retention) -> Result<(), BrokerError> {
        let lose = Self::counts_down(&mut self.faults.lock().lose).is_err();
        let at = self.with(room, |log| {
            log.messages.clear();
            log.state.top = log.state.top.next();
            log.state.oldest = Some(log.state.top);
            log.state.deleted = log.state.oldest;
            log.state.top
        });
        if !lose {
            self.sink.deliver(room, Event::Deleted { at });
        }
        Ok(())
    }

    async fn join(&self, room: &RoomName, user: &UserId) -> Result<u64, BrokerError> {
        self.called(format!("join {room} {user}"));
        tokio::task::yield_now().await;
        Self::counts_down(&mut self.faults.lock().fail_joins)?;
        let (new, count) = self.with(room, |log| {
            (log.members.insert(user.clone()), log.members.len() as u64)
        });
        if new {
            let change = PresenceChange {
                joined: vec![user.clone()],
                left: vec![],
                count,
            };
            self.announce(room, change);
        }
        Ok(count)
    }

    async fn leave(&self, room: &RoomName, user: &UserId, leave: Leave) -> Result<(), BrokerError> {
        self.called(format!("leave {room} {user} {leave:?}"));
        tokio::task::yield_now().await;
        Self::counts_down(&mut self.faults.lock().fail_leaves)?;
        let (gone, count) = self.with(room, |log| {
            let gone = leave != Leave::EndLinger && log.members.remove(user);
            (gone, log.members.len() as u64)
        });
        if gone {
            let departed = Departed {
                user: user.clone(),
                last_seen_ms: 1,
            };
            let change = PresenceChange {
                joined: vec![],
                left: vec![departed],
                count,
            };
            self.announce(room, change);
        }
        Ok(())
    }

    async fn end_lingers(&self, user: &UserId) {
        self.called(format!("end lingers {user}"));
    }

    fn set_presence_ttl(&self, ttl: Duration) {
        self.called(format!("ttl {ttl:?}"));
    }

    async fn members(&self, room: &RoomName, limit: usize) -> Result<Members, BrokerError> {
        Self::counts_down(&mut self.faults.lock().fail_members)?;
        Ok(self.with(room, |log| Members {
            members: log
                .members
                .iter()
                .take(limit)
                .map(|user| Member { user: user.clone() })
                .collect(),
            count: log.members.len() as u64,
        }))
    }

    async fn user_online(&self, user: &UserId, online: bool) -> Result<(), BrokerError> {
        self.called(format!("online {user} {online}"));
        Ok(())
    }

    async fn user_presence(&self, _: &UserId) -> Result<UserPresence, BrokerError> {
        Ok(UserPresence {
            online: false,
            last_seen_ms: None,
        })
    }

    fn ready(&self) -> Result<(), String> {
        self.faults.lock().not_ready.clone().map_or(Ok(()), Err)
    }

    async fn close(&self) {}
}
