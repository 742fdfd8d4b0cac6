//! A storm: fifteen thousand clients come to one gateway at the same moment, as after the end of another one, while others talk on it.
//!
//! The gateway is a process of its own, and so are the clients, in two (a process may have 20,000 files open on many machines). It prints how long
//! it took, how long the last one waited, and how long messages took to those who were there before.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rotunda_gateway::memory;
use tokio::time::timeout;

mod crowd;
#[allow(dead_code, reason = "nobody looks at metrics here")]
#[path = "../../benches/rig/gateway.rs"]
mod gateway;
mod talk;

use crowd::Crowd;
use gateway::Gateway;
use talk::Talk;

const CROWDS: usize = 2;
const CLIENTS: usize = 7500;

/// How long all of them may take, with a gateway that isn't optimized on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long a message may take to those who were there, 99 times in a hundred, meanwhile.
const LATENCY: Duration = Duration::from_secs(1);

/// What signs the tokens.
const SECRET: &str = "a-key-for-this-storm-alone-32-bytes-long";

const MANIFESTS: &str = r#"
apiVersion: rotunda.dev/v1alpha1
kind: RealtimeCluster
metadata: { name: storm, namespace: test }
spec:
  auth: { jwt: { keys: [{ id: main, secretRef: { name: key, key: secret }, algorithms: [HS256] }] } }
  heartbeat: { intervalSeconds: 300 }
  limits: { messagesPerSecond: 0 }
---
apiVersion: v1
kind: Secret
metadata: { name: key, namespace: test }
stringData: { secret: SECRET }
---
apiVersion: rotunda.dev/v1alpha1
kind: Room
metadata: { name: room, namespace: test }
spec: { clusterRef: { name: storm }, pattern: "room:*" }
"#;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if runtime.block_on(crowd::run_if_asked())? {
        return Ok(());
    }
    // As of any other test's program: names of tests that aren't meant.
    if std::env::args()
        .skip(1)
        .any(|name| !name.starts_with('-') && !"storm".contains(&*name))
    {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let manifests = folder.path().join("storm.yaml");
    fs::write(&manifests, MANIFESTS.replace("SECRET", SECRET))?;
    let gateway = Gateway::start(&manifests, &[])?;
    runtime.block_on(storm(&gateway, gateway.clients))
}

async fn storm(gateway: &Gateway, address: SocketAddr) -> anyhow::Result<()> {
    let mut talk = Talk::start(address, &crowd::token("regular")?).await?;
    talk.go_on(async { tokio::time::sleep(Duration::from_secs(2)).await })
        .await?;
    let before = talk.latencies();

    let mut crowds = Vec::new();
    for number in 0..CROWDS {
        crowds.push(Crowd::gather(address, number * CLIENTS, CLIENTS).await?);
    }
    let start = Instant::now();
    let arriving = async {
        let all = crowds.iter_mut().map(Crowd::come_in);
        timeout(PATIENCE, futures::future::try_join_all(all)).await
    };
    let arrived = talk.go_on(arriving).await?;
    let took = start.elapsed();
    let meanwhile = talk.latencies();
    let arrivals = arrived.context("not everyone got in in time")??;
    let mut waits: Vec<_> = arrivals.iter().flat_map(|one| one.waits.clone()).collect();
    waits.sort_unstable();
    ensure!(waits.len() == CROWDS * CLIENTS, "{} got in", waits.len());
    let sent_away: usize = arrivals.iter().map(|one| one.sent_away).sum();
    let lost: usize = arrivals.iter().map(|one| one.lost).sum();

    let longest = waits.last().copied().unwrap_or_default();
    println!(
        "{} clients were in after {took:.1?}; half waited {:.1?} or less, the longest {longest:.1?}; {sent_away} were sent away to come back later, {lost} tries were lost",
        waits.len(),
        waits[waits.len() / 2],
    );
    println!("let in, second by second: {:?}", by_second(&waits));
    println!("messages to those who were there, before: {before}; meanwhile: {meanwhile}");
    println!(
        "the gateway took {} MiB at most, of {} MiB",
        peak_kib(gateway.id())? / 1024,
        memory::limit().unwrap_or_default() / (1024 * 1024)
    );
    ensure!(meanwhile.count > 20, "nobody talked meanwhile");
    ensure!(
        meanwhile.most_of_them < LATENCY,
        "those who were there had to wait"
    );
    Ok(())
}

fn by_second(waits: &[Duration]) -> Vec<usize> {
    let mut seconds = Vec::new();
    for wait in waits {
        let second = usize::try_from(wait.as_secs()).unwrap_or(usize::MAX);
        seconds.resize(seconds.len().max(second + 1), 0);
        seconds[second] += 1;
    }
    seconds
}

/// The most memory that a process has had (proc(5), `VmHWM`).
fn peak_kib(process: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmHWM")?.parse()?)
}
