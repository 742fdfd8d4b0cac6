//! What waits to be written to one client: frames in order, bounded in bytes.
//!
//! Rooms push from the broker's reading task and never wait. A push that doesn't fit ends the connection as a slow consumer *before* anything
//! is stored, so that memory stays within the cap. Replays, which can wait, ask for space first and leave half of the queue to what is live;
//! what finds none they read again later. What all outboxes hold together is the [`Backlog`]'s. It knows no rooms.
//!
//! A WebSocket's frames are written from here, under the queue's lock, by whoever comes first: the connection's own task, woken up by a push, or
//! [`flush`](super::flush) on behalf of a room that told its message to thousands, which would otherwise wake up thousands of tasks.
//! Event streams and polls, whose bytes differ from client to client, take the frames and write them themselves.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use std::{fmt, mem};

use parking_lot::{Mutex, MutexGuard};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::Transport;
use super::backlog::{Backlog, Fullness};
use super::line::Line;
use super::sink::{Polled, Shared, Sink};
use crate::dialect::{CloseReason, Frame};
use crate::metrics::Metrics;

pub use super::line::Queued;

/// What a place in line takes beside the frame's bytes.
const PLACE: usize = size_of::<Queued>();

/// Why a frame wasn't taken: the connection is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// Who writes a frame that was put in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Someone who is on the way to it already.
    BySomeone,
    /// Nobody, until [`Outbox::flush`] is called.
    ByFlush,
}

/// One connection's queue of frames.
#[derive(Debug)]
pub struct Outbox {
    /// Held for a few instructions at each push and take, and while what waits is written, which never blocks. One lock per connection,
    /// never two at once.
    queue: Mutex<Queue>,
    /// Wakes replays that wait for space.
    space: Notify,
    cap: usize,
    /// What all outboxes hold.
    backlog: Arc<Backlog>,
}

#[derive(Default)]
struct Queue {
    /// As long as it isn't empty, someone is on the way to it: the task that was woken up, a [`flush`](Outbox::flush) that is due, or the socket, which
    /// wakes the task up when it takes more. So only who puts something into an empty line wakes anyone.
    line: Line,
    /// Pushed and not yet written, also what was taken out already.
    bytes: usize,
    places: usize,
    closing: Option<CloseReason>,
    /// Wakes the connection's task; taken by the first who does, put back by the task when it looks.
    waker: Option<Waker>,
    /// The task's own socket, while others may write to it too.
    socket: Option<Arc<TcpStream>>,
    /// A replay waits for space.
    space_wanted: bool,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("bytes", &self.bytes)
            .field("places", &self.places)
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}

/// What came of writing.
#[derive(Debug)]
pub enum Progress {
    /// Nothing waits any more.
    Done,
    /// The socket takes no more for now, and wakes the task up when it does.
    Blocked,
    /// Nothing was written, since the connection is to end.
    Closing(CloseReason),
    Failed(io::Error),
}

impl Outbox {
    /// `cap` bounds its bytes, the backlog those of all outboxes that share it.
    pub fn new(cap: usize, backlog: Arc<Backlog>) -> Self {
        backlog.opened();
        Self {
            queue: Mutex::default(),
            space: Notify::new(),
            cap,
            backlog,
        }
    }

    /// Lets [`flush`](Self::flush) write to this socket until the connection begins to end. It is the one that the connection's task writes to.
    pub fn write_through(&self, socket: Arc<TcpStream>) {
        let mut queue = self.queue.lock();
        if queue.closing.is_none() {
            queue.socket = Some(socket);
        }
    }

    /// Puts a frame in line.
    pub fn push(&self, frame: Frame) -> Result<(), Closed> {
        let mut queue = self.queue.lock();
        let idle = queue.line.is_empty();
        let pushed = self.put(&mut queue, frame, None);
        if idle || pushed.is_err() {
            wake(queue);
        }
        pushed
    }

    /// As [`push`](Self::push), for a frame that many get: where that can be, nobody is woken up, and the caller has to see to it that
    /// [`flush`](Self::flush) is called. `stamp` is when the message came in.
    pub fn push_to_flush(&self, frame: Frame, stamp: Option<Instant>) -> Result<Written, Closed> {
        let mut queue = self.queue.lock();
        let idle = queue.line.is_empty();
        let pushed = self.put(&mut queue, frame, stamp);
        if idle && queue.socket.is_some() {
            return Ok(Written::ByFlush);
        }
        if idle || pushed.is_err() {
            wake(queue);
        }
        pushed.map(|()| Written::BySomeone)
    }

    fn put(&self, queue: &mut Queue, frame: Frame, stamp: Option<Instant>) -> Result<(), Closed> {
        if queue.closing.is_some() {
            return Err(Closed);
        }
        let size = frame.len();
        if queue.bytes + size <= self.cap && self.makes_room(queue, &frame) {
            queue.bytes += size;
            queue.places += 1;
            queue.line.push(frame, stamp);
            Ok(())
        } else {
            self.begin_close(queue, CloseReason::SlowConsumer);
            Err(Closed)
        }
    }

    /// Puts a WebSocket's control frame ahead of the frames in line, also while the connection ends. False when too many wait. Only the connection's
    /// task does, which then writes: nobody is woken up.
    pub fn push_control(&self, frame: Frame) -> bool {
        let mut queue = self.queue.lock();
        let size = frame.len();
        frame.count_in(self.backlog.held_gauge());
        let pushed = queue.line.push_control(frame);
        if pushed {
            self.count_control(&mut queue, size);
        }
        pushed
    }

    /// Puts a last frame in line, behind what is still to be written of a connection that ends.
    pub fn push_last(&self, frame: Frame) {
        let mut queue = self.queue.lock();
        self.count_control(&mut queue, frame.len());
        frame.count_in(self.backlog.held_gauge());
        queue.line.push(frame, None);
    }

    /// What isn't refused for its bytes counts all the same.
    fn count_control(&self, queue: &mut Queue, size: usize) {
        queue.bytes += size;
        queue.places += 1;
        self.backlog.add(PLACE);
    }

    /// Counts a frame in, if all outboxes together can take it. What they can't take isn't counted.
    fn makes_room(&self, queue: &Queue, frame: &Frame) -> bool {
        frame.count_in(self.backlog.held_gauge());
        match self.backlog.add(PLACE) {
            Fullness::Fine => true,
            Fullness::Full { share } => {
                let in_line = queue.bytes + frame.len() + (queue.places + 1) * PLACE;
                if in_line > share {
                    self.backlog.subtract(PLACE);
                }
                in_line <= share
            }
        }
    }

    /// Whether a frame of this size leaves half of the queue free, or is alone in it.
    pub fn takes(&self, size: usize) -> bool {
        let queue = self.queue.lock();
        queue.closing.is_none() && (queue.bytes == 0 || queue.bytes + size <= self.cap / 2)
    }

    /// Waits until the queue [takes](Self::takes) a frame of this size and so many more that reading them pays: until a quarter of the queue is
    /// left, at most.
    pub async fn reserve(&self, size: usize) -> Result<(), Closed> {
        loop {
            let notified = self.space.notified();
            {
                let mut queue = self.queue.lock();
                if queue.closing.is_some() {
                    return Err(Closed);
                }
                let most = (self.cap / 4).min((self.cap / 2).saturating_sub(size));
                if queue.bytes <= most {
                    return Ok(());
                }
                queue.space_wanted = true;
            }
            notified.await;
        }
    }

    /// Whether that many bytes fit right now with half of the queue left free.
    pub fn has_space(&self, size: usize) -> bool {
        let queue = self.queue.lock();
        queue.closing.is_none() && queue.bytes + size <= self.cap / 2
    }

    /// Wakes the connection's task up, to write what was left to [`flush`](Self::flush).
    pub(super) fn wake(&self) {
        wake(self.queue.lock());
    }

    /// Ends the connection. The first reason stands.
    pub fn close(&self, reason: CloseReason) {
        let mut queue = self.queue.lock();
        self.begin_close(&mut queue, reason);
        wake(queue);
    }

    fn begin_close(&self, queue: &mut Queue, reason: CloseReason) {
        if queue.closing.is_none() {
            queue.closing = Some(reason);
            // From here on the task alone writes: it knows what comes last.
            queue.socket = None;
            if !reason.flushes_queue() {
                let left = queue.line.discard();
                self.forget(queue, left.frames, left.bytes);
            }
            self.space.notify_waiters();
        }
    }

    fn forget(&self, queue: &mut Queue, frames: usize, bytes: usize) {
        queue.bytes -= bytes;
        queue.places -= frames;
        self.backlog.subtract(frames * PLACE);
    }

    /// Why the connection is ending, once it is.
    pub fn closing(&self) -> Option<CloseReason> {
        self.queue.lock().closing
    }

    /// Writes what is in line, and wakes the caller's task up when there is more to do.
    pub fn poll_write<S: AsyncWrite + Unpin>(
        &self,
        context: &mut Context<'_>,
        socket: &mut S,
        metrics: &Metrics,
    ) -> Progress {
        let mut queue = self.queue.lock();
        // Under the lock of the look, so that a push between the look and the sleep wakes.
        queue.wakes(context);
        if let Some(reason) = queue.closing {
            return Progress::Closing(reason);
        }
        match self.poll_all(&mut queue, context, socket, metrics) {
            Poll::Ready(Ok(())) => Progress::Done,
            Poll::Ready(Err(error)) => Progress::Failed(error),
            Poll::Pending => Progress::Blocked,
        }
    }

    /// Writes what is left of a connection that ends.
    pub fn poll_finish<S: AsyncWrite + Unpin>(
        &self,
        context: &mut Context<'_>,
        socket: &mut S,
        metrics: &Metrics,
    ) -> Poll<io::Result<()>> {
        self.poll_all(&mut self.queue.lock(), context, socket, metrics)
    }

    fn poll_all<S: AsyncWrite + Unpin>(
        &self,
        queue: &mut Queue,
        context: &mut Context<'_>,
        socket: &mut S,
        metrics: &Metrics,
    ) -> Poll<io::Result<()>> {
        match self.write(queue, &mut Polled { socket, context }, metrics) {
            // A stream that encrypts may have taken more than its socket did.
            Ok(()) => Pin::new(socket).poll_flush(context),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn write(&self, queue: &mut Queue, sink: &mut impl Sink, metrics: &Metrics) -> io::Result<()> {
        let (left, result) = queue.line.write(sink);
        if left.frames > 0 {
            self.forget(queue, left.frames, left.bytes);
            metrics.delivered(Transport::WebSocket, left.delivered, left.stamp);
            if mem::take(&mut queue.space_wanted) {
                self.space.notify_waiters();
            }
        }
        result
    }

    /// Writes what is in line to the socket that the connection's task has let others use, and wakes that task up if some is left. `tally` takes
    /// what else is to be done for many at once.
    pub(super) fn flush(&self, tally: &mut Tally) {
        let mut guard = self.queue.lock();
        let queue = &mut *guard;
        let Some(socket) = &queue.socket else {
            // It is ending, and its task knows.
            return;
        };
        let (left, result) = queue.line.write(&mut Shared(socket));
        queue.bytes -= left.bytes;
        queue.places -= left.frames;
        tally.places += left.frames;
        tally.delivered += left.delivered;
        tally.stamp = left.stamp.or(tally.stamp);
        if mem::take(&mut queue.space_wanted) {
            self.space.notify_waiters();
        }
        if result.is_err() {
            // To wait until the socket takes more, or to find out what is wrong with it.
            wake(guard);
        }
    }

    /// Takes all that is in line; `Ready` with the reason once the connection is to end, for as long as the caller hasn't acted on it.
    /// What was taken still counts as queued until [`written`](Self::written).
    pub fn poll_take(
        &self,
        context: &mut Context<'_>,
        into: &mut VecDeque<Queued>,
    ) -> Poll<CloseReason> {
        let mut queue = self.queue.lock();
        queue.wakes(context);
        queue.line.take(into);
        match queue.closing {
            Some(reason) => Poll::Ready(reason),
            None => Poll::Pending,
        }
    }

    /// Takes what is in line for the last time.
    pub fn take_rest(&self, into: &mut VecDeque<Queued>) {
        self.queue.lock().line.take(into);
    }

    /// So many of the frames that were taken, with so many bytes, have left for the socket.
    pub fn written(&self, frames: usize, bytes: usize) {
        let mut queue = self.queue.lock();
        self.forget(&mut queue, frames, bytes);
        let wanted = mem::take(&mut queue.space_wanted);
        drop(queue);
        if wanted {
            self.space.notify_waiters();
        }
    }

    /// Frames that were taken won't be written, and no longer count.
    pub fn give_up(&self, frames: &VecDeque<Queued>) {
        let bytes = frames.iter().map(|queued| queued.frame.len()).sum();
        self.written(frames.len(), bytes);
    }

    /// Bytes in line.
    pub fn bytes(&self) -> usize {
        self.queue.lock().bytes
    }
}

impl Queue {
    fn wakes(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }
}

/// Wakes the connection's task up, unless somebody has already.
fn wake(mut queue: MutexGuard<'_, Queue>) {
    let waker = queue.waker.take();
    drop(queue);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What was written for many connections, and isn't counted yet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    places: usize,
    delivered: usize,
    stamp: Option<Instant>,
}

impl Tally {
    pub(super) fn settle(&self, backlog: &Backlog, metrics: &Metrics) {
        backlog.subtract(self.places * PLACE);
        metrics.delivered(Transport::WebSocket, self.delivered, self.stamp);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.backlog.subtract(self.queue.get_mut().places * PLACE);
        self.backlog.closed();
    }
}

#[cfg(test)]
mod tests;
