//! Judges a history by the delivery contract (docs/protocol.md, "What you can rely on"). Pure: a history goes in, violations come out.
//!
//! First the [`ledger`] gathers what is known of each room from all sides: which content stands at which position, and what became of it. Then
//! each [`stream`] is walked: what one subscriber saw of one room must be in order, each message once, and without a hole that no gap
//! tells. A message is lost legally only when a failover took it, and only if those who pass it are told. Last the [`borders`] between epochs are
//! looked at from all sides: whether something may be lost there is the same for everyone.

use crate::history::{History, Millis, RoomIndex};

mod borders;
mod ledger;
mod stream;

use ledger::Ledger;

/// How the contract can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Two contents at one position.
    TwoContents,
    /// One content at two positions, though it wasn't a keyed retry of something lost.
    Doubled,
    /// A message that nobody published, or not there.
    Invented,
    /// A publish that was refused for sure is stored.
    RefusedButStored,
    /// An acknowledged message is gone, and no failover can have taken it.
    Lost,
    /// A subscriber passed a place where a failover took an acknowledged message, and no gap told it.
    SilentLoss,
    /// A message at or before one that came earlier.
    OutOfOrder,
    /// Something missing between two messages, and no gap between them.
    Hole,
    /// `recovered: true` where something after the cursor was missing.
    FalseRecovered,
    /// `recovered: false`, and no gap says what is missing.
    MissingGap,
    /// A gap that doesn't begin where the subscriber stands.
    WrongGap,
    /// An id of an event stream or a poll that stands for another place than what came with it.
    WrongId,
    /// A gap by failover that leads past messages which are still there.
    Skipped,
    /// A subscriber passed from one epoch to the next without a gap, while others were told that something may be lost there, or though the
    /// primary was killed between the two.
    UntoldBorder,
    /// A gap between two epochs, though nothing happened that could have lost anything: a planned failover, or a slot that moved.
    GroundlessGap,
    /// A join or a gap that leads past messages which were published only later.
    AheadOfRoom,
    /// A message or gap before `joined`, or a `joined` that doesn't answer what was asked.
    Protocol,
    /// A subscriber that didn't come to the end after all faults were over.
    Stalled,
}

/// One breach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    pub room: RoomIndex,
    /// Whose stream shows it, and where.
    pub place: Option<Place>,
    pub at: Millis,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub stream: usize,
    pub entry: usize,
}

/// The verdict, and what was lost within the contract.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub violations: Vec<Violation>,
    /// Acknowledged messages that failovers took.
    pub lost: usize,
    /// Those of them in rooms whose messages are acknowledged only when a replica has them, too.
    pub lost_replicated: usize,
    /// Keyed messages stored twice, because a failover took the first.
    pub stored_again: usize,
    pub borders: Borders,
}

/// How many times one epoch was followed by another in a room, as subscribers saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Borders {
    /// Everyone went on as if nothing had been.
    pub proven: usize,
    /// Everyone was told that something may be lost.
    pub unproven: usize,
    /// Those of all in quiet times, when no other fault was near that could keep a gateway from proving them.
    pub quiet: usize,
}

/// Checks all of it.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    let ledger = Ledger::build(history, &mut verdict);
    ledger.check(&mut verdict);
    let mut crossings = Vec::new();
    for (index, stream) in history.streams.iter().enumerate() {
        stream::check(
            index,
            stream,
            &ledger,
            &mut crossings,
            &mut verdict.violations,
        );
    }
    verdict.borders = borders::check(history, &ledger, &crossings, &mut verdict.violations);
    verdict.violations.sort_by_key(|violation| violation.at);
    verdict
}

#[cfg(test)]
mod tests;
