//! What the application has all gateways do: disconnect a user, take one out of a room.
//!
//! Orders are messages of a log of their own, [`RoomName::control`]: ordered, stored for a day, fanned out and healed as a room's messages are. A
//! gateway keeps its position in it. Whatever the broker tells of the log only wakes the reader up, which then reads on from there: so
//! each order is carried out once and in order, also by a gateway that was cut off or stopped for a while. A gateway that starts begins at
//! the end, before it takes clients in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rotunda_crds::RoomName;
use serde::{Deserialize, Serialize};

use crate::broker::{
    Broker, BrokerError, Durability, IdempotencyKey, Message, Publication, Range, Retention,
};
use crate::dialect::{CloseReason, Failure, GapReason};
use crate::gateway::Gateway;
use crate::hub::{Backoff, unavailable};
use crate::ids::{Position, UserId};
use crate::recovery::{Step, merge};

/// How long and how many orders are kept for a gateway that is cut off.
const RETENTION: Retention = Retention {
    max_messages: 10_000,
    max_age: Duration::from_hours(24),
};

/// Orders in one read.
const PAGE: usize = 256;

/// Something that every gateway is to do. Written as JSON; what a newer gateway writes and this one doesn't know is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// All of the user's connections end, also those that were lost and may yet come back.
    Disconnect { user: UserId },
    /// The user's connections leave the room.
    Remove { room: RoomName, user: UserId },
}

/// Whether this gateway follows the log yet.
#[derive(Debug, Default)]
pub struct Control {
    begun: AtomicBool,
}

impl Control {
    /// `Ok` once no order can be missed any more.
    pub fn ready(&self) -> Result<(), String> {
        if self.begun.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err("the log of orders to all gateways can't be read yet".to_owned())
        }
    }
}

impl Gateway {
    /// Has every gateway, this one too, carry out an order. Once this returns it isn't lost by a gateway that is cut off.
    pub async fn order(&self, order: &Order) -> Result<(), Failure> {
        let body = serde_json::to_vec(order).expect("plain data into memory can't fail");
        let publication = Publication {
            body: Bytes::from(body),
            // Lets the broker send it again when an answer gets lost.
            key: Some(IdempotencyKey {
                scope: "control".to_owned(),
                key: format!("{:032x}", rand::random::<u128>()),
            }),
            retention: RETENTION,
            durability: Durability::Async,
            rate_limit: None,
        };
        self.hub
            .broker()
            .publish(&RoomName::control(), publication)
            .await
            .map(drop)
            .map_err(|error| unavailable(&error))
    }

    fn carry_out(self: &Arc<Self>, message: &Message) {
        match serde_json::from_slice(&message.body) {
            Ok(Order::Disconnect { user }) => self.disconnect(&user),
            Ok(Order::Remove { room, user }) => self.hub.remove(&user, &room),
            Err(error) => {
                tracing::warn!(position = %message.position, %error, "an order that this version doesn't know");
            }
        }
    }

    fn take(self: &Arc<Self>, step: Step) {
        match step {
            Step::Message(message) => self.carry_out(&message),
            Step::Gap {
                reason: GapReason::Failover,
                ..
            } => {
                // What Redis itself has lost nobody can carry out; those who had read it have done so.
                tracing::warn!("orders to all gateways may have been lost in a failover of Redis");
            }
            Step::Gap { .. } => {
                tracing::warn!(
                    "this gateway was cut off for so long that orders are gone: all its clients connect again"
                );
                self.restart_all();
            }
        }
    }

    /// Which orders were missed is unknown, so nobody may stay who could be meant by one: all come back with their tokens.
    fn restart_all(&self) {
        for connection in self.registry.all() {
            connection.outbox.close(CloseReason::Drained);
        }
    }
}

/// Carries out orders for ever.
pub async fn follow(gateway: Arc<Gateway>) {
    let log = RoomName::control();
    let broker = Arc::clone(gateway.hub.broker());
    let mut backoff = Backoff::default();
    let mut position = loop {
        match begin(&*broker, &log).await {
            Ok(end) => break end,
            Err(error) => {
                tracing::debug!(%error, "the log of orders can't be read yet");
                backoff.wait().await;
            }
        }
    };
    gateway.control.begun.store(true, Ordering::Release);
    let mut backoff = Backoff::default();
    loop {
        gateway.hub.rooms().orders().notified().await;
        loop {
            match broker
                .read(&log, Range::After(position), PAGE, RETENTION)
                .await
            {
                Ok(chunk) => {
                    backoff = Backoff::default();
                    let more = chunk.more;
                    let (steps, next) = merge(position, chunk, &RETENTION);
                    position = next;
                    for step in steps {
                        gateway.take(step);
                    }
                    if !more {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "the log of orders can't be read");
                    backoff.wait().await;
                }
            }
        }
    }
}

/// Where the log ends now. Whatever comes later is told.
async fn begin(broker: &dyn Broker, log: &RoomName) -> Result<Position, BrokerError> {
    broker.subscribe(log).await?;
    let chunk = broker.read(log, Range::Latest, 1, RETENTION).await?;
    Ok(chunk.state.top)
}

#[cfg(test)]
mod tests;
