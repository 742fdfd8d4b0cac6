//! Redis for several gateways.

use std::sync::Arc;
use std::time::Duration;

use rotunda_crds::GatewayConfig;
use rotunda_gateway::broker::NoBrokerMetrics;
use rotunda_gateway::broker::redis::{RedisBroker, RedisOptions, RedisUrl};

use self::server::Server;
use crate::gateway::{TestGateway, eventually};

#[path = "../../src/broker/redis/tests/server.rs"]
#[allow(dead_code, reason = "the broker's own tests need more of it")]
pub(crate) mod server;

/// What the keys of all gateways here begin with.
pub(crate) const PREFIX: &str = "test";

/// A running server.
pub(crate) struct Redis(Server);

impl Redis {
    pub(crate) fn start() -> Self {
        Self(Server::start(&[]))
    }

    /// Asks the server itself.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        redis::from_redis_value(self.0.run(command)).unwrap()
    }

    /// A gateway that shares its rooms with all others here.
    pub(crate) async fn gateway(&self, config: GatewayConfig) -> TestGateway {
        let gateway = start_gateway(&self.0.url(), config);
        eventually(async || gateway.gateway.ready().is_ok()).await;
        gateway
    }
}

/// A gateway that may not be ready yet.
pub(crate) fn start_gateway(url: &str, config: GatewayConfig) -> TestGateway {
    let options = RedisOptions {
        url: RedisUrl::parse(url).unwrap(),
        key_prefix: PREFIX.to_owned(),
        presence_ttl: Duration::from_secs(config.presence.ttl_seconds.into()),
    };
    TestGateway::start_with(config, |rooms| {
        RedisBroker::start(options, rooms, Arc::new(NoBrokerMetrics))
    })
}
