//! Frames of every kind, made by the gateway's encoder, against their schemas: also those that no example shows.

use std::time::Duration;

use bytes::Bytes;
use rotunda_crds::{GatewayConfig, RoomName};
use rotunda_gateway::broker::{Departed, Member, Members, Message, PresenceChange};
use rotunda_gateway::dialect::event::{self, Joined, Reference};
use rotunda_gateway::dialect::{ErrorCode, EventKind, Failure, Frame, GapReason};
use rotunda_gateway::history::{Page, PageGap};
use rotunda_gateway::ids::{ConnectionId, Position, UserId};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::schemas::Schemas;

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// Each shape that a kind of frame has. A new kind doesn't compile until it stands here.
fn frames(kind: EventKind, reference: &Reference) -> Vec<Frame> {
    let room = RoomName::parse("team:red").unwrap();
    let position = Position::new(7, 1042);
    let message = |body: &'static str| Message {
        position,
        time_ms: 1_732_412_345_678,
        body: Bytes::from_static(body.as_bytes()),
    };
    let messages = [
        message(r#""from":"alice","data":{"x":[1,null]}"#),
        message(r#""from":null,"data":null"#),
    ];
    let joined = |recovered, replayed, members| {
        let joined = Joined {
            id: position,
            recovered,
            replayed,
            members,
        };
        event::joined(reference, &room, &joined)
    };
    match kind {
        EventKind::Welcome => vec![event::welcome(
            ConnectionId::random(),
            &user("alice"),
            &GatewayConfig::default(),
        )],
        EventKind::Joined => vec![
            joined(None, 0, None),
            joined(Some(true), 3, Some(17)),
            joined(Some(false), 0, None),
        ],
        EventKind::Left => [
            None,
            Some("forbidden"),
            Some("removed"),
            Some("unavailable"),
        ]
        .map(|reason| event::left(reference, &room, reason))
        .into(),
        EventKind::Message => messages
            .iter()
            .map(|message| event::message(&room, message))
            .collect(),
        EventKind::Signal => [
            r#""from":"alice","name":"typing""#,
            r#""from":null,"name":"typing","data":{}"#,
        ]
        .map(|body| event::signal(&room, body.as_bytes()))
        .into(),
        EventKind::Presence => {
            let change = PresenceChange {
                joined: vec![user("bob")],
                left: vec![Departed {
                    user: user("eve"),
                    last_seen_ms: 5,
                }],
                count: 18,
            };
            let everyone = Members {
                members: vec![Member { user: user("bob") }],
                count: 1,
            };
            vec![
                event::presence(&room, &change, true),
                event::presence(&room, &change, false),
                event::all_present(&room, &everyone),
            ]
        }
        EventKind::Gap => GapReason::ALL
            .iter()
            .map(|reason| event::gap(&room, position, position.next(), *reason))
            .collect(),
        EventKind::Ack => vec![event::ack(reference, position)],
        EventKind::History => {
            let gap = PageGap {
                after: position,
                next: position.next(),
                reason: GapReason::Expired,
            };
            [(None, None), (Some(position), Some(gap))]
                .map(|(next, gap)| {
                    let page = Page {
                        messages: messages.to_vec(),
                        next,
                        gap,
                    };
                    event::history(reference, &room, &page)
                })
                .into()
        }
        EventKind::Members => {
            let members = Members {
                members: vec![Member {
                    user: user("alice"),
                }],
                count: 2000,
            };
            vec![event::members(reference, &room, &members)]
        }
        EventKind::Signaled | EventKind::Refreshed => vec![event::done(kind, reference)],
        EventKind::Error => ErrorCode::ALL
            .iter()
            .flat_map(|code| {
                let plain = Failure::new(*code, "no");
                let later = Failure {
                    retry_after: Some(Duration::from_millis(400)),
                    ..plain.clone()
                };
                [
                    event::error(reference, Some(&room), &plain),
                    event::error(reference, None, &later),
                ]
            })
            .collect(),
        EventKind::Reconnect => vec![event::reconnect(Duration::from_millis(1830))],
        EventKind::Heartbeat => vec![event::heartbeat()],
    }
}

#[test]
fn every_frame_that_the_gateway_makes_fits_its_schema() {
    let schemas = Schemas::read();
    let references = ["1", "-2.5e3", r#""mark""#].map(|text| Some(raw(text)));
    for kind in EventKind::ALL {
        // `signaled` answers only what has a mark.
        let without = (*kind != EventKind::Signaled).then_some(None);
        for reference in references.iter().cloned().chain(without) {
            for frame in frames(*kind, &reference) {
                let frame: Value = serde_json::from_slice(frame.json()).unwrap();
                assert_eq!(frame["type"], kind.as_str());
                schemas.check_event(&frame).unwrap();
            }
        }
    }
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}
