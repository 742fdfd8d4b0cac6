//! A subscriber: follows its rooms through every connection, transport and gateway, and notes all that it is told.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout};

use super::Backoff;
use super::feed::{Feed, Item, Wish};
use super::frame::{Frame, position};
use crate::arena::{Arena, Phase, SILENCE, bump, index_of};
use crate::history::{
    Content, Entry, Event, GapReason, Millis, Position, RoomIndex, Stream, Transport,
};

/// How long it stays on one connection at most before it moves on of its own accord.
const LONGEST_STAY: Duration = Duration::from_secs(15);

/// How long a subscriber may take to come to the end once all faults are over.
pub const FINISH_PATIENCE: Duration = Duration::from_mins(1);

/// Closes that no client that keeps to the protocol should see.
const OUR_FAULT: [u16; 11] = [
    1002, 1007, 1009, 4400, 4401, 4403, 4409, 4413, 4429, 4500, 1011,
];

/// Refusals that pass.
const PASSING: [&str; 2] = ["unavailable", "rate_limited"];

/// A room that it is in.
struct Followed {
    room: RoomIndex,
    cursor: Option<Position>,
    entries: Vec<Entry>,
}

/// How a connection ended.
enum End {
    /// It had enough of it.
    Moved,
    /// The gateway asked it to go, and the time it gave has passed.
    Told,
    Broken,
}

/// What a subscriber brings home.
pub struct Notes {
    pub streams: Vec<Stream>,
    /// What no client should ever be told.
    pub complaints: Vec<(Millis, String)>,
    /// The longest time in which nothing was delivered to it, while publishers were at work.
    pub worst_silence: Duration,
}

pub struct Subscriber {
    arena: Arc<Arena>,
    name: String,
    token: String,
    transports: Vec<Transport>,
    random: StdRng,
    rooms: Vec<Followed>,
    complaints: Vec<(Millis, String)>,
    last_delivery: Option<Instant>,
    worst_silence: Duration,
    /// Until when it has to come to the end; set when all faults are over.
    deadline: Option<Instant>,
}

impl Subscriber {
    pub fn new(
        arena: &Arc<Arena>,
        name: String,
        rooms: &[RoomIndex],
        transports: &[Transport],
        seed: u64,
    ) -> anyhow::Result<Self> {
        let followed = |room: &RoomIndex| Followed {
            room: *room,
            cursor: None,
            entries: Vec::new(),
        };
        Ok(Self {
            token: arena.gateways.token(&name, arena.duration)?,
            arena: Arc::clone(arena),
            name,
            transports: transports.to_vec(),
            random: StdRng::seed_from_u64(seed),
            rooms: rooms.iter().map(followed).collect(),
            complaints: Vec::new(),
            last_delivery: None,
            worst_silence: Duration::ZERO,
            deadline: None,
        })
    }

    /// Follows its rooms until it has seen the last message of each.
    pub async fn run(mut self, phase: watch::Receiver<Phase>) -> Notes {
        let mut backoff = Backoff::default();
        while !self.is_done(&phase) && !self.is_late(&phase) {
            match self.connect(&phase, &mut backoff).await {
                End::Moved => sleep(self.random_pause(200)).await,
                End::Told => {}
                End::Broken => sleep(backoff.next(&mut self.random)).await,
            }
        }
        let streams = self.rooms.into_iter().map(|followed| Stream {
            subscriber: self.name.clone(),
            room: followed.room,
            entries: followed.entries,
        });
        Notes {
            streams: streams.collect(),
            complaints: self.complaints,
            worst_silence: self.worst_silence,
        }
    }

    fn is_done(&self, phase: &watch::Receiver<Phase>) -> bool {
        match &*phase.borrow() {
            Phase::Finishing(markers) => self.rooms.iter().all(|followed| {
                markers[followed.room.0].is_none_or(|marker| followed.cursor >= Some(marker))
            }),
            Phase::Running | Phase::Settling => false,
        }
    }

    fn is_late(&mut self, phase: &watch::Receiver<Phase>) -> bool {
        matches!(*phase.borrow(), Phase::Finishing(_)) && {
            let now = Instant::now();
            now >= *self.deadline.get_or_insert(now + FINISH_PATIENCE)
        }
    }

    fn random_pause(&mut self, most_ms: u64) -> Duration {
        Duration::from_millis(self.random.random_range(0..most_ms))
    }

    /// One connection, from its begin to its end.
    async fn connect(&mut self, phase: &watch::Receiver<Phase>, backoff: &mut Backoff) -> End {
        let transport = *self
            .transports
            .choose(&mut self.random)
            .expect("there is a transport");
        let gateway = self.random.random_range(0..self.arena.gateways.count());
        if self.random.random_ratio(1, 20) {
            // As one that has just been opened: it wants nothing of the past.
            for followed in &mut self.rooms {
                followed.cursor = None;
            }
        }
        for followed in &mut self.rooms {
            let event = Event::Joining {
                cursor: followed.cursor,
                transport,
                gateway,
            };
            followed.entries.push(Entry {
                at: self.arena.clock.now(),
                event,
            });
        }
        let wishes: Vec<Wish> = self
            .rooms
            .iter()
            .map(|followed| (followed.room, followed.cursor))
            .collect();
        let by_frames = self.random.random_bool(0.5);
        let address = self.arena.gateways.address(gateway);
        let opened = Feed::open(transport, address, &self.token, &wishes, by_frames).await;
        let Ok(mut feed) = opened else {
            return End::Broken;
        };
        self.arena.counters.connected(transport);
        let end = self.listen(&mut feed, transport, phase, backoff).await;
        if self.random.random_bool(0.5) {
            feed.close().await;
        }
        end
    }

    async fn listen(
        &mut self,
        feed: &mut Feed,
        transport: Transport,
        phase: &watch::Receiver<Phase>,
        backoff: &mut Backoff,
    ) -> End {
        let mut leaves = Instant::now() + LONGEST_STAY.mul_f64(self.random.random_range(0.05..1.0));
        let mut told = false;
        while !self.is_done(phase) && !self.is_late(phase) {
            // To the end it stays where it is: what is stuck must not be helped by another connection.
            if let (Some(deadline), false) = (self.deadline, told) {
                leaves = deadline;
            }
            let item = tokio::select! {
                item = timeout(SILENCE, feed.next()) => item,
                () = sleep_until(leaves) => {
                    if told {
                        return End::Told;
                    }
                    if self.is_late(phase) || self.deadline.is_none() {
                        return End::Moved;
                    }
                    continue;
                }
            };
            let frame = match item {
                Ok(Ok(Item::Frame(frame))) => frame,
                Ok(Ok(Item::Alive)) => continue,
                Ok(Ok(Item::Closed(code))) => {
                    self.judge_close(code);
                    return End::Broken;
                }
                Ok(Err(_)) | Err(_) => return End::Broken,
            };
            match frame {
                Frame::Reconnect { after_ms } => {
                    bump(&self.arena.counters.told_to_reconnect);
                    leaves = Instant::now() + Duration::from_millis(after_ms);
                    told = true;
                }
                Frame::Close { code, after_ms } => {
                    self.judge_close(code);
                    sleep(Duration::from_millis(after_ms.min(2000))).await;
                    return End::Broken;
                }
                Frame::Error { code, message, .. } => {
                    if !PASSING.contains(&&*code) {
                        self.complain(&format!("a join was refused with {code}: {message}"));
                    }
                    return End::Broken;
                }
                frame => match self.take(frame, transport) {
                    Ok(Taken::Fine) => backoff.reset(),
                    Ok(Taken::PutOut) => return End::Broken,
                    Err(error) => {
                        self.complain(&format!("{error:#}"));
                        return End::Broken;
                    }
                },
            }
        }
        End::Moved
    }

    fn judge_close(&mut self, code: u16) {
        if OUR_FAULT.contains(&code) {
            self.complain(&format!("closed with {code}"));
        }
    }

    fn complain(&mut self, text: &str) {
        let text = format!("{}: {text}", self.name);
        self.complaints.push((self.arena.clock.now(), text));
    }

    /// Notes what it is told and keeps the cursor that goes with it.
    fn take(&mut self, frame: Frame, transport: Transport) -> anyhow::Result<Taken> {
        let counters = &self.arena.counters;
        let (room, cursor, event) = match frame {
            Frame::Joined {
                room,
                id,
                recovered,
                replayed,
            } => {
                match recovered {
                    Some(true) => bump(&counters.recovered),
                    Some(false) => bump(&counters.not_recovered),
                    None => {}
                }
                let id = position(&id)?;
                (
                    room,
                    Some(id),
                    Event::Joined {
                        id,
                        recovered,
                        replayed,
                    },
                )
            }
            Frame::Message { room, id, data } => {
                counters.delivered(transport);
                let (position, content) = (position(&id)?, Content(data.c));
                self.note_delivery();
                (room, Some(position), Event::Message { position, content })
            }
            Frame::Gap {
                room,
                after,
                next,
                reason,
            } => {
                let (after, next) = (position(&after)?, position(&next)?);
                let reason = GapReason::parse(&reason)
                    .ok_or_else(|| anyhow::anyhow!("a gap for an unknown reason, {reason}"))?;
                counters.gap(reason);
                (
                    room,
                    Some(next),
                    Event::Gap {
                        after,
                        next,
                        reason,
                    },
                )
            }
            Frame::Left { room } => (room, None, Event::Left),
            _ => return Ok(Taken::Fine),
        };
        let room = index_of(&room);
        let followed = self
            .rooms
            .iter_mut()
            .find(|followed| Some(followed.room) == room)
            .ok_or_else(|| anyhow::anyhow!("something came from a room that it isn't in"))?;
        followed.cursor = cursor.or(followed.cursor);
        let at = self.arena.clock.now();
        followed.entries.push(Entry { at, event });
        Ok(if event == Event::Left {
            Taken::PutOut
        } else {
            Taken::Fine
        })
    }

    fn note_delivery(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last_delivery.replace(now) {
            self.worst_silence = self.worst_silence.max(now - last);
        }
    }
}

enum Taken {
    Fine,
    PutOut,
}
