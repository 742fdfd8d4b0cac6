//! What one hot room can carry: a Redis and a gateway of its own, each a process, and clients over real sockets.
//!
//! ```sh
//! cargo bench --package rotunda-gateway --bench hot_room
//! ```
//!
//! First many publishers at once, to see how many messages a second one room takes, which is one slot of one Redis; then many listeners,
//! to see what a delivery costs the gateway. Processor time is read from `/proc`, so that what else the machine does matters little; the
//! rate of messages does depend on it.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

#[path = "rig/gateway.rs"]
mod gateway;
#[path = "rig/process.rs"]
mod process;

use gateway::{Gateway, free_address, request};
use process::cpu_us;

const PUBLISHERS: usize = 64;
/// Publishes under way on each of the publishers' connections. A connection carries one out at a time; the others wait in its socket.
const WINDOW: usize = 4;
const LISTENERS: usize = 1000;
const DATA_BYTES: usize = 200;
const WARM_UP: Duration = Duration::from_secs(1);
/// Short of the first ping, which the listeners don't answer.
const MEASURED: Duration = Duration::from_secs(5);

const MANIFESTS: &str = r#"
apiVersion: rotunda.dev/v1alpha1
kind: RealtimeCluster
metadata: { name: hot, namespace: bench }
spec:
  auth: { anonymous: true }
  limits: { messagesPerSecond: 0, sendQueueBytes: 16777216 }
---
apiVersion: rotunda.dev/v1alpha1
kind: Room
metadata: { name: hot, namespace: bench }
spec:
  clusterRef: { name: hot }
  name: hot
  access: { join: "true", publish: "true" }
  history: { maxMessages: 1000 }
  presence: { mode: "Off" }
"#;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let manifests = folder.path().join("hot.yaml");
    fs::write(&manifests, MANIFESTS)?;
    let (redis, redis_port) = start_redis(folder.path())?;
    let url = format!("redis://127.0.0.1:{redis_port}");
    let gateway = Gateway::start(&manifests, &["--redis", &url])?;
    let (address, ops, gateway_id) = (gateway.clients, gateway.ops, gateway.id());
    let redis = redis.id().context("Redis has ended")?;

    let crowd = publish_for(address, PUBLISHERS, WINDOW, redis, gateway_id, ops).await?;
    println!(
        "one room, {PUBLISHERS} publishers at once, {DATA_BYTES} bytes of data, history of 1000, append-only file on:"
    );
    println!("  {:8.0} messages/s", crowd.published_per_second);
    println!(
        "  {:8.1} µs of Redis's processor a message",
        crowd.redis_us / crowd.published
    );
    println!(
        "  {:8.1} µs of the gateway's processor a message",
        crowd.gateway_us / crowd.published
    );
    println!(
        "  {:8.0} messages/s would fill Redis's one core",
        1e6 / (crowd.redis_us / crowd.published)
    );

    let listeners = listen(address, LISTENERS).await?;
    let fan_out = publish_for(address, 1, 1, redis, gateway_id, ops).await?;
    println!(
        "one room, {LISTENERS} listeners on one gateway, one publisher who waits for each answer:"
    );
    println!("  {:8.0} messages/s", fan_out.published_per_second);
    println!(
        "  {:8.0} deliveries/s",
        fan_out.delivered / MEASURED.as_secs_f64()
    );
    println!(
        "  {:8.2} µs of the gateway's processor a delivery",
        fan_out.gateway_us / fan_out.delivered
    );
    println!(
        "  {:8.0} deliveries/s would fill one core",
        1e6 / (fan_out.gateway_us / fan_out.delivered)
    );
    drop(listeners);
    Ok(())
}

fn start_redis(folder: &std::path::Path) -> anyhow::Result<(Child, u16)> {
    let port = free_address()?.port();
    let child = Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ])
        .args(["--appendonly", "yes", "--stream-node-max-bytes", "1024"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("redis-server")?;
    Ok((child, port))
}

/// What happened while it was measured.
struct Measured {
    published: f64,
    published_per_second: f64,
    delivered: f64,
    redis_us: f64,
    gateway_us: f64,
}

async fn publish_for(
    address: SocketAddr,
    publishers: usize,
    window: usize,
    redis: u32,
    gateway: u32,
    ops: SocketAddr,
) -> anyhow::Result<Measured> {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..publishers)
        .map(|_| tokio::spawn(publish(address, window, Arc::clone(&acknowledged))))
        .collect();
    tokio::time::sleep(WARM_UP).await;
    let counts = || -> anyhow::Result<_> {
        let published = acknowledged.load(Ordering::Relaxed);
        Ok((
            published,
            delivered(ops)?,
            cpu_us(redis)?,
            cpu_us(gateway)?,
            Instant::now(),
        ))
    };
    let before = counts()?;
    tokio::time::sleep(MEASURED).await;
    let after = counts()?;
    for task in tasks {
        ensure!(!task.is_finished(), "a publisher was refused");
        task.abort();
    }
    let published = to_f64(after.0 - before.0);
    Ok(Measured {
        published,
        published_per_second: published / (after.4 - before.4).as_secs_f64(),
        delivered: after.1 - before.1,
        redis_us: after.2 - before.2,
        gateway_us: after.3 - before.3,
    })
}

/// Publishes without end, that many at once.
async fn publish(
    address: SocketAddr,
    window: usize,
    acknowledged: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let (socket, _) = connect_async(format!("ws://{address}/v1/ws")).await?;
    let (mut sink, mut stream) = socket.split();
    let data = "x".repeat(DATA_BYTES - 2);
    let frame = format!(r#"{{"type":"publish","ref":1,"room":"hot","data":"{data}"}}"#);
    for _ in 0..window {
        sink.send(Message::text(frame.clone())).await?;
    }
    while let Some(message) = stream.next().await {
        let Message::Text(text) = message? else {
            continue;
        };
        if text.starts_with(r#"{"type":"ack""#) {
            acknowledged.fetch_add(1, Ordering::Relaxed);
            sink.send(Message::text(frame.clone())).await?;
        } else {
            ensure!(text.starts_with(r#"{"type":"welcome""#), "{text}");
        }
    }
    anyhow::bail!("the connection ended")
}

/// Connections in the room that read and look at nothing.
async fn listen(address: SocketAddr, count: usize) -> anyhow::Result<tokio::task::JoinSet<()>> {
    let request = format!(
        "GET /v1/ws?room=hot HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut listeners = tokio::task::JoinSet::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(r#""type":"joined""#) {
            ensure!(
                stream.read_buf(&mut seen).await? > 0,
                "a listener was refused"
            );
        }
        listeners.spawn(async move {
            let mut buffer = vec![0; 16 * 1024];
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        });
    }
    Ok(listeners)
}

/// Messages that the gateway has written to sockets.
fn delivered(ops: SocketAddr) -> anyhow::Result<f64> {
    let metrics = request(ops, "GET", "/metrics", "")?;
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("rotunda_messages_delivered_total{"));
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(counts.sum())
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
