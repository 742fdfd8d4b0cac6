//! Which rooms a request wants, and after which messages: `room` and `last_seen_id` of the query, and `Last-Event-ID`.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName, Uri};
use rotunda_crds::RoomName;

use super::token::query_values;
use crate::dialect::command;
use crate::dialect::cursor::{LastSeen, MAX_ROOMS};
use crate::dialect::{ErrorCode, Failure};
use crate::ids::Position;

/// What an EventSource sends when it comes back.
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A room, and where to go on in it.
pub(crate) type Wanted = (RoomName, Option<Position>);

/// The rooms of an event stream or a poll: at least one, at most [`MAX_ROOMS`], each once.
///
/// Where to go on, `Last-Event-ID` says before `last_seen_id` does: a page that reconnects repeats the URL of its beginning.
pub(super) fn rooms(headers: &HeaderMap, uri: &Uri) -> Result<Vec<Wanted>, Failure> {
    let ids: Vec<_> = query_values(uri, "last_seen_id").collect();
    let newer = headers
        .get(LAST_EVENT_ID)
        .map(|id| parse("Last-Event-ID", id.to_str().unwrap_or("?")))
        .transpose()?
        .flatten();
    let mut wanted: Vec<Wanted> = Vec::new();
    for (place, name) in query_values(uri, "room").enumerate() {
        let name = command::room_name(Some(&name))?;
        let older = last_seen(&ids, place, &name)?;
        let newer = newer
            .as_ref()
            .and_then(|seen| seen.in_room(&name, place == 0));
        if wanted.iter().any(|(known, _)| *known == name) {
            continue;
        }
        if wanted.len() == MAX_ROOMS {
            return Err(Failure::new(
                ErrorCode::TooManyRooms,
                format!(
                    "one stream takes at most {MAX_ROOMS} rooms; open another one, or use a WebSocket"
                ),
            ));
        }
        wanted.push((name, newer.or(older)));
    }
    if wanted.is_empty() {
        return Err(Failure::new(
            ErrorCode::BadRequest,
            "name the rooms to listen to: `room=lobby`, several times for several rooms",
        ));
    }
    Ok(wanted)
}

/// Whether the client has been here before: it says where to go on.
pub(super) fn goes_on(headers: &HeaderMap, uri: &Uri) -> bool {
    headers.contains_key(LAST_EVENT_ID)
        || query_values(uri, "last_seen_id").any(|id| !id.is_empty())
}

/// Where to go on in the room at a place of the query. A single id for several rooms stands for all that it knows; a position
/// alone is meant for the room at its own place.
pub(super) fn last_seen(
    ids: &[Cow<'_, str>],
    place: usize,
    room: &RoomName,
) -> Result<Option<Position>, Failure> {
    let own = ids.get(place);
    let Some(id) = own.or_else(|| ids.first().filter(|_| ids.len() == 1)) else {
        return Ok(None);
    };
    let seen = parse("last_seen_id", id)?;
    Ok(seen.and_then(|seen| seen.in_room(room, own.is_some())))
}

/// `None` for an empty one, which stands for none.
fn parse(name: &str, id: &str) -> Result<Option<LastSeen>, Failure> {
    if id.is_empty() {
        return Ok(None);
    }
    id.parse().map(Some).map_err(|error| {
        Failure::new(
            ErrorCode::InvalidId,
            format!("`{name}`: {error}; use one from a frame, or leave it out"),
        )
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::dialect::cursor::Place;

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    fn of(query: &str, header: Option<&str>) -> Result<Vec<(String, Option<Position>)>, ErrorCode> {
        let mut headers = HeaderMap::new();
        if let Some(id) = header {
            headers.insert(LAST_EVENT_ID, HeaderValue::from_str(id).unwrap());
        }
        let uri = format!("/v1/sse?{query}").parse().unwrap();
        let wanted = rooms(&headers, &uri).map_err(|failure| failure.code)?;
        Ok(wanted
            .into_iter()
            .map(|(room, position)| (room.to_string(), position))
            .collect())
    }

    fn at(offset: u64) -> Position {
        Position::new(7, offset)
    }

    fn list(rooms: &[(&str, Option<Position>)]) -> Vec<(String, Option<Position>)> {
        rooms
            .iter()
            .map(|(name, position)| ((*name).to_owned(), *position))
            .collect()
    }

    fn cursor(rooms: &[(&str, Option<Position>)]) -> String {
        let rooms: Vec<_> = rooms
            .iter()
            .map(|(name, position)| (room(name), *position))
            .collect();
        Place::new(rooms.iter().map(|(name, position)| (name, *position))).id()
    }

    #[test]
    fn positions_belong_to_rooms_by_their_place() {
        assert_eq!(
            of("room=a&room=b&last_seen_id=&last_seen_id=7-3&room=c", None).unwrap(),
            list(&[("a", None), ("b", Some(at(3))), ("c", None)])
        );
    }

    #[test]
    fn a_cursor_is_for_all_the_rooms_it_knows_in_any_order() {
        let cursor = cursor(&[
            ("a", Some(at(1))),
            ("b", Some(at(2))),
            ("gone", Some(at(3))),
        ]);
        assert_eq!(
            of(
                &format!("room=new&room=b&room=a&last_seen_id={cursor}"),
                None
            )
            .unwrap(),
            list(&[("new", None), ("b", Some(at(2))), ("a", Some(at(1)))])
        );
        // By position it can stand beside others.
        assert_eq!(
            of(
                &format!("room=a&room=b&last_seen_id={cursor}&last_seen_id=7-9"),
                None
            )
            .unwrap(),
            list(&[("a", Some(at(1))), ("b", Some(at(9)))])
        );
    }

    #[test]
    fn the_header_beats_the_query_where_it_knows_a_room() {
        assert_eq!(
            of("room=a&last_seen_id=7-1", Some("7-5")).unwrap(),
            list(&[("a", Some(at(5)))])
        );
        let cursor = cursor(&[("a", Some(at(5))), ("x", Some(at(6)))]);
        assert_eq!(
            of(
                "room=a&room=b&last_seen_id=7-1&last_seen_id=7-2",
                Some(&cursor)
            )
            .unwrap(),
            list(&[("a", Some(at(5))), ("b", Some(at(2)))])
        );
        assert_eq!(
            of("room=a&last_seen_id=7-1", Some("")).unwrap(),
            list(&[("a", Some(at(1)))])
        );
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        let many = |count: usize| {
            let rooms: Vec<_> = (0..count).map(|n| format!("room=r{n}")).collect();
            rooms.join("&")
        };
        assert_eq!(of(&many(MAX_ROOMS), None).unwrap().len(), MAX_ROOMS);
        for (query, header, code) in [
            (many(MAX_ROOMS + 1), None, ErrorCode::TooManyRooms),
            (String::new(), None, ErrorCode::BadRequest),
            ("room=a+b".to_owned(), None, ErrorCode::InvalidRoom),
            (
                "room=a&last_seen_id=x!".to_owned(),
                None,
                ErrorCode::InvalidId,
            ),
            (
                "room=a&last_seen_id=7-1".to_owned(),
                Some("nonsense"),
                ErrorCode::InvalidId,
            ),
        ] {
            assert_eq!(of(&query, header), Err(code), "{query}");
        }
        // The same room twice is one room.
        assert_eq!(of("room=a&room=a", None).unwrap().len(), 1);
    }
}
