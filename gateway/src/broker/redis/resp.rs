//! Reads what Redis sends on a subscribed connection (RESP2): short arrays of texts and numbers, plain texts, errors.
//!
//! The redis crate's connections take a message that wasn't asked for, such as the `sunsubscribe` that comes when a slot moves away, for
//! the answer to whatever was asked last; so subscriptions have a reader of their own. It also hands messages on without a queue
//! between: a slow receiver slows the socket.

use bytes::{Buf, BytesMut};

/// The most that one message may be: Redis's own limit for a string.
const MAX_BYTES: usize = 512 << 20;

/// The most parts a message on a subscribed connection has (three), with room to spare.
const MAX_PARTS: usize = 16;

/// One reply or message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// `smessage`, `ssubscribe`, `sunsubscribe`, `pong` with what belongs to them.
    Parts(Vec<Part>),
    /// `+OK`.
    Status(String),
    /// `-MOVED …`.
    Error(String),
}

/// A part of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(BytesMut),
    Number(i64),
    Nil,
}

impl Part {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(bytes) => bytes,
            Self::Number(_) | Self::Nil => b"",
        }
    }
}

/// The server speaks something else.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbled;

/// Takes one whole reply off the front of `buffer`, or nothing if it isn't all there yet.
pub(super) fn take_reply(buffer: &mut BytesMut) -> Result<Option<Reply>, Garbled> {
    let mut ends = Vec::new();
    let Some(length) = measure(buffer, &mut ends)? else {
        return Ok(None);
    };
    let reply = match buffer.first() {
        Some(b'*') => {
            let mut at = 0;
            let mut parts = Vec::with_capacity(ends.len());
            for extent in ends {
                buffer.advance(extent.start - at);
                at = extent.end;
                parts.push(match extent.kind {
                    Kind::Text => Part::Text(buffer.split_to(extent.end - extent.start)),
                    Kind::Number(number) => {
                        buffer.advance(extent.end - extent.start);
                        Part::Number(number)
                    }
                    Kind::Nil => Part::Nil,
                });
            }
            buffer.advance(length - at);
            return Ok(Some(Reply::Parts(parts)));
        }
        Some(b'+') => Reply::Status(line_text(&buffer[1..length - 2])),
        _ => Reply::Error(line_text(&buffer[1..length - 2])),
    };
    buffer.advance(length);
    Ok(Some(reply))
}

enum Kind {
    Text,
    Number(i64),
    Nil,
}

/// Where a part stands in the buffer.
struct Extent {
    kind: Kind,
    start: usize,
    end: usize,
}

/// How long the reply at the front is, and where its parts are.
fn measure(buffer: &[u8], parts: &mut Vec<Extent>) -> Result<Option<usize>, Garbled> {
    let Some((line, mut at)) = line(buffer, 0)? else {
        return Ok(None);
    };
    match line.first() {
        Some(b'+' | b'-') => return Ok(Some(at)),
        Some(b'*') => {}
        _ => return Err(Garbled),
    }
    let count = usize::try_from(integer(&line[1..])?).map_err(|_| Garbled)?;
    if count > MAX_PARTS {
        return Err(Garbled);
    }
    for _ in 0..count {
        let Some((head, start)) = self::line(buffer, at)? else {
            return Ok(None);
        };
        let (kind, end, next) = match head.first() {
            Some(b':') => (Kind::Number(integer(&head[1..])?), start, start),
            Some(b'$') if head == b"$-1" => (Kind::Nil, start, start),
            Some(b'$') => {
                let length = usize::try_from(integer(&head[1..])?).map_err(|_| Garbled)?;
                if length > MAX_BYTES {
                    return Err(Garbled);
                }
                (Kind::Text, start + length, start + length + 2)
            }
            _ => return Err(Garbled),
        };
        if buffer.len() < next {
            return Ok(None);
        }
        parts.push(Extent { kind, start, end });
        at = next;
    }
    Ok(Some(at))
}

/// The line that begins at `from`, without its end, and where the next one begins.
fn line(buffer: &[u8], from: usize) -> Result<Option<(&[u8], usize)>, Garbled> {
    /// Errors are the longest lines.
    const MAX_LINE: usize = 64 * 1024;
    let rest = &buffer[from.min(buffer.len())..];
    match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) if end > 0 && rest[end - 1] == b'\r' => {
            Ok(Some((&rest[..end - 1], from + end + 1)))
        }
        Some(_) => Err(Garbled),
        None if rest.len() > MAX_LINE => Err(Garbled),
        None => Ok(None),
    }
}

fn integer(digits: &[u8]) -> Result<i64, Garbled> {
    let digits = std::str::from_utf8(digits).map_err(|_| Garbled)?;
    digits.parse().map_err(|_| Garbled)
}

fn line_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &[u8] = b"+OK\r\n*3\r\n$10\r\nssubscribe\r\n$5\r\np:{a}\r\n:1\r\n*3\r\n$8\r\nsmessage\r\n$5\r\np:{a}\r\n$3\r\n\r\nx\r\n\
        -MOVED 1 h:1\r\n*3\r\n$12\r\nsunsubscribe\r\n$-1\r\n:0\r\n";

    fn text(text: &str) -> Part {
        Part::Text(BytesMut::from(text))
    }

    fn expected() -> Vec<Reply> {
        vec![
            Reply::Status("OK".into()),
            Reply::Parts(vec![text("ssubscribe"), text("p:{a}"), Part::Number(1)]),
            Reply::Parts(vec![text("smessage"), text("p:{a}"), text("\r\nx")]),
            Reply::Error("MOVED 1 h:1".into()),
            Reply::Parts(vec![text("sunsubscribe"), Part::Nil, Part::Number(0)]),
        ]
    }

    #[test]
    fn replies_are_read_however_they_are_cut() {
        for size in 1..=STREAM.len() {
            let (mut buffer, mut replies) = (BytesMut::new(), Vec::new());
            for piece in STREAM.chunks(size) {
                buffer.extend_from_slice(piece);
                while let Some(reply) = take_reply(&mut buffer).expect("it is well formed") {
                    replies.push(reply);
                }
            }
            assert_eq!(replies, expected(), "in pieces of {size}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn another_protocol_is_refused() {
        for stream in [
            "HTTP/1.1 400\r\n",
            "*-1\r\n",
            "*17\r\n",
            "*1\r\n*1\r\n",
            "*1\r\n$x\r\n",
            "*1\r\n$999999999\r\n",
            ":1\r\n",
            "+\n",
        ] {
            assert_eq!(
                take_reply(&mut BytesMut::from(stream)),
                Err(Garbled),
                "{stream:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            drop(take_reply(&mut BytesMut::from(&bytes[..])));
        }
    }
}
