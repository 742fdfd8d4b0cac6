//! A subscriber: follows its rooms through every connection, transport and gateway, and notes all that it is told.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout};

use super::feed::{Asked, Feed, Item};
use super::frame::Frame;
use super::notebook::{Notebook, Taken};
use super::{Backoff, Trouble};
use crate::arena::{Arena, Phase, SILENCE, bump};
use crate::history::{Millis, RoomIndex, Stream, Transport};

/// How long it stays on one connection at most before it moves on of its own accord.
const LONGEST_STAY: Duration = Duration::from_secs(15);

/// The longest pause before it comes back where the gateway names one. The protocol's several seconds would be much of a short run.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long a subscriber may take to come to the end once all faults are over.
pub const FINISH_PATIENCE: Duration = Duration::from_mins(1);

/// Closes that no client that keeps to the protocol should see.
const OUR_FAULT: [u16; 11] = [
    1002, 1007, 1009, 4400, 4401, 4403, 4409, 4413, 4429, 4500, 1011,
];

/// Refusals that pass.
const PASSING: [&str; 2] = ["unavailable", "rate_limited"];

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
    notebook: Notebook,
    complaints: Vec<(Millis, String)>,
    last_delivery: Option<Instant>,
    worst_silence: Duration,
    /// Until when it has to come to the end; set when all faults are over.
    deadline: Option<Instant>,
}

impl Subscriber {
    /// With several transports it changes between them.
    pub fn new(
        arena: &Arc<Arena>,
        name: String,
        rooms: &[RoomIndex],
        transports: &[Transport],
        seed: u64,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            token: arena.gateways.token(&name, arena.duration)?,
            arena: Arc::clone(arena),
            name,
            transports: transports.to_vec(),
            random: StdRng::seed_from_u64(seed),
            notebook: Notebook::new(rooms),
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
        Notes {
            streams: self.notebook.close(&self.name),
            complaints: self.complaints,
            worst_silence: self.worst_silence,
        }
    }

    fn is_done(&self, phase: &watch::Receiver<Phase>) -> bool {
        match &*phase.borrow() {
            Phase::Finishing(markers) => self.notebook.has_come_to(markers),
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

    /// One connection, or chain of polls, from its begin to its end.
    async fn connect(&mut self, phase: &watch::Receiver<Phase>, backoff: &mut Backoff) -> End {
        let transport = *self
            .transports
            .choose(&mut self.random)
            .expect("there is a transport");
        let gateway = self.random.random_range(0..self.arena.gateways.count());
        if self.random.random_ratio(1, 20) {
            // As one that has just been opened: it wants nothing of the past.
            self.notebook.forget();
        }
        let by_place = self.random.random_bool(0.7);
        let wishes = self.notebook.wishes(by_place);
        let after = match wishes.positions() {
            Ok(after) => after,
            Err(trouble) => return self.judge(trouble),
        };
        let at = self.arena.clock.now();
        self.notebook.asks(transport, &Asked { at, gateway, after });
        let (arena, token) = (Arc::clone(&self.arena), self.token.clone());
        let random = &mut self.random;
        let opened = Feed::open(&arena, transport, gateway, &token, wishes, random).await;
        let mut feed = match opened {
            Ok(feed) => feed,
            Err(trouble) => return self.judge(trouble),
        };
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
        let polls = matches!(feed, Feed::Polls(_));
        if !polls {
            self.arena.counters.connected(transport);
        }
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
            let item = match item {
                Ok(Ok(item)) => item,
                Ok(Err(trouble)) => return self.judge(trouble),
                Err(_) => return End::Broken,
            };
            match item {
                Item::Alive => {}
                Item::Asked(asked) => {
                    self.arena.counters.connected(transport);
                    self.notebook.asks(transport, &asked);
                }
                Item::Place(id) => {
                    backoff.reset();
                    self.notebook.stands_at(id);
                }
                Item::Closed(code, after) => {
                    if OUR_FAULT.contains(&code) {
                        self.complain(&format!("closed with {code}"));
                    }
                    sleep(after.unwrap_or_default().min(LONGEST_PAUSE)).await;
                    return End::Broken;
                }
                Item::Frame(Frame::Reconnect { after_ms }, _) => {
                    bump(&self.arena.counters.told_to_reconnect);
                    if !told {
                        leaves = Instant::now() + Duration::from_millis(after_ms);
                        told = true;
                    }
                }
                Item::Frame(Frame::Error { code, message, .. }, _) => {
                    return self.judge(Trouble::Refused { code, message });
                }
                Item::Frame(frame, id) => match self.take(frame, id, transport) {
                    Ok(Taken::Fine) => backoff.reset(),
                    Ok(Taken::PutOut) => return End::Broken,
                    Err(trouble) => return self.judge(trouble),
                },
            }
        }
        End::Moved
    }

    /// Ends a connection that gave trouble, and notes what faults alone don't explain.
    fn judge(&mut self, trouble: Trouble) -> End {
        match trouble {
            Trouble::Broken(_) => {}
            Trouble::Refused { code, .. } if PASSING.contains(&&*code) => {}
            Trouble::Refused { code, message } => {
                self.complain(&format!("refused with {code}: {message}"));
            }
            Trouble::Nonsense(text) => self.complain(&text),
        }
        End::Broken
    }

    fn complain(&mut self, text: &str) {
        let text = format!("{}: {text}", self.name);
        self.complaints.push((self.arena.clock.now(), text));
    }

    fn take(
        &mut self,
        frame: Frame,
        id: Option<String>,
        transport: Transport,
    ) -> Result<Taken, Trouble> {
        self.arena.counters.frame(&frame, transport);
        if matches!(frame, Frame::Message { .. }) {
            self.note_delivery();
        }
        self.notebook.take(frame, id, self.arena.clock.now())
    }

    fn note_delivery(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last_delivery.replace(now) {
            self.worst_silence = self.worst_silence.max(now - last);
        }
    }
}
