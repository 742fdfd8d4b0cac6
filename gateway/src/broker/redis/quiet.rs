//! Finds out that something was missed where nothing was heard.
//!
//! A confirmed subscription is given a base: the top of its room's log. From then on every position up to `heard` was delivered, or the room was
//! told to read. Every ten seconds each room's log is asked for what lies after it, in one pipelined call per server, spread over the
//! ten seconds. What is found then and still unheard a second later was missed. The same call renews expiries.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::{Pipeline, Value};
use tokio::time::{Instant, MissedTickBehavior};

use super::super::BrokerError;
use super::Engine;
use super::call::{Call, Repeat};
use super::epoch::{Expiries, renewal_interval};
use super::node::Node;
use super::scripts::PEEK;
use super::subscribe::Subscription;
use super::wire::{list, position};
use crate::ids::Position;

/// How long each share of the rooms is waited for; all have been looked at after ten. Tests don't have the time.
const TICK: Duration = if cfg!(test) {
    Duration::from_millis(100)
} else {
    Duration::from_secs(1)
};

/// Into how many shares the rooms are parted.
const SHARES: u16 = 10;

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
        let command = PEEK.on(&[self.keys.log(&subscription.room)]);
        let call = Call {
            slot: subscription.slot,
            command: &command,
            script: Some(&PEEK),
            repeat: Repeat::Safe,
            replicated: None,
            history: None,
        };
        let top = match self.pool.call(call).await {
            Ok(answer) => position(&answer),
            Err(error) => Err(error),
        };
        match top {
            Ok(top) => self.subscriptions.base(&subscription, top),
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
        let mut suspects: Vec<(Arc<Subscription>, Position)> = Vec::new();
        for share in (0..SHARES).cycle() {
            ticks.tick().await;
            self.subscriptions.drop_unwanted();
            for (subscription, found) in suspects.drain(..) {
                if subscription.state().heard < found {
                    tracing::info!(room = %subscription.room, "a message was missed");
                    self.subscriptions.want_base(&subscription);
                }
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
                }
            }
        }
    }

    /// Asks for what lies after what was heard of each room. All rooms belong to one server.
    async fn check(
        &self,
        batch: &[Arc<Subscription>],
    ) -> Result<Vec<(Arc<Subscription>, Position)>, BrokerError> {
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
            .filter_map(|(subscription, answer)| Some((subscription, first_entry(answer)?)))
            .collect())
    }

    /// The questions come first, in the order of the subscriptions given back; renewals follow.
    fn plan_check(
        &self,
        batch: &[Arc<Subscription>],
        node: &Node,
    ) -> (Pipeline, Vec<Arc<Subscription>>) {
        let (mut pipeline, mut renewals) = (Pipeline::new(), Vec::new());
        let mut asked = Vec::new();
        for subscription in batch {
            let mut state = subscription.state();
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
            asked.push(Arc::clone(subscription));
            if let Some(retention) = state.retention
                && state
                    .renewed
                    .is_none_or(|at| at.elapsed() >= renewal_interval(retention))
            {
                state.renewed = Some(Instant::now());
                renewals.push((
                    log,
                    self.keys.top(&subscription.room),
                    Expiries::of(retention),
                ));
            }
        }
        for (log, top, expiries) in renewals {
            pipeline.cmd("PEXPIRE").arg(log).arg(expiries.log_ms);
            pipeline.cmd("PEXPIRE").arg(top).arg(expiries.top_ms);
        }
        (pipeline, asked)
    }
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
