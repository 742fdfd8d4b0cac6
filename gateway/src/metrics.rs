//! What the gateway counts, for Prometheus. Names and labels are bounded: no user, room or address is ever a label.
//!
//! Hot paths touch plain atomics only. A histogram takes a lock, so the delivery latency is sampled: one delivery of each message, that to the
//! connection which was handed it last.

use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::broker::BrokerMetrics;
use crate::connection::Transport;
use crate::dialect::{CloseReason, GapReason};

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// What is counted for each transport.
#[derive(Debug)]
pub struct TransportMetrics {
    pub connections: Gauge,
    pub connections_opened: Counter,
    pub messages_delivered: Counter,
}

/// All metrics of a gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    transports: [TransportMetrics; Transport::ALL.len()],
    connections_closed: Family<Labels<2>, Counter>,
    pub handshake_seconds: Histogram,
    handshakes_refused: Family<Labels<1>, Counter>,
    pub messages_published: Counter,
    pub delivery_latency_seconds: Histogram,
    pub signals: Counter,
    pub outbox_bytes: Gauge,
    dropped: Family<Labels<1>, Counter>,
    pub rate_limited: Counter,
    recoveries: Family<Labels<1>, Counter>,
    gaps: Family<Labels<1>, Counter>,
    pub healed_messages: Counter,
    pub presence_members: Gauge,
    redis_roundtrip_seconds: Histogram,
    redis_reconnects: Counter,
    pub rooms: Gauge,
    policy_reloads: Family<Labels<1>, Counter>,
    key_set_fetches: Family<Labels<1>, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// From 100 µs to 13 s, doubling.
fn latency() -> Histogram {
    Histogram::new(std::iter::successors(Some(0.0001), |bound| Some(bound * 2.0)).take(18))
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("rotunda");
        let connections = Family::<Labels<1>, Gauge>::default();
        let opened = Family::<Labels<1>, Counter>::default();
        let delivered = Family::<Labels<1>, Counter>::default();
        let transports = Transport::ALL.map(|transport| {
            let label = [("transport", transport.as_str())];
            TransportMetrics {
                connections: connections.get_or_create_owned(&label),
                connections_opened: opened.get_or_create_owned(&label),
                messages_delivered: delivered.get_or_create_owned(&label),
            }
        });
        let metrics = Self {
            transports,
            connections_closed: Family::default(),
            handshake_seconds: latency(),
            handshakes_refused: Family::default(),
            messages_published: Counter::default(),
            delivery_latency_seconds: latency(),
            signals: Counter::default(),
            outbox_bytes: Gauge::default(),
            dropped: Family::default(),
            rate_limited: Counter::default(),
            recoveries: Family::default(),
            gaps: Family::default(),
            healed_messages: Counter::default(),
            presence_members: Gauge::default(),
            redis_roundtrip_seconds: latency(),
            redis_reconnects: Counter::default(),
            rooms: Gauge::default(),
            policy_reloads: Family::default(),
            key_set_fetches: Family::default(),
            registry: Registry::default(),
        };
        registry.register("connections", "Open connections", connections);
        registry.register("connections_opened", "Connections accepted", opened);
        registry.register(
            "connections_closed",
            "Connections ended, by reason",
            metrics.connections_closed.clone(),
        );
        registry.register_with_unit(
            "handshake",
            "From a request for a connection to its welcome",
            Unit::Seconds,
            metrics.handshake_seconds.clone(),
        );
        registry.register(
            "handshakes_refused",
            "Requests for a connection refused, by reason",
            metrics.handshakes_refused.clone(),
        );
        registry.register(
            "messages_published",
            "Messages accepted by the broker",
            metrics.messages_published.clone(),
        );
        registry.register(
            "messages_delivered",
            "Messages written to connections",
            delivered,
        );
        registry.register_with_unit(
            "delivery_latency",
            "From the broker's event to the socket, sampled once a message",
            Unit::Seconds,
            metrics.delivery_latency_seconds.clone(),
        );
        registry.register(
            "signals",
            "Signals accepted by the broker",
            metrics.signals.clone(),
        );
        registry.register_with_unit(
            "outbox",
            "Frames waiting for connections",
            Unit::Bytes,
            metrics.outbox_bytes.clone(),
        );
        registry.register(
            "dropped",
            "Connections or frames given up because a client read too slowly, by policy",
            metrics.dropped.clone(),
        );
        registry.register(
            "rate_limited",
            "Commands refused for coming too fast",
            metrics.rate_limited.clone(),
        );
        registry.register(
            "recoveries",
            "Joins with a last_seen_id, by result",
            metrics.recoveries.clone(),
        );
        registry.register(
            "gaps",
            "Gaps told to clients, by reason",
            metrics.gaps.clone(),
        );
        registry.register(
            "healed_messages",
            "Messages read back after the gateway missed them",
            metrics.healed_messages.clone(),
        );
        registry.register(
            "presence_members",
            "Users in rooms through this gateway",
            metrics.presence_members.clone(),
        );
        registry.register_with_unit(
            "redis_roundtrip",
            "Calls to Redis",
            Unit::Seconds,
            metrics.redis_roundtrip_seconds.clone(),
        );
        registry.register(
            "redis_reconnects",
            "Lost connections to Redis that came back",
            metrics.redis_reconnects.clone(),
        );
        registry.register(
            "rooms",
            "Rooms with connections on this gateway",
            metrics.rooms.clone(),
        );
        registry.register(
            "policy_reloads",
            "Configs found, by result",
            metrics.policy_reloads.clone(),
        );
        registry.register(
            "key_set_fetches",
            "Sets of token keys asked for at their URLs, by result",
            metrics.key_set_fetches.clone(),
        );
        metrics.begin_at_zero();
        Self {
            registry,
            ..metrics
        }
    }

    /// Makes every series whose labels are known: the rate of one that appears with its first event would miss that event.
    fn begin_at_zero(&self) {
        for transport in Transport::ALL.map(Transport::as_str) {
            for reason in CloseReason::ALL.iter().map(|reason| reason.reason()) {
                let labels = [("transport", transport), ("reason", reason)];
                drop(self.connections_closed.get_or_create(&labels));
            }
        }
        for reason in ["full", "origin", "unavailable", "unauthorized"] {
            drop(self.handshakes_refused.get_or_create(&[("reason", reason)]));
        }
        for reason in GapReason::ALL.iter().map(|reason| reason.as_str()) {
            drop(self.gaps.get_or_create(&[("reason", reason)]));
        }
        for result in ["recovered", "gap"] {
            drop(self.recoveries.get_or_create(&[("result", result)]));
        }
        for result in ["accepted", "refused"] {
            drop(self.policy_reloads.get_or_create(&[("result", result)]));
        }
        for result in ["fetched", "failed"] {
            drop(self.key_set_fetches.get_or_create(&[("result", result)]));
        }
        drop(self.dropped.get_or_create(&[("policy", "disconnect")]));
    }

    /// What is counted for a transport.
    pub fn of(&self, transport: Transport) -> &TransportMetrics {
        // They stand in the order of the declaration.
        &self.transports[transport as usize]
    }

    /// Frames have been written, one of which came in at `stamp`.
    pub fn delivered(&self, transport: Transport, frames: usize, stamp: Option<Instant>) {
        self.of(transport).messages_delivered.inc_by(frames as u64);
        if let Some(stamp) = stamp {
            self.delivery_latency_seconds
                .observe(stamp.elapsed().as_secs_f64());
        }
    }

    pub fn closed(&self, transport: Transport, reason: CloseReason) {
        self.connections_closed
            .get_or_create(&[
                ("transport", transport.as_str()),
                ("reason", reason.reason()),
            ])
            .inc();
        if reason == CloseReason::SlowConsumer {
            self.dropped
                .get_or_create(&[("policy", "disconnect")])
                .inc();
        }
    }

    pub fn refused(&self, reason: &'static str) {
        self.handshakes_refused
            .get_or_create(&[("reason", reason)])
            .inc();
    }

    pub fn recovery(&self, recovered: bool) {
        let result = if recovered { "recovered" } else { "gap" };
        self.recoveries.get_or_create(&[("result", result)]).inc();
    }

    pub fn gap(&self, reason: GapReason) {
        self.gaps
            .get_or_create(&[("reason", reason.as_str())])
            .inc();
    }

    pub fn reload(&self, accepted: bool) {
        let result = if accepted { "accepted" } else { "refused" };
        self.policy_reloads
            .get_or_create(&[("result", result)])
            .inc();
    }

    pub fn key_set_fetched(&self, came: bool) {
        let result = if came { "fetched" } else { "failed" };
        self.key_set_fetches
            .get_or_create(&[("result", result)])
            .inc();
    }

    /// The text that a Prometheus server scrapes.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a string doesn't fail.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}

impl BrokerMetrics for Metrics {
    fn roundtrip(&self, took: Duration) {
        self.redis_roundtrip_seconds.observe(took.as_secs_f64());
    }

    fn reconnected(&self) {
        self.redis_reconnects.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_design() {
        let metrics = Metrics::new();
        metrics.closed(Transport::WebSocket, CloseReason::SlowConsumer);
        metrics.gap(GapReason::Trimmed);
        metrics.recovery(true);
        metrics.reload(true);
        let text = metrics.render();
        for name in [
            "rotunda_connections{transport=\"websocket\"} 0",
            "rotunda_connections{transport=\"sse\"} 0",
            "rotunda_connections{transport=\"poll\"} 0",
            "rotunda_connections_opened_total{transport=\"websocket\"} 0",
            "rotunda_connections_closed_total{transport=\"websocket\",reason=\"slow_consumer\"} 1",
            "rotunda_handshake_seconds_count 0",
            "rotunda_messages_published_total 0",
            "rotunda_messages_delivered_total{transport=\"websocket\"} 0",
            "rotunda_delivery_latency_seconds_count 0",
            "rotunda_signals_total 0",
            "rotunda_outbox_bytes 0",
            "rotunda_dropped_total{policy=\"disconnect\"} 1",
            "rotunda_rate_limited_total 0",
            "rotunda_recoveries_total{result=\"recovered\"} 1",
            "rotunda_gaps_total{reason=\"trimmed\"} 1",
            "rotunda_healed_messages_total 0",
            "rotunda_presence_members 0",
            "rotunda_redis_roundtrip_seconds_count 0",
            "rotunda_redis_reconnects_total 0",
            "rotunda_rooms 0",
            "rotunda_policy_reloads_total{result=\"accepted\"} 1",
        ] {
            assert!(text.contains(name), "{name} is missing in\n{text}");
        }
    }
}
