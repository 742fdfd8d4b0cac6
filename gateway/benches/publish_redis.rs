//! What Rotunda costs Redis, in its own CPU time: `cargo bench -p rotunda-gateway --bench publish_redis`.
//!
//! A publish is compared with a bare script that only does `XADD` and `SPUBLISH`, sent as `redis-benchmark` sends it: by fifty connections, each
//! waiting for its answer: that is what the budget is about. What it is with sixteen calls in flight on each is told beside it. Rounds of both take turns, and the median of their ratios counts. Then
//! one broker has 100,000 users join 50,000 rooms, two each, and does nothing, which leaves the quiet check and its lease. The server is started here.

#![allow(clippy::unwrap_used, reason = "a bench has nobody to tell")]

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{ConnectionLike, Value};
use rotunda_gateway::broker::redis::{RedisBroker, RedisOptions, RedisUrl};
use rotunda_gateway::broker::{Broker, Event, NoBrokerMetrics, Range, Retention, RoomEvents};
use rotunda_gateway::ids::UserId;

#[path = "rig/budget.rs"]
mod budget;
#[path = "rig/median.rs"]
mod median;

use budget::{Budget, Yardstick, report};
use median::median;

/// What the budget is measured against.
const BARE: &str = "local id = redis.call('XADD', KEYS[1], '*', 'b', ARGV[3]) \
                    redis.call('SPUBLISH', ARGV[1], ARGV[3]) return id";

/// The script that the gateway sends, read from where it reads it.
const PUBLISH: &str = include_str!("../src/lua/publish.lua");

const BODY: &str = r#""from":"alice","data":{"text":"a message of about the size that people write in a chat, give or take a few words"}"#;

const ROUNDS: usize = 9;
const PUBLISHES: usize = 30_000;
const CONNECTIONS: usize = 50;

const ROOMS: usize = 50_000;
const IDLE: Duration = Duration::from_secs(20);

struct Server {
    port: u16,
    process: Child,
    connection: redis::Connection,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--stream-node-max-bytes", "1024"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed: `apt-get install redis-server`");
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server doesn't start");
            std::thread::sleep(Duration::from_millis(20));
        }
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        Self {
            port,
            process,
            connection: client.get_connection().unwrap(),
        }
    }

    fn run(&mut self, command: &[&str]) -> Value {
        let mut request = redis::cmd(command[0]);
        for word in &command[1..] {
            request.arg(*word);
        }
        let answer = self.connection.req_command(&request).unwrap();
        answer.extract_error().unwrap()
    }

    /// Seconds of CPU time that it has used so far.
    fn cpu(&mut self) -> f64 {
        let info: String = redis::from_redis_value(self.run(&["INFO", "cpu"])).unwrap();
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap().trim().parse::<f64>().unwrap()
        };
        field("used_cpu_user:") + field("used_cpu_sys:")
    }

    /// How many calls of a command it has had.
    fn calls(&mut self, command: &str) -> u64 {
        let info: String = redis::from_redis_value(self.run(&["INFO", "commandstats"])).unwrap();
        let prefix = format!("cmdstat_{command}:calls=");
        let count = info.lines().find_map(|line| line.strip_prefix(&*prefix));
        count.map_or(0, |count| count.split(',').next().unwrap().parse().unwrap())
    }

    /// Microseconds of CPU for one call of a script in a fresh room.
    fn cost(&mut self, script: &str, pipelined: usize) -> f64 {
        let digest: String =
            redis::from_redis_value(self.run(&["SCRIPT", "LOAD", script])).unwrap();
        let (log, channel) = ("bench:{room}:log", "bench:{room}");
        self.run(&["DEL", log]);
        self.run(&["XADD", log, "7-0", "b1", ""]);
        self.run(&["XDEL", log, "7-0"]);
        let before = self.cpu();
        let done = Command::new("redis-benchmark")
            .args(["-p", &self.port.to_string(), "-q"])
            .args(["-c", &CONNECTIONS.to_string()])
            .args(["-n", &PUBLISHES.to_string()])
            .args(["-P", &pipelined.to_string()])
            .args(["EVALSHA", &digest, "1", log, channel, "7-*", BODY, "1000"])
            .stdout(Stdio::null())
            .status()
            .expect("redis-benchmark comes with redis-tools");
        assert!(done.success());
        let used = self.cpu() - before;
        let length: f64 = redis::from_redis_value(self.run(&["XLEN", log])).unwrap();
        assert!(length > 500.0, "the script stored nothing");
        used * 1e6 / f64::from(u32::try_from(PUBLISHES).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Medians: microseconds of the bare script, of the publish, and the ratio.
struct Comparison {
    bare: f64,
    publish: f64,
    ratio: f64,
}

fn compare(server: &mut Server, pipelined: usize) -> Comparison {
    let (mut bare, mut publish, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (one, other) = (
            server.cost(BARE, pipelined),
            server.cost(PUBLISH, pipelined),
        );
        bare.push(one);
        publish.push(other);
        ratio.push(other / one);
    }
    Comparison {
        bare: median(bare),
        publish: median(publish),
        ratio: median(ratio),
    }
}

#[derive(Debug)]
struct Nobody;

impl RoomEvents for Nobody {
    fn deliver(&self, _room: &rotunda_crds::RoomName, _event: Event) {}
}

/// What many quiet rooms of one gateway cost.
struct IdleCost {
    /// Share of one core.
    share: f64,
    /// Commands a second that look for missed messages.
    checks: f64,
}

async fn idle(server: &mut Server) -> IdleCost {
    let options = RedisOptions {
        url: RedisUrl::parse(&format!("redis://127.0.0.1:{}", server.port)).unwrap(),
        key_prefix: "bench".into(),
        presence_ttl: Duration::from_secs(30),
    };
    let broker = RedisBroker::start(options, Arc::new(Nobody), Arc::new(NoBrokerMetrics));
    while broker.ready().is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let retention = Retention {
        max_messages: 1000,
        max_age: Duration::from_hours(24),
    };
    let rooms: Vec<_> = (0..ROOMS)
        .map(|number| rotunda_crds::RoomName::parse(&format!("room:{number}")).unwrap())
        .collect();
    for some in rooms.chunks(500) {
        let joining = some.iter().map(async |room| {
            broker.subscribe(room).await.unwrap();
            broker
                .read(room, Range::Latest, 10, retention)
                .await
                .unwrap();
            for name in ["one", "other"] {
                let user = UserId::parse(&format!("{name} in {room}")).unwrap();
                broker.join(room, &user).await.unwrap();
                broker.user_online(&user, true).await.unwrap();
            }
        });
        futures::future::join_all(joining).await;
    }
    // Each room is tended soon after it is joined, then every three hours.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let (checks, cpu, since) = (server.calls("xread"), server.cpu(), Instant::now());
    tokio::time::sleep(IDLE).await;
    let took = since.elapsed().as_secs_f64();
    let share = (server.cpu() - cpu) / took;
    let checks = f64::from(u32::try_from(server.calls("xread") - checks).unwrap()) / took;
    broker.close().await;
    IdleCost { share, checks }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut server = Server::start();
    let single = compare(&mut server, 1);
    let pipelined = compare(&mut server, 16);
    let idle = idle(&mut server).await;
    println!(
        "{ROOMS} quiet rooms of one gateway: {:.0} checks a second",
        idle.checks
    );
    println!(
        "with sixteen publishes in flight on each connection, for which there is no budget: {:.2} µs, the bare script {:.2} µs, {:.2} ×",
        pipelined.publish, pipelined.bare, pipelined.ratio
    );
    report(&[
        Budget {
            what: "Redis's CPU for a publish",
            measured: single.publish,
            unit: "µs",
            yardstick: Some(Yardstick {
                measured: single.bare,
                ratio: single.ratio,
            }),
            at_most: 1.2,
        },
        Budget {
            what: "100,000 idle users in 50,000 rooms, of a core",
            measured: idle.share * 100.0,
            unit: "%",
            yardstick: None,
            at_most: 5.0,
        },
    ])
}
