//! An encoded server frame: made once, shared by every connection that gets it.
//!
//! The bytes are a whole WebSocket text frame (RFC 6455, section 5.2; a server's frames are unmasked), so that handing one event to ten
//! thousand sockets copies nothing. Other transports take the JSON inside.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use prometheus_client::metrics::gauge::Gauge;
use rotunda_crds::RoomName;

use super::event::EventKind;
use crate::ids::Position;

/// The largest header of an unmasked frame: two bytes and a 64 bit length.
const MAX_HEADER: usize = 10;

/// `FIN` and the opcode for text.
const FINAL_TEXT: u8 = 0x81;

/// A frame ready to be written. Cloning shares the bytes: a place in a queue is one pointer.
#[derive(Clone, Debug)]
pub struct Frame(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes: Bytes,
    header: u8,
    counted: OnceLock<Gauge>,
    kind: EventKind,
    mark: Mark,
    /// Where in the JSON the room's name stands.
    room: NameRange,
}

/// What a frame does to the place of whoever reads its room. Transports with a cursor of their own follow it; a WebSocket's client reads
/// the same from the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// The place stays.
    #[default]
    Stays,
    /// The stream starts after this position.
    Starts(Position),
    /// It goes on after the position that the client gave.
    Resumes(Position),
    /// All up to and with this position has been told.
    Moves(Position),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct NameRange {
    start: u16,
    length: u8,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(gauge) = self.counted.get() {
            gauge.dec_by(as_gauge(self.bytes.len()));
        }
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl Eq for Frame {}

impl Frame {
    /// All bytes, as a WebSocket sends them.
    pub fn websocket(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The JSON object alone.
    pub fn json(&self) -> &[u8] {
        &self.0.bytes[usize::from(self.0.header)..]
    }

    /// What it tells.
    pub fn kind(&self) -> EventKind {
        self.0.kind
    }

    /// What it does to the reader's place in [`room`](Self::room).
    pub fn mark(&self) -> Mark {
        self.0.mark
    }

    /// The name of the room it is about; empty for none.
    pub fn room(&self) -> &[u8] {
        let start = usize::from(self.0.room.start);
        &self.json()[start..start + usize::from(self.0.room.length)]
    }

    /// A WebSocket's control frames, encoded already. They carry nothing of this protocol: they only keep a connection alive, or end it.
    pub fn control(bytes: Bytes) -> Self {
        Self(Arc::new(Inner {
            // `header` only says where JSON begins, and there is none.
            header: 0,
            bytes,
            counted: OnceLock::new(),
            kind: EventKind::Heartbeat,
            mark: Mark::default(),
            room: NameRange::default(),
        }))
    }

    /// Whether these are control frames (RFC 6455, section 5.5: the highest bit of the opcode).
    pub fn is_control(&self) -> bool {
        self.0.bytes.first().is_some_and(|first| first & 0x08 != 0)
    }

    /// What the frame takes in a queue.
    pub fn len(&self) -> usize {
        self.0.bytes.len()
    }

    /// Never true: a frame has at least its header.
    pub fn is_empty(&self) -> bool {
        self.0.bytes.is_empty()
    }

    /// Counts its bytes in a gauge for as long as anyone holds it; once, however many ask for it.
    pub fn count_in(&self, gauge: &Gauge) {
        self.0.counted.get_or_init(|| {
            gauge.inc_by(as_gauge(self.len()));
            gauge.clone()
        });
    }
}

fn as_gauge(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Builds a frame's JSON with room for the header in front.
pub(super) struct FrameBuilder {
    bytes: BytesMut,
    kind: EventKind,
    mark: Mark,
    room: NameRange,
}

impl FrameBuilder {
    pub(super) fn with_capacity(kind: EventKind, json: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(MAX_HEADER + json);
        bytes.put_bytes(0, MAX_HEADER);
        Self {
            bytes,
            kind,
            mark: Mark::default(),
            room: NameRange::default(),
        }
    }

    pub(super) fn mark(&mut self, mark: Mark) -> &mut Self {
        self.mark = mark;
        self
    }

    /// `,"room":"…"`. A name's alphabet has nothing that JSON would escape.
    pub(super) fn room(&mut self, name: &RoomName) -> &mut Self {
        self.raw(r#","room":""#);
        // What stands in front is short, and a name has at most 200 bytes.
        self.room = NameRange {
            start: u16::try_from(self.bytes.len() - MAX_HEADER).unwrap_or_default(),
            length: u8::try_from(name.len()).unwrap_or_default(),
        };
        self.raw(name).raw("\"")
    }

    pub(super) fn raw(&mut self, text: &str) -> &mut Self {
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Anything that serde can write: strings with their quotes and escapes, numbers, whole objects.
    pub(super) fn json(&mut self, value: &(impl serde::Serialize + ?Sized)) -> &mut Self {
        serde_json::to_writer((&mut self.bytes).writer(), value)
            .expect("plain data into memory can't fail");
        self
    }

    pub(super) fn finish(mut self) -> Frame {
        let length = self.bytes.len() - MAX_HEADER;
        let (header, size) = encode_header(length);
        let start = MAX_HEADER - size;
        self.bytes[start..MAX_HEADER].copy_from_slice(&header[..size]);
        Frame(Arc::new(Inner {
            bytes: self.bytes.freeze().slice(start..),
            // `size` is at most 10.
            header: u8::try_from(size).unwrap_or_default(),
            counted: OnceLock::new(),
            kind: self.kind,
            mark: self.mark,
            room: self.room,
        }))
    }
}

fn encode_header(length: usize) -> ([u8; MAX_HEADER], usize) {
    let mut header = [0; MAX_HEADER];
    header[0] = FINAL_TEXT;
    if let Ok(short) = u8::try_from(length)
        && short < 126
    {
        header[1] = short;
        (header, 2)
    } else if let Ok(medium) = u16::try_from(length) {
        header[1] = 126;
        header[2..4].copy_from_slice(&medium.to_be_bytes());
        (header, 4)
    } else {
        header[1] = 127;
        header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
        (header, MAX_HEADER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_encoded_as_rfc_6455_asks() {
        for (length, header) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 255, 255]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut builder = FrameBuilder::with_capacity(EventKind::Message, length);
            builder.raw(&"x".repeat(length));
            let frame = builder.finish();
            assert_eq!(frame.len(), header.len() + length);
            assert_eq!(&frame.websocket()[..header.len()], header.as_slice());
            assert_eq!(frame.json().len(), length);
        }
    }

    #[test]
    fn a_frame_counts_once_until_nobody_holds_it() {
        let gauge = Gauge::default();
        let frame = FrameBuilder::with_capacity(EventKind::Heartbeat, 0).finish();
        let copy = frame.clone();
        frame.count_in(&gauge);
        copy.count_in(&gauge);
        assert_eq!(gauge.get(), 2);
        drop(frame);
        assert_eq!(gauge.get(), 2);
        drop(copy);
        assert_eq!(gauge.get(), 0);
    }
}
