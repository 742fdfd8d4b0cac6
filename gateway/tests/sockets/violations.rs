//! What breaks the WebSocket protocol (RFC 6455) or ours: each ends with the code that docs/protocol.md gives for it.

use crate::gateway::{TestGateway, config};
use crate::raw::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RawClient, TEXT, frame, header, text,
};

/// The codes of connections that sent this after the welcome.
async fn assert_closed(code: u16, cases: Vec<(&str, Vec<u8>)>) {
    let gateway = TestGateway::start(config(&["lobby"]));
    for (what, bytes) in cases {
        let mut client = RawClient::open(&gateway, "alice", "").await;
        client.send(&bytes).await;
        let (closed, reason) = client.closed().await;
        assert_eq!(closed, code, "{what}: {reason}");
        assert!(!reason.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn what_breaks_the_framing_is_closed_with_1002() {
    let mut cases = vec![
        ("an unmasked frame", b"\x81\x01a".to_vec()),
        ("the first reserved bit", frame(FIN | 0x40 | TEXT, "a")),
        ("the second reserved bit", frame(FIN | 0x20 | TEXT, "a")),
        ("the third reserved bit", frame(FIN | 0x10 | TEXT, "a")),
        ("a continuation of nothing", frame(FIN | CONTINUATION, "a")),
        (
            "a new message within another",
            [frame(TEXT, "{"), text("{}")].concat(),
        ),
        (
            "a binary message within a text",
            [frame(TEXT, "{"), frame(FIN | BINARY, "")].concat(),
        ),
        ("a fragmented ping", frame(PING, "a")),
        ("a fragmented close", frame(CLOSE, 1000u16.to_be_bytes())),
        ("a ping that is too long", frame(FIN | PING, [b'a'; 126])),
        ("a pong that is too long", frame(FIN | PONG, [b'a'; 126])),
        ("a close of one byte", frame(FIN | CLOSE, "\u{3}")),
        (
            "another protocol",
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
        ),
        (
            "a TLS handshake",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        ),
    ];
    for opcode in [0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        cases.push(("a reserved opcode", frame(FIN | opcode, "")));
    }
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 2000, 5000, 65_535] {
        cases.push((
            "a code that may not be sent",
            frame(FIN | CLOSE, code.to_be_bytes()),
        ));
    }
    assert_closed(1002, cases).await;
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_closed_with_1007() {
    let cases = vec![
        ("a stray byte", text(b"\"\xFF\"")),
        ("an overlong form", text(b"\xC0\xAF")),
        ("half a surrogate pair", text(b"\xED\xA0\x80")),
        ("beyond Unicode", text(b"\xF4\x90\x80\x80")),
        ("cut off", text(b"\xE2\x82")),
        (
            "broken across fragments",
            [frame(TEXT, b"\xE2\x82"), frame(FIN | CONTINUATION, b"\x28")].concat(),
        ),
        (
            "cut off at the last fragment",
            [frame(TEXT, b"a\xE2"), frame(FIN | CONTINUATION, b"\x82")].concat(),
        ),
        (
            "the reason of a close",
            frame(FIN | CLOSE, b"\x03\xE8\xFF\xFF"),
        ),
    ];
    assert_closed(1007, cases).await;
}

#[tokio::test]
async fn what_is_larger_than_a_frame_may_be_is_closed_with_4413_before_it_has_come() {
    const MOST: u64 = 65_536 + 16 * 1024;
    let piece = vec![b' '; 32 * 1024];
    let many_fragments = [
        frame(TEXT, &piece),
        frame(CONTINUATION, &piece),
        frame(CONTINUATION, &piece),
    ]
    .concat();
    let cases = vec![
        ("one byte too many", header(FIN | TEXT, MOST + 1)),
        ("a gigabyte", header(FIN | TEXT, 1 << 30)),
        ("more than there is", header(FIN | TEXT, (1 << 63) - 1)),
        ("a huge binary", header(FIN | BINARY, 1 << 40)),
        ("a huge ping", header(FIN | PING, 1 << 40)),
        ("by fragments", many_fragments),
        (
            "by a fragment that claims to be huge",
            [frame(TEXT, "{"), header(CONTINUATION, 1 << 62)].concat(),
        ),
    ];
    assert_closed(4413, cases).await;
}

#[tokio::test]
async fn what_is_no_frame_of_this_protocol_is_closed_with_4400() {
    let deep = format!(
        r#"{{"type":"publish","room":"lobby","data":{}{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    let cases = vec![
        (
            "a binary message",
            frame(FIN | BINARY, r#"{"type":"members","room":"lobby"}"#),
        ),
        ("no text at all", text("")),
        ("no JSON", text("hello")),
        ("no object", text("[]")),
        ("no type", text(r#"{"room":"lobby"}"#)),
        ("an unknown type", text(r#"{"type":"shout"}"#)),
        (
            "a member twice",
            text(r#"{"type":"leave","room":"a","room":"b"}"#),
        ),
        (
            "a member of another kind",
            text(r#"{"type":"leave","room":1}"#),
        ),
        (
            "a long `ref`",
            text(format!(
                r#"{{"type":"leave","room":"a","ref":"{}"}}"#,
                "r".repeat(64)
            )),
        ),
        (
            "an object as `ref`",
            text(r#"{"type":"leave","room":"a","ref":{}}"#),
        ),
        ("nested too deeply", text(deep)),
        (
            "something after the object",
            text(r#"{"type":"leave","room":"a"} {}"#),
        ),
    ];
    assert_closed(4400, cases).await;
}

#[tokio::test]
async fn a_message_in_fragments_is_one_with_pings_in_between() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut client = RawClient::open(&gateway, "alice", "room=lobby").await;
    assert_eq!(client.json().await["type"], "joined");
    let message = r#"{"type":"publish","room":"lobby","ref":1,"data":"€"}"#;
    // In the middle of the three bytes of the euro sign.
    let (first, second) = message.as_bytes().split_at(message.find('€').unwrap() + 1);
    let bytes = [
        frame(TEXT, first),
        frame(FIN | PING, "p1"),
        frame(CONTINUATION, ""),
        frame(FIN | PING, ""),
        frame(FIN | CONTINUATION, second),
    ]
    .concat();
    client.send(bytes).await;
    assert_eq!(client.frame().await, Some((FIN | PONG, b"p1".to_vec())));
    assert_eq!(client.frame().await, Some((FIN | PONG, vec![])));
    let (mut acked, mut delivered) = (false, false);
    while !(acked && delivered) {
        let frame = client.json().await;
        acked |= frame["type"] == "ack";
        delivered |= frame["data"] == "€";
    }
}

#[tokio::test]
async fn a_message_that_comes_byte_by_byte_is_taken() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut client = RawClient::open(&gateway, "alice", "").await;
    for byte in text(r#"{"type":"members","room":"lobby","ref":7}"#) {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.json().await["ref"], 7);
}

#[tokio::test]
async fn what_comes_in_one_packet_with_the_handshake_is_read() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut client = RawClient::connect(&gateway).await;
    let mut bytes = crate::raw::handshake(&gateway, "alice", "").into_bytes();
    bytes.extend(frame(FIN | PING, "early"));
    bytes.extend(text(r#"{"type":"leave","room":"lobby","ref":1}"#));
    // And the beginning of one that comes later.
    let late = text(r#"{"type":"leave","room":"lobby","ref":2}"#);
    bytes.extend(&late[..9]);
    client.send(bytes).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (first, payload) = client.frame().await.unwrap();
        seen.push((first, String::from_utf8(payload).unwrap()));
    }
    assert!(seen.contains(&(FIN | PONG, "early".to_owned())), "{seen:?}");
    assert!(
        seen.iter().any(|(_, text)| text.contains(r#""ref":1"#)),
        "{seen:?}"
    );
    client.send(&late[9..]).await;
    assert_eq!(client.json().await["ref"], 2);
}

#[tokio::test]
async fn a_clean_close_is_answered_with_its_own_code_and_a_bare_one_too() {
    let gateway = TestGateway::start(config(&["lobby"]));
    for code in [1000u16, 1001, 3000, 4999] {
        let mut client = RawClient::open(&gateway, "alice", "").await;
        client.send(frame(FIN | CLOSE, code.to_be_bytes())).await;
        assert_eq!(client.closed().await.0, code);
    }
    let mut client = RawClient::open(&gateway, "alice", "").await;
    client.send(frame(FIN | CLOSE, "")).await;
    assert_eq!(client.frame().await, Some((FIN | CLOSE, vec![])));
    assert_eq!(client.frame().await, None);
}
