//! The frames that a room told last, so that someone who replays can be switched to the live stream without another read.

use std::collections::VecDeque;

use crate::dialect::Frame;
use crate::ids::Position;

const MAX_FRAMES: usize = 256;
const MAX_BYTES: usize = 256 * 1024;

/// A bounded run of frames whose positions follow one another; the oldest give way.
#[derive(Debug, Default)]
pub(super) struct Recent {
    frames: VecDeque<(Position, Frame)>,
    bytes: usize,
}

impl Recent {
    pub(super) fn push(&mut self, position: Position, frame: Frame) {
        if self
            .frames
            .back()
            .is_some_and(|(last, _)| last.next() != position)
        {
            *self = Self::default();
        }
        self.bytes += frame.len();
        self.frames.push_back((position, frame));
        while self.frames.len() > MAX_FRAMES || self.bytes > MAX_BYTES {
            let Some((_, oldest)) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
        }
    }

    /// All frames after `after` up to and with `last`, if every one of them is there.
    pub(super) fn between(
        &self,
        after: Position,
        last: Position,
    ) -> Option<impl Iterator<Item = &Frame> + Clone> {
        let whole = self.frames.back()?.0 == last
            && self.frames.front()?.0 <= after.next()
            && after.epoch == last.epoch;
        whole.then(|| {
            self.frames
                .iter()
                .filter(move |(position, _)| *position > after)
                .map(|(_, frame)| frame)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::event;

    fn ring(offsets: impl IntoIterator<Item = u64>) -> Recent {
        let mut recent = Recent::default();
        for offset in offsets {
            recent.push(Position::new(1, offset), event::heartbeat());
        }
        recent
    }

    fn count(recent: &Recent, after: u64, last: u64) -> Option<usize> {
        recent
            .between(Position::new(1, after), Position::new(1, last))
            .map(Iterator::count)
    }

    #[test]
    fn only_a_whole_run_is_given() {
        let recent = ring(5..=8);
        assert_eq!(count(&recent, 4, 8), Some(4));
        assert_eq!(count(&recent, 6, 8), Some(2));
        assert_eq!(count(&recent, 3, 8), None);
        assert_eq!(count(&recent, 6, 9), None);
        assert_eq!(count(&ring([]), 0, 0), None);
        assert!(
            recent
                .between(Position::new(0, 9), Position::new(1, 8))
                .is_none()
        );
    }

    #[test]
    fn a_hole_starts_a_new_run_and_the_size_is_bounded() {
        assert_eq!(count(&ring([1, 2, 4, 5]), 2, 5), None);
        assert_eq!(count(&ring([1, 2, 4, 5]), 3, 5), Some(2));
        let full = ring(1..=1000);
        assert_eq!(count(&full, 1000 - 256, 1000), Some(256));
        assert_eq!(count(&full, 1000 - 257, 1000), None);
    }
}
