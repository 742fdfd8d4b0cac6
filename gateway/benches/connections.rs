//! What connections cost the gateway: the memory and the processor time of idle ones, and of connecting and joining.
//!
//! ```sh
//! cargo bench --package rotunda-gateway --bench connections [-- COUNT]
//! ```
//!
//! 10,000 clients, two in a room, in a process of their own; for each kind a fresh gateway with messages in memory. The first thousand aren't counted: what
//! they make the gateway allocate once is no connection's. Idle is looked at for as long as from ping to ping, so that each client gets
//! exactly one. These are absolute figures: on a machine that is busy with other things, caches are colder and they are higher.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

#[path = "rig/budget.rs"]
mod budget;
#[allow(dead_code, reason = "nobody publishes here")]
#[path = "rig/crowd.rs"]
mod crowd;
#[allow(dead_code, reason = "nobody looks at metrics here")]
#[path = "rig/gateway.rs"]
mod gateway;
#[path = "rig/process.rs"]
mod process;

use budget::{Budget, report};
use crowd::{Crowd, Kind, Order};
use gateway::Gateway;
use process::cpu_us;

const COUNT: usize = 10_000;
const FIRST: usize = 1000;

/// What signs the tokens.
const SECRET: &str = "a-key-for-this-bench-alone-32-bytes-long";

/// The heartbeat's interval, as it is by default.
const INTERVAL: Duration = Duration::from_secs(25);

const MANIFESTS: &str = r#"
apiVersion: rotunda.dev/v1alpha1
kind: RealtimeCluster
metadata: { name: crowd, namespace: bench }
spec:
  auth:
    anonymous: true
    jwt: { keys: [{ id: main, secretRef: { name: key, key: secret }, algorithms: [HS256] }] }
---
apiVersion: v1
kind: Secret
metadata: { name: key, namespace: bench }
stringData: { secret: SECRET }
---
apiVersion: rotunda.dev/v1alpha1
kind: Room
metadata: { name: room, namespace: bench }
spec:
  clusterRef: { name: crowd }
  pattern: "room:*"
  access: { join: "true" }
"#;

/// For one connection.
struct Cost {
    connect_us: f64,
    idle_kib: f64,
    idle_us_per_second: f64,
}

fn main() -> anyhow::Result<ExitCode> {
    if crowd::run_if_asked()? {
        return Ok(ExitCode::SUCCESS);
    }
    let count = std::env::args().find_map(|argument| argument.parse().ok());
    let count = count.unwrap_or(COUNT);
    let folder = tempfile::tempdir()?;
    let manifests = folder.path().join("crowd.yaml");
    fs::write(&manifests, MANIFESTS.replace("SECRET", SECRET))?;

    let websocket = measure(&manifests, Kind::WebSocket, count, false)?;
    let with_token = measure(&manifests, Kind::WebSocket, count, true)?;
    let sse = measure(&manifests, Kind::Sse, count, false)?;
    println!("{count} connections each:");
    let row = |what, measured, unit, at_most| Budget {
        what,
        measured,
        unit,
        yardstick: None,
        at_most,
    };
    Ok(report(&[
        row(
            "memory for an idle WebSocket",
            websocket.idle_kib,
            "KiB",
            6.0,
        ),
        row("memory for an idle event stream", sse.idle_kib, "KiB", 10.0),
        row(
            "CPU for an idle WebSocket, a second",
            websocket.idle_us_per_second,
            "µs",
            2.0,
        ),
        row(
            "CPU for an idle event stream, a second",
            sse.idle_us_per_second,
            "µs",
            2.0,
        ),
        row(
            "CPU to connect and join, no token",
            websocket.connect_us,
            "µs",
            100.0,
        ),
        row(
            "CPU to connect and join, HS256",
            with_token.connect_us,
            "µs",
            150.0,
        ),
        row(
            "CPU to open an event stream and join",
            sse.connect_us,
            "µs",
            100.0,
        ),
    ]))
}

fn measure(manifests: &Path, kind: Kind, count: usize, with_token: bool) -> anyhow::Result<Cost> {
    let gateway = Gateway::start(manifests, &[])?;
    let order = Order {
        kind,
        from: 0,
        count: FIRST,
        room_size: 2,
        secret: with_token.then(|| SECRET.to_owned()),
    };
    let first = Crowd::join(gateway.clients, &order)?;
    let (cpu, memory) = (cpu_us(gateway.id())?, resident_kib(gateway.id())?);
    let order = Order {
        from: FIRST,
        count,
        ..order
    };
    let crowd = Crowd::join(gateway.clients, &order)?;
    let connected = cpu_us(gateway.id())?;
    std::thread::sleep(Duration::from_secs(1));
    let (idle_from, resident) = (cpu_us(gateway.id())?, resident_kib(gateway.id())?);
    std::thread::sleep(INTERVAL);
    let idle = cpu_us(gateway.id())? - idle_from;
    let everyone = f64::from(u32::try_from(FIRST + count)?);
    let count = f64::from(u32::try_from(count)?);
    drop((first, crowd));
    Ok(Cost {
        connect_us: (connected - cpu) / count,
        idle_kib: (resident - memory) / count,
        idle_us_per_second: idle / everyone / INTERVAL.as_secs_f64(),
    })
}

/// The memory that a process has at this moment (proc(5), `VmRSS` in `status`).
fn resident_kib(process: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(kib.parse()?)
}
