//! What someone who stood at a position can still get: the recovery decision and the merge, as pure functions.
//!
//! The same rules serve a client that joins with a `last_seen_id` and a room that missed something. In goes a position and what the broker
//! knows of the log in one instant; out come messages in order, each once, and a gap wherever wholeness can't be proven. It does no
//! input or output and knows no connection.

use crate::broker::{Chunk, LogState, Message, Retention};
use crate::dialect::GapReason;
use crate::ids::{Epoch, Offset, Position};

/// Whether everything after a position can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it, that many messages.
    Complete { replay: u64 },
    /// All that is left, that many messages. But `torn`, the end of an epoch, lies on the way, and what was acknowledged after it may be lost: it is
    /// told as a gap from there to `next`.
    Torn {
        torn: Position,
        next: Position,
        replay: u64,
    },
    /// Not all: nothing can be promised of what lies after the position up to `next`. After `next` come `replay` messages.
    Incomplete {
        next: Position,
        reason: GapReason,
        replay: u64,
    },
}

/// Decides what a position is worth against a log.
pub fn assess(last_seen: Position, state: &LogState, retention: &Retention) -> Verdict {
    let Some(outstanding) = outstanding(last_seen, state) else {
        return incomplete(rejoin_at(last_seen, state), GapReason::Failover, state);
    };
    match state.oldest {
        _ if outstanding == 0 => reachable(last_seen, state),
        Some(oldest) if oldest <= successor(last_seen, state) => reachable(last_seen, state),
        Some(oldest) if state.deleted == Some(oldest) => {
            incomplete(oldest, GapReason::Deleted, state)
        }
        Some(_) => {
            let next = oldest_start(state);
            let kept = self::outstanding(next, state).unwrap_or(0);
            let reason = if kept >= retention.max_messages {
                GapReason::Trimmed
            } else {
                GapReason::Expired
            };
            incomplete(next, reason, state)
        }
        None => incomplete(state.top, GapReason::Expired, state),
    }
}

/// All that follows a position in the log can be had.
fn reachable(last_seen: Position, state: &LogState) -> Verdict {
    let replay = messages_after(last_seen, state);
    match (tear_after(last_seen, state), state.deleted) {
        (None, _) => Verdict::Complete { replay },
        // It took along whatever was lost before it.
        (Some(torn), Some(deleted)) if deleted > torn => {
            incomplete(deleted, GapReason::Deleted, state)
        }
        (Some(torn), _) => Verdict::Torn {
            torn,
            next: start_of(state.top.epoch),
            replay,
        },
    }
}

/// The end of the previous epoch, if it lies before someone at a position and may not be all that was acknowledged.
fn tear_after(position: Position, state: &LogState) -> Option<Position> {
    let previous = state.previous.filter(|previous| !previous.whole)?;
    (position.epoch < state.top.epoch && position <= previous.end).then_some(previous.end)
}

/// Where a position of another history goes on: one ahead of the top, past the end of its epoch, or of an epoch whose end nobody knows any
/// more. Never at something that it may have been told already.
fn rejoin_at(last_seen: Position, state: &LogState) -> Position {
    if last_seen > state.top {
        return state.top;
    }
    let newer = match previous_end(state) {
        Some(end) if last_seen.epoch < end.epoch => start_of(end.epoch),
        _ => start_of(state.top.epoch),
    };
    newer.max(oldest_start(state))
}

fn incomplete(next: Position, reason: GapReason, state: &LogState) -> Verdict {
    Verdict::Incomplete {
        next,
        reason,
        replay: messages_after(next, state),
    }
}

/// How many messages of this history follow a position: all that is outstanding but the deletion, which is none.
fn messages_after(from: Position, state: &LogState) -> u64 {
    let deletion = state.deleted.is_some_and(|deleted| deleted > from);
    outstanding(from, state)
        .unwrap_or(0)
        .saturating_sub(u64::from(deletion))
}

/// How many positions lie between a position and the top; `None` when it isn't a position of this history.
fn outstanding(from: Position, state: &LogState) -> Option<u64> {
    let top = state.top;
    if from.epoch == top.epoch {
        return top.offset.0.checked_sub(from.offset.0);
    }
    let end = previous_end(state).filter(|end| end.epoch == from.epoch)?;
    Some(
        end.offset
            .0
            .checked_sub(from.offset.0)?
            .saturating_add(top.offset.0),
    )
}

/// The position that the next message must have.
fn successor(position: Position, state: &LogState) -> Position {
    if previous_end(state) == Some(position) && position.epoch != state.top.epoch {
        Position {
            epoch: state.top.epoch,
            offset: Offset(1),
        }
    } else {
        position.next()
    }
}

/// The position right before the oldest message from which on everything can be counted.
fn oldest_start(state: &LogState) -> Position {
    let Some(oldest) = state.oldest else {
        return state.top;
    };
    let known_from = previous_end(state).map_or(state.top.epoch, |end| end.epoch);
    if oldest.epoch < known_from {
        // Trimming takes from the head, so all of the epochs after the oldest one's is there.
        start_of(known_from)
    } else {
        Position {
            epoch: oldest.epoch,
            offset: Offset(oldest.offset.0.saturating_sub(1)),
        }
    }
}

fn previous_end(state: &LogState) -> Option<Position> {
    state.previous.map(|previous| previous.end)
}

const fn start_of(epoch: Epoch) -> Position {
    Position {
        epoch,
        offset: Offset(0),
    }
}

/// What is to be told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Message(Message),
    Gap {
        after: Position,
        next: Position,
        reason: GapReason,
    },
}

/// Merges a chunk read after `cursor` into what has been told up to `cursor`: the steps, and the position they lead to.
pub fn merge(cursor: Position, chunk: Chunk, retention: &Retention) -> (Vec<Step>, Position) {
    let Chunk {
        state,
        messages,
        more,
    } = chunk;
    let mut steps = Vec::with_capacity(messages.len() + 1);
    let mut cursor = cursor;
    let skip = |steps: &mut Vec<Step>, cursor: &mut Position, next, reason| {
        steps.push(Step::Gap {
            after: *cursor,
            next,
            reason,
        });
        *cursor = next;
    };
    if let Verdict::Incomplete { next, reason, .. } = assess(cursor, &state, retention) {
        skip(&mut steps, &mut cursor, next, reason);
    }
    // It stands before all messages.
    if let Some(deleted) = state.deleted.filter(|deleted| *deleted > cursor) {
        skip(&mut steps, &mut cursor, deleted, GapReason::Deleted);
    }
    let cross = |steps: &mut Vec<Step>, cursor: &mut Position| {
        if tear_after(*cursor, &state).is_some() {
            let next = start_of(state.top.epoch);
            skip(steps, cursor, next, GapReason::Failover);
        }
    };
    for message in messages {
        let position = message.position;
        if position <= cursor {
            continue;
        }
        if position.epoch == state.top.epoch {
            cross(&mut steps, &mut cursor);
        }
        if position != successor(cursor, &state) {
            let before = Position {
                epoch: position.epoch,
                offset: Offset(position.offset.0.saturating_sub(1)),
            };
            skip(&mut steps, &mut cursor, before, GapReason::Trimmed);
        }
        cursor = position;
        steps.push(Step::Message(message));
    }
    if !more && cursor < state.top {
        cross(&mut steps, &mut cursor);
        // The end was read and isn't the top: what lies between went away meanwhile, unless nothing does.
        if outstanding(cursor, &state) != Some(0) {
            skip(&mut steps, &mut cursor, state.top, GapReason::Expired);
        }
        cursor = state.top;
    }
    (steps, cursor)
}

#[cfg(test)]
mod tests;
