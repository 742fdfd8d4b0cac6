//! Bytes on their way into one socket: whole frames from the outbox, and the WebSocket layer's own control frames between them.
//!
//! Everything at hand goes into one vectored write, so that a hundred small frames cost one system call and nothing is copied. It
//! knows no protocol; it keeps frames whole.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::Transport;
use super::outbox::{Outbox, Queued};
use crate::metrics::Metrics;

/// Slices in one write; Linux takes up to 1024 (`UIO_MAXIOV`).
const MAX_SLICES: usize = 64;

/// Control bytes that may wait. A client that pings without ever reading is no client.
const MAX_CONTROL_BYTES: usize = 16 * 1024;

/// Places in line that an idle connection keeps, so that a frame now and then takes no allocation.
const KEPT_PLACES: usize = 4;

/// What is being written.
#[derive(Debug, Default)]
pub struct Writer {
    current: Current,
    /// How much of it has been written.
    written: usize,
    /// Control frames, encoded; they go between two frames, ahead of those in line.
    control: Vec<u8>,
    queued: VecDeque<Queued>,
}

/// The frame, or the control frames, under way.
#[derive(Debug, Default)]
enum Current {
    #[default]
    Nothing,
    Control(Vec<u8>),
    Queued(Queued),
}

impl Current {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::Control(bytes) => bytes,
            Self::Queued(queued) => queued.frame.websocket(),
        }
    }

    fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

impl Writer {
    /// Takes encoded control frames. False when too many wait.
    pub fn push_control(&mut self, bytes: &[u8]) -> bool {
        if self.control.len() + bytes.len() > MAX_CONTROL_BYTES {
            return false;
        }
        self.control.extend_from_slice(bytes);
        true
    }

    /// Where frames from the outbox are to be put.
    pub fn queue(&mut self) -> &mut VecDeque<Queued> {
        &mut self.queued
    }

    /// Gives up all frames but the one under way.
    pub fn discard_queue(&mut self, outbox: &Outbox) {
        outbox.give_up(&mem::take(&mut self.queued));
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.current.is_nothing() && self.control.is_empty() && self.queued.is_empty()
    }

    /// Writes until nothing is left.
    pub fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        socket: &mut S,
        outbox: &Outbox,
        metrics: &Metrics,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            if self.current.is_nothing() && !self.control.is_empty() {
                self.current = Current::Control(mem::take(&mut self.control));
            }
            let written = match self.only() {
                Some(bytes) => ready!(Pin::new(&mut *socket).poll_write(context, bytes))?,
                None => ready!(self.poll_write_all(context, socket))?,
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written, outbox, metrics);
        }
        // An idle connection keeps no large buffers.
        if self.queued.capacity() > KEPT_PLACES {
            self.queued = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    /// What can be written, if it is one piece: the usual case, which needs no list of slices.
    fn only(&self) -> Option<&[u8]> {
        if !self.control.is_empty() {
            return None;
        }
        match (&self.current, self.queued.len()) {
            (Current::Nothing, 1) => self.queued.front().map(|queued| queued.frame.websocket()),
            (Current::Nothing, _) => None,
            (current, 0) => Some(&current.bytes()[self.written..]),
            _ => None,
        }
    }

    /// One write of all that is at hand, up to a limit.
    fn poll_write_all<S: AsyncWrite + Unpin>(
        &self,
        context: &mut Context<'_>,
        socket: &mut S,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut used = 0;
        if !self.current.is_nothing() {
            slices[0] = IoSlice::new(&self.current.bytes()[self.written..]);
            used = 1;
        }
        // Control bytes that came while a frame is under way wait for its end; frames behind them wait too.
        if self.control.is_empty() {
            for (slice, queued) in slices[used..].iter_mut().zip(&self.queued) {
                *slice = IoSlice::new(queued.frame.websocket());
                used += 1;
            }
        }
        Pin::new(socket).poll_write_vectored(context, &slices[..used])
    }

    fn advance(&mut self, mut written: usize, outbox: &Outbox, metrics: &Metrics) {
        let (mut frames, mut bytes) = (0, 0);
        while written > 0 {
            if self.current.is_nothing() {
                let Some(queued) = self.queued.pop_front() else {
                    break;
                };
                self.current = Current::Queued(queued);
            }
            let left = self.current.bytes().len() - self.written;
            if written < left {
                self.written += written;
                break;
            }
            written -= left;
            self.written = 0;
            if let Current::Queued(queued) = mem::take(&mut self.current) {
                frames += 1;
                bytes += queued.frame.len();
                if let Some(stamp) = queued.stamp {
                    metrics
                        .delivery_latency_seconds
                        .observe(stamp.elapsed().as_secs_f64());
                }
            }
        }
        if frames > 0 {
            outbox.written(frames, bytes);
            let metrics = metrics.of(Transport::WebSocket);
            metrics.messages_delivered.inc_by(frames as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::task::noop_waker_ref;
    use prometheus_client::metrics::gauge::Gauge;
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::connection::backlog::Backlog;
    use crate::dialect::event;

    fn fill(writer: &mut Writer, outbox: &Outbox, frames: usize) {
        for _ in 0..frames {
            outbox.push(event::heartbeat()).unwrap();
        }
        assert!(
            outbox
                .poll_take(&mut Context::from_waker(noop_waker_ref()), writer.queue())
                .is_pending()
        );
    }

    fn write<S: AsyncWrite + Unpin>(
        writer: &mut Writer,
        socket: &mut S,
        outbox: &Outbox,
    ) -> Poll<io::Result<()>> {
        writer.poll_write(
            &mut Context::from_waker(noop_waker_ref()),
            socket,
            outbox,
            &Metrics::new(),
        )
    }

    #[tokio::test]
    async fn control_frames_go_between_frames_never_into_one() {
        let outbox = Outbox::new(10_000, Backlog::new(Gauge::default()));
        let mut writer = Writer::default();
        let size = event::heartbeat().len();
        let (mut near, mut far) = tokio::io::duplex(size / 2);
        fill(&mut writer, &outbox, 2);
        assert!(write(&mut writer, &mut near, &outbox).is_pending());
        assert!(writer.push_control(b"PONG"));
        let mut read = Vec::new();
        while read.len() < size * 2 + 4 {
            let mut part = [0; 64];
            let count = far.read(&mut part).await.unwrap();
            read.extend_from_slice(&part[..count]);
            drop(write(&mut writer, &mut near, &outbox));
        }
        let frame = event::heartbeat();
        assert_eq!(
            read,
            [frame.websocket(), b"PONG", frame.websocket()].concat()
        );
        assert!(writer.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn control_bytes_are_bounded() {
        let mut writer = Writer::default();
        assert!(writer.push_control(&[0; MAX_CONTROL_BYTES]));
        assert!(!writer.push_control(&[0]));
    }

    #[test]
    fn a_discarded_queue_no_longer_counts() {
        let outbox = Outbox::new(10_000, Backlog::new(Gauge::default()));
        let mut writer = Writer::default();
        fill(&mut writer, &outbox, 5);
        writer.discard_queue(&outbox);
        assert!(writer.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }
}
