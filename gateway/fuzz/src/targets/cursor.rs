//! What clients say they have seen last: the id of one room, or of all rooms of a stream.

use rotunda_crds::RoomName;
use rotunda_gateway::dialect::cursor::{Cursor, LastSeen, MAX_ROOMS, Place, is_ended};
use rotunda_gateway::ids::Position;

/// The largest id of a stream, as a gateway writes it.
const LONGEST: usize = 1 + (MAX_ROOMS * (8 + 2 * 10) * 4).div_ceil(3);

pub(super) fn cursor(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let rooms = ["lobby", "den", "hall"].map(|name| RoomName::parse(name).expect("a fine name"));
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text, "a cursor has one form");
        assert!(text.len() <= LONGEST && !is_ended(text));
    }
    let Ok(seen) = text.parse::<LastSeen>() else {
        return;
    };
    let positions = rooms.each_ref().map(|room| seen.in_room(room, true));
    let whole = text.strip_prefix('.').unwrap_or(text);
    match &seen {
        LastSeen::One(position) => {
            assert_eq!(position.to_string(), whole);
            assert_eq!(positions, [Some(*position); 3]);
            assert_eq!(seen.in_room(&rooms[0], false), None, "it is another room's");
        }
        LastSeen::Several(cursor) => assert_eq!(
            positions,
            rooms.each_ref().map(|room| cursor.position(room))
        ),
    }
    goes_on(&rooms, positions);
}

/// What a stream that goes on there hands out leads to the same place.
fn goes_on(rooms: &[RoomName; 3], positions: [Option<Position>; 3]) {
    let place = Place::new(rooms.iter().zip(positions));
    let id = place.id();
    assert!(!is_ended(&id));
    if id.is_empty() {
        assert_eq!(positions, [None; 3]);
        return;
    }
    let mut ended = String::new();
    place
        .write_ended_id(&mut ended)
        .expect("into memory it doesn't fail");
    assert!(is_ended(&ended));
    for id in [id, ended] {
        let again: LastSeen = id.parse().expect("what is handed out is read back");
        assert_eq!(
            rooms.each_ref().map(|room| again.in_room(room, false)),
            positions
        );
    }
}
