//! Frames on their way into one socket: in order, whole, with a WebSocket's control frames between them.
//!
//! Everything at hand goes into one vectored write, so that a hundred small frames cost one system call and nothing is copied. It
//! knows no protocol beyond what tells a control frame, and neither sockets nor locks.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Instant;

use super::sink::Sink;
use crate::dialect::Frame;

/// Slices in one write; Linux takes up to 1024 (`UIO_MAXIOV`).
const MAX_SLICES: usize = 64;

/// Control bytes that may wait. A client that pings without ever reading is no client.
pub(super) const MAX_CONTROL_BYTES: usize = 16 * 1024;

/// A frame in line.
#[derive(Debug)]
pub struct Queued {
    pub frame: Frame,
    /// When the message came in, on the few that are sampled for the delivery latency.
    pub stamp: Option<Instant>,
}

/// Whole frames that have left a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) frames: usize,
    pub(super) bytes: usize,
    /// How many of them were no control frames.
    pub(super) delivered: usize,
    /// That of the last one that had any.
    pub(super) stamp: Option<Instant>,
}

/// Frames in order, the first of them perhaps partly written.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Beside the rest, so that a frame now and then takes no allocation, and a message to thousands no look at another place in memory.
    first: Option<Queued>,
    /// Empty without a first.
    rest: VecDeque<Queued>,
    /// How much of the first frame has been written.
    written: usize,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn frames(&self) -> impl Iterator<Item = &Queued> {
        self.first.iter().chain(&self.rest)
    }

    pub(super) fn push(&mut self, frame: Frame, stamp: Option<Instant>) {
        let queued = Queued { frame, stamp };
        if self.first.is_none() {
            self.first = Some(queued);
        } else {
            self.rest.push_back(queued);
        }
    }

    /// Puts a control frame behind others of its kind and ahead of the rest, but never into a frame. False when too many wait.
    pub(super) fn push_control(&mut self, frame: Frame) -> bool {
        let first = usize::from(self.written > 0);
        let waiting = self.frames().skip(first);
        let controls = waiting.take_while(|queued| queued.frame.is_control());
        let (places, bytes) = controls.fold((0, frame.len()), |(places, bytes), queued| {
            (places + 1, bytes + queued.frame.len())
        });
        if bytes > MAX_CONTROL_BYTES {
            return false;
        }
        let queued = Queued { frame, stamp: None };
        match (first + places).checked_sub(1) {
            Some(behind) if self.first.is_some() => self.rest.insert(behind, queued),
            _ => {
                if let Some(before) = self.first.replace(queued) {
                    self.rest.push_front(before);
                }
            }
        }
        true
    }

    /// Takes all frames; for those who write themselves, and then never partly.
    pub(super) fn take(&mut self, into: &mut VecDeque<Queued>) {
        into.extend(self.first.take());
        into.append(&mut self.rest);
    }

    /// Gives up all frames but the one under way and the control frames.
    pub(super) fn discard(&mut self) -> Left {
        let mut left = Left::default();
        let mut under_way = self.written > 0;
        let mut stays = |queued: &Queued| {
            let stays = under_way || queued.frame.is_control();
            under_way = false;
            if !stays {
                left.frames += 1;
                left.bytes += queued.frame.len();
            }
            stays
        };
        self.first.take_if(|queued| !stays(queued));
        self.rest.retain(stays);
        if self.first.is_none() {
            self.first = self.rest.pop_front();
        }
        left
    }

    /// Writes until nothing is left, or the sink takes no more. What left did so in any case.
    pub(super) fn write(&mut self, sink: &mut impl Sink) -> (Left, io::Result<()>) {
        let mut left = Left::default();
        let result = self.write_all(sink, &mut left);
        if self.rest.is_empty() && self.rest.capacity() > 0 {
            // An idle connection keeps nothing.
            self.rest = VecDeque::new();
        }
        (left, result)
    }

    fn write_all(&mut self, sink: &mut impl Sink, left: &mut Left) -> io::Result<()> {
        loop {
            let Some(first) = &self.first else {
                return Ok(());
            };
            let left_of_first = &first.frame.websocket()[self.written..];
            let written = if self.rest.is_empty() {
                // The usual case needs no list of slices.
                sink.write(left_of_first)?
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let used = slices
                    .iter_mut()
                    .zip(self.frames())
                    .map(|(slice, queued)| *slice = IoSlice::new(queued.frame.websocket()))
                    .count();
                slices[0] = IoSlice::new(left_of_first);
                sink.write_vectored(&slices[..used])?
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.advance(written, left);
        }
    }

    fn advance(&mut self, written: usize, left: &mut Left) {
        self.written += written;
        while let Some(first) = &self.first
            && self.written >= first.frame.len()
        {
            self.written -= first.frame.len();
            left.frames += 1;
            left.bytes += first.frame.len();
            left.delivered += usize::from(!first.frame.is_control());
            left.stamp = first.stamp.or(left.stamp);
            self.first = self.rest.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
