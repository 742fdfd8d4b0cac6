//! A WebSocket on a byte stream: frames in through tungstenite, frames out from the [`Outbox`].
//!
//! tungstenite unmasks, joins fragments, answers pings and checks the protocol. It is handed what was read, and what it wants to write (pongs,
//! closes) is caught and put between our own frames, which are encoded already. It knows nothing of rooms and commands.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

use super::ending::end;
use super::outbox::{Outbox, Progress};
use crate::dialect::{CloseReason, Frame};
use crate::metrics::Metrics;

/// What tungstenite keeps for each connection, also while nothing comes; its default of 128 KiB is really resident. A longer frame has room made for
/// it once its length is known.
const KEPT_BUFFER: usize = 64;

/// How much is read at once. It lies on the stack: what is kept for each connection would be touched, and thrown out of the processor's
/// caches, by each delivery.
const READ_BUFFER: usize = 4096;

/// What a client sent.
#[derive(Debug)]
pub enum Incoming {
    /// A text frame.
    Text(Bytes),
    /// A ping or a pong: a sign of life.
    Alive,
    /// The connection is over, or must be.
    End(CloseReason),
}

/// A server's side of a WebSocket.
#[derive(Debug)]
pub struct Socket<S> {
    io: S,
    context: WebSocketContext,
    /// Read and not yet taken by tungstenite: what came behind a message.
    ahead: Vec<u8>,
    /// tungstenite has no whole message left.
    drained: bool,
}

/// What tungstenite takes for a stream: bytes that were read already; writes are caught.
struct Tap<'a> {
    bytes: &'a [u8],
    outbox: &'a Outbox,
    answered: bool,
}

impl Read for Tap<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.bytes.read(buffer)
    }
}

impl Write for Tap<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.answered = true;
        if self
            .outbox
            .push_control(Frame::control(Bytes::copy_from_slice(bytes)))
        {
            Ok(bytes.len())
        } else {
            Err(io::Error::other("too many control frames wait"))
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Takes over a stream after the upgrade; `read_ahead` is what came with the request. Frames and messages past `max_frame` bytes end the
    /// connection.
    pub fn new(io: S, read_ahead: &[u8], max_frame: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(KEPT_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(max_frame))
            .max_frame_size(Some(max_frame));
        let context = if read_ahead.is_empty() {
            WebSocketContext::new(Role::Server, Some(config))
        } else {
            WebSocketContext::from_partially_read(read_ahead.to_vec(), Role::Server, Some(config))
        };
        Self {
            io,
            context,
            ahead: Vec::new(),
            drained: false,
        }
    }

    /// Writes what waits and, if asked, reads: until something came, or the outbox says that the connection is to end.
    pub fn poll_drive(
        &mut self,
        context: &mut Context<'_>,
        outbox: &Outbox,
        reading: bool,
        metrics: &Metrics,
    ) -> Poll<Incoming> {
        loop {
            match outbox.poll_write(context, &mut self.io, metrics) {
                Progress::Done | Progress::Blocked => {}
                Progress::Closing(reason) => return Poll::Ready(Incoming::End(reason)),
                Progress::Failed(_) => return Poll::Ready(Incoming::End(CloseReason::Lost)),
            }
            if !reading {
                return Poll::Pending;
            }
            let mut answered = false;
            let incoming = self.poll_read(context, outbox, &mut answered);
            // What tungstenite answered waits to be written.
            if incoming.is_ready() || !answered {
                return incoming;
            }
        }
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        outbox: &Outbox,
        answered: &mut bool,
    ) -> Poll<Incoming> {
        loop {
            let taken = if self.drained {
                let mut buffer = [MaybeUninit::uninit(); READ_BUFFER];
                let mut buffer = ReadBuf::uninit(&mut buffer);
                match Pin::new(&mut self.io).poll_read(context, &mut buffer) {
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                    Poll::Ready(_) => return Poll::Ready(Incoming::End(CloseReason::Lost)),
                    Poll::Pending => return Poll::Pending,
                }
                self.take(buffer.filled(), outbox, answered)
            } else {
                let ahead = mem::take(&mut self.ahead);
                self.take(&ahead, outbox, answered)
            };
            if let Some(incoming) = taken {
                return Poll::Ready(incoming);
            }
        }
    }

    /// Gives tungstenite what was read; nothing when that doesn't complete a message.
    fn take(&mut self, bytes: &[u8], outbox: &Outbox, answered: &mut bool) -> Option<Incoming> {
        let mut tap = Tap {
            bytes,
            outbox,
            answered: false,
        };
        let read = self.context.read(&mut tap);
        let incoming = match read {
            Ok(Message::Text(text)) => Incoming::Text(text.into()),
            Ok(Message::Ping(_) | Message::Pong(_)) => Incoming::Alive,
            Ok(Message::Binary(_) | Message::Frame(_)) => {
                Incoming::End(CloseReason::Malformed("frames must be text"))
            }
            Ok(Message::Close(frame)) => {
                let clean = frame.is_some_and(|frame| frame.code == CloseCode::Normal);
                let reason = if clean {
                    CloseReason::Client
                } else {
                    CloseReason::Lost
                };
                // Ended first: nothing may follow the answer, whoever writes.
                outbox.close(reason);
                // The answer is queued by the next call, which then has nothing more to read.
                self.context.read(&mut tap).ok();
                Incoming::End(reason)
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.drained = true;
                *answered |= tap.answered;
                return None;
            }
            Err(error) => Incoming::End(reason_of(&error)),
        };
        self.drained = false;
        self.ahead = tap.bytes.to_vec();
        Some(incoming)
    }

    /// Puts a ping in line, ahead of waiting frames.
    pub fn ping(outbox: &Outbox) -> Result<(), CloseReason> {
        // An unmasked ping without a payload (RFC 6455, section 5.5.2).
        let ping = Frame::control(Bytes::from_static(&[0x89, 0]));
        if outbox.push_control(ping) {
            Ok(())
        } else {
            Err(CloseReason::HeartbeatTimeout)
        }
    }

    /// Ends the connection: the queue if it may go first, the close frame, the end of the stream. Bounded by the caller.
    pub async fn close(
        &mut self,
        reason: CloseReason,
        outbox: &Outbox,
        metrics: &Metrics,
    ) -> io::Result<()> {
        outbox.close(reason);
        if !matches!(reason, CloseReason::Client | CloseReason::Lost) {
            let code = CloseCode::from(reason.code());
            outbox.push_last(encode_close(&CloseFrame {
                code,
                reason: reason.text().into(),
            }));
        }
        let io = &mut self.io;
        poll_fn(|context| outbox.poll_finish(context, io, metrics)).await?;
        end(io).await
    }
}

/// A close frame of a server (RFC 6455, section 5.5.1); its reason is at most 123 bytes.
fn encode_close(frame: &CloseFrame) -> Frame {
    let reason = frame.reason.as_str().as_bytes();
    let length = u8::try_from(reason.len() + 2).unwrap_or(2);
    let mut bytes = vec![0x88, length];
    bytes.extend_from_slice(&u16::from(frame.code).to_be_bytes());
    bytes.extend_from_slice(&reason[..usize::from(length) - 2]);
    Frame::control(bytes.into())
}

fn reason_of(error: &Error) -> CloseReason {
    use tokio_tungstenite::tungstenite::error::ProtocolError;
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => CloseReason::FrameTooLarge,
        Error::Utf8(_) => CloseReason::NotUtf8,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_) => {
            CloseReason::Lost
        }
        Error::ConnectionClosed | Error::AlreadyClosed => CloseReason::Lost,
        _ => CloseReason::Protocol,
    }
}
