//! Where one epoch is followed by the next, seen from all streams together.
//!
//! Either it is proven that nothing was lost there, and everyone goes on as if nothing had been; or it isn't, and everyone is told, after all that
//! is left of the epoch before.

use std::collections::BTreeMap;

use super::ledger::{Fate, Ledger};
use super::{Borders, Kind, Place, Violation};
use crate::history::{Change, History, Millis, Position, RoomIndex};

/// For how long before a new epoch all must have been quiet, so that a gateway was there to see the old one end.
const QUIET_BEFORE: Millis = 6000;

/// How long after it was due an epoch may be opened.
const QUIET_AFTER: Millis = 1000;

/// For how long a shard must have had its primary before a slot comes to it, and some: a gateway can't prove the move otherwise
/// (`gateway/src/broker/redis/lineage.rs`).
const SEASONED: Millis = 13_000;

/// A subscriber passed from one epoch to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crossing {
    pub(super) room: RoomIndex,
    pub(super) place: Place,
    pub(super) at: Millis,
    /// Where it stood.
    pub(super) from: Position,
    /// Where it went on: after this one if a gap told it, at it otherwise.
    pub(super) to: Position,
    pub(super) told: bool,
}

/// Compares what subscribers were told of each border.
pub(super) fn check(
    history: &History,
    ledger: &Ledger<'_>,
    crossings: &[Crossing],
    violations: &mut Vec<Violation>,
) -> Borders {
    let mut borders: BTreeMap<(RoomIndex, u64, u64), Vec<&Crossing>> = BTreeMap::new();
    for crossing in crossings {
        if is_of_the_border(ledger, crossing) {
            let key = (crossing.room, crossing.from.epoch.0, crossing.to.epoch.0);
            borders.entry(key).or_default().push(crossing);
        }
    }
    let mut counts = Borders::default();
    for ((room, before, epoch), crossings) in borders {
        let (told, silent): (Vec<&Crossing>, Vec<&Crossing>) =
            crossings.into_iter().partition(|crossing| crossing.told);
        let opened = ledger.opened(epoch);
        let is_quiet = is_quiet(history, room, opened);
        counts.quiet += usize::from(is_quiet);
        let begun = ledger.opened(before);
        let death = history.deaths.iter().find(|death| {
            death.room == room && begun < death.window.from && death.window.until < opened
        });
        if let Some(death) = death {
            violations.extend(silent.iter().map(|crossing| {
                let text = format!(
                    "from {} to {} without a gap, and the primary was killed at {} ms, between the two",
                    crossing.from, crossing.to, death.window.from
                );
                violation(Kind::UntoldBorder, crossing, text)
            }));
        }
        let Some(first) = told.first() else {
            counts.proven += 1;
            continue;
        };
        counts.unproven += 1;
        if death.is_none() {
            violations.extend(silent.iter().map(|crossing| {
                let text = format!(
                    "from {} to {} without a gap, and others were told of one there",
                    crossing.from, crossing.to
                );
                violation(Kind::UntoldBorder, crossing, text)
            }));
        }
        if is_quiet {
            let text = format!(
                "a gap by failover from {} to {}, and nothing but a planned failover or a moved slot was near {opened} ms",
                first.from, first.to
            );
            violations.push(violation(Kind::GroundlessGap, first, text));
        }
        violations.extend(told.iter().filter_map(|crossing| {
            let skipped = ledger
                .room(crossing.room)
                .stored_later_in_epoch(crossing.from)?;
            let text = format!(
                "a gap by failover from {} to {}, past {skipped}, which is there",
                crossing.from, crossing.to
            );
            Some(violation(Kind::Skipped, crossing, text))
        }));
    }
    counts
}

/// Whether nothing but planned changes was near that a gateway can prove to lose nothing.
fn is_quiet(history: &History, room: RoomIndex, opened: Millis) -> bool {
    let from = opened.saturating_sub(QUIET_BEFORE);
    let until = opened + QUIET_AFTER;
    let moved = history.planned.iter().any(|planned| {
        planned.change == Change::Moved(room) && planned.window.touches(from, until)
    });
    let unseasoned = || {
        let since = from.checked_sub(SEASONED);
        since.is_none_or(|since| {
            history.planned.iter().any(|planned| {
                planned.change == Change::Failover && planned.window.touches(since, until)
            })
        })
    };
    let disturbed = history
        .unsettled
        .iter()
        .any(|window| window.touches(from, until));
    let provable = !moved || !unseasoned();
    provable && !disturbed
}

/// A gap may also be about its subscriber alone: one whose position was lost, or is of a history that nobody knows any more.
fn is_of_the_border(ledger: &Ledger<'_>, crossing: &Crossing) -> bool {
    let room = ledger.room(crossing.room);
    let Some(next) = room.next_epoch(crossing.from.epoch.0) else {
        return false;
    };
    if next != crossing.to.epoch.0 {
        return false;
    }
    if !crossing.told {
        return true;
    }
    let was_lost = crossing.from.offset.0 > 0 && room.fate(crossing.from) != Fate::Stored;
    let later = room.next_epoch(crossing.to.epoch.0);
    let is_forgotten = later.is_some_and(|later| crossing.at >= ledger.opened(later));
    crossing.to.offset.0 == 0 && !was_lost && !is_forgotten
}

fn violation(kind: Kind, crossing: &Crossing, text: String) -> Violation {
    Violation {
        kind,
        room: crossing.room,
        place: Some(crossing.place),
        at: crossing.at,
        text,
    }
}
