//! What a client says in a text frame.

use std::borrow::Cow;

use bytes::Bytes;
use rotunda_crds::RoomName;
use rotunda_gateway::broker::Message;
use rotunda_gateway::dialect::command::{self, Command, ParseError, Request};
use rotunda_gateway::dialect::event;
use rotunda_gateway::ids::Position;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The members of a `message` frame; what a client with a strict parser makes of it.
#[derive(Deserialize)]
struct Delivered<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    from: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

pub(super) fn command(input: &[u8]) {
    // The socket lets only UTF-8 through.
    if std::str::from_utf8(input).is_err() {
        return;
    }
    match command::parse(&Bytes::copy_from_slice(input)) {
        Ok(Request { reference, command }) => {
            let frame = event::ack(&reference, Position::new(1, 1));
            assert_json(frame.json());
            assert!(
                frame.len() < 256,
                "an answer carries no more than the `ref`"
            );
            match command {
                Command::Publish { data, .. }
                | Command::Signal {
                    data: Some(data), ..
                } => deliver(&data),
                Command::Join {
                    last_seen: Some(position),
                    ..
                } => assert_eq!(position.to_string().parse(), Ok(position)),
                _ => {}
            }
        }
        Err(ParseError::Malformed(text)) => {
            assert!(text.len() <= 123, "it must fit a close frame");
        }
        Err(ParseError::Refused { reference, failure }) => {
            let frame = event::error(&reference, None, &failure);
            assert_json(frame.json());
            assert!(
                frame.len() < 2048,
                "an error isn't as long as what caused it"
            );
        }
    }
}

/// Data that was taken reaches others as it came, and is a frame with nothing else in it.
fn deliver(data: &[u8]) {
    let body = [br#""from":"alice","data":"#, data].concat();
    let message = Message {
        position: Position::new(7, 1),
        time_ms: 1,
        body: body.into(),
    };
    let room = RoomName::parse("lobby").expect("a fine name");
    let frame = event::message(&room, &message);
    let delivered: Delivered<'_> = serde_json::from_slice(frame.json())
        .expect("a delivered frame is JSON with each member once");
    assert_eq!((delivered.r#type, &*delivered.from), ("message", "alice"));
    assert_eq!(delivered.data.get().as_bytes(), data.trim_ascii());
}

fn assert_json(json: &[u8]) {
    serde_json::from_slice::<serde::de::IgnoredAny>(json).expect("every frame is JSON");
}
