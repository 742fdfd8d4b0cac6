//! The Redis engine against real servers that the tests start: the contract on one server, on a cluster of three and on a cluster of one,
//! over TLS, behind Sentinels and with few rights; two gateways side by side, and what happens when things break.

mod access;
mod cluster;
mod doubt;
mod durability;
mod encryption;
mod failures;
mod gateways;
mod migration;
pub(crate) mod pair;
mod presence;
mod presence_versions;
pub(crate) mod proxy;
mod quiet;
mod sentinel;
pub(crate) mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use self::server::{one_primary, standalone, three_primaries};
use super::{RedisBroker, RedisOptions, RedisUrl};
use crate::broker::contract::{Gateway, PRESENCE_TTL, Recorder, broker_contract, eventually};
use crate::broker::{Broker, BrokerMetrics, PreviousEpoch};
use crate::ids::Position;

/// A key prefix that no other test uses.
pub(crate) fn some_prefix() -> String {
    format!("test.{:016x}", rand::random::<u64>())
}

#[derive(Debug, Default)]
struct Counts {
    reconnects: AtomicUsize,
}

impl BrokerMetrics for Counts {
    fn roundtrip(&self, _took: Duration) {}

    fn reconnected(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }
}

/// An epoch that ended here, with nothing lost.
#[expect(clippy::unnecessary_wraps, reason = "as it is compared")]
fn whole(end: Position) -> Option<PreviousEpoch> {
    Some(PreviousEpoch { end, whole: true })
}

/// An epoch that ended here, as far as is known.
#[expect(clippy::unnecessary_wraps, reason = "as it is compared")]
fn torn(end: Position) -> Option<PreviousEpoch> {
    Some(PreviousEpoch { end, whole: false })
}

/// An engine that may not be connected yet.
fn start(url: &str, prefix: &str) -> (Arc<RedisBroker>, Arc<Recorder>, Arc<Counts>) {
    let (events, counts) = (Arc::new(Recorder::default()), Arc::new(Counts::default()));
    let options = RedisOptions {
        url: RedisUrl::parse(url).expect("a fine URL"),
        key_prefix: prefix.into(),
        presence_ttl: PRESENCE_TTL,
    };
    (
        RedisBroker::start(options, events.clone(), counts.clone()),
        events,
        counts,
    )
}

/// A gateway that shares its rooms with all others of the prefix.
async fn gateway(url: &str, prefix: &str) -> Gateway {
    let (broker, events, _) = start(url, prefix);
    eventually("Redis is connected", || broker.ready().is_ok()).await;
    Gateway { broker, events }
}

/// Two gateways that share their rooms with nobody else.
async fn two_gateways(url: &str) -> (Gateway, Gateway) {
    let prefix = some_prefix();
    (gateway(url, &prefix).await, gateway(url, &prefix).await)
}

mod contract_on_one_server {
    use super::*;
    broker_contract!(tokio::test, gateway(&standalone().url(), &some_prefix()));
}

mod contract_on_three_primaries {
    use super::*;
    broker_contract!(
        tokio::test,
        gateway(&three_primaries().url(), &some_prefix())
    );
}

mod contract_on_one_primary {
    use super::*;
    broker_contract!(tokio::test, gateway(&one_primary().url(), &some_prefix()));
}
