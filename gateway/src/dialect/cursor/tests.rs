//! Cursors: what is written is read back, nothing else is read, and a place follows what was delivered.

use proptest::prelude::*;

use super::*;
use crate::dialect::GapReason;
use crate::dialect::event::{self, Joined};

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

fn place(rooms: &[(&str, Option<Position>)]) -> Place {
    let rooms: Vec<_> = rooms
        .iter()
        .map(|(name, position)| (room(name), *position))
        .collect();
    Place::new(rooms.iter().map(|(name, position)| (name, *position)))
}

fn joined(name: &str, id: Position, recovered: Option<bool>) -> Frame {
    let joined = Joined {
        id,
        recovered,
        replayed: 0,
        members: None,
    };
    event::joined(&None, &room(name), &joined)
}

#[test]
fn the_format_is_the_same_in_every_release() {
    let place = place(&[
        ("lobby", Some(Position::new(7, 1042))),
        ("hall", Some(Position::new(1, 0))),
    ]);
    // Clients keep this text over an upgrade: a change here needs another letter, and the old one read as well.
    assert_eq!(place.id(), "cPLrrV8ZAIO4BAEtdwHbnucEiB5II");
    let LastSeen::Several(cursor) = place.id().parse().unwrap() else {
        panic!("several rooms")
    };
    assert_eq!(
        cursor.position(&room("lobby")),
        Some(Position::new(7, 1042))
    );
    assert_eq!(cursor.position(&room("hall")), Some(Position::new(1, 0)));
    assert_eq!(cursor.position(&room("cellar")), None);
}

#[test]
fn one_room_has_its_own_ids() {
    let mut place = place(&[("lobby", None)]);
    assert_eq!(place.id(), "");
    assert!(place.follow(&joined("lobby", Position::new(7, 3), None)));
    assert_eq!(place.id(), "7-3");
    assert_eq!("7-3".parse(), Ok(LastSeen::One(Position::new(7, 3))));
}

#[test]
fn a_place_moves_with_what_is_delivered_and_only_with_that() {
    let seen = Position::new(7, 3);
    let mut place = place(&[("a", Some(seen)), ("b", None)]);
    let at = |place: &Place, name: &str| {
        let LastSeen::Several(cursor) = place.id().parse().unwrap() else {
            panic!("several rooms")
        };
        cursor.position(&room(name))
    };
    assert_eq!((at(&place, "a"), at(&place, "b")), (Some(seen), None));
    // Not recovered: the gap that follows moves on, so that a stream cut off in between tells it again.
    assert!(!place.follow(&joined("a", Position::new(7, 9), Some(false))));
    assert_eq!(at(&place, "a"), Some(seen));
    let gap = |after, next| event::gap(&room("a"), after, next, GapReason::Trimmed);
    assert!(place.follow(&gap(seen, Position::new(7, 9))));
    assert_eq!(at(&place, "a"), Some(Position::new(7, 9)));
    // Back: what the client claimed to have seen is lost.
    assert!(place.follow(&gap(Position::new(7, 9), Position::new(7, 5))));
    assert_eq!(at(&place, "a"), Some(Position::new(7, 5)));
    assert!(!place.follow(&gap(seen, seen)));
    assert!(!place.follow(&event::heartbeat()));
    assert!(!place.follow(&joined("elsewhere", seen, None)));
    assert_eq!(
        (at(&place, "a"), at(&place, "b")),
        (Some(Position::new(7, 5)), None)
    );
}

#[test]
fn the_id_of_an_end_is_told_apart_and_still_goes_on_where_it_was() {
    let place = place(&[("lobby", Some(Position::new(7, 3)))]);
    let mut ended = String::new();
    place.write_ended_id(&mut ended).unwrap();
    assert!(is_ended(&ended) && !is_ended(&place.id()));
    assert_eq!(ended.parse(), Ok(LastSeen::One(Position::new(7, 3))));
    assert_eq!(".".parse(), Ok(LastSeen::Several(Cursor::default())));
}

#[test]
fn what_no_gateway_wrote_is_refused() {
    let entry = |key: u8, numbers: &[u8]| [vec![key; KEY_BYTES], numbers.to_vec()].concat();
    let text = |bytes: &[u8]| format!("c{}", URL_SAFE_NO_PAD.encode(bytes));
    let good = text(&entry(1, &[7, 3]));
    assert!(good.parse::<LastSeen>().is_ok());
    for bad in [
        String::new(),
        "7".to_owned(),
        "7-3-1".to_owned(),
        " 7-3".to_owned(),
        "..7-3".to_owned(),
        "c=".to_owned(),
        format!("{good}="),
        format!("{good} "),
        // Cut off, out of order, twice, not in the shortest form, too large a number.
        text(&entry(1, &[7])),
        text(&[entry(2, &[7, 3]), entry(1, &[7, 3])].concat()),
        text(&[entry(1, &[7, 3]), entry(1, &[7, 3])].concat()),
        text(&entry(1, &[0x87, 0, 3])),
        text(&entry(
            1,
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 3],
        )),
        text(
            &(0..=u8::try_from(MAX_ROOMS).unwrap())
                .flat_map(|key| entry(key, &[7, 3]))
                .collect::<Vec<_>>(),
        ),
        format!("c{}", "A".repeat(100_000)),
    ] {
        assert!(bad.parse::<LastSeen>().is_err(), "{bad:.80}");
    }
}

fn positions() -> impl Strategy<Value = Option<Position>> {
    let number = || prop_oneof![any::<u64>(), 0..300_u64];
    proptest::option::of(
        (number(), number()).prop_map(|(epoch, offset)| Position::new(epoch, offset)),
    )
}

proptest! {
    #[test]
    fn every_place_is_read_back_from_its_id(
        rooms in proptest::collection::btree_map("[a-z:@%.-]{1,20}", positions(), 2..=MAX_ROOMS)
    ) {
        let rooms: Vec<_> = rooms.into_iter().map(|(name, position)| (room(&name), position)).collect();
        let place = Place::new(rooms.iter().map(|(name, position)| (name, *position)));
        if rooms.iter().all(|(_, position)| position.is_none()) {
            prop_assert_eq!(place.id(), "");
        } else {
            let cursor: Cursor = place.id().parse().unwrap();
            prop_assert_eq!(cursor.to_string(), place.id());
            for (name, position) in &rooms {
                prop_assert_eq!(cursor.position(name), *position);
            }
        }
    }

    #[test]
    fn whatever_is_read_is_written_the_same_again(
        bytes in proptest::collection::vec(any::<u8>(), 0..64)
    ) {
        let text = format!("c{}", URL_SAFE_NO_PAD.encode(bytes));
        if let Ok(cursor) = text.parse::<Cursor>() {
            prop_assert_eq!(cursor.to_string(), text);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}") {
        drop(text.parse::<LastSeen>());
    }
}
