use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> RoomPattern {
    RoomPattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn name(text: &str) -> RoomName {
    RoomName::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn stars_match_within_and_across_segments() {
    for (text, yes, no) in [
        (
            "team:*",
            &["team:a", "team:", "team:a.b"][..],
            &["team:a:b", "team", "teams:a"][..],
        ),
        (
            "team:**",
            &["team:a", "team:a:b", "team:"],
            &["team", "xteam:a"],
        ),
        ("**", &["a", "a:b", ":"], &["user:a", "user:"]),
        ("*", &["a", "users", "user"], &["a:b", "user:a", ":"]),
        ("*:chat", &["a:chat", ":chat"], &["a:b:chat", "chat"]),
        ("**:chat", &["a:chat", "a:b:chat"], &["chat", "a:chats"]),
        ("a*b*c", &["abc", "axbxc", "abbc"], &["ab:c", "abcd", "acb"]),
        ("a**b*c", &["a:x:bc", "abbxc"], &["a:x:b:c"]),
        ("**a*", &["a", "x:ya", "a:a"], &["a:b"]),
        ("user:*", &["user:a"], &["user:a:b", "team:a"]),
        ("user:**", &["user:a", "user:a:b"], &["team:a"]),
        ("u**", &["ux", "users:a"], &["user:a"]),
        ("*:*", &["a:b"], &["user:b", "a:b:c"]),
    ] {
        let pattern = pattern(text);
        for room in yes {
            assert!(pattern.matches(&name(room)), "{text} matches {room}");
        }
        for room in no {
            assert!(!pattern.matches(&name(room)), "{text} doesn't match {room}");
        }
    }
}

#[test]
fn impossible_patterns_say_why() {
    assert_eq!(RoomPattern::parse(""), Err(PatternError::Empty));
    assert_eq!(
        RoomPattern::parse("lobby"),
        Err(PatternError::NoStar("lobby".into()))
    );
    assert_eq!(RoomPattern::parse("a***"), Err(PatternError::Stars));
    assert_eq!(
        RoomPattern::parse("a b*"),
        Err(PatternError::Character { found: ' ', at: 1 })
    );
    assert_eq!(
        RoomPattern::parse("a?*"),
        Err(PatternError::Character { found: '?', at: 1 })
    );
    assert_eq!(
        RoomPattern::parse(&"*".repeat(201)),
        Err(PatternError::TooLong(201))
    );
    assert_eq!(
        RoomPattern::parse(&"*a".repeat(9)),
        Err(PatternError::TooManyStars)
    );
}

#[test]
fn the_worst_pattern_is_matched_quickly() {
    let hostile = pattern("**a*a*a**a*a*a**a*b");
    let room = name(&"a".repeat(200));
    let started = Instant::now();
    for _ in 0..1000 {
        assert!(!hostile.matches(&room));
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

/// Says the same by trying everything.
fn naive(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=name.len()).any(|taken| naive(rest, &name[taken..])),
        [b'*', rest @ ..] => (0..=name.len())
            .take_while(|taken| !name[..*taken].contains(&b':'))
            .any(|taken| naive(rest, &name[taken..])),
        [byte, rest @ ..] => name.first() == Some(byte) && naive(rest, &name[1..]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn matching_agrees_with_trying_everything(text in "[ab:*]{1,9}", room in "[ab:]{1,10}") {
        if let Ok(pattern) = RoomPattern::parse(&text) {
            prop_assert_eq!(pattern.matches(&name(&room)), naive(text.as_bytes(), room.as_bytes()));
        }
    }

    #[test]
    fn parsing_never_panics_and_keeps_the_text(text in "\\PC{0,220}") {
        if let Ok(pattern) = RoomPattern::parse(&text) {
            prop_assert_eq!(pattern.as_str(), text);
        }
    }

    #[test]
    fn no_pattern_without_the_prefix_reaches_a_users_room(text in "[a-z:*]{1,10}", user in "[a-z]{1,5}") {
        if let Ok(pattern) = RoomPattern::parse(&text) {
            let reached = pattern.matches(&name(&format!("user:{user}")));
            prop_assert!(!reached || text.starts_with("user:"));
        }
    }
}
