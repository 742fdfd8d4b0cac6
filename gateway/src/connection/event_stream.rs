//! An event stream on a byte stream: frames out as Server-Sent Events; what comes in is only looked at for its end.
//!
//! Like a WebSocket's [line](super::line) it writes all that is at hand at once and keeps nothing while idle. An event's
//! lines differ from client to client, by their ids; so small frames are copied behind them, and the JSON of large ones is shared.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Transport;
use super::ending::end;
use super::outbox::{Outbox, Queued};
use crate::dialect::cursor::Place;
use crate::dialect::{CloseReason, Frame, sse};
use crate::metrics::Metrics;

/// Frames up to this are copied, so that many small events are one slice.
const COPIED_BYTES: usize = 4 * 1024;

/// How much is made ready for one write.
const STAGED_BYTES: usize = 16 * 1024;

/// Slices in one write.
const MAX_SLICES: usize = 16;

/// Reads of what a client sends, which it shouldn't, before other connections get their turn.
const MAX_READS: usize = 16;

/// A server's side of an event stream.
#[derive(Debug)]
pub struct EventStream<S> {
    io: S,
    place: Place,
    queued: VecDeque<Queued>,
    staged: VecDeque<Piece>,
    /// How much of the first piece has been written.
    written: usize,
}

/// Bytes on their way, and what their end completes.
#[derive(Debug, Default)]
struct Piece {
    bytes: Source,
    frames: usize,
    /// The frames' sizes, as the outbox counts them.
    size: usize,
    stamp: Option<Instant>,
}

#[derive(Debug)]
enum Source {
    Own(Bytes),
    /// The JSON of a frame, which is kept as one: it counts until it has been written.
    Shared(Frame),
}

impl Default for Source {
    fn default() -> Self {
        Self::Own(Bytes::new())
    }
}

impl Source {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(frame) => frame.json(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> EventStream<S> {
    pub fn new(io: S, place: Place) -> Self {
        Self {
            io,
            place,
            queued: VecDeque::new(),
            staged: VecDeque::new(),
            written: 0,
        }
    }

    /// Says how long an EventSource waits before it comes back.
    pub fn retry(&mut self, after: Duration) {
        let mut bytes = BytesMut::new();
        sse::retry(&mut bytes, after);
        self.push(Source::Own(bytes.freeze()));
    }

    /// Writes a comment, unless something is on its way anyhow.
    pub fn heartbeat(&mut self) {
        if self.staged.is_empty() && self.queued.is_empty() {
            self.push(Source::Own(Bytes::from_static(sse::HEARTBEAT)));
        }
    }

    fn push(&mut self, bytes: Source) {
        self.staged.push_back(Piece {
            bytes,
            ..Piece::default()
        });
    }

    /// Writes what waits until the connection is to end: by the outbox, by the client, or by the network.
    pub fn poll_drive(
        &mut self,
        context: &mut Context<'_>,
        outbox: &Outbox,
        metrics: &Metrics,
    ) -> Poll<CloseReason> {
        if let Poll::Ready(reason) = outbox.poll_take(context, &mut self.queued) {
            return Poll::Ready(reason);
        }
        if let Poll::Ready(Err(error)) = self.poll_write(context, outbox, metrics) {
            return Poll::Ready(reason_of(&error));
        }
        self.poll_end(context)
    }

    /// Reads until the client ends the connection.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<CloseReason> {
        for _ in 0..MAX_READS {
            let mut bytes = [0; 128];
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.io).poll_read(context, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => return Poll::Ready(CloseReason::Lost),
                Ok(()) => {}
                Err(error) => return Poll::Ready(reason_of(&error)),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        outbox: &Outbox,
        metrics: &Metrics,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.staged.is_empty() {
                self.stage();
            }
            if self.staged.is_empty() {
                // An idle stream keeps no buffers.
                self.staged = VecDeque::new();
                self.queued = VecDeque::new();
                return Poll::Ready(Ok(()));
            }
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let used = slices
                .iter_mut()
                .zip(&self.staged)
                .map(|(slice, piece)| *slice = IoSlice::new(piece.bytes.bytes()))
                .count();
            if let Some(first) = self.staged.front() {
                slices[0] = IoSlice::new(&first.bytes.bytes()[self.written..]);
            }
            let written =
                ready!(Pin::new(&mut self.io).poll_write_vectored(context, &slices[..used]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written, outbox, metrics);
        }
    }

    /// Makes the next events ready. Only here the place moves: no id is written for what is thrown away.
    fn stage(&mut self) {
        let mut bytes = BytesMut::new();
        let mut piece = Piece::default();
        let mut total = 0;
        while total < STAGED_BYTES
            && self.staged.len() + 3 < MAX_SLICES
            && let Some(queued) = self.queued.pop_front()
        {
            let frame = &queued.frame;
            let moved = self.place.follow(frame);
            let place = moved.then_some(&self.place);
            total += frame.len();
            if frame.len() <= COPIED_BYTES || !sse::is_one_line(frame.json()) {
                sse::event(&mut bytes, frame, place);
            } else {
                sse::begin(&mut bytes, frame.kind().as_str(), place);
                piece.bytes = Source::Own(bytes.split().freeze());
                self.staged.push_back(mem::take(&mut piece));
                self.push(Source::Shared(frame.clone()));
                bytes.extend_from_slice(sse::END);
            }
            piece.frames += 1;
            piece.size += frame.len();
            piece.stamp = queued.stamp.or(piece.stamp);
        }
        if !bytes.is_empty() {
            piece.bytes = Source::Own(bytes.freeze());
            self.staged.push_back(piece);
        }
    }

    fn advance(&mut self, mut written: usize, outbox: &Outbox, metrics: &Metrics) {
        let (mut frames, mut size, mut stamp) = (0, 0, None);
        while let Some(piece) = self.staged.front() {
            let left = piece.bytes.bytes().len() - self.written;
            if written < left {
                self.written += written;
                break;
            }
            written -= left;
            self.written = 0;
            frames += piece.frames;
            size += piece.size;
            stamp = piece.stamp.or(stamp);
            self.staged.pop_front();
        }
        if frames > 0 {
            outbox.written(frames, size);
            metrics.delivered(Transport::Sse, frames, stamp);
        }
    }

    /// Ends the stream: the queue if it may go first, the event that says why, its end. Bounded by the caller.
    pub async fn close(
        &mut self,
        reason: CloseReason,
        after: Option<Duration>,
        outbox: &Outbox,
        metrics: &Metrics,
    ) -> io::Result<()> {
        outbox.take_rest(&mut self.queued);
        if !reason.flushes_queue() {
            outbox.give_up(&mem::take(&mut self.queued));
        }
        self.flush(outbox, metrics).await?;
        if reason != CloseReason::Lost {
            let mut bytes = BytesMut::new();
            sse::close(&mut bytes, reason, after, &self.place);
            self.push(Source::Own(bytes.freeze()));
            self.flush(outbox, metrics).await?;
        }
        end(&mut self.io).await
    }

    async fn flush(&mut self, outbox: &Outbox, metrics: &Metrics) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_write(context, outbox, metrics)).await
    }
}

/// The kernel gives up on a client that acknowledges nothing, heartbeats neither.
fn reason_of(error: &io::Error) -> CloseReason {
    if error.kind() == io::ErrorKind::TimedOut {
        CloseReason::HeartbeatTimeout
    } else {
        CloseReason::Lost
    }
}

#[cfg(test)]
mod tests;
