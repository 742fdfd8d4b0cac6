//! How much memory a gateway takes, counted exactly: by the allocator, not by the clock, so that it holds on any machine.
//!
//! The clients are bare sockets that allocate nothing while it counts; what is counted is the gateway's alone.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhat::{HeapStats, Profiler};
use parking_lot::{Mutex, MutexGuard};
use rotunda_crds::config::{AccessConfig, RoomConfig, RoomMatch, RoomPolicy};
use rotunda_crds::room::PresenceMode;
use rotunda_crds::{GatewayConfig, RoomName};
use rotunda_gateway::broker::memory::MemoryBroker;
use rotunda_gateway::broker::{Durability, Publication, Retention};
use rotunda_gateway::config::{Files, Settings};
use rotunda_gateway::gateway::Gateway;
use rotunda_gateway::metrics::Metrics;
use rotunda_gateway::policy::PublishCounters;
use rotunda_gateway::{http, server};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const PATIENCE: Duration = Duration::from_secs(20);

/// Connections that are looked at, beside as many or fewer before them that make what all share grow.
const CLIENTS: usize = 128;

/// The counts are the whole process's: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

/// A gateway, and the only one who counts.
struct Counted {
    gateway: Arc<Gateway>,
    address: SocketAddr,
    runtime: Runtime,
    _profiler: Profiler,
    _turn: MutexGuard<'static, ()>,
}

impl Counted {
    fn start() -> Self {
        let turn = TURN.lock();
        let profiler = Profiler::builder().testing().build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (gateway, address) = runtime.block_on(async {
            let counters = PublishCounters::default();
            let settings = Settings::build(config(), &Files::default(), &counters).unwrap();
            let ttl = Duration::from_secs(30);
            let gateway = Gateway::start(settings, counters, Arc::new(Metrics::new()), |rooms| {
                MemoryBroker::start(ttl, rooms)
            });
            let listener = server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            let tracker = gateway.tracker.clone();
            let router = http::public(&gateway, None);
            gateway.tracker.spawn(server::serve(
                listener,
                router,
                tracker,
                CancellationToken::new(),
            ));
            (gateway, address)
        });
        Self {
            gateway,
            address,
            runtime,
            _profiler: profiler,
            _turn: turn,
        }
    }

    /// Clients that have joined the room.
    fn join(&self, path: &str, upgrade: &str, count: usize) -> Vec<TcpStream> {
        let request = format!("GET {path}?room=hall HTTP/1.1\r\nhost: gateway\r\n{upgrade}\r\n");
        (0..count)
            .map(|_| {
                let mut stream = TcpStream::connect(self.address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                read_until(&mut stream, br#""type":"joined""#);
                stream
            })
            .collect()
    }

    fn join_by_websocket(&self, count: usize) -> Vec<TcpStream> {
        let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        self.join("/v1/ws", upgrade, count)
    }

    /// Publishes messages, each once everyone has the one before; the blocks and bytes that were allocated meanwhile.
    fn publish(&self, messages: usize, clients: &mut [TcpStream]) -> (u64, u64) {
        let before = HeapStats::get();
        for _ in 0..messages {
            let publication = Publication {
                body: BODY.as_bytes().into(),
                key: None,
                retention: Retention {
                    max_messages: 10,
                    max_age: Duration::from_hours(1),
                },
                durability: Durability::Async,
                rate_limit: None,
            };
            let broker = self.gateway.hub.broker();
            self.runtime
                .block_on(broker.publish(&hall(), publication))
                .unwrap();
            for client in &mut *clients {
                read_until(client, b"the end");
            }
        }
        let after = HeapStats::get();
        (
            after.total_blocks - before.total_blocks,
            after.total_bytes - before.total_bytes,
        )
    }
}

const BODY: &str = r#""from":"alice","data":"a message with some text, up to the end""#;

fn hall() -> RoomName {
    RoomName::parse("hall").unwrap()
}

fn config() -> GatewayConfig {
    let mut config = GatewayConfig::default();
    config.auth.anonymous = true;
    let mut policy = RoomPolicy {
        access: AccessConfig {
            join: "true".to_owned(),
            ..AccessConfig::default()
        },
        ..RoomPolicy::default()
    };
    policy.presence.mode = PresenceMode::Off;
    config.rooms = vec![RoomConfig {
        namespace: "demo".to_owned(),
        name: "hall".to_owned(),
        generation: 1,
        creation_timestamp: None,
        matches: RoomMatch::Name("hall".to_owned()),
        policy,
    }];
    config
}

/// Reads up to some bytes, and allocates nothing for it.
fn read_until(stream: &mut TcpStream, wanted: &[u8]) {
    let mut buffer = [0; 4096];
    let mut filled = 0;
    while !buffer[..filled]
        .windows(wanted.len())
        .any(|window| window == wanted)
    {
        let count = stream.read(&mut buffer[filled..]).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&buffer[..filled]));
        filled += count;
    }
}

/// The heap that is left for each of so many connections, once handshakes have let go of theirs.
fn settled_bytes(before: &HeapStats, count: usize, at_most: usize) -> usize {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let bytes = HeapStats::get()
            .curr_bytes
            .saturating_sub(before.curr_bytes)
            / count;
        if bytes <= at_most || Instant::now() > deadline {
            return bytes;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn one_more_member_costs_a_delivery_no_allocation() {
    const MESSAGES: usize = 20;
    const MORE: usize = 100;
    let counted = Counted::start();
    let mut clients = counted.join_by_websocket(10);
    counted.publish(3, &mut clients);
    let few = counted.publish(MESSAGES, &mut clients);
    clients.extend(counted.join_by_websocket(MORE));
    // What grows to its size once isn't a delivery's.
    counted.publish(3, &mut clients);
    let many = counted.publish(MESSAGES, &mut clients);
    assert!(
        many.0 < few.0 + (MESSAGES * MORE / 100) as u64,
        "(blocks, bytes) with 10 members {few:?}, with {MORE} more {many:?}"
    );
    // Seven a message when this was written.
    assert!(
        few.0 <= 10 * MESSAGES as u64,
        "{MESSAGES} messages took (blocks, bytes) {few:?}"
    );
}

#[test]
fn an_idle_websocket_holds_little() {
    /// 3.0 KiB when this was written.
    const AT_MOST: usize = 3500;
    let counted = Counted::start();
    let first = counted.join_by_websocket(64);
    let before = HeapStats::get();
    let clients = counted.join_by_websocket(CLIENTS);
    let bytes = settled_bytes(&before, CLIENTS, AT_MOST);
    assert!(bytes <= AT_MOST, "{bytes} bytes for each");
    drop((first, clients));
}

#[test]
fn an_idle_event_stream_holds_little() {
    /// 2.6 KiB when this was written.
    const AT_MOST: usize = 3100;
    let counted = Counted::start();
    let first = counted.join("/v1/sse", "", 64);
    let before = HeapStats::get();
    let clients = counted.join("/v1/sse", "", CLIENTS);
    let bytes = settled_bytes(&before, CLIENTS, AT_MOST);
    assert!(bytes <= AT_MOST, "{bytes} bytes for each");
    drop((first, clients));
}
