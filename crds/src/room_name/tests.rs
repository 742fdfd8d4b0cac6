use proptest::prelude::*;

use super::*;

#[test]
fn every_allowed_character_is_taken() {
    let name = RoomName::parse("AZaz09_.:@%-").expect("all allowed");
    assert_eq!(name.as_str(), "AZaz09_.:@%-");
    assert_eq!(name.segments().collect::<Vec<_>>(), ["AZaz09_.", "@%-"]);
}

#[test]
fn impossible_names_say_why() {
    assert_eq!(RoomName::parse(""), Err(RoomNameError::Empty));
    assert_eq!(
        RoomName::parse(&"a".repeat(201)),
        Err(RoomNameError::TooLong(201))
    );
    assert_eq!(
        RoomName::parse("a b"),
        Err(RoomNameError::Character { found: ' ', at: 1 })
    );
    assert_eq!(
        RoomName::parse("ä"),
        Err(RoomNameError::Character { found: 'ä', at: 0 })
    );
    assert_eq!(
        RoomName::parse("a{b}"),
        Err(RoomNameError::Character { found: '{', at: 1 })
    );
    assert_eq!(
        RoomName::parse("a\0"),
        Err(RoomNameError::Character { found: '\0', at: 1 })
    );
    assert!(RoomName::parse(&"a".repeat(200)).is_ok());
}

#[test]
fn a_name_passes_through_json_and_a_bad_one_does_not() {
    let name: RoomName = serde_json::from_str(r#""team:a""#).expect("a name");
    assert_eq!(serde_json::to_string(&name).expect("text"), r#""team:a""#);
    assert!(serde_json::from_str::<RoomName>(r#""a b""#).is_err());
    let escaped: RoomName =
        serde_json::from_str(r#""te\u0061m""#).expect("an escaped name is owned text");
    assert_eq!(escaped.as_str(), "team");
}

#[test]
fn a_users_room_is_one_segment() {
    let room = user_room("a:b@c/ä").expect("fits");
    assert_eq!(room.as_str(), "user:a%3Ab%40c%2F%C3%A4");
    assert!(room.is_room_of("a:b@c/ä"));
    assert!(!room.is_room_of("a"));
    assert_eq!(room.segments().count(), 2);
}

#[test]
fn a_reserved_name_is_somebodys_only_as_their_room_is_written() {
    let owner = |name: &str| RoomName::parse(name).expect("a name").owner();
    assert_eq!(owner("user:alice").as_deref(), Some("alice"));
    assert_eq!(owner("user:a%40b").as_deref(), Some("a@b"));
    assert_eq!(owner("user:%C3%A4").as_deref(), Some("ä"));
    for name in [
        "lobby",
        "user:",
        "user:a@b",
        "user:a:b",
        "user:a%",
        "user:a%4",
        "user:a%zz",
        "user:%61",
        "user:a%c3%a4",
        "user:%FF",
    ] {
        assert_eq!(owner(name), None, "{name}");
    }
}

#[test]
fn a_user_without_an_id_or_with_an_endless_one_has_no_room() {
    assert_eq!(user_room(""), Err(RoomNameError::Empty));
    assert_eq!(user_room(&"/".repeat(66)), Err(RoomNameError::TooLong(203)));
    assert!(!RoomName::parse("user:").expect("a name").is_room_of("x"));
}

proptest! {
    #[test]
    fn no_two_users_share_a_room(a in "\\PC{1,30}", b in "\\PC{1,30}") {
        if let (Ok(room_a), Ok(room_b)) = (user_room(&a), user_room(&b)) {
            prop_assert!(room_a.is_room_of(&a));
            prop_assert_eq!(room_a.owner(), Some(a.clone()));
            prop_assert!(room_a.is_reserved());
            prop_assert_eq!(a == b, room_a == room_b);
            prop_assert_eq!(a == b, room_a.is_room_of(&b));
        }
    }

    #[test]
    fn parsing_never_panics_and_keeps_the_text(text in "\\PC{0,250}") {
        if let Ok(name) = RoomName::parse(&text) {
            prop_assert_eq!(name.as_str(), &text);
            prop_assert!(name.owner().is_none() || name.is_reserved());
        }
    }
}
