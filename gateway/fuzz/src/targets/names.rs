//! Ids, users, rooms and patterns.

use rotunda_crds::RoomName;
use rotunda_crds::pattern::RoomPattern;
use rotunda_crds::room_name::user_room;
use rotunda_gateway::ids::{Position, UserId};

pub(super) fn id(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string(), text, "an id has one form");
        assert!(position.next() >= position);
    }
}

pub(super) fn room_name(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(name) = RoomName::parse(text) {
        assert_eq!(name.as_str(), text);
        assert!((1..=200).contains(&text.len()));
        // Names stand unescaped in frames, in headers and in Redis's keys between braces.
        assert!(!text.contains(['"', '\\', '{', '}', '/', ' ']) && text.is_ascii());
        assert_eq!(name.is_reserved(), text.starts_with("user:"));
        assert_eq!(name.segments().collect::<Vec<_>>().join(":"), text);
    }
    if let Ok(user) = UserId::parse(text)
        && let Ok(room) = user_room(text)
    {
        assert!(room.is_room_of(user.as_str()));
    }
}

pub(super) fn room_pattern(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let text = |part: Option<&'_ [u8]>| part.and_then(|part| String::from_utf8(part.to_vec()).ok());
    let (Some(pattern), Some(name)) = (text(parts.next()), text(parts.next())) else {
        return;
    };
    let (Ok(parsed), Ok(room)) = (RoomPattern::parse(&pattern), RoomName::parse(&name)) else {
        return;
    };
    assert_eq!(parsed.as_str(), pattern);
    assert!(pattern.starts_with(parsed.literal_prefix()));
    let matches = parsed.matches(&room);
    assert!(!matches || name.starts_with(parsed.literal_prefix()));
    assert!(!matches || !room.is_reserved() || pattern.starts_with("user:"));
    if !room.is_reserved() || pattern.starts_with("user:") {
        assert_eq!(
            matches,
            by_table(pattern.as_bytes(), name.as_bytes()),
            "{pattern} {name}"
        );
    }
}

/// The same question, answered by a table over all prefixes of both.
fn by_table(pattern: &[u8], name: &[u8]) -> bool {
    // Which prefixes of the name the pattern so far matches.
    let mut reached: Vec<bool> = (0..=name.len()).map(|length| length == 0).collect();
    let mut rest = pattern;
    while let Some((first, tail)) = rest.split_first() {
        let across = rest.starts_with(b"**");
        rest = if across { &rest[2..] } else { tail };
        let before = reached.clone();
        for length in 0..=name.len() {
            reached[length] = if *first == b'*' {
                let grown =
                    length > 0 && reached[length - 1] && (across || name[length - 1] != b':');
                before[length] || grown
            } else {
                length > 0 && before[length - 1] && name[length - 1] == *first
            };
        }
    }
    reached[name.len()]
}
