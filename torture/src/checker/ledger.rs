//! What is known of each room from all sides: acknowledgements, deliveries to anyone, and what Redis holds at the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use super::{Kind, Place, Verdict, Violation};
use crate::history::{
    Content, Event, History, Millis, Outcome, Position, Publication, Room, RoomIndex,
};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It outlived every failover (and may have been trimmed for its age since).
    Stored,
    /// A failover took it.
    Lost,
    /// Nobody can tell any more.
    Unclear,
}

pub(super) struct Ledger<'a> {
    history: &'a History,
    rooms: Vec<RoomLedger<'a>>,
    publications: HashMap<Content, &'a Publication>,
}

pub(super) struct RoomLedger<'a> {
    pub(super) room: &'a Room,
    known: BTreeMap<Position, Content>,
    /// Positions of what was acknowledged.
    acked: BTreeSet<Position>,
    /// How far each epoch came in the history that went on; `None` where that was seen in two ways.
    ends: BTreeMap<u64, Option<u64>>,
    /// For each time of a publish, the lowest position of what was stored and sent no earlier; ascending in time.
    lowest_since: Vec<(Millis, Position)>,
}

impl<'a> Ledger<'a> {
    pub(super) fn build(history: &'a History, verdict: &mut Verdict) -> Self {
        let mut ledger = Self {
            history,
            rooms: history.rooms.iter().map(RoomLedger::new).collect(),
            publications: history
                .publications
                .iter()
                .map(|publication| (publication.content, publication))
                .collect(),
        };
        for (index, room) in history.rooms.iter().enumerate() {
            for (position, content) in &room.log {
                ledger.learn(RoomIndex(index), *position, *content, None, 0, verdict);
            }
        }
        for publication in &history.publications {
            if let Outcome::Acked(position) = publication.outcome {
                let Publication {
                    room,
                    content,
                    settled,
                    ..
                } = *publication;
                ledger.learn(room, position, content, None, settled, verdict);
                ledger.rooms[room.0].acked.insert(position);
            }
        }
        for (index, stream) in history.streams.iter().enumerate() {
            for (entry, seen) in stream.entries.iter().enumerate() {
                if let Event::Message { position, content } = seen.event {
                    let place = Some(Place {
                        stream: index,
                        entry,
                    });
                    ledger.learn(stream.room, position, content, place, seen.at, verdict);
                }
            }
        }
        for index in 0..ledger.rooms.len() {
            let lowest = ledger.lowest_since(RoomIndex(index));
            ledger.rooms[index].lowest_since = lowest;
        }
        ledger
    }

    pub(super) fn room(&self, room: RoomIndex) -> &RoomLedger<'a> {
        &self.rooms[room.0]
    }

    /// When an epoch began: it is named by the time.
    pub(super) fn opened(&self, epoch: u64) -> Millis {
        epoch.saturating_sub(self.history.began_unix_ms)
    }

    fn learn(
        &mut self,
        room: RoomIndex,
        position: Position,
        content: Content,
        place: Option<Place>,
        at: Millis,
        verdict: &mut Verdict,
    ) {
        let mut report = |kind, text| {
            verdict.violations.push(Violation {
                kind,
                room,
                place,
                at,
                text,
            });
        };
        match self.publications.get(&content) {
            None => report(
                Kind::Invented,
                format!("nobody published {content}, which stands at {position}"),
            ),
            Some(publication) if publication.room != room => report(
                Kind::Invented,
                format!("{content} at {position} was published to another room"),
            ),
            Some(_) => {}
        }
        let before = *self.rooms[room.0].known.entry(position).or_insert(content);
        if before != content {
            report(
                Kind::TwoContents,
                format!("{position} was {before} for one and {content} for another"),
            );
        }
    }

    /// What can be judged without a stream.
    pub(super) fn check(&self, verdict: &mut Verdict) {
        self.check_copies(verdict);
        for publication in &self.history.publications {
            if let Outcome::Acked(position) = publication.outcome
                && self.room(publication.room).fate(position) == Fate::Lost
            {
                self.check_loss(publication, position, verdict);
            }
        }
    }

    /// Each content stands at one position; only a keyed retry may stand at another when the first was lost.
    fn check_copies(&self, verdict: &mut Verdict) {
        for (index, ledger) in self.rooms.iter().enumerate() {
            let mut places: HashMap<Content, Vec<Position>> = HashMap::new();
            for (position, content) in &ledger.known {
                places.entry(*content).or_default().push(*position);
            }
            for (content, positions) in places {
                let Some(publication) = self.publications.get(&content) else {
                    continue;
                };
                let mut report = |kind, text| {
                    let (room, at) = (RoomIndex(index), publication.settled);
                    verdict.violations.push(Violation {
                        kind,
                        room,
                        place: None,
                        at,
                        text,
                    });
                };
                if publication.outcome == Outcome::Refused {
                    report(
                        Kind::RefusedButStored,
                        format!(
                            "{content} was refused for sure, and stands at {}",
                            list(&positions)
                        ),
                    );
                }
                let stored = positions
                    .iter()
                    .filter(|position| ledger.fate(**position) == Fate::Stored)
                    .count();
                if positions.len() > 1 && (!publication.keyed || stored > 1) {
                    report(
                        Kind::Doubled,
                        format!(
                            "{content} ({}, {} attempts) stands at {}",
                            if publication.keyed {
                                "with a key"
                            } else {
                                "without a key"
                            },
                            publication.attempts,
                            list(&positions)
                        ),
                    );
                } else if positions.len() > 1 {
                    verdict.stored_again += 1;
                }
            }
        }
    }

    fn check_loss(&self, publication: &Publication, position: Position, verdict: &mut Verdict) {
        let ledger = self.room(publication.room);
        let content = publication.content;
        let mut report = |text| {
            verdict.violations.push(Violation {
                kind: Kind::Lost,
                room: publication.room,
                place: None,
                at: publication.settled,
                text,
            });
        };
        if let Some(later) = ledger.stored_later_in_epoch(position) {
            report(format!(
                "{content} was acknowledged as {position} and is gone, but {later} of the same epoch is there"
            ));
            return;
        }
        let Some(next_epoch) = ledger.next_epoch(position.epoch.0) else {
            report(format!(
                "{content} was acknowledged as {position} and is gone, with no failover since"
            ));
            return;
        };
        verdict.lost += 1;
        if !ledger.room.replicated {
            return;
        }
        verdict.lost_replicated += 1;
        let opened = self.opened(next_epoch);
        let excused = self
            .history
            .double_losses
            .iter()
            .any(|window| window.touches(publication.settled, opened + 1000));
        if !excused {
            report(format!(
                "{content} was acknowledged as {position} when a replica had it, too, and is gone; \
                 primary and replica were never lost together between {} ms and {opened} ms",
                publication.settled
            ));
        }
    }

    fn lowest_since(&self, room: RoomIndex) -> Vec<(Millis, Position)> {
        let ledger = self.room(room);
        let mut stored: Vec<(Millis, Position)> = self
            .history
            .publications
            .iter()
            .filter(|publication| publication.room == room)
            .filter_map(|publication| match publication.outcome {
                Outcome::Acked(position) if ledger.fate(position) == Fate::Stored => {
                    Some((publication.sent, position))
                }
                _ => None,
            })
            .collect();
        stored.sort_unstable_by_key(|(sent, _)| *sent);
        let mut lowest = None;
        for (_, position) in stored.iter_mut().rev() {
            let low = lowest.map_or(*position, |low: Position| low.min(*position));
            lowest = Some(low);
            *position = low;
        }
        stored
    }
}

impl<'a> RoomLedger<'a> {
    fn new(room: &'a Room) -> Self {
        let mut ends = BTreeMap::new();
        for end in &room.ends {
            let (epoch, offset) = (end.epoch.0, end.offset.0);
            ends.entry(epoch)
                .and_modify(|known| {
                    if *known != Some(offset) {
                        *known = None;
                    }
                })
                .or_insert(Some(offset));
        }
        Self {
            room,
            known: BTreeMap::new(),
            acked: BTreeSet::new(),
            ends,
            lowest_since: Vec::new(),
        }
    }

    pub(super) fn fate(&self, position: Position) -> Fate {
        let log = &self.room.log;
        if log.contains_key(&position) {
            return Fate::Stored;
        }
        if self.room.keeps_all {
            return Fate::Lost;
        }
        let Some((top, _)) = log.last_key_value() else {
            return Fate::Unclear;
        };
        if position > *top {
            return Fate::Lost;
        }
        if position.epoch == top.epoch || self.stored_later_in_epoch(position).is_some() {
            return Fate::Stored;
        }
        match self.ends.get(&position.epoch.0) {
            Some(Some(end)) if position.offset.0 <= *end => Fate::Stored,
            Some(Some(_)) => Fate::Lost,
            _ => Fate::Unclear,
        }
    }

    pub(super) fn was_acked(&self, position: Position) -> bool {
        self.acked.contains(&position)
    }

    /// What is known strictly between two positions.
    pub(super) fn between(
        &self,
        after: Position,
        before: Position,
    ) -> impl Iterator<Item = (Position, Content)> {
        // An empty range would panic.
        let range = (after < before).then(|| {
            self.known
                .range((Bound::Excluded(after), Bound::Excluded(before)))
        });
        range
            .into_iter()
            .flatten()
            .map(|(position, content)| (*position, *content))
    }

    /// The lowest position of what was stored and was published only after a time.
    pub(super) fn lowest_published_after(&self, time: Millis) -> Option<Position> {
        let index = self.lowest_since.partition_point(|(sent, _)| *sent <= time);
        self.lowest_since.get(index).map(|(_, position)| *position)
    }

    pub(super) fn stored_later_in_epoch(&self, position: Position) -> Option<Position> {
        let end = Position::new(position.epoch.0, u64::MAX);
        let mut later = self
            .room
            .log
            .range((Bound::Excluded(position), Bound::Included(end)));
        later.next().map(|(later, _)| *later)
    }

    /// The lowest epoch above one, of those that are known.
    pub(super) fn next_epoch(&self, epoch: u64) -> Option<u64> {
        let from = Bound::Excluded(Position::new(epoch, u64::MAX));
        let known = self
            .known
            .range((from, Bound::Unbounded))
            .next()
            .map(|(position, _)| position.epoch.0);
        let ended = self
            .ends
            .range((Bound::Excluded(epoch), Bound::Unbounded))
            .next()
            .map(|(epoch, _)| *epoch);
        match (known, ended) {
            (Some(known), Some(ended)) => Some(known.min(ended)),
            (known, ended) => known.or(ended),
        }
    }
}

fn list(positions: &[Position]) -> String {
    let texts: Vec<_> = positions.iter().map(Position::to_string).collect();
    texts.join(" and ")
}
