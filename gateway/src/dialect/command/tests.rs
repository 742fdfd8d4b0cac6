//! What the parser takes, what it refuses and how.

use proptest::prelude::*;

use super::*;
use crate::dialect::cursor::Place;

fn parse_text(text: &str) -> Result<Request, ParseError> {
    parse(&Bytes::copy_from_slice(text.as_bytes()))
}

fn command_of(text: &str) -> Command {
    parse_text(text).unwrap().command
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

fn refused(text: &str) -> (Option<String>, ErrorCode) {
    match parse_text(text) {
        Err(ParseError::Refused { reference, failure }) => {
            (reference.map(|raw| raw.get().to_owned()), failure.code)
        }
        other => panic!("{text} gave {other:?}"),
    }
}

#[test]
fn a_join_takes_the_id_of_a_stream_of_several_rooms() {
    let rooms = [room("lobby"), room("den")];
    let positions = [Position::new(7, 3), Position::new(8, 4)].map(Some);
    let id = Place::new(rooms.iter().zip(positions)).id();
    let last_seen = |name: &str| {
        let text = format!(r#"{{"type":"join","room":"{name}","last_seen_id":"{id}"}}"#);
        match command_of(&text) {
            Command::Join { last_seen, .. } => last_seen,
            other => panic!("{text} gave {other:?}"),
        }
    };
    assert_eq!(last_seen("lobby"), positions[0]);
    assert_eq!(last_seen("den"), positions[1]);
    assert_eq!(last_seen("hall"), None);
}

#[test]
fn every_command_is_understood() {
    let cases = [
        (
            r#"{"type":"join","room":"lobby","last_seen_id":"7-3"}"#,
            Command::Join {
                room: room("lobby"),
                last_seen: Some(Position::new(7, 3)),
            },
        ),
        (
            r#"{"type":"leave","room":"lobby"}"#,
            Command::Leave {
                room: room("lobby"),
            },
        ),
        (
            r#"{"type":"publish","room":"lobby","data": {"a" : 1.0e400} ,"key":"k"}"#,
            Command::Publish {
                room: room("lobby"),
                data: Bytes::from_static(br#"{"a" : 1.0e400}"#),
                key: Some("k".to_owned()),
            },
        ),
        (
            r#"{"type":"publish","room":"lobby","data":null}"#,
            Command::Publish {
                room: room("lobby"),
                data: Bytes::from_static(b"null"),
                key: None,
            },
        ),
        (
            r#"{"type":"signal","room":"lobby","name":"typing"}"#,
            Command::Signal {
                room: room("lobby"),
                name: "typing".to_owned(),
                data: None,
            },
        ),
        (
            r#"{"type":"history","room":"lobby","before":"7-9","limit":10}"#,
            Command::History {
                room: room("lobby"),
                query: PageQuery {
                    before: Some(Position::new(7, 9)),
                    after: None,
                    order: None,
                    limit: 10,
                },
            },
        ),
        (
            r#"{"type":"history","room":"lobby"}"#,
            Command::History {
                room: room("lobby"),
                query: PageQuery {
                    before: None,
                    after: None,
                    order: None,
                    limit: DEFAULT_PAGE,
                },
            },
        ),
        (
            r#"{"type":"history","room":"lobby","after":"7-1","before":"7-9","order":"desc"}"#,
            Command::History {
                room: room("lobby"),
                query: PageQuery {
                    before: Some(Position::new(7, 9)),
                    after: Some(Position::new(7, 1)),
                    order: Some(Order::NewestFirst),
                    limit: DEFAULT_PAGE,
                },
            },
        ),
        (
            r#"{"type":"members","room":"lobby"}"#,
            Command::Members {
                room: room("lobby"),
            },
        ),
        (
            r#"{"type":"refresh","token":"t","from_the_future":[1]}"#,
            Command::Refresh {
                token: Token("t".to_owned()),
            },
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(command_of(text), expected, "{text}");
    }
}

#[test]
fn data_is_kept_as_the_bytes_that_came() {
    let text = r#"{"data":{"b":1, "a":"\u00e4","b":2},"type":"publish","room":"r"}"#;
    let Command::Publish { data, .. } = command_of(text) else {
        panic!("not a publish")
    };
    assert_eq!(data, br#"{"b":1, "a":"\u00e4","b":2}"#.as_slice());
}

#[test]
fn what_is_no_frame_of_this_protocol_is_malformed() {
    for text in [
        "",
        "hello",
        "null",
        "[]",
        "[\"join\"]",
        "{}",
        r#"{"type":1}"#,
        r#"{"type":"jump"}"#,
        r#"{"type":"join","room":5}"#,
        r#"{"type":"join","room":"a","room":"b"}"#,
        r#"{"type":"join","room":"a"} trailing"#,
        r#"{"type":"join","room":"a""#,
        r#"{"type":"join","room":"a","ref":{}}"#,
        r#"{"type":"join","room":"a","ref":[1]}"#,
        r#"{"type":"history","room":"a","limit":-1}"#,
        r#"{"type":"history","room":"a","limit":99999999999999999999}"#,
        r#"{"type":"publish","room":"a","data":01}"#,
        "{\"type\":\"publish\",\"room\":\"a\",\"data\":\"line\nbreak\"}",
    ] {
        assert!(
            matches!(parse_text(text), Err(ParseError::Malformed(_))),
            "{text}"
        );
    }
    let long = format!(
        r#"{{"type":"leave","room":"a","ref":"{}"}}"#,
        "x".repeat(MAX_REFERENCE_BYTES)
    );
    assert!(matches!(parse_text(&long), Err(ParseError::Malformed(_))));
}

#[test]
fn invalid_utf_8_is_malformed() {
    let text = Bytes::from_static(b"{\"type\":\"publish\",\"room\":\"a\",\"data\":\"\xff\"}");
    assert!(matches!(parse(&text), Err(ParseError::Malformed(_))));
}

#[test]
fn impossible_wishes_are_refused_with_their_reference() {
    let long_room = format!(r#"{{"ref":1,"type":"join","room":"{}"}}"#, "x".repeat(201));
    for (text, code) in [
        (r#"{"ref":1,"type":"join"}"#, ErrorCode::BadRequest),
        (
            r#"{"ref":1,"type":"join","room":""}"#,
            ErrorCode::InvalidRoom,
        ),
        (
            r#"{"ref":1,"type":"join","room":"white space"}"#,
            ErrorCode::InvalidRoom,
        ),
        (
            r#"{"ref":1,"type":"join","room":"zoë"}"#,
            ErrorCode::InvalidRoom,
        ),
        (long_room.as_str(), ErrorCode::InvalidRoom),
        (
            r#"{"ref":1,"type":"join","room":"a","last_seen_id":"yesterday"}"#,
            ErrorCode::InvalidId,
        ),
        (
            r#"{"ref":1,"type":"publish","room":"a"}"#,
            ErrorCode::BadRequest,
        ),
        (
            r#"{"ref":1,"type":"publish","room":"a","data":1,"key":""}"#,
            ErrorCode::BadRequest,
        ),
        (
            r#"{"ref":1,"type":"signal","room":"a"}"#,
            ErrorCode::BadRequest,
        ),
        (
            r#"{"ref":1,"type":"history","room":"a","limit":0}"#,
            ErrorCode::BadRequest,
        ),
        (
            r#"{"ref":1,"type":"history","room":"a","limit":1001}"#,
            ErrorCode::BadRequest,
        ),
        (
            r#"{"ref":1,"type":"history","room":"a","order":"newest"}"#,
            ErrorCode::BadRequest,
        ),
        (r#"{"ref":1,"type":"refresh"}"#, ErrorCode::BadRequest),
    ] {
        assert_eq!(refused(text), (Some("1".to_owned()), code), "{text}");
    }
}

#[test]
fn depth_has_a_limit_that_brackets_in_strings_do_not_count_for() {
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        parse_text(&format!(
            r#"{{"type":"publish","room":"a","data":{open}{close}}}"#
        ))
    };
    assert!(nested(MAX_DEPTH - 1).is_ok());
    assert!(matches!(nested(MAX_DEPTH), Err(ParseError::Malformed(_))));
    assert!(matches!(nested(1_000_000), Err(ParseError::Malformed(_))));
    let text = format!(
        r#"{{"type":"publish","room":"a","data":"\"{}"}}"#,
        "[".repeat(500)
    );
    assert!(parse_text(&text).is_ok());
}

#[test]
fn a_token_never_shows() {
    let request = parse_text(r#"{"type":"refresh","token":"secret"}"#).unwrap();
    assert!(!format!("{request:?}").contains("secret"));
}

/// JSON-like noise: far more of it gets past the first byte than of random bytes.
fn noise() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just(":".to_owned()),
        Just(",".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("\"type\":".to_owned()),
        Just("\"join\"".to_owned()),
        Just("\"publish\"".to_owned()),
        Just("\"room\":\"a\"".to_owned()),
        Just("\"data\":".to_owned()),
        Just("\"ref\":".to_owned()),
        Just("1e999".to_owned()),
        Just("-0".to_owned()),
        Just("\\ud800".to_owned()),
        Just("null".to_owned()),
        ".{0,3}",
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
        prop_assert!(parse(&Bytes::from(bytes)).is_err());
    }

    #[test]
    fn no_noise_makes_the_parser_panic(text in noise()) {
        if let Ok(request) = parse_text(&text) {
            // Whatever is taken can be passed on inside a frame.
            if let Command::Publish { data, .. } = request.command {
                prop_assert!(serde_json::from_slice::<&RawValue>(&data).is_ok());
            }
        }
    }

    #[test]
    fn any_json_survives_as_data(value in "[a-z\\\\\"\u{e9}]{0,20}") {
        let data = serde_json::to_string(&value).unwrap();
        let Command::Publish { data: kept, .. } = command_of(&format!(r#"{{"type":"publish","room":"a","data":{data}}}"#)) else {
            panic!("not a publish")
        };
        prop_assert_eq!(kept, data.as_bytes());
    }
}

#[test]
fn a_reserved_name_that_is_nobodys_is_answered_with_the_one_that_was_meant() {
    let message = |name: &str| room_name(Some(name)).unwrap_err().message;
    assert!(message("user:alice@example.com").contains("is user:alice%40example.com meant?"));
    assert!(message("user:100%").contains("is user:100%25 meant?"));
    assert!(message("user:a%4g").contains("is user:a%254g meant?"));
    assert!(message("user:").contains("no user's room"));
    for name in [
        "user:alice",
        "user:alice%40example.com",
        "users:a@b",
        "team:user:x",
    ] {
        assert_eq!(room_name(Some(name)).unwrap().as_str(), name);
    }
}
