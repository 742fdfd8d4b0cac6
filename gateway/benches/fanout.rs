//! What a delivery costs the gateway, against a bare loop that writes the same bytes to as many sockets.
//!
//! ```sh
//! cargo bench --package rotunda-gateway --bench fanout [-- MEMBERS]
//! ```
//!
//! One room of 10,000 members, in a real gateway with messages in memory; the loop is a process too, and has a crowd of its own that reads. Rounds
//! of both take turns, a message goes out when everyone has the one before, and the median of the rounds' ratios counts. Only
//! processor time is looked at, so that what else the machine does matters little.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};

use anyhow::{Context, ensure};

#[path = "rig/budget.rs"]
mod budget;
#[path = "rig/crowd.rs"]
mod crowd;
#[allow(dead_code, reason = "nobody looks at metrics here")]
#[path = "rig/gateway.rs"]
mod gateway;
#[path = "rig/median.rs"]
mod median;
#[path = "rig/process.rs"]
mod process;

use budget::{Budget, Yardstick, report};
use crowd::{Crowd, Kind, Order};
use gateway::{Gateway, request};
use median::median;
use process::cpu_us;

const MEMBERS: usize = 10_000;
const ROUNDS: usize = 15;
const MESSAGES: usize = 8;
const DATA_BYTES: usize = 200;

/// At most this many times the bare loop.
const AT_MOST: f64 = 1.15;

/// Pings are another budget's: none falls into the few minutes of this.
const MANIFESTS: &str = r#"
apiVersion: rotunda.dev/v1alpha1
kind: RealtimeCluster
metadata: { name: fanout, namespace: bench }
spec:
  auth: { anonymous: true }
  heartbeat: { intervalSeconds: 300 }
  limits: { messagesPerSecond: 0 }
---
apiVersion: rotunda.dev/v1alpha1
kind: Room
metadata: { name: room, namespace: bench }
spec:
  clusterRef: { name: fanout }
  pattern: "room:*"
  access: { join: "true", publish: "true" }
  presence: { mode: "Off" }
"#;

fn main() -> anyhow::Result<ExitCode> {
    if crowd::run_if_asked()? || run_loop_if_asked()? {
        return Ok(ExitCode::SUCCESS);
    }
    let members = std::env::args().find_map(|argument| argument.parse().ok());
    let members = members.unwrap_or(MEMBERS);
    let folder = tempfile::tempdir()?;
    let manifests = folder.path().join("fanout.yaml");
    fs::write(&manifests, MANIFESTS)?;
    let order = Order {
        kind: Kind::WebSocket,
        from: 0,
        count: members,
        room_size: members,
        secret: None,
    };
    let gateway = Gateway::start(&manifests, &[])?;
    let mut listeners = Crowd::join(gateway.clients, &order)?;
    let mut bare = BareLoop::start(members)?;
    let bare_id = bare.process.id();
    let order = Order {
        kind: Kind::Bare,
        ..order
    };
    let mut readers = Crowd::join(bare.address, &order)?;

    let mut both = || -> anyhow::Result<usize> {
        publish(&gateway)?;
        let bytes = listeners.next_round()?;
        bare.write(bytes / members)?;
        ensure!(readers.next_round()? == bytes, "the loop wrote other bytes");
        Ok(bytes / members)
    };
    let frame = both()?;
    let (mut yardstick, mut measured, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (bare_before, gateway_before) = (cpu_us(bare_id)?, cpu_us(gateway.id())?);
        for _ in 0..MESSAGES {
            both()?;
        }
        let deliveries = f64::from(u32::try_from(members * MESSAGES)?);
        let one = (cpu_us(bare_id)? - bare_before) / deliveries;
        let other = (cpu_us(gateway.id())? - gateway_before) / deliveries;
        yardstick.push(one);
        measured.push(other);
        ratio.push(other / one);
    }
    println!(
        "one room of {members} members, frames of {frame} bytes, {ROUNDS} rounds of {MESSAGES} messages:"
    );
    println!("ratios of the rounds: {ratio:.2?}");
    Ok(report(&[Budget {
        what: "CPU for a delivery",
        measured: median(measured),
        unit: "µs",
        yardstick: Some(Yardstick {
            measured: median(yardstick),
            ratio: median(ratio),
        }),
        at_most: AT_MOST,
    }]))
}

/// Publishes one message.
fn publish(gateway: &Gateway) -> anyhow::Result<()> {
    let data = "x".repeat(DATA_BYTES - 2);
    let path = "/v1/rooms/room:0/messages";
    let answer = request(
        gateway.clients,
        "POST",
        path,
        &format!(r#"{{"data":"{data}"}}"#),
    )?;
    ensure!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    Ok(())
}

/// The argument that makes the program the bare loop.
const LOOP_ROLE: &str = "bare-loop";

/// The yardstick, in a process of its own; dropping it ends it.
struct BareLoop {
    process: Child,
    orders: ChildStdin,
    address: SocketAddr,
}

impl BareLoop {
    fn start(sockets: usize) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([LOOP_ROLE, &sockets.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take().context("no input")?;
        let mut address = String::new();
        BufReader::new(process.stdout.take().context("no output")?).read_line(&mut address)?;
        Ok(Self {
            process,
            orders,
            address: address.trim().parse()?,
        })
    }

    /// Has one frame of this size written to each socket.
    fn write(&mut self, frame: usize) -> anyhow::Result<()> {
        writeln!(self.orders, "{frame}")?;
        Ok(())
    }
}

impl Drop for BareLoop {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn run_loop_if_asked() -> anyhow::Result<bool> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [role, sockets] = &*arguments else {
        return Ok(false);
    };
    if role != LOOP_ROLE {
        return Ok(false);
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let sockets: usize = sockets.parse()?;
    let mut streams = Vec::with_capacity(sockets);
    for _ in 0..sockets {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    for size in std::io::stdin().lock().lines() {
        let frame = frame(size?.parse()?)?;
        for stream in &mut streams {
            stream.write_all(&frame)?;
        }
    }
    Ok(true)
}

/// A message's frame (RFC 6455, section 5.2) of this size, which has two bytes for its length.
fn frame(size: usize) -> anyhow::Result<Vec<u8>> {
    let length = u16::try_from(size - 4)?;
    let mut frame = vec![0x81, 126];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(br#"{"type":"message""#);
    frame.resize(size, b' ');
    Ok(frame)
}
