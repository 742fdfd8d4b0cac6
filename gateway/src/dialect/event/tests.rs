//! Every frame is what the protocol shows, byte for byte.

use bytes::Bytes;

use super::*;
use crate::broker::{Departed, Member};
use crate::history::PageGap;

fn room() -> RoomName {
    RoomName::parse("lobby").unwrap()
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn mark(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn text(frame: &Frame) -> &str {
    std::str::from_utf8(frame.json()).unwrap()
}

fn stored(offset: u64) -> Message {
    Message {
        position: Position::new(7, offset),
        time_ms: 1_732_412_345_678,
        body: Bytes::from_static(br#""from":"alice","data":{"x":1}"#),
    }
}

#[test]
fn frames_read_as_the_protocol_shows_them() {
    let cases = [
        (
            joined(
                &Some(mark("1")),
                &room(),
                &Joined {
                    id: Position::new(7, 1042),
                    recovered: Some(true),
                    replayed: 3,
                    members: Some(17),
                },
            ),
            r#"{"type":"joined","ref":1,"room":"lobby","id":"7-1042","recovered":true,"replayed":3,"members":17}"#,
        ),
        (
            message(&room(), &stored(1043)),
            r#"{"type":"message","room":"lobby","id":"7-1043","time":1732412345678,"from":"alice","data":{"x":1}}"#,
        ),
        (
            signal(&room(), br#""from":"alice","name":"typing","data":null"#),
            r#"{"type":"signal","room":"lobby","from":"alice","name":"typing","data":null}"#,
        ),
        (
            presence(
                &room(),
                &PresenceChange {
                    joined: vec![user("bob")],
                    left: vec![Departed {
                        user: user("eve"),
                        last_seen_ms: 5,
                    }],
                    count: 18,
                },
                true,
            ),
            r#"{"type":"presence","room":"lobby","joined":[{"user":"bob"}],"left":[{"user":"eve","last_seen":5}],"count":18}"#,
        ),
        (
            gap(
                &room(),
                Position::new(7, 1043),
                Position::new(8, 0),
                GapReason::Trimmed,
            ),
            r#"{"type":"gap","room":"lobby","after":"7-1043","next":"8-0","reason":"trimmed"}"#,
        ),
        (
            ack(&Some(mark("2")), Position::new(7, 1044)),
            r#"{"type":"ack","ref":2,"id":"7-1044"}"#,
        ),
        (
            error(
                &Some(mark("3")),
                None,
                &Failure::rate_limited("slow down", Duration::from_micros(399_001)),
            ),
            r#"{"type":"error","ref":3,"code":"rate_limited","message":"slow down","retry_after_ms":400}"#,
        ),
        (
            reconnect(Duration::from_millis(1830)),
            r#"{"type":"reconnect","after_ms":1830}"#,
        ),
        (
            left(&None, &room(), Some("forbidden")),
            r#"{"type":"left","room":"lobby","reason":"forbidden"}"#,
        ),
        (
            done(EventKind::Refreshed, &Some(mark("\"a\""))),
            r#"{"type":"refreshed","ref":"a"}"#,
        ),
        (heartbeat(), r#"{"type":"heartbeat"}"#),
        (
            members(
                &None,
                &room(),
                &Members {
                    members: vec![Member {
                        user: user("alice"),
                    }],
                    count: 1,
                },
            ),
            r#"{"type":"members","room":"lobby","members":[{"user":"alice"}],"count":1}"#,
        ),
        (
            history(
                &None,
                &room(),
                &Page {
                    messages: vec![stored(1), stored(2)],
                    next: Some(Position::new(7, 1)),
                    gap: None,
                },
            ),
            concat!(
                r#"{"type":"history","room":"lobby","messages":[{"id":"7-1","time":1732412345678,"from":"alice","data":{"x":1}},"#,
                r#"{"id":"7-2","time":1732412345678,"from":"alice","data":{"x":1}}],"next":"7-1"}"#
            ),
        ),
        (
            history(
                &None,
                &room(),
                &Page {
                    messages: vec![],
                    next: None,
                    gap: Some(PageGap {
                        after: Position::new(7, 1),
                        next: Position::new(7, 9),
                        reason: GapReason::Expired,
                    }),
                },
            ),
            concat!(
                r#"{"type":"history","room":"lobby","messages":[],"next":null,"#,
                r#""gap":{"after":"7-1","next":"7-9","reason":"expired"}}"#
            ),
        ),
    ];
    for (frame, expected) in cases {
        assert_eq!(text(&frame), expected);
        serde_json::from_slice::<serde_json::Value>(frame.json()).unwrap();
    }
}

#[test]
fn a_hostile_user_id_stays_inside_its_string() {
    let frame = welcome(
        ConnectionId::random(),
        &user(r#"a"},{"\"#),
        &GatewayConfig::default(),
    );
    let value: serde_json::Value = serde_json::from_slice(frame.json()).unwrap();
    assert_eq!(value["user"], r#"a"},{"\"#);
    assert_eq!(value["limits"]["message_bytes"], 65536);
}
