//! What waits to be written to one client: frames in order, bounded in bytes.
//!
//! Rooms push from the broker's reading task and never wait; the connection's own task takes. A push that doesn't fit ends the connection as
//! a slow consumer *before* anything is stored, so that memory stays within the cap. Replays, which can wait, ask for space first and
//! leave half of the queue to what is live; what finds none they read again later. What all outboxes hold together is the [`Backlog`]'s. It knows neither rooms nor sockets.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::backlog::{Backlog, Fullness};
use crate::dialect::{CloseReason, Frame};

/// A frame in line.
#[derive(Debug)]
pub struct Queued {
    pub frame: Frame,
    /// When the message came in, on the few that are sampled for the delivery latency.
    pub stamp: Option<Instant>,
}

/// What a place in line takes beside the frame's bytes.
const PLACE: usize = size_of::<Queued>();

/// Why a frame wasn't taken: the connection is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// One connection's queue of frames.
#[derive(Debug)]
pub struct Outbox {
    /// Held for a few instructions at each push and take; one lock per connection, never two at once.
    queue: Mutex<Queue>,
    /// Wakes replays that wait for space.
    space: Notify,
    cap: usize,
    /// What all outboxes hold.
    backlog: Arc<Backlog>,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Queued>,
    /// Pushed and not yet written, also what the writer has taken out already.
    bytes: usize,
    places: usize,
    closing: Option<CloseReason>,
    /// Wakes the connection's task; taken by the first who does, put back by the task when it looks.
    waker: Option<Waker>,
    /// A replay waits for space.
    space_wanted: bool,
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

    /// Puts a frame in line.
    pub fn push(&self, frame: Frame) -> Result<(), Closed> {
        self.push_stamped(frame, None)
    }

    /// As [`push`](Self::push), with the instant at which the message came in.
    pub fn push_stamped(&self, frame: Frame, stamp: Option<Instant>) -> Result<(), Closed> {
        let mut queue = self.queue.lock();
        if queue.closing.is_some() {
            return Err(Closed);
        }
        let size = frame.len();
        let fits = queue.bytes + size <= self.cap && self.makes_room(&queue, &frame);
        if fits {
            queue.bytes += size;
            queue.places += 1;
            queue.frames.push_back(Queued { frame, stamp });
        } else {
            self.begin_close(&mut queue, CloseReason::SlowConsumer);
        }
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
        if fits { Ok(()) } else { Err(Closed) }
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

    /// Ends the connection. The first reason stands.
    pub fn close(&self, reason: CloseReason) {
        let mut queue = self.queue.lock();
        self.begin_close(&mut queue, reason);
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn begin_close(&self, queue: &mut Queue, reason: CloseReason) {
        if queue.closing.is_none() {
            queue.closing = Some(reason);
            if !reason.flushes_queue() {
                let dropped = mem::take(&mut queue.frames);
                self.forget(queue, dropped.len(), bytes_of(&dropped));
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

    /// Takes all that is in line; `Ready` with the reason once the connection is to end, for as long as the caller hasn't acted on it.
    /// What was taken still counts as queued until [`written`](Self::written).
    pub fn poll_take(
        &self,
        context: &mut Context<'_>,
        into: &mut VecDeque<Queued>,
    ) -> Poll<CloseReason> {
        let mut queue = self.queue.lock();
        // Under the lock of the look, so that a push between the look and the sleep wakes.
        match &mut queue.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        if into.is_empty() {
            mem::swap(&mut queue.frames, into);
        } else {
            into.append(&mut queue.frames);
        }
        match queue.closing {
            Some(reason) => Poll::Ready(reason),
            None => Poll::Pending,
        }
    }

    /// Takes what is in line for the last time.
    pub fn take_rest(&self, into: &mut VecDeque<Queued>) {
        into.append(&mut self.queue.lock().frames);
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
        self.written(frames.len(), bytes_of(frames));
    }

    /// Bytes in line.
    pub fn bytes(&self) -> usize {
        self.queue.lock().bytes
    }
}

fn bytes_of(frames: &VecDeque<Queued>) -> usize {
    frames.iter().map(|queued| queued.frame.len()).sum()
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.backlog.subtract(self.queue.get_mut().places * PLACE);
        self.backlog.closed();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::task::noop_waker_ref;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::dialect::event;

    fn backlog() -> Arc<Backlog> {
        Backlog::new(Gauge::default())
    }

    fn frame() -> Frame {
        event::heartbeat()
    }

    fn take(outbox: &Outbox) -> (Vec<Queued>, Option<CloseReason>) {
        let mut frames = VecDeque::new();
        let reason = match outbox.poll_take(&mut Context::from_waker(noop_waker_ref()), &mut frames)
        {
            Poll::Ready(reason) => Some(reason),
            Poll::Pending => None,
        };
        (frames.into(), reason)
    }

    #[test]
    fn a_push_past_the_cap_stores_nothing_and_ends_the_connection() {
        let total = backlog();
        let outbox = Outbox::new(frame().len() * 2, Arc::clone(&total));
        outbox.push(frame()).unwrap();
        outbox.push(frame()).unwrap();
        assert_eq!(outbox.push(frame()), Err(Closed));
        assert_eq!(outbox.closing(), Some(CloseReason::SlowConsumer));
        let (frames, reason) = take(&outbox);
        assert!(frames.is_empty());
        assert_eq!(reason, Some(CloseReason::SlowConsumer));
        assert_eq!((outbox.bytes(), total.held()), (0, 0));
    }

    #[test]
    fn what_is_taken_counts_until_it_is_written() {
        let total = backlog();
        let outbox = Outbox::new(frame().len(), Arc::clone(&total));
        outbox.push(frame()).unwrap();
        assert_eq!(take(&outbox).0.len(), 1);
        assert!(total.held() > 0);
        outbox.written(1, frame().len());
        outbox.push(frame()).unwrap();
        drop(outbox);
        assert_eq!(total.held(), 0);
    }

    #[test]
    fn the_first_reason_stands_and_a_drain_keeps_the_queue() {
        let outbox = Outbox::new(1000, backlog());
        outbox.push(frame()).unwrap();
        outbox.close(CloseReason::Drained);
        outbox.close(CloseReason::Internal);
        let (frames, reason) = take(&outbox);
        assert_eq!((frames.len(), reason), (1, Some(CloseReason::Drained)));
        assert_eq!(outbox.push(frame()), Err(Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replay_fills_half_of_the_queue_and_goes_on_below_a_quarter() {
        let size = frame().len();
        let outbox = Arc::new(Outbox::new(size * 8, backlog()));
        outbox.reserve(size).await.unwrap();
        for _ in 0..4 {
            assert!(outbox.takes(size));
            outbox.push(frame()).unwrap();
        }
        assert!(!outbox.takes(size));
        assert!(!outbox.has_space(size));
        let waiting = tokio::spawn({
            let outbox = Arc::clone(&outbox);
            async move { outbox.reserve(size).await }
        });
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(!waiting.is_finished());
        take(&outbox);
        outbox.written(1, size);
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(outbox.takes(size) && !waiting.is_finished());
        outbox.written(1, size);
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_frame_past_half_of_the_queue_goes_alone() {
        let outbox = Outbox::new(frame().len() * 3, backlog());
        let large = frame().len() * 2;
        outbox.reserve(large).await.unwrap();
        assert!(outbox.takes(large));
        outbox.push(frame()).unwrap();
        assert!(!outbox.takes(large));
        let (reserved, ()) = tokio::join!(outbox.reserve(large), async {
            take(&outbox);
            outbox.written(1, frame().len());
        });
        assert_eq!(reserved, Ok(()));
    }

    #[tokio::test]
    async fn closing_ends_the_wait_for_space() {
        let outbox = Outbox::new(frame().len(), backlog());
        outbox.push(frame()).unwrap();
        let (reserved, ()) = tokio::join!(outbox.reserve(1), async {
            outbox.close(CloseReason::GoingAway);
        });
        assert_eq!(reserved, Err(Closed));
    }
}
