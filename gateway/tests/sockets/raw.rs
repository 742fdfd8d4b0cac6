//! A client that says whatever a test wants, byte by byte, as no WebSocket library would.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::gateway::{PATIENCE, TestGateway};

/// Opcodes (RFC 6455, section 5.2), with `FIN` where they stand alone.
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;
pub(crate) const FIN: u8 = 0x80;

const MASKED: u8 = 0x80;

/// Lengths that say that the real one follows, in two bytes and in eight.
const MEDIUM: u8 = 0x7E;
const LONG: u8 = 0x7F;

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A masked frame with this first byte.
pub(crate) fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

/// The header of a masked frame that claims so many bytes.
pub(crate) fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => bytes.push(MASKED | short),
        (_, Ok(medium)) => {
            bytes.push(MASKED | MEDIUM);
            bytes.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            bytes.push(MASKED | LONG);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes
}

/// A whole text frame.
pub(crate) fn text(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | TEXT, payload)
}

/// The head of a request for a WebSocket.
pub(crate) fn handshake(gateway: &TestGateway, user: &str, query: &str) -> String {
    format!(
        "GET /v1/ws?{query} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        gateway.token(user)
    )
}

/// A connection of bytes.
pub(crate) struct RawClient {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

impl RawClient {
    pub(crate) async fn connect(gateway: &TestGateway) -> Self {
        Self {
            stream: TcpStream::connect(gateway.client).await.unwrap(),
            read: Vec::new(),
        }
    }

    /// With a small window, so that what isn't read soon stays with the gateway.
    pub(crate) async fn connect_with_small_window(gateway: &TestGateway) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self {
            stream: socket.connect(gateway.client).await.unwrap(),
            read: Vec::new(),
        }
    }

    /// Connects, and takes the answer to the handshake and the welcome.
    pub(crate) async fn open(gateway: &TestGateway, user: &str, query: &str) -> Self {
        let mut client = Self::connect(gateway).await;
        client.upgrade(gateway, user, query).await;
        client
    }

    pub(crate) async fn upgrade(&mut self, gateway: &TestGateway, user: &str, query: &str) {
        self.send(handshake(gateway, user, query)).await;
        assert!(self.head().await.starts_with("HTTP/1.1 101 "));
        assert_eq!(self.json().await["type"], "welcome");
    }

    /// Sends; that the gateway may have gone already is no mistake of the test.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.ok();
    }

    /// Everything up to an empty line.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self
                .read
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            assert!(
                self.more().await,
                "it ended within a head: {:?}",
                self.read.escape_ascii().to_string()
            );
        }
    }

    /// Whether everything up to an empty line has been read.
    pub(crate) fn has_head(&self) -> bool {
        self.read.windows(4).any(|window| window == b"\r\n\r\n")
    }

    /// Reads on; false at the end.
    pub(crate) async fn more(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read));
        matches!(read.await.expect("nothing came in time"), Ok(count) if count > 0)
    }

    /// The next frame: its first byte and its payload. Frames of a server are never masked.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((first, payload, size)) = split_frame(&self.read) {
                let frame = (first, payload.to_vec());
                self.read.drain(..size);
                return Some(frame);
            }
            if !self.more().await {
                assert!(self.read.is_empty(), "it ended within a frame");
                return None;
            }
        }
    }

    /// The next text frame's object; presence and pings are passed over.
    pub(crate) async fn json(&mut self) -> Value {
        loop {
            let (first, payload) = self.frame().await.expect("a frame");
            if first == FIN | PING {
                continue;
            }
            assert_eq!(first, FIN | TEXT, "{}", payload.escape_ascii());
            let value: Value = serde_json::from_slice(&payload).unwrap();
            if value["type"] != "presence" {
                return value;
            }
        }
    }

    /// How it is closed, whatever comes before; nothing may come after.
    pub(crate) async fn closed(mut self) -> (u16, String) {
        loop {
            let (first, payload) = self.frame().await.expect("it ended without a close frame");
            if first == FIN | CLOSE {
                assert_eq!(self.frame().await, None, "something after the close frame");
                let (code, reason) = payload.split_first_chunk().expect("a code");
                return (
                    u16::from_be_bytes(*code),
                    String::from_utf8(reason.to_vec()).unwrap(),
                );
            }
        }
    }

    /// Waits for the end of the stream, whatever comes before.
    pub(crate) async fn ended(mut self) -> Vec<u8> {
        while self.more().await {}
        self.read
    }

    pub(crate) async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

fn split_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let [first, length, rest @ ..] = bytes else {
        return None;
    };
    let (length, rest) = match length {
        &MEDIUM => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        &LONG => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::try_from(u64::from_be_bytes(*length)).unwrap(), rest)
        }
        short => (usize::from(*short), rest),
    };
    let payload = rest.get(..length)?;
    Some((*first, payload, bytes.len() - rest.len() + length))
}
