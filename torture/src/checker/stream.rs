//! What one subscriber saw of one room, step by step, over all its connections.

use std::collections::HashSet;

use super::borders::Crossing;
use super::ledger::{Fate, Ledger, RoomLedger};
use super::{Kind, Place, Violation};
use crate::history::{Content, Event, GapReason, Millis, Position, Stream};

/// Walks a stream.
pub(super) fn check(
    index: usize,
    stream: &Stream,
    ledger: &Ledger<'_>,
    crossings: &mut Vec<Crossing>,
    violations: &mut Vec<Violation>,
) {
    let mut walk = Walk {
        ledger,
        room: ledger.room(stream.room),
        cursor: None,
        asked: None,
        asked_at: 0,
        joined: false,
        owed_gap: Owed::Nothing,
        owed_replay: 0,
        resumed: false,
        recovered: false,
        seen: HashSet::new(),
        crossed: Vec::new(),
        problems: Vec::new(),
    };
    for (entry, seen) in stream.entries.iter().enumerate() {
        walk.step(seen.event, seen.at);
        let place = Place {
            stream: index,
            entry,
        };
        crossings.extend(walk.crossed.drain(..).map(|(from, to, told)| Crossing {
            room: stream.room,
            place,
            at: seen.at,
            from,
            to,
            told,
        }));
        for (kind, text) in walk.problems.drain(..) {
            violations.push(Violation {
                kind,
                room: stream.room,
                place: Some(place),
                at: seen.at,
                text,
            });
        }
    }
    if let Some(marker) = walk.room.room.marker
        && walk.cursor.is_none_or(|cursor| cursor < marker)
    {
        violations.push(Violation {
            kind: Kind::Stalled,
            room: stream.room,
            place: stream.entries.len().checked_sub(1).map(|entry| Place {
                stream: index,
                entry,
            }),
            at: stream.entries.last().map_or(0, |entry| entry.at),
            text: match walk.cursor {
                Some(cursor) => {
                    format!("stands at {cursor} and never came to the last message, {marker}")
                }
                None => format!("never joined, and never came to the last message, {marker}"),
            },
        });
    }
}

/// The gap that has to come after `recovered: false`.
#[derive(Clone, Copy)]
enum Owed {
    Nothing,
    /// At once, from here to there.
    Now {
        after: Position,
        next: Position,
    },
    /// When all that is left of this epoch has come.
    AtBorder,
}

/// How long a primary that was stopped, and has a successor, may still be taken for the primary by those who ask it first.
const STALE_PRIMARY: Millis = 5000;

struct Walk<'a> {
    ledger: &'a Ledger<'a>,
    room: &'a RoomLedger<'a>,
    /// Everything up to here has been delivered, or told to be missing.
    cursor: Option<Position>,
    /// The cursor of the join that is under way.
    asked: Option<Position>,
    asked_at: Millis,
    joined: bool,
    owed_gap: Owed,
    /// After `recovered: true`: how many messages of the past have to follow.
    owed_replay: u64,
    /// Nothing has come since `recovered: true`.
    resumed: bool,
    /// The last join was told `recovered: true`, and the epoch has not changed since.
    recovered: bool,
    /// Contents delivered since the last gap by failover, or the last start without a cursor.
    seen: HashSet<Content>,
    /// Where it passed from one epoch to another, and whether a gap told it.
    crossed: Vec<(Position, Position, bool)>,
    problems: Vec<(Kind, String)>,
}

impl Walk<'_> {
    fn step(&mut self, event: Event, at: Millis) {
        match event {
            Event::Joining { cursor, .. } => self.joining(cursor, at),
            Event::Joined {
                id,
                recovered,
                replayed,
            } => self.joined(id, recovered, replayed, at),
            Event::Message { position, content } => self.message(position, content),
            Event::Gap {
                after,
                next,
                reason,
            } => self.gap(after, next, reason, at),
            Event::Left => self.joined = false,
        }
    }

    fn report(&mut self, kind: Kind, text: String) {
        self.problems.push((kind, text));
    }

    fn joining(&mut self, cursor: Option<Position>, at: Millis) {
        match (cursor, self.cursor) {
            // It wants nothing of what lies behind it.
            (None, _) => {
                self.cursor = None;
                self.seen.clear();
            }
            (Some(cursor), Some(stood)) => {
                let before_gap = match self.owed_gap {
                    Owed::Now { after, .. } => Some(after),
                    Owed::Nothing | Owed::AtBorder => None,
                };
                if cursor != stood && Some(cursor) != before_gap {
                    self.report(
                        Kind::WrongId,
                        format!("it stood at {stood}, and the id it was given stands for {cursor}"),
                    );
                }
            }
            (Some(_), None) => {}
        }
        self.asked = cursor;
        self.asked_at = at;
        self.joined = false;
        self.owed_gap = Owed::Nothing;
        self.owed_replay = 0;
        self.resumed = false;
        self.recovered = false;
    }

    fn joined(&mut self, id: Position, recovered: Option<bool>, replayed: u64, at: Millis) {
        self.joined = true;
        match (self.asked, recovered) {
            (None, None) => self.check_not_ahead("joined", id, at),
            (Some(asked), Some(true)) => {
                if id != asked {
                    self.report(
                        Kind::FalseRecovered,
                        format!("recovered: true, but it goes on after {id} instead of {asked}"),
                    );
                }
                self.owed_replay = replayed;
                self.resumed = true;
                self.recovered = true;
            }
            (Some(asked), Some(false)) if id == asked => self.owed_gap = Owed::AtBorder,
            (Some(asked), Some(false)) => {
                // Told already that something is missing, even if the connection breaks before the gap says what.
                self.owed_gap = Owed::Now {
                    after: asked,
                    next: id,
                };
                self.seen.clear();
                self.check_not_ahead("joined", id, at);
            }
            (asked, _) => self.report(
                Kind::Protocol,
                format!("joined with recovered {recovered:?} after asking for {asked:?}"),
            ),
        }
        self.cursor = Some(id);
    }

    fn message(&mut self, position: Position, content: Content) {
        let left_of_epoch = self
            .cursor
            .is_some_and(|cursor| cursor.epoch == position.epoch);
        match self.owed_gap {
            Owed::Nothing => {}
            Owed::AtBorder if left_of_epoch => {}
            Owed::AtBorder => {
                self.owed_gap = Owed::Nothing;
                self.report(
                    Kind::MissingGap,
                    format!(
                        "recovered: false, and {position} of another epoch comes without a gap"
                    ),
                );
            }
            Owed::Now { after, next } => {
                self.owed_gap = Owed::Nothing;
                self.report(
                    Kind::MissingGap,
                    format!(
                        "recovered: false, and {position} comes without a gap from {after} to {next}"
                    ),
                );
            }
        }
        match self.cursor {
            Some(cursor) if self.joined => self.check_follows(cursor, position, content),
            _ => self.report(Kind::Protocol, format!("{position} came before `joined`")),
        }
        if !self.seen.insert(content) {
            self.report(
                Kind::Doubled,
                format!(
                    "{content} was delivered again, at {position}, with no gap by failover between"
                ),
            );
        }
        self.recovered &= left_of_epoch;
        self.cursor = Some(position);
        self.owed_replay = self.owed_replay.saturating_sub(1);
        self.resumed = false;
    }

    /// Whether a message is the next one after a position.
    fn check_follows(&mut self, cursor: Position, position: Position, content: Content) {
        if position <= cursor {
            self.report(
                Kind::OutOfOrder,
                format!("{position} ({content}) came when it stood at {cursor}"),
            );
            return;
        }
        let missing = if self.resumed {
            Kind::FalseRecovered
        } else {
            Kind::Hole
        };
        if position.epoch == cursor.epoch {
            if position.offset.0 != cursor.offset.0 + 1 {
                self.report(
                    missing,
                    format!("from {cursor} straight to {position}, without a gap"),
                );
            }
            return;
        }
        if position.offset.0 != 1 {
            self.report(
                missing,
                format!("from {cursor} straight to {position}, which is not the first of its epoch, without a gap"),
            );
        }
        // What was lost together with the new epoch says nothing about its beginning.
        if self.room.fate(position) != Fate::Stored {
            return;
        }
        if cursor.offset.0 > 0 && self.room.fate(cursor) == Fate::Lost {
            self.report(
                missing,
                format!("from {cursor}, which was lost by a failover, to {position} without a gap"),
            );
        }
        self.crossed.push((cursor, position, false));
        let passed: Vec<_> = self.room.between(cursor, position).collect();
        for (passed, content) in passed {
            match self.room.fate(passed) {
                Fate::Stored => self.report(
                    missing,
                    format!("from {cursor} to {position}, past {passed} ({content}), without a gap"),
                ),
                Fate::Lost if self.room.was_acked(passed) => self.report(
                    Kind::SilentLoss,
                    format!(
                        "from {cursor} to {position}, past {passed} ({content}), which was acknowledged and lost by a failover, without a gap"
                    ),
                ),
                Fate::Lost | Fate::Unclear => {}
            }
        }
    }

    fn gap(&mut self, after: Position, next: Position, reason: GapReason, at: Millis) {
        if !self.joined {
            self.report(
                Kind::Protocol,
                format!("a gap from {after} to {next} came before `joined`"),
            );
        }
        let owed = std::mem::replace(&mut self.owed_gap, Owed::Nothing);
        match owed {
            Owed::Now {
                after: owed_after,
                next: owed_next,
            } if (owed_after, owed_next) != (after, next) => self.report(
                Kind::WrongGap,
                format!("`joined` promised a gap from {owed_after} to {owed_next}, this one goes from {after} to {next}"),
            ),
            Owed::Now { .. } => {}
            Owed::Nothing | Owed::AtBorder => self.check_gap_begins(after, reason),
        }
        if reason == GapReason::Failover && next.epoch > after.epoch {
            self.check_border(after, next);
        }
        if next < after && reason != GapReason::Failover {
            self.report(
                Kind::WrongGap,
                format!(
                    "a gap ({}) that leads back from {after} to {next}",
                    reason.as_str()
                ),
            );
        }
        self.check_not_ahead("a gap", next, at);
        if reason == GapReason::Failover {
            self.seen.clear();
        }
        self.cursor = Some(next);
        self.owed_replay = 0;
        self.resumed = false;
        self.recovered = false;
    }

    /// Whether a gap that no `joined` has promised can be.
    fn check_gap_begins(&mut self, after: Position, reason: GapReason) {
        if self.cursor != Some(after) {
            let cursor = self
                .cursor
                .map_or_else(|| "nowhere".to_owned(), |cursor| cursor.to_string());
            self.report(
                Kind::WrongGap,
                format!("a gap after {after} for one who stands at {cursor}"),
            );
        }
        // A failover may come while the past is replayed; all else was known before.
        if self.owed_replay > 0 && reason != GapReason::Failover {
            self.report(
                Kind::FalseRecovered,
                format!(
                    "recovered: true, then a gap ({}) with {} messages of the past outstanding",
                    reason.as_str(),
                    self.owed_replay
                ),
            );
        }
    }

    /// A gap that leads into another epoch.
    fn check_border(&mut self, after: Position, next: Position) {
        self.crossed.push((after, next, true));
        let opened = self.ledger.opened(next.epoch.0);
        if self.recovered && opened + STALE_PRIMARY < self.asked_at {
            self.report(
                Kind::FalseRecovered,
                format!("recovered: true, then a gap by failover into {next}, which began at {opened} ms, before it asked"),
            );
        }
    }

    fn check_not_ahead(&mut self, what: &str, position: Position, at: Millis) {
        if let Some(later) = self.room.lowest_published_after(at)
            && later <= position
        {
            self.report(
                Kind::AheadOfRoom,
                format!(
                    "{what} leads to {position}, past {later}, which was published only afterwards"
                ),
            );
        }
    }
}
