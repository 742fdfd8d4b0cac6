//! How a gateway goes: told by a signal, it hands its connections over before it ends.
//!
//! While it drains it stays ready and goes on accepting, since a load balancer may send to it for a while yet; everyone is told to open a
//! connection elsewhere, at a steady pace, so that the others take over a trickle and not a wave. What is left at the end is closed with 1012.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dialect::{CloseReason, event};
use crate::gateway::Gateway;

/// How long the listener goes on at most: load balancers and kube-proxy have noticed by then.
const LONGEST_ACCEPTING: Duration = Duration::from_secs(20);

/// Everyone who is told to reconnect waits up to this before doing so.
const LONGEST_JITTER: Duration = Duration::from_secs(2);

/// How often a few more connections are told.
const TICK: Duration = Duration::from_millis(100);

/// How long closing the rest may take. The pod's grace period leaves 15 seconds beyond the drain.
pub const STOP_PATIENCE: Duration = Duration::from_secs(4);

/// When one connection should move on.
pub fn jitter() -> Duration {
    LONGEST_JITTER.mul_f64(rand::rng().random_range(0.0..1.0))
}

/// SIGTERM and SIGINT. Made before anything else: none that comes from then on is missed, whatever the gateway is busy with.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them.
    pub async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Hands the connections over within `window`; `listener` ends the accepting.
///
/// One that serves nobody and can't serve anybody, as before it has found its Redis, ends at once: who tries it next has to try another anyway.
pub async fn drain(gateway: &Arc<Gateway>, window: Duration, listener: &CancellationToken) {
    gateway.begin_drain();
    if let (0, Err(why)) = (gateway.registry.count(), gateway.ready()) {
        tracing::info!(why, "ending: there is nothing to hand over");
        listener.cancel();
    } else {
        hand_over(gateway, window, listener).await;
    }
    gateway.stop(CloseReason::Drained, STOP_PATIENCE).await;
}

async fn hand_over(gateway: &Arc<Gateway>, window: Duration, listener: &CancellationToken) {
    let started = Instant::now();
    tracing::info!(
        connections = gateway.registry.count(),
        seconds = window.as_secs(),
        "draining"
    );
    let accepting = window.min(LONGEST_ACCEPTING);
    let stop_accepting = async {
        tokio::time::sleep(accepting).await;
        listener.cancel();
    };
    // The last ones told still need the time to act on it.
    let telling = window.saturating_sub(LONGEST_JITTER).mul_f64(0.8);
    let tell = async {
        tell_all(gateway, telling).await;
        let deadline = started + window;
        // New ones may come as long as the listener is open.
        while Instant::now() < deadline
            && (gateway.registry.count() > 0 || !listener.is_cancelled())
        {
            tokio::time::sleep_until(deadline.min(Instant::now() + TICK)).await;
        }
    };
    tokio::join!(stop_accepting, tell);
    tracing::info!(connections = gateway.registry.count(), "drained");
}

/// Tells everyone who is connected now to reconnect, spread over `window`, in no order that clients could share.
async fn tell_all(gateway: &Gateway, window: Duration) {
    let mut connections = gateway.registry.all();
    connections.shuffle(&mut rand::rng());
    let ticks = usize::try_from(window.as_millis() / TICK.as_millis())
        .unwrap_or(usize::MAX)
        .max(1);
    let share = connections.len().div_ceil(ticks).max(1);
    let mut tick = tokio::time::interval(TICK);
    for some in connections.chunks(share) {
        tick.tick().await;
        for connection in some {
            connection.outbox.push(event::reconnect(jitter())).ok();
        }
    }
}

#[cfg(test)]
mod tests;
