//! Finds out that something was missed where nothing was heard.
//!
//! A confirmed subscription is given a base: the top of its room's log. From then on every position up to `heard` was delivered, or the room was
//! told to read. Every ten seconds each room's log is asked for what lies after it, in one pipelined call per server, spread over the
//! ten seconds. What is found then and still unheard a second later was missed; of a log that has gone ahead of its slot to another server all
//! may be. The same call compares the version of presence where this gateway has
//! members. Rooms that are due are tended besides (see `epoch`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::{Pipeline, Value};
use tokio::time::{Instant, MissedTickBehavior};

use super::super::BrokerError;
use super::Engine;
use super::call::Call;
use super::epoch::tending_interval;
use super::node::Node;
use super::scripts::PEEK;
use super::subscribe::Subscription;
use super::wire::{array, list, number, position};
use crate::ids::Position;

/// How long each share of the rooms is waited for; all have been looked at after ten. Tests don't have the time.
const TICK: Duration = if cfg!(test) {
    Duration::from_millis(100)
} else {
    Duration::from_secs(1)
};

/// Into how many shares the rooms are parted.
const SHARES: u16 = 10;

/// How many rooms are tended at once.
const TENDED_AT_ONCE: usize = 64;

/// How many rooms one pipeline takes.
const BATCH: usize = 500;

impl Engine {
    /// Gives confirmed subscriptions their base.
    pub(super) async fn keep_based(self: Arc<Self>) {
        let mut looking_up = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = self.subscriptions.base_wanted.notified() => {
                    for subscription in self.subscriptions.take_unbased() {
                        looking_up.push(self.find_base(subscription));
                    }
                }
                Some(()) = looking_up.next() => {}
            }
        }
    }

    async fn find_base(&self, subscription: Arc<Subscription>) {
        let room = &subscription.room;
        let command = PEEK.on(&[self.keys.log(room), self.keys.here(room)]);
        let call = Call::of(subscription.slot, &command, &PEEK);
        let found = self.pool.call(call).await.and_then(|answer| {
            let [top, version] = array(answer)?;
            Ok((position(&top)?, number(&version)?))
        });
        match found {
            Ok((top, version)) => self.subscriptions.base(&subscription, top, version),
            // Lost again, it will be confirmed again. Until then nothing is known, and the room is told once more then.
            Err(error) => {
                tracing::debug!(room = %subscription.room, %error, "can't look up the top of the room");
                self.subscriptions.give_up_base(&subscription);
            }
        }
    }

    /// Looks at one share of the rooms each tick.
    pub(super) async fn keep_checked(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut suspects: Vec<(Arc<Subscription>, Suspicion)> = Vec::new();
        for share in (0..SHARES).cycle() {
            ticks.tick().await;
            self.subscriptions.drop_unwanted();
            for (subscription, suspicion) in suspects.drain(..) {
                self.settle(&subscription, suspicion);
            }
            let mut shares: HashMap<_, Vec<Arc<Subscription>>> = HashMap::new();
            for subscription in self.subscriptions.all() {
                if subscription.slot % SHARES == share {
                    let home = subscription.state().home().cloned();
                    shares.entry(home).or_default().push(subscription);
                }
            }
            for subscriptions in shares.into_values() {
                for batch in subscriptions.chunks(BATCH) {
                    match self.check(batch).await {
                        Ok(found) => suspects.extend(found),
                        Err(error) => tracing::debug!(%error, "can't check quiet rooms"),
                    }
                    self.tend_due(batch).await;
                }
            }
        }
    }

    /// Tends the rooms that are due, several at once.
    async fn tend_due(&self, batch: &[Arc<Subscription>]) {
        let due = batch.iter().filter_map(|subscription| {
            let state = subscription.state();
            let retention = state.retention?;
            let due = state
                .tended
                .is_none_or(|at| at.elapsed() >= tending_interval(retention));
            (due && state.is_live()).then_some((subscription, retention))
        });
        futures::stream::iter(due.collect::<Vec<_>>())
            .for_each_concurrent(TENDED_AT_ONCE, async |(subscription, retention)| match self
                .tend(&subscription.room, retention)
                .await
            {
                Ok(()) => subscription.state().tended = Some(Instant::now()),
                Err(error) => tracing::debug!(%error, "can't tend a room"),
            })
            .await;
    }

    /// What wasn't heard after a while was missed.
    fn settle(&self, subscription: &Arc<Subscription>, suspicion: Suspicion) {
        match suspicion {
            Suspicion::Message(found) if subscription.state().heard < found => {
                tracing::info!(room = %subscription.room, "a message was missed");
                self.subscriptions.want_base(subscription);
            }
            Suspicion::MovedAhead => self.subscriptions.want_base(subscription),
            Suspicion::Presence { heard, found } if subscription.state().announced == heard => {
                self.subscriptions.miss_announcement(subscription, found);
            }
            _ => {}
        }
    }

    /// Asks for what lies after what was heard of each room. All rooms belong to one server.
    async fn check(
        &self,
        batch: &[Arc<Subscription>],
    ) -> Result<Vec<(Arc<Subscription>, Suspicion)>, BrokerError> {
        let Some(first) = batch.first() else {
            return Ok(Vec::new());
        };
        let Ok(node) = self.pool.node_of(first.slot) else {
            return Ok(Vec::new());
        };
        let (pipeline, asked) = self.plan_check(batch, &node);
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.pool.call_all(&node, &pipeline).await?;
        let answers = asked.into_iter().zip(answers);
        Ok(answers
            .filter_map(|((subscription, question), answer)| {
                Some((subscription, question.suspect(answer)?))
            })
            .collect())
    }

    fn plan_check(
        &self,
        batch: &[Arc<Subscription>],
        node: &Node,
    ) -> (Pipeline, Vec<(Arc<Subscription>, Question)>) {
        let mut pipeline = Pipeline::new();
        let mut asked = Vec::new();
        let inhabited = self.presence.inhabited(batch);
        for (subscription, inhabited) in batch.iter().zip(inhabited) {
            let state = subscription.state();
            if !state.is_live() || state.home() != Some(&node.address) {
                continue;
            }
            let log = self.keys.log(&subscription.room);
            pipeline
                .cmd("XREAD")
                .arg("COUNT")
                .arg(1)
                .arg("STREAMS")
                .arg(&log)
                .arg(state.heard.to_string());
            asked.push((Arc::clone(subscription), Question::Log));
            if inhabited {
                let here = self.keys.here(&subscription.room);
                pipeline.cmd("HGET").arg(here).arg("");
                let heard = state.announced;
                asked.push((Arc::clone(subscription), Question::Presence { heard }));
            }
        }
        (pipeline, asked)
    }
}

/// What is asked about a room.
enum Question {
    Log,
    /// With the version heard last.
    Presence {
        heard: u64,
    },
}

/// What may have been missed, or is on its way.
#[derive(Clone, Copy)]
enum Suspicion {
    Message(Position),
    MovedAhead,
    Presence { heard: u64, found: u64 },
}

impl Question {
    /// But for one, refusals give no reason.
    fn suspect(self, answer: Value) -> Option<Suspicion> {
        match self {
            // The log is where the slot goes; what is published there isn't heard here.
            Self::Log if is_moved_ahead(&answer) => Some(Suspicion::MovedAhead),
            Self::Log => first_entry(answer).map(Suspicion::Message),
            Self::Presence { heard } => {
                let found = match answer {
                    Value::Nil => 0,
                    answer => number(&answer).ok()?,
                };
                (found != heard).then_some(Suspicion::Presence { heard, found })
            }
        }
    }
}

/// The server that takes the slot over has the key already.
fn is_moved_ahead(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(refusal) if refusal.code() == "ASK")
}

/// The first id in an answer to `XREAD`, `[[key, [[id, fields], …]]]`. Nil and refusals have none.
fn first_entry(answer: Value) -> Option<Position> {
    let stream = list(answer).ok()?.into_iter().next()?;
    let entries = list(stream).ok()?.into_iter().nth(1)?;
    let entry = list(entries).ok()?.into_iter().next()?;
    position(list(entry).ok()?.first()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn the_first_id_is_found_in_an_answer() {
        let entry = Value::Array(vec![text("7-3"), Value::Array(vec![])]);
        let answer = Value::Array(vec![Value::Array(vec![
            text("key"),
            Value::Array(vec![entry]),
        ])]);
        assert_eq!(first_entry(answer), Some(Position::new(7, 3)));
        assert_eq!(first_entry(Value::Nil), None);
        assert_eq!(first_entry(Value::Array(vec![])), None);
    }
}
