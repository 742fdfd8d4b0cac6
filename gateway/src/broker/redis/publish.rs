//! Publishing, signalling and deleting.

use std::time::Duration;

use redis::{Cmd, Value};
use rotunda_crds::RoomName;

use super::super::{
    BrokerError, Durability, IDEMPOTENCY_WINDOW, Publication, Published, Retention, millis,
};
use super::Engine;
use super::call::{Call, Doubt, Repeat};
use super::epoch::{OPENINGS, OpenEpoch};
use super::scripts::{DELETE, PUBLISH, PUBLISH_FULL};
use super::wire::{array, corrupt, encode_signal, number, position, text};

impl Engine {
    pub(super) async fn publish(
        &self,
        room: &RoomName,
        publication: &Publication,
    ) -> Result<Published, BrokerError> {
        let doubt = Doubt::default();
        match self.publish_once(room, publication, &doubt).await {
            // A try before the one that failed may have stored it.
            Err(_) if doubt.is_there() => Err(BrokerError::OutcomeUnknown),
            outcome => outcome,
        }
    }

    /// Stores it in whatever epoch the room is in; an error says nothing of the tries before that left a doubt.
    async fn publish_once(
        &self,
        room: &RoomName,
        publication: &Publication,
        doubt: &Doubt,
    ) -> Result<Published, BrokerError> {
        for _ in 0..OPENINGS {
            let epoch = self.epoch(room, publication.retention).await?;
            if epoch.wants_tending(publication.retention) {
                self.tend(room, publication.retention).await?;
                self.epochs.tended(room, publication.retention);
            }
            match self.try_publish(room, publication, &epoch, doubt).await? {
                Value::Nil => self.epochs.forget(room),
                answer => return read_answer(answer),
            }
        }
        Err(BrokerError::Unavailable(
            "the room's epoch changes too often".into(),
        ))
    }

    /// Gives what the script gives.
    async fn try_publish(
        &self,
        room: &RoomName,
        publication: &Publication,
        epoch: &OpenEpoch,
        doubt: &Doubt,
    ) -> Result<Value, BrokerError> {
        let log = self.keys.log(room);
        let usual = publication.key.is_none() && publication.rate_limit.is_none();
        let (script, mut command) = if usual {
            (&PUBLISH, PUBLISH.on(&[log]))
        } else {
            let mut keys = vec![log, self.keys.top(room)];
            keys.extend(publication.key.as_ref().map(|_| self.keys.answers(room)));
            (&PUBLISH_FULL, PUBLISH_FULL.on(&keys))
        };
        command
            .arg(self.keys.channel(room))
            .arg(format!("{}-*", epoch.epoch))
            .arg(&*publication.body)
            .arg(publication.retention.max_messages.max(1));
        if !usual {
            add_options(&mut command, publication);
        }
        let call = Call {
            slot: self.keys.slot(room),
            command: &command,
            script: Some(script),
            repeat: if publication.key.is_some() {
                Repeat::Told(doubt)
            } else {
                Repeat::Never
            },
            replicated: match publication.durability {
                Durability::Async => None,
                Durability::Replicated => Some(has_stored),
            },
            history: Some(epoch.history.clone()),
        };
        self.pool.call(call).await
    }

    pub(super) async fn signal(&self, room: &RoomName, body: &[u8]) -> Result<(), BrokerError> {
        let mut command = redis::cmd("SPUBLISH");
        command
            .arg(self.keys.channel(room))
            .arg(encode_signal(body));
        let call = Call {
            slot: self.keys.slot(room),
            command: &command,
            script: None,
            repeat: Repeat::Never,
            replicated: None,
            history: None,
        };
        self.pool.call(call).await.map(drop)
    }

    pub(super) async fn delete_messages(
        &self,
        room: &RoomName,
        retention: Retention,
    ) -> Result<(), BrokerError> {
        for _ in 0..OPENINGS {
            let epoch = self.epoch(room, retention).await?;
            let mut command = DELETE.on(&[self.keys.log(room)]);
            command.arg(self.keys.channel(room)).arg(epoch.epoch);
            // A second time there is nothing to delete.
            let call = Call {
                history: Some(epoch.history.clone()),
                ..Call::of(self.keys.slot(room), &command, &DELETE)
            };
            match self.pool.call(call).await? {
                Value::Nil => self.epochs.forget(room),
                _ => return Ok(()),
            }
        }
        Err(BrokerError::Unavailable(
            "the room's epoch changes too often".into(),
        ))
    }
}

/// What the usual publish does without.
fn add_options(command: &mut Cmd, publication: &Publication) {
    match &publication.key {
        // The scope's length goes first, so that no scope and key together read as another's.
        Some(key) => command.arg(format!("{}:{}:{}", key.scope.len(), key.scope, key.key)),
        None => command.arg(""),
    };
    command.arg(millis(IDEMPOTENCY_WINDOW));
    match publication.rate_limit {
        Some(limit) => command.arg(limit.max(1)),
        None => command.arg(""),
    };
}

/// Whether an answer stands for a message that is in the log.
fn has_stored(answer: &Value) -> bool {
    match answer {
        Value::BulkString(_) => true,
        Value::Array(parts) => parts
            .first()
            .is_some_and(|what| text(what).is_ok_and(|what| what == "duplicate")),
        _ => false,
    }
}

fn read_answer(answer: Value) -> Result<Published, BrokerError> {
    if matches!(answer, Value::BulkString(_)) {
        return Ok(Published {
            position: position(&answer)?,
            duplicate: false,
        });
    }
    let [what, value] = array(answer)?;
    match text(&what)? {
        "duplicate" => Ok(Published {
            position: position(&value)?,
            duplicate: true,
        }),
        "limited" => Err(BrokerError::RateLimited {
            retry_after: Duration::from_millis(number(&value)?.max(1)),
        }),
        _ => Err(corrupt("an unknown answer to a publish")),
    }
}
