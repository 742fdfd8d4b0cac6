//! The fuzz targets' way to what this broker reads from the network, which is otherwise nobody's business.

use bytes::BytesMut;

use super::resp::{self, Garbled};
use super::wire::{self, Payload};
use crate::broker::Event;

/// What came out of a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Replies {
    pub replies: Vec<String>,
    /// The stream is none of Redis.
    pub garbled: bool,
}

/// Reads replies from a stream that comes in pieces.
pub fn read_replies<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Replies {
    let (mut buffer, mut replies) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match resp::take_reply(&mut buffer) {
                Ok(Some(reply)) => replies.push(format!("{reply:?}")),
                Ok(None) => break,
                Err(Garbled) => {
                    return Replies {
                        replies,
                        garbled: true,
                    };
                }
            }
        }
    }
    Replies {
        replies,
        garbled: false,
    }
}

/// Reads a message of a room's channel.
pub fn decode_message(payload: &[u8]) -> Option<Event> {
    Some(match wire::decode(payload).ok()? {
        Payload::Event(event) => event,
        Payload::Announcement(announcement) => Event::Presence(announcement.change),
    })
}

/// Reads an answer that should be a stream entry, or a map of slots.
pub fn decode_answer(answer: &[u8]) {
    if let Ok(value) = redis::parse_redis_value(answer) {
        wire::entry(value.clone()).ok();
        let asked = super::url::Address::new("localhost", 6379);
        super::topology::SlotMap::from_cluster_slots(value, &asked).ok();
    }
}
