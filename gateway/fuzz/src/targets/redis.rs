//! What Redis, or whoever sits between, sends; and the URL that says where it is.

use rotunda_crds::RoomName;
use rotunda_gateway::broker::Event;
use rotunda_gateway::broker::redis::{RedisUrl, fuzzing};
use rotunda_gateway::dialect::event;

/// However a stream is cut into reads, the same replies come out of it.
pub(super) fn reply(input: &[u8]) {
    let Some((size, stream)) = input.split_first() else {
        return;
    };
    let whole = fuzzing::read_replies([stream]);
    let pieces = fuzzing::read_replies(stream.chunks(usize::from(*size).max(1)));
    // What came before a stream became garbled may have been read already when it comes in pieces.
    assert_eq!(whole.garbled, pieces.garbled);
    assert!(
        pieces.replies.starts_with(&whole.replies) || whole.replies.starts_with(&pieces.replies)
    );
    if !whole.garbled {
        assert_eq!(whole, pieces);
    }
}

pub(super) fn message(input: &[u8]) {
    if let Some(Event::Presence(change)) = fuzzing::decode_message(input) {
        let room = RoomName::parse("lobby").expect("a fine name");
        let frame = event::presence(&room, &change, true);
        serde_json::from_slice::<serde_json::Value>(frame.json()).expect("every frame is JSON");
    }
}

pub(super) fn entry(input: &[u8]) {
    fuzzing::decode_answer(input);
}

const SECRET: &str = "s3cr3t-0f-r3d1s";

/// Whatever is wrong with a URL, nothing that is shown of it holds the password.
pub(super) fn url(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let shown = |text: &str| match RedisUrl::parse(text) {
        Ok(url) => format!("{url:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    shown(text);
    if let Some((scheme, rest)) = text.split_once("://") {
        let with_login = format!("{scheme}://:{SECRET}@{rest}");
        assert!(!shown(&with_login).contains(SECRET), "{with_login}");
    }
}
