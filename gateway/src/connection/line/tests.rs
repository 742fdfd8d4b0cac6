use proptest::prelude::*;

use super::*;
use crate::dialect::event;

/// Takes so many bytes at each write, and blocks in between.
#[derive(Default)]
struct Slow {
    takes: Vec<usize>,
    got: Vec<u8>,
}

impl Slow {
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = self.takes.pop().unwrap_or_default();
        if most == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = most.min(bytes.len());
        self.got.extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

impl Sink for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.take(
            &slices
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect::<Vec<_>>(),
        )
    }
}

fn control(bytes: &'static [u8]) -> Frame {
    Frame::control(bytes.into())
}

const PING: &[u8] = &[0x89, 0];
const PONG: &[u8] = &[0x8a, 1, b'x'];

fn write(line: &mut Line, sink: &mut Slow, most: usize) -> Left {
    sink.takes = vec![most];
    line.write(sink).0
}

#[test]
fn control_frames_go_between_frames_never_into_one() {
    let frame = event::heartbeat();
    let mut line = Line::default();
    let mut sink = Slow::default();
    line.push(frame.clone(), None);
    line.push(frame.clone(), None);
    write(&mut line, &mut sink, 3);
    assert!(line.push_control(control(PONG)));
    assert!(line.push_control(control(PING)));
    while !line.is_empty() {
        write(&mut line, &mut sink, 4);
    }
    let all = [frame.websocket(), PONG, PING, frame.websocket()].concat();
    assert_eq!(sink.got, all);
}

#[test]
fn control_frames_keep_their_order_while_one_of_them_is_under_way() {
    let mut line = Line::default();
    let mut sink = Slow::default();
    assert!(line.push_control(control(PONG)));
    write(&mut line, &mut sink, 1);
    line.push(event::heartbeat(), None);
    assert!(line.push_control(control(PING)));
    while !line.is_empty() {
        write(&mut line, &mut sink, 100);
    }
    let all = [PONG, PING, event::heartbeat().websocket()].concat();
    assert_eq!(sink.got, all);
}

#[test]
fn control_bytes_are_bounded() {
    let mut line = Line::default();
    let half = Frame::control(vec![0x8a; MAX_CONTROL_BYTES / 2].into());
    assert!(line.push_control(half.clone()));
    assert!(line.push_control(half));
    assert!(!line.push_control(control(PING)));
}

#[test]
fn what_is_discarded_leaves_the_frame_under_way_and_control_frames() {
    let frame = event::heartbeat();
    let mut line = Line::default();
    let mut sink = Slow::default();
    for _ in 0..3 {
        line.push(frame.clone(), None);
    }
    write(&mut line, &mut sink, 1);
    assert!(line.push_control(control(PING)));
    let left = line.discard();
    assert_eq!((left.frames, left.bytes), (2, 2 * frame.len()));
    write(&mut line, &mut sink, usize::MAX);
    write(&mut line, &mut sink, usize::MAX);
    assert_eq!(sink.got, [frame.websocket(), PING].concat());
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Push,
    Control,
    Discard,
    Write(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => Just(Act::Push),
        2 => Just(Act::Control),
        1 => Just(Act::Discard),
        5 => (0usize..60).prop_map(Act::Write),
    ];
    proptest::collection::vec(act, 1..60)
}

proptest! {
    /// Whatever happens when, the bytes are whole frames, and all that were neither discarded nor wait have left.
    #[test]
    fn frames_stay_whole_and_each_is_accounted_for(acts in acts()) {
        let (frame, mut line, mut sink) = (event::heartbeat(), Line::default(), Slow::default());
        let (mut frames, mut controls, mut gone) = (0, 0, Left::default());
        let mut add = |left: Left| {
            gone.frames += left.frames;
            gone.bytes += left.bytes;
            gone.delivered += left.delivered;
        };
        let mut discarded = 0;
        for act in acts {
            match act {
                Act::Push => {
                    line.push(frame.clone(), None);
                    frames += 1;
                }
                Act::Control => {
                    prop_assert!(line.push_control(control(PONG)));
                    controls += 1;
                }
                Act::Discard => {
                    let left = line.discard();
                    discarded += left.frames;
                    add(left);
                }
                Act::Write(most) => add(write(&mut line, &mut sink, most)),
            }
        }
        while !line.is_empty() {
            add(write(&mut line, &mut sink, usize::MAX));
        }
        let bytes = frames * frame.len() + controls * PONG.len();
        let delivered = frames - discarded;
        prop_assert_eq!(gone, Left { frames: frames + controls, bytes, delivered, stamp: None });
        let mut rest = &*sink.got;
        let mut seen = (0, 0);
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(PONG) {
                (rest, seen.1) = (after, seen.1 + 1);
            } else {
                let after = rest.strip_prefix(frame.websocket());
                prop_assert!(after.is_some(), "a broken frame");
                (rest, seen.0) = (after.unwrap_or_default(), seen.0 + 1);
            }
        }
        prop_assert_eq!(seen, (delivered, controls));
    }
}
