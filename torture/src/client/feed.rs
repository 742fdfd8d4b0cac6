//! What a subscriber listens to: one connection, or chain of polls, over any transport.

use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::time::Duration;

use super::Trouble;
use super::frame::Frame;
use super::polls::Polls;
use super::sse::EventStream;
use super::wishes::Wishes;
use super::ws::{Received, Socket};
use crate::arena::{Arena, name_of};
use crate::history::{Millis, Position, Transport};

/// What a feed gives.
#[derive(Debug)]
pub enum Item {
    /// The rooms were asked for, after these positions. All that comes until the next one answers it.
    Asked(Asked),
    /// With the id that an event stream gives it.
    Frame(Frame, Option<String>),
    /// A poll's answer is over, and this id stands for all of it.
    Place(String),
    /// A sign of life.
    Alive,
    /// With the time after which to come back, where the gateway says so.
    Closed(u16, Option<Duration>),
}

/// One request for the rooms, in the order of the wishes.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Millis,
    pub gateway: usize,
    pub after: Vec<Option<Position>>,
}

pub enum Feed {
    WebSocket(Box<Socket>),
    Sse(Box<EventStream>),
    Polls(Box<Polls>),
}

impl Feed {
    /// Connects to a gateway and asks for the rooms. Polls go to any gateway, each anew.
    pub async fn open(
        arena: &Arc<Arena>,
        transport: Transport,
        gateway: usize,
        token: &str,
        wishes: Wishes,
        random: &mut StdRng,
    ) -> Result<Self, Trouble> {
        let address = arena.gateways.address(gateway);
        match transport {
            Transport::WebSocket if random.random_bool(0.5) => {
                let mut socket = Socket::open(address, "", token).await?;
                for (room, id) in wishes.each() {
                    let mut join = json!({ "type": "join", "room": name_of(room) });
                    if let Some(id) = id {
                        join["last_seen_id"] = id.into();
                    }
                    socket.send(join.to_string()).await?;
                }
                Ok(Self::WebSocket(Box::new(socket)))
            }
            Transport::WebSocket => {
                let socket = Socket::open(address, &wishes.query(), token).await?;
                Ok(Self::WebSocket(Box::new(socket)))
            }
            Transport::Sse => {
                let as_source = random.random_bool(0.5);
                let stream = EventStream::open(address, &wishes, as_source, token).await?;
                Ok(Self::Sse(Box::new(stream)))
            }
            Transport::LongPoll | Transport::Poll => {
                let waits = transport == Transport::LongPoll;
                let polls = Polls::new(arena, token, wishes, waits, random.random());
                Ok(Self::Polls(Box::new(polls)))
            }
        }
    }

    /// The next item. Dropped before it is ready, it loses nothing.
    pub async fn next(&mut self) -> Result<Item, Trouble> {
        match self {
            Self::WebSocket(socket) => Ok(match socket.next().await? {
                Received::Text(text) => Item::Frame(Frame::parse(&text)?, None),
                Received::Alive => Item::Alive,
                Received::Closed(code) => Item::Closed(code, None),
            }),
            Self::Sse(stream) => stream.next().await,
            Self::Polls(polls) => polls.next().await,
        }
    }

    /// Says goodbye where there is a way to.
    pub async fn close(self) {
        match self {
            Self::WebSocket(socket) => socket.close().await,
            Self::Sse(_) | Self::Polls(_) => {}
        }
    }
}
