//! What a subscriber listens to: one connection (or chain of polls) over any transport.

use std::fmt::Write;

use serde_json::json;

use super::frame::Frame;
use super::http::encode;
use super::ws::{Received, Socket};
use crate::arena::name_of;
use crate::history::{Position, RoomIndex, Transport};

/// What a feed gives.
#[derive(Debug)]
pub enum Item {
    Frame(Frame),
    /// A sign of life.
    Alive,
    Closed(u16),
}

/// A room to join, and after what.
pub type Wish = (RoomIndex, Option<Position>);

#[derive(Debug)]
pub enum Feed {
    WebSocket(Socket),
}

impl Feed {
    /// Connects and asks for the rooms: in the query, or for some WebSockets by frames.
    pub async fn open(
        transport: Transport,
        address: (&str, u16),
        token: &str,
        wishes: &[Wish],
        by_frames: bool,
    ) -> anyhow::Result<Self> {
        match transport {
            Transport::WebSocket if by_frames => {
                let mut socket = Socket::open(address, "", token).await?;
                for (room, cursor) in wishes {
                    let mut join = json!({ "type": "join", "room": name_of(*room) });
                    if let Some(cursor) = cursor {
                        join["last_seen_id"] = cursor.to_string().into();
                    }
                    socket.send(join.to_string()).await?;
                }
                Ok(Self::WebSocket(socket))
            }
            Transport::WebSocket => {
                let socket = Socket::open(address, &query(wishes), token).await?;
                Ok(Self::WebSocket(socket))
            }
            other => anyhow::bail!("no client for {} yet", other.as_str()),
        }
    }

    pub async fn next(&mut self) -> anyhow::Result<Item> {
        match self {
            Self::WebSocket(socket) => Ok(match socket.next().await? {
                Received::Text(text) => Item::Frame(Frame::parse(&text)?),
                Received::Alive => Item::Alive,
                Received::Closed(code) => Item::Closed(code),
            }),
        }
    }

    pub async fn close(self) {
        match self {
            Self::WebSocket(socket) => socket.close().await,
        }
    }
}

/// The rooms and their cursors, which belong together by their place.
fn query(wishes: &[Wish]) -> String {
    let mut query = String::new();
    for (room, cursor) in wishes {
        let cursor = cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
        let room = encode(name_of(*room));
        write!(query, "&room={room}&last_seen_id={cursor}").expect("text into memory can't fail");
    }
    query.remove(0);
    query
}
