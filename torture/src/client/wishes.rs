//! What a subscriber asks for: rooms, and where to go on in each, by their own ids or by one that stands for all of them.

use std::fmt::Write;

use rotunda_crds::RoomName;
use rotunda_gateway::dialect::cursor::LastSeen;

use super::Trouble;
use super::http::encode;
use crate::arena::name_of;
use crate::history::{Position, RoomIndex};

#[derive(Clone, Debug)]
pub struct Wishes {
    rooms: Vec<(RoomIndex, Option<Position>)>,
    /// Of an event stream or a poll; counts instead of the rooms' own positions.
    id: Option<String>,
}

impl Wishes {
    pub fn new(rooms: Vec<(RoomIndex, Option<Position>)>, id: Option<String>) -> Self {
        Self { rooms, id }
    }

    /// Goes on after what this id stands for.
    pub fn go_on_after(&mut self, id: String) {
        self.id = Some(id);
    }

    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The rooms in a query, with their ids beside them.
    pub fn query(&self) -> String {
        let mut query = self.rooms_only();
        match &self.id {
            Some(id) => write!(query, "&last_seen_id={}", encode(id)),
            None => self.rooms.iter().try_for_each(|(_, position)| {
                let position = position.map(|position| position.to_string());
                write!(query, "&last_seen_id={}", position.unwrap_or_default())
            }),
        }
        .expect("text into memory can't fail");
        query
    }

    /// The rooms in a query.
    pub fn rooms_only(&self) -> String {
        let rooms = self.rooms.iter();
        let rooms: Vec<_> = rooms
            .map(|(room, _)| format!("room={}", encode(name_of(*room))))
            .collect();
        rooms.join("&")
    }

    /// For each room the id to join it with.
    pub fn each(&self) -> impl Iterator<Item = (RoomIndex, Option<String>)> {
        self.rooms.iter().map(|(room, position)| {
            let own = || position.map(|position| position.to_string());
            (*room, self.id.clone().or_else(own))
        })
    }

    /// For each room the position that this stands for. To clients an id is opaque; the checker must know whether it tells the truth.
    pub fn positions(&self) -> Result<Vec<Option<Position>>, Trouble> {
        let Some(id) = &self.id else {
            return Ok(self.rooms.iter().map(|(_, position)| *position).collect());
        };
        let seen: LastSeen = id
            .parse()
            .map_err(|error| Trouble::Nonsense(format!("{error}: {id:.100}")))?;
        let alone = self.rooms.len() == 1;
        let positions = self.rooms.iter().map(|(room, own)| {
            let name = RoomName::parse(name_of(*room)).expect("the rooms have fine names");
            let position = seen.in_room(&name, alone);
            if own.is_some() && position.is_none() {
                let text = format!("the id {id} has forgotten {name}");
                return Err(Trouble::Nonsense(text));
            }
            Ok(position)
        });
        positions.collect()
    }
}

#[cfg(test)]
mod tests {
    use rotunda_gateway::dialect::cursor::Place;

    use super::*;

    fn wishes(id: Option<&str>) -> Wishes {
        let rooms = vec![
            (RoomIndex(0), Some(Position::new(7, 1))),
            (RoomIndex(2), None),
        ];
        Wishes::new(rooms, id.map(str::to_owned))
    }

    #[test]
    fn ids_stand_beside_their_rooms() {
        assert_eq!(
            wishes(None).query(),
            "room=lobby&room=team%3Ared&last_seen_id=7-1&last_seen_id="
        );
        assert_eq!(
            wishes(None).positions().unwrap(),
            [Some(Position::new(7, 1)), None]
        );
    }

    #[test]
    fn an_id_for_all_rooms_is_read_as_the_gateway_does() {
        let names = ["lobby", "team:red"].map(|name| RoomName::parse(name).unwrap());
        let place = |positions: [Option<Position>; 2]| Place::new(names.iter().zip(positions)).id();
        let id = place([Some(Position::new(7, 5)), Some(Position::new(8, 2))]);
        let wishes = wishes(Some(&id));
        assert_eq!(
            wishes.positions().unwrap(),
            [Some(Position::new(7, 5)), Some(Position::new(8, 2))]
        );
        assert_eq!(
            wishes.query(),
            format!("room=lobby&room=team%3Ared&last_seen_id={id}")
        );
        let forgetful = place([None, Some(Position::new(8, 2))]);
        let forgotten = self::wishes(Some(&forgetful)).positions();
        assert!(matches!(forgotten, Err(Trouble::Nonsense(_))));
        let made_up = self::wishes(Some("cx")).positions();
        assert!(matches!(made_up, Err(Trouble::Nonsense(_))));
    }
}
