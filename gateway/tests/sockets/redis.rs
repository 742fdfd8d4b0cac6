//! A Redis server for several gateways: on a free loopback port, gone with the process that started it, however it ends.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rotunda_crds::GatewayConfig;
use rotunda_gateway::broker::NoBrokerMetrics;
use rotunda_gateway::broker::redis::{RedisBroker, RedisOptions, RedisUrl};

use crate::gateway::{TestGateway, eventually};

/// Runs the server until its own standard input ends.
const GUARD: &str = "redis-server \"$@\" >/dev/null 2>&1 & read -r _; kill -9 $!; wait $!";

/// A running server.
pub(crate) struct Redis {
    port: u16,
    guard: Child,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard", "--bind", "127.0.0.1", "--save", ""]);
        guard.args(["--port", &port.to_string()]);
        let guard = guard.stdin(Stdio::piped()).spawn().unwrap();
        eventually(async || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        Self { port, guard }
    }

    /// Asks the server itself.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut asked = redis::cmd(command[0]);
        asked.arg(&command[1..]).query(&mut connection).unwrap()
    }

    /// A gateway that shares its rooms with all others here.
    pub(crate) async fn gateway(&self, config: GatewayConfig) -> TestGateway {
        let options = RedisOptions {
            url: RedisUrl::parse(&format!("redis://127.0.0.1:{}", self.port)).unwrap(),
            key_prefix: "test".to_owned(),
            presence_ttl: Duration::from_secs(config.presence.ttl_seconds.into()),
        };
        let gateway = TestGateway::start_with(config, |rooms| {
            RedisBroker::start(options, rooms, Arc::new(NoBrokerMetrics))
        });
        eventually(async || gateway.gateway.ready().is_ok()).await;
        gateway
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().ok();
    }
}
