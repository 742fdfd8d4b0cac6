//! What a subscriber has been told, room by room, and where that leaves it: for the checker, and for its next connection.

use super::Trouble;
use super::feed::Asked;
use super::frame::{Frame, position};
use super::wishes::Wishes;
use crate::arena::index_of;
use crate::history::{
    Content, Entry, Event, GapReason, Millis, Position, RoomIndex, Stream, Transport,
};

pub struct Notebook {
    rooms: Vec<Followed>,
    transport: Transport,
    /// The id that the last event stream or poll gave for all rooms, while it is true.
    place: Option<String>,
}

/// A room that it is in.
struct Followed {
    room: RoomIndex,
    /// By the frames themselves.
    cursor: Option<Position>,
    /// A request for it that nothing has answered yet.
    asked: Option<Entry>,
    entries: Vec<Entry>,
}

/// Whether it is still in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Fine,
    PutOut,
}

impl Notebook {
    pub fn new(rooms: &[RoomIndex]) -> Self {
        let followed = |room: &RoomIndex| Followed {
            room: *room,
            cursor: None,
            asked: None,
            entries: Vec::new(),
        };
        Self {
            rooms: rooms.iter().map(followed).collect(),
            transport: Transport::WebSocket,
            place: None,
        }
    }

    /// It wants nothing of the past any more.
    pub fn forget(&mut self) {
        self.place = None;
        for followed in &mut self.rooms {
            followed.cursor = None;
        }
    }

    /// What to ask for next; `by_place`: by the one id for all rooms, if there is one.
    pub fn wishes(&self, by_place: bool) -> Wishes {
        let rooms = self.rooms.iter();
        let rooms = rooms.map(|followed| (followed.room, followed.cursor));
        Wishes::new(rooms.collect(), self.place.clone().filter(|_| by_place))
    }

    /// Asks for all rooms.
    pub fn asks(&mut self, transport: Transport, asked: &Asked) {
        self.transport = transport;
        for (followed, cursor) in self.rooms.iter_mut().zip(&asked.after) {
            followed.asked = Some(Entry {
                at: asked.at,
                event: Event::Joining {
                    cursor: *cursor,
                    transport,
                    gateway: asked.gateway,
                },
            });
        }
    }

    /// This id stands for all that has come.
    pub fn stands_at(&mut self, id: String) {
        self.place = (!id.is_empty()).then_some(id);
    }

    /// Whether the last message of each room has come.
    pub fn has_come_to(&self, markers: &[Option<Position>]) -> bool {
        self.rooms.iter().all(|followed| {
            markers[followed.room.0].is_none_or(|marker| followed.cursor >= Some(marker))
        })
    }

    pub fn close(self, subscriber: &str) -> Vec<Stream> {
        let streams = self.rooms.into_iter().map(|followed| Stream {
            subscriber: subscriber.to_owned(),
            room: followed.room,
            entries: followed.entries,
        });
        streams.collect()
    }

    /// Notes a frame, and the id that an event stream gave it.
    pub fn take(&mut self, frame: Frame, id: Option<String>, at: Millis) -> Result<Taken, Trouble> {
        let (room, cursor, event) = match frame {
            Frame::Joined {
                room,
                id,
                recovered,
                replayed,
            } => {
                let id = position(&id)?;
                let event = Event::Joined {
                    id,
                    recovered,
                    replayed,
                };
                (room, Some(id), event)
            }
            Frame::Message { room, id, data } => {
                let (position, content) = (position(&id)?, Content(data.c));
                (room, Some(position), Event::Message { position, content })
            }
            Frame::Gap {
                room,
                after,
                next,
                reason,
            } => {
                let (after, next) = (position(&after)?, position(&next)?);
                let reason = GapReason::parse(&reason).ok_or_else(|| {
                    Trouble::Nonsense(format!("a gap for an unknown reason, {reason}"))
                })?;
                let event = Event::Gap {
                    after,
                    next,
                    reason,
                };
                (room, Some(next), event)
            }
            Frame::Left { room } => (room, None, Event::Left),
            _ => return Ok(Taken::Fine),
        };
        match (self.transport, id) {
            (Transport::Sse, Some(id)) => self.place = Some(id),
            // An event without an id leaves the one before in force.
            (Transport::Sse, None) => {}
            // One of before doesn't stand for this frame. That of a poll comes with the end of its answer.
            _ => self.place = None,
        }
        let room = index_of(&room);
        let mut rooms = self.rooms.iter_mut();
        let followed = rooms
            .find(|followed| Some(followed.room) == room)
            .ok_or_else(|| {
                Trouble::Nonsense("something came from a room that it isn't in".to_owned())
            })?;
        followed.note(event, at);
        followed.cursor = cursor.or(followed.cursor);
        Ok(if event == Event::Left {
            Taken::PutOut
        } else {
            Taken::Fine
        })
    }
}

impl Followed {
    fn note(&mut self, event: Event, at: Millis) {
        let asked = self.asked.take();
        self.entries.extend(asked);
        // A poll that goes on where it asked to says nothing of it.
        if let Some(Event::Joining {
            cursor: Some(id),
            transport: Transport::LongPoll | Transport::Poll,
            ..
        }) = asked.map(|asked| asked.event)
            && !matches!(event, Event::Joined { .. })
        {
            let event = Event::Joined {
                id,
                recovered: Some(true),
                replayed: 0,
            };
            self.entries.push(Entry { at, event });
        }
        self.entries.push(Entry { at, event });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOBBY: RoomIndex = RoomIndex(0);

    fn at(offset: u64) -> Position {
        Position::new(7, offset)
    }

    fn message(offset: u64) -> Frame {
        let text =
            format!(r#"{{"type":"message","room":"lobby","id":"7-{offset}","data":{{"c":1}}}}"#);
        Frame::parse(&text).unwrap()
    }

    fn asks(notebook: &mut Notebook, transport: Transport) {
        let after = notebook.wishes(true).positions().unwrap();
        let asked = Asked {
            at: 5,
            gateway: 0,
            after,
        };
        notebook.asks(transport, &asked);
    }

    fn events(notebook: Notebook) -> Vec<Event> {
        let mut streams = notebook.close("s");
        let entries = streams.remove(0).entries;
        entries.iter().map(|entry| entry.event).collect()
    }

    #[test]
    fn a_poll_that_brings_something_stands_for_a_join() {
        let mut notebook = Notebook::new(&[LOBBY]);
        asks(&mut notebook, Transport::Sse);
        let joined = r#"{"type":"joined","room":"lobby","id":"7-1"}"#;
        let joined = Frame::parse(joined).unwrap();
        notebook.take(joined, Some("7-1".to_owned()), 6).unwrap();
        asks(&mut notebook, Transport::Poll);
        // This one brings nothing, and is asked again.
        asks(&mut notebook, Transport::Poll);
        notebook.take(message(2), None, 7).unwrap();
        notebook.take(message(3), None, 7).unwrap();
        let events = events(notebook);
        assert_eq!(events.len(), 6, "{events:?}");
        let resumed = Event::Joined {
            id: at(1),
            recovered: Some(true),
            replayed: 0,
        };
        assert_eq!(events[3], resumed);
    }

    #[test]
    fn an_id_for_all_rooms_counts_only_while_it_is_true() {
        let mut notebook = Notebook::new(&[LOBBY]);
        let place = |notebook: &Notebook| notebook.wishes(true).id().map(str::to_owned);
        asks(&mut notebook, Transport::Sse);
        notebook
            .take(message(1), Some("7-1".to_owned()), 6)
            .unwrap();
        assert_eq!(place(&notebook).as_deref(), Some("7-1"));
        asks(&mut notebook, Transport::LongPoll);
        notebook.take(message(2), None, 7).unwrap();
        // Half of an answer: the id of the one before would bring it again.
        assert_eq!(place(&notebook), None);
        assert_eq!(notebook.wishes(true).positions().unwrap(), [Some(at(2))]);
        notebook.stands_at("7-2".to_owned());
        assert_eq!(place(&notebook).as_deref(), Some("7-2"));
        asks(&mut notebook, Transport::WebSocket);
        notebook.take(message(3), None, 8).unwrap();
        assert_eq!(place(&notebook), None);
        assert!(notebook.has_come_to(&[Some(at(3))]) && !notebook.has_come_to(&[Some(at(4))]));
    }
}
