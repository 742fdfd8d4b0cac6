//! `docs/asyncapi.yaml`: is it AsyncAPI, and do its schemas describe just the frames that there are?
//!
//! The published schemas allow unknown members, since version 1 may grow. Here they are closed first: a frame with a member that its schema
//! doesn't know fails.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jsonschema::Validator;
use rotunda_crds::RoomName;
use rotunda_gateway::dialect::command::{self, Command};
use rotunda_gateway::dialect::cursor::Place;
use rotunda_gateway::dialect::{CloseReason, ErrorCode, EventKind, GapReason, sse};
use serde_json::{Value, json};

use crate::json_schema::{check, close};
use crate::page::root;

/// The official schema of AsyncAPI 3.0.0 documents, unchanged from version 6.11.1 of the npm package `@asyncapi/specs` (Apache-2.0).
const ASYNCAPI: &str = include_str!("asyncapi-3.0.0.json");

/// The schemas of all frames, closed.
pub(crate) struct Schemas {
    commands: BTreeMap<String, Validator>,
    events: BTreeMap<String, Validator>,
    /// What is no frame, by name: the end of an event stream, the answer to a poll.
    others: BTreeMap<String, Validator>,
}

impl Schemas {
    pub(crate) fn read() -> Self {
        let document = document();
        let frames = |action| {
            let mut names = sent_by(&document, action);
            names.retain(|name| kind_of(&document, name).is_some());
            names
        };
        let mut others = sent_by(&document, "send");
        others.retain(|name| kind_of(&document, name).is_none());
        Self {
            commands: validators(&document, &frames("receive")),
            events: validators(&document, &frames("send")),
            others: validators(&document, &others),
        }
    }

    /// A command's type may be unknown: then it is shown for what it is answered with.
    pub(crate) fn check_command_if_known(&self, frame: &Value) -> Result<(), String> {
        let kind = frame["type"].as_str().unwrap_or_default();
        self.commands
            .get(kind)
            .map_or(Ok(()), |schema| check(schema, frame))
    }

    pub(crate) fn check_event(&self, frame: &Value) -> Result<(), String> {
        let kind = frame["type"].as_str().unwrap_or_default();
        let schema = self
            .events
            .get(kind)
            .ok_or_else(|| format!("no schema for {frame}"))?;
        check(schema, frame)
    }

    /// Checks what is no frame against the message of that name.
    pub(crate) fn check_other(&self, name: &str, value: &Value) -> Result<(), String> {
        check(&self.others[name], value)
    }
}

fn document() -> Value {
    let text = fs::read_to_string(root().join("docs/asyncapi.yaml")).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

/// The names of the messages in the operations of one direction, answers included in the gateway's.
fn sent_by(document: &Value, action: &str) -> Vec<String> {
    let mut names = Vec::new();
    for operation in document["operations"].as_object().unwrap().values() {
        if operation["action"] == action {
            names.extend(references(&operation["messages"]));
        }
        if action == "send" {
            names.extend(references(&operation["reply"]["messages"]));
        }
    }
    names.sort();
    names.dedup();
    names
}

fn references(messages: &Value) -> impl Iterator<Item = String> {
    let list = messages.as_array().cloned().unwrap_or_default();
    list.into_iter().map(|message| {
        let pointer = message["$ref"].as_str().unwrap();
        pointer.rsplit('/').next().unwrap().to_owned()
    })
}

/// A closed validator for each type, or name of what has none.
fn validators(document: &Value, names: &[String]) -> BTreeMap<String, Validator> {
    let mut components = document["components"].clone();
    close(&mut components);
    names
        .iter()
        .map(|name| {
            let kind = kind_of(document, name).unwrap_or_else(|| name.clone());
            let pointer = format!("#/components/messages/{name}/payload");
            let schema = json!({ "$ref": pointer, "components": components });
            (kind, jsonschema::draft7::new(&schema).unwrap())
        })
        .collect()
}

/// The type of a frame; what is no frame has none.
fn kind_of(document: &Value, name: &str) -> Option<String> {
    let payload = &document["components"]["messages"][name]["payload"];
    let kind = payload["properties"]["type"]["const"].as_str();
    kind.map(str::to_owned)
}

/// The word that stands for a command in `type`. A new command doesn't compile until it stands here.
fn word(command: &Command) -> &'static str {
    match command {
        Command::Join { .. } => "join",
        Command::Leave { .. } => "leave",
        Command::Publish { .. } => "publish",
        Command::Signal { .. } => "signal",
        Command::History { .. } => "history",
        Command::Members { .. } => "members",
        Command::Refresh { .. } => "refresh",
    }
}

const COMMANDS: usize = 7;

#[test]
fn the_document_is_asyncapi() {
    let schema: Value = serde_json::from_str(ASYNCAPI).unwrap();
    let validator = jsonschema::draft7::new(&schema).unwrap();
    check(&validator, &document()).unwrap();
}

#[test]
fn every_command_has_a_schema_whose_examples_the_gateway_understands() {
    let document = document();
    let schemas = Schemas::read();
    let names = sent_by(&document, "receive");
    assert_eq!(names.len(), COMMANDS);
    for name in names {
        let examples = document["components"]["messages"][&name]["examples"]
            .as_array()
            .unwrap();
        assert!(!examples.is_empty(), "{name}");
        for example in examples {
            let frame = &example["payload"];
            schemas.check_command_if_known(frame).unwrap();
            let parsed = command::parse(&Bytes::from(frame.to_string())).unwrap();
            assert_eq!(
                Some(word(&parsed.command)),
                kind_of(&document, &name).as_deref()
            );
            assert_eq!(parsed.reference.is_some(), frame.get("ref").is_some());
        }
    }
}

#[test]
fn every_event_has_a_schema_and_every_schema_an_event() {
    let schemas = Schemas::read();
    let mut kinds: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(
        schemas
            .events
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>(),
        kinds
    );
}

#[test]
fn the_schemas_name_the_same_errors_and_gaps_as_the_code() {
    let document = document();
    let listed = |message: &str, member: &str| {
        document["components"]["messages"][message]["payload"]["properties"][member]["enum"].clone()
    };
    let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(listed("error", "code"), json!(codes));
    let reasons: Vec<_> = GapReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(listed("gap", "reason"), json!(reasons));
}

#[test]
fn every_end_of_an_event_stream_has_a_schema() {
    let schemas = Schemas::read();
    let room = RoomName::parse("lobby").unwrap();
    for reason in CloseReason::ALL {
        for after in [None, Some(Duration::from_millis(830))] {
            let mut event = BytesMut::new();
            sse::close(&mut event, *reason, after, &Place::new([(&room, None)]));
            let text = std::str::from_utf8(&event).unwrap();
            let data = text.lines().find_map(|line| line.strip_prefix("data: "));
            let close = serde_json::from_str(data.unwrap()).unwrap();
            schemas.check_other("close", &close).unwrap();
        }
    }
    let examples = document()["components"]["messages"]["close"]["examples"].clone();
    for example in examples.as_array().unwrap() {
        schemas.check_other("close", &example["payload"]).unwrap();
    }
}

#[test]
fn a_frame_that_its_schema_does_not_describe_fails() {
    let schemas = Schemas::read();
    schemas
        .check_event(&json!({ "type": "ack", "id": "7-1" }))
        .unwrap();
    for frame in [
        json!({ "type": "ack" }),
        json!({ "type": "ack", "id": 7 }),
        json!({ "type": "ack", "id": "7-1", "extra": 1 }),
        json!({ "type": "welcome", "id": "7-1" }),
        json!({ "type": "news" }),
    ] {
        schemas.check_event(&frame).unwrap_err();
    }
}
