//! A publisher: sends messages one after the other, over WebSocket or HTTP, and notes what became of each.

use std::sync::Arc;

use anyhow::anyhow;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::frame::{Frame, position};
use super::http::{Ask, NoAnswer, ask, encode, refused};
use super::ws::{Received, Socket};
use super::{Backoff, Trouble};
use crate::arena::{Arena, Phase, ROOMS, bump, name_of};
use crate::history::{Content, Millis, Outcome, Position, Publication, RoomIndex};

/// How long a publish may take: a gateway tries for five seconds.
const PATIENCE: Duration = Duration::from_secs(9);

/// How long a publication is tried again. Far less than the five minutes for which a key counts.
const PERSISTENCE: Duration = Duration::from_secs(30);

/// One message in so many is larger than any buffer that Redis has at hand, so that it is the output buffer's limit that decides.
const LARGE_ONE_IN: u32 = 40;
const LARGE_BYTES: usize = 24 * 1024;

/// What one attempt led to.
#[derive(Debug)]
enum Attempt {
    Acked(Position),
    Refused(String),
    Unknown,
}

/// Whether the gateway keeps the connection.
enum Next {
    Stay,
    MoveOn,
}

/// How it sends.
enum Sender {
    Http,
    WebSocket {
        socket: Option<Box<Socket>>,
        next_ref: u64,
    },
}

/// A message on its way.
#[derive(Clone, Copy)]
struct Letter<'a> {
    room: RoomIndex,
    content: Content,
    key: Option<&'a str>,
    large: bool,
}

impl Letter<'_> {
    fn data(&self) -> serde_json::Value {
        if self.large {
            json!({ "c": self.content.0, "pad": "x".repeat(LARGE_BYTES) })
        } else {
            json!({ "c": self.content.0 })
        }
    }
}

/// What publishers note.
#[derive(Debug, Default)]
pub struct Notes {
    pub publications: Vec<Publication>,
    /// Answers that no client should ever get.
    pub complaints: Vec<(Millis, String)>,
}

pub struct Publisher {
    arena: Arc<Arena>,
    token: String,
    sender: Sender,
    random: StdRng,
    /// The mean time between two messages.
    pause: Duration,
    notes: Notes,
}

impl Publisher {
    pub fn new(
        arena: &Arc<Arena>,
        name: &str,
        websocket: bool,
        pause: Duration,
        seed: u64,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            token: arena.gateways.token(name, arena.duration)?,
            arena: Arc::clone(arena),
            sender: if websocket {
                Sender::WebSocket {
                    socket: None,
                    next_ref: 1,
                }
            } else {
                Sender::Http
            },
            random: StdRng::seed_from_u64(seed),
            pause,
            notes: Notes::default(),
        })
    }

    /// Publishes until the phase changes.
    pub async fn run(mut self, mut phase: watch::Receiver<Phase>) -> Notes {
        while matches!(*phase.borrow(), Phase::Running) {
            let wait = self.pause.mul_f64(self.random.random_range(0.0..2.0));
            tokio::select! {
                () = sleep(wait) => {}
                _ = phase.changed() => continue,
            }
            let room = RoomIndex(self.random.random_range(0..ROOMS.len()));
            let keyed = self.random.random_bool(0.5);
            self.publish(room, keyed).await;
        }
        self.notes
    }

    /// The last message of a room, sent until it is acknowledged.
    pub async fn mark(mut self, room: RoomIndex) -> (Option<Position>, Notes) {
        let outcome = self.publish(room, true).await;
        let marker = match outcome {
            Outcome::Acked(position) => Some(position),
            Outcome::Refused | Outcome::Unknown => None,
        };
        (marker, self.notes)
    }

    async fn publish(&mut self, room: RoomIndex, keyed: bool) -> Outcome {
        let content = self.arena.next_content();
        let key = keyed.then(|| format!("key-{}", content.0));
        let letter = Letter {
            room,
            content,
            key: key.as_deref(),
            large: self.random.random_ratio(1, LARGE_ONE_IN),
        };
        let sent = self.arena.clock.now();
        let deadline = Instant::now() + PERSISTENCE;
        let mut backoff = Backoff::default();
        let (mut attempts, mut doubtful) = (0, false);
        let outcome = loop {
            attempts += 1;
            bump(&self.arena.counters.attempts);
            match self.attempt(letter).await {
                Attempt::Acked(position) => break Outcome::Acked(position),
                Attempt::Refused(code) => {
                    self.judge_refusal(&code);
                    // Nothing was done, so that anybody may send it again.
                    let gives_up = !doubtful && self.random.random_bool(0.3);
                    if gives_up || Instant::now() >= deadline {
                        break if doubtful {
                            Outcome::Unknown
                        } else {
                            Outcome::Refused
                        };
                    }
                }
                Attempt::Unknown if !keyed || Instant::now() >= deadline => break Outcome::Unknown,
                Attempt::Unknown => doubtful = true,
            }
            sleep(backoff.next(&mut self.random)).await;
        };
        bump(match outcome {
            Outcome::Acked(_) => &self.arena.counters.acked,
            Outcome::Refused => &self.arena.counters.refused,
            Outcome::Unknown => &self.arena.counters.unknown,
        });
        let settled = self.arena.clock.now();
        self.notes.publications.push(Publication {
            room,
            content,
            keyed,
            attempts,
            sent,
            settled,
            outcome,
        });
        outcome
    }

    /// Redis may be away; everything else that refuses one of these messages is a bug.
    fn judge_refusal(&mut self, code: &str) {
        if !["unavailable", "not_sent"].contains(&code) {
            let at = self.arena.clock.now();
            self.notes
                .complaints
                .push((at, format!("a publish was refused with {code}")));
        }
    }

    async fn attempt(&mut self, letter: Letter<'_>) -> Attempt {
        let gateway = self.random.random_range(0..self.arena.gateways.count());
        let address = self.arena.gateways.address(gateway);
        match &mut self.sender {
            Sender::Http => by_http(address, &self.token, letter).await,
            Sender::WebSocket { socket, next_ref } => {
                if socket.is_none() {
                    *socket = Socket::open(address, "", &self.token)
                        .await
                        .ok()
                        .map(Box::new);
                }
                let Some(open) = socket else {
                    return Attempt::Refused("not_sent".to_owned());
                };
                *next_ref += 1;
                let exchange = by_websocket(open, *next_ref, letter);
                match timeout(PATIENCE, exchange).await {
                    Ok(Ok((attempt, Next::Stay))) => attempt,
                    Ok(Ok((attempt, Next::MoveOn))) => {
                        *socket = None;
                        attempt
                    }
                    Ok(Err(trouble)) => {
                        *socket = None;
                        if let Trouble::Nonsense(text) = trouble {
                            let at = self.arena.clock.now();
                            self.notes.complaints.push((at, text));
                        }
                        Attempt::Unknown
                    }
                    Err(_) => {
                        *socket = None;
                        Attempt::Unknown
                    }
                }
            }
        }
    }
}

async fn by_http(address: (&str, u16), token: &str, letter: Letter<'_>) -> Attempt {
    #[derive(Deserialize)]
    struct Done {
        id: String,
    }

    let mut body = json!({ "data": letter.data() });
    if let Some(key) = letter.key {
        body["key"] = key.into();
    }
    let request = Ask {
        method: hyper::Method::POST,
        path: format!("/v1/rooms/{}/messages", encode(name_of(letter.room))),
        token,
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.to_string(),
    };
    let answer = match ask(address, request, PATIENCE).await {
        Ok(answer) => answer,
        Err(NoAnswer::NotSent(_)) => return Attempt::Refused("not_sent".to_owned()),
        Err(NoAnswer::Unknown(_)) => return Attempt::Unknown,
    };
    if let Ok(Done { id }) = serde_json::from_slice(&answer.body)
        && answer.status.is_success()
        && let Ok(position) = position(&id)
    {
        return Attempt::Acked(position);
    }
    match refused(answer.status, &answer.body) {
        Trouble::Refused { code, .. } if code == "outcome_unknown" => Attempt::Unknown,
        Trouble::Refused { code, .. } => Attempt::Refused(code),
        Trouble::Broken(error) => Attempt::Refused(format!("{error:#}")),
        Trouble::Nonsense(text) => Attempt::Refused(text),
    }
}

/// An error when the connection is gone, with the outcome unknown.
async fn by_websocket(
    socket: &mut Socket,
    reference: u64,
    letter: Letter<'_>,
) -> Result<(Attempt, Next), Trouble> {
    let mut command = json!({
        "type": "publish",
        "ref": reference,
        "room": name_of(letter.room),
        "data": letter.data(),
    });
    if let Some(key) = letter.key {
        command["key"] = key.into();
    }
    socket.send(command.to_string()).await?;
    let mut next = Next::Stay;
    loop {
        let text = match socket.next().await? {
            Received::Text(text) => text,
            Received::Alive => continue,
            Received::Closed(code) => return Err(anyhow!("closed with {code}").into()),
        };
        match Frame::parse(&text)? {
            Frame::Ack { r#ref, id } if r#ref == Some(reference) => {
                return Ok((Attempt::Acked(position(&id)?), next));
            }
            Frame::Error { r#ref, code, .. } if r#ref == Some(reference) => {
                let attempt = if code == "outcome_unknown" {
                    Attempt::Unknown
                } else {
                    Attempt::Refused(code)
                };
                return Ok((attempt, next));
            }
            Frame::Reconnect { .. } => next = Next::MoveOn,
            _ => {}
        }
    }
}
