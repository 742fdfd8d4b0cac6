//! Reading stored messages with the state of the log.

use redis::Value;
use rotunda_crds::RoomName;
use tokio::time::Instant;

use super::super::{
    BrokerError, Chunk, LogState, MAX_READ, MAX_READ_BYTES, PreviousEpoch, Range, Retention, millis,
};
use super::Engine;
use super::call::Call;
use super::epoch::OPENINGS;
use super::scripts::READ;
use super::wire::{array, entry, list, number, optional_position, position};
use crate::ids::Position;

impl Engine {
    pub(super) async fn read(
        &self,
        room: &RoomName,
        range: Range,
        limit: usize,
        retention: Retention,
    ) -> Result<Chunk, BrokerError> {
        for _ in 0..OPENINGS {
            match self
                .try_read(room, range, limit.clamp(1, MAX_READ), retention)
                .await?
            {
                Value::Nil => {
                    self.epochs.forget(room);
                    self.open_epoch(room, retention).await?;
                }
                answer => {
                    self.subscriptions.note_retention(room, retention);
                    return read_answer(answer, range);
                }
            }
        }
        Err(BrokerError::Unavailable(
            "the room's epoch changes too often".into(),
        ))
    }

    /// Gives what the script gives.
    async fn try_read(
        &self,
        room: &RoomName,
        range: Range,
        limit: usize,
        retention: Retention,
    ) -> Result<Value, BrokerError> {
        let slot = self.keys.slot(room);
        let history = self.pool.history(slot, Instant::now()).await?;
        let (first, last, direction) = match range {
            Range::After(position) => (after(position).to_string(), "+".into(), "up"),
            Range::Before(position) => ("-".into(), before(position).to_string(), "down"),
            Range::Latest => ("-".into(), "+".into(), "down"),
        };
        let mut command = READ.on(&[self.keys.log(room), self.keys.top(room)]);
        command
            .arg(&*history)
            .arg(first)
            .arg(last)
            .arg(direction)
            .arg(limit)
            .arg(retention.max_messages.max(1))
            .arg(millis(retention.max_age).min(i64::MAX as u64))
            .arg(MAX_READ_BYTES);
        let call = Call::of(slot, &command, &READ);
        self.pool.call(call).await
    }
}

fn read_answer(answer: Value, range: Range) -> Result<Chunk, BrokerError> {
    let [top, end, whole, oldest, deleted, more, entries] = array(answer)?;
    let whole = number(&whole)? == 1;
    let previous = optional_position(&end)?.map(|end| PreviousEpoch { end, whole });
    let mut messages = list(entries)?
        .into_iter()
        .map(entry)
        .collect::<Result<Vec<_>, _>>()?;
    if !matches!(range, Range::After(_)) {
        messages.reverse();
    }
    Ok(Chunk {
        state: LogState {
            top: position(&top)?,
            previous,
            oldest: optional_position(&oldest)?,
            deleted: optional_position(&deleted)?,
        },
        messages,
        more: number(&more)? == 1,
    })
}

/// The first id after a position. The very last position has none; nothing is there either.
fn after(position: Position) -> Position {
    match position.offset.0.checked_add(1) {
        Some(offset) => Position::new(position.epoch.0, offset),
        None => Position::new(position.epoch.0.saturating_add(1), 0),
    }
}

/// The last id before a position. The very first has none; Redis keeps no message there.
fn before(position: Position) -> Position {
    match position.offset.0.checked_sub(1) {
        Some(offset) => Position::new(position.epoch.0, offset),
        None if position.epoch.0 == 0 => Position::new(0, 0),
        None => Position::new(position.epoch.0 - 1, u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_positions_cross_epochs() {
        assert_eq!(after(Position::new(7, 3)), Position::new(7, 4));
        assert_eq!(after(Position::new(7, u64::MAX)), Position::new(8, 0));
        assert_eq!(before(Position::new(7, 3)), Position::new(7, 2));
        assert_eq!(before(Position::new(7, 0)), Position::new(6, u64::MAX));
        assert_eq!(before(Position::new(0, 0)), Position::new(0, 0));
    }
}
