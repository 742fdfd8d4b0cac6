//! Connections move on once they are old, so that new gateways fill up: told to reconnect, and closed if they don't.
//!
//! One task looks at all of them, so that none needs a timer for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Connection, Transport};
use crate::dialect::{CloseReason, event};
use crate::gateway::Gateway;
use crate::ids::ConnectionId;
use crate::shutdown;

/// How often ages are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Each connection's own age lies within this part of the one that is asked for, below or above: those that came together don't go together.
const SPREAD: f64 = 0.1;

/// How long one that was told to reconnect may stay, beside the time that it was told to wait.
pub const GRACE: Duration = Duration::from_secs(30);

/// Has old connections move on. Never ends.
pub async fn move_on(gateway: Arc<Gateway>) {
    let mut told: HashMap<ConnectionId, Instant> = HashMap::new();
    loop {
        sleep(LOOK).await;
        let seconds = gateway.settings().config.max_connection_age_seconds;
        if seconds == 0 {
            told = HashMap::new();
            continue;
        }
        let age = Duration::from_secs(seconds);
        let mut still_here = HashMap::with_capacity(told.len());
        for connection in gateway.registry.all() {
            let Some(old_for) = connection
                .since
                .elapsed()
                .checked_sub(own(age, &connection))
            else {
                continue;
            };
            // One poll is over before it gets old.
            if connection.transport == Transport::Poll {
                continue;
            }
            let since = told.get(&connection.id).copied();
            if since.is_none() {
                tracing::trace!(connection = %connection.id, ?old_for, "told to move on");
                connection
                    .outbox
                    .push(event::reconnect(shutdown::jitter()))
                    .ok();
            } else if since.is_some_and(|since| since.elapsed() >= GRACE) {
                connection.outbox.close(CloseReason::Aged);
            }
            still_here.insert(connection.id, since.unwrap_or_else(Instant::now));
        }
        told = still_here;
    }
}

/// The age at which this one moves on.
fn own(age: Duration, connection: &Connection) -> Duration {
    age.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * connection.id.share())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Files, Settings};
    use crate::testing::{Client, config, gateway};

    const AGE: Duration = Duration::from_mins(10);

    fn aging(seconds: u64) -> rotunda_crds::GatewayConfig {
        let mut config = config(&["lobby"]);
        config.max_connection_age_seconds = seconds;
        config
    }

    #[tokio::test(start_paused = true)]
    async fn old_connections_are_told_one_after_the_other_and_closed_if_they_stay() {
        let (gateway, _broker) = gateway(aging(AGE.as_secs()));
        let start = Instant::now();
        let mut clients: Vec<_> = (0..200)
            .map(|n| Client::connect(&gateway, &format!("user{n}")))
            .collect();
        let mut told_at = async |after: Duration| {
            tokio::time::sleep_until(start + after).await;
            clients
                .iter_mut()
                .map(|client| client.take_all("reconnect").len())
                .sum::<usize>()
        };
        assert_eq!(told_at(AGE.mul_f64(0.9)).await, 0);
        let half = told_at(AGE).await;
        assert!((50..150).contains(&half), "{half} of 200 half way");
        let latest = AGE.mul_f64(1.1) + 2 * LOOK;
        tokio::time::sleep_until(start + latest + GRACE).await;
        let mut told = 0;
        for client in &mut clients {
            assert_eq!(client.drain(), Some(CloseReason::Aged));
            told += client.take_all("reconnect").len();
        }
        assert_eq!(half + told, 200, "each is told once");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_moves_on_unless_asked_to_and_a_reload_is_enough_to_ask() {
        let (gateway, _broker) = gateway(aging(0));
        let mut alice = Client::connect(&gateway, "alice");
        tokio::time::sleep(3 * AGE).await;
        assert_eq!(alice.drain(), None);
        assert!(!alice.has("reconnect"));
        let settings = Settings::build(aging(60), &Files::new(), &gateway.counters).unwrap();
        gateway.reload(settings).await;
        tokio::time::sleep(2 * LOOK).await;
        alice.drain();
        assert!(alice.has("reconnect"));
    }
}
