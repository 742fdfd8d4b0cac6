//! The processes of a run: started, signalled, and gone with it however it ends.
//!
//! A shell beside the run knows the number of each process. When the pipe to it closes, because the run is over or was killed, it ends what is
//! left and takes the folder away.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

const GUARD: &str = r#"
trap '' INT TERM HUP
root=$1 pids=
while read -r what pid; do
  case $what in
    +) pids="$pids $pid" ;;
    -) rest=
       for one in $pids; do [ "$one" = "$pid" ] || rest="$rest $one"; done
       pids=$rest ;;
    keep) root= ;;
  esac
done
for pid in $pids; do kill -9 "$pid"; done 2>/dev/null
[ -z "$root" ] && exit
# What was just killed may still be writing.
for i in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$root" 2>/dev/null && break; sleep 0.2; done
"#;

/// The folder of a run, and whoever clears up after it.
#[derive(Debug)]
pub struct Workshop {
    root: PathBuf,
    guard: Mutex<std::process::Child>,
}

impl Workshop {
    /// Makes a new folder.
    pub fn open() -> anyhow::Result<Arc<Self>> {
        let root = tempfile::Builder::new()
            .prefix("rotunda-torture-")
            .tempdir()
            .context("can't make a temporary folder")?
            .keep();
        let guard = std::process::Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&root)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("there is no shell")?;
        let guard = Mutex::new(guard);
        Ok(Arc::new(Self { root, guard }))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder in it.
    pub fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.root.join(name);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("can't make {}", folder.display()))?;
        Ok(folder)
    }

    /// Leaves the folder where it is when the run ends.
    pub fn keep(&self) {
        self.tell("keep");
    }

    /// Starts a program in a process group of its own, so that Ctrl-C is ours alone; its output goes to `log` in the folder.
    pub fn start(
        self: &Arc<Self>,
        program: &Path,
        arguments: &[String],
        log: &str,
    ) -> anyhow::Result<Process> {
        let log = self.root.join(log);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("can't write {}", log.display()))?;
        let child = Command::new(program)
            .args(arguments)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start {}", program.display()))?;
        let raw = child.id().context("it ended at once")?;
        let pid = i32::try_from(raw)
            .ok()
            .and_then(Pid::from_raw)
            .context("a process has a number")?;
        self.tell(&format!("+ {raw}"));
        Ok(Process {
            child,
            pid,
            started: Instant::now(),
            workshop: Arc::clone(self),
            ended: false,
        })
    }

    fn tell(&self, line: &str) {
        let mut guard = self.guard.lock();
        if let Some(pipe) = &mut guard.stdin {
            // Without its guard a run still ends its processes itself.
            writeln!(pipe, "{line}").ok();
        }
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let guard = self.guard.get_mut();
        drop(guard.stdin.take());
        guard.wait().ok();
    }
}

/// A running process. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    started: Instant,
    workshop: Arc<Workshop>,
    ended: bool,
}

impl Process {
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it in its tracks.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if !self.ended {
            // Not reaped yet, so the number is still its own, even if it has ended.
            kill_process(self.pid, signal).ok();
        }
    }

    /// Kills it, and waits until it is gone.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL);
        self.ended(Duration::from_secs(20)).await.map(drop)
    }

    /// Waits until it ends.
    pub async fn ended(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let status = tokio::time::timeout(patience, self.child.wait()).await;
        let status = status.with_context(|| format!("{:?} doesn't end", self.pid))??;
        self.forget();
        Ok(status)
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            self.forget();
        }
        Ok(status)
    }

    fn forget(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.workshop.tell(&format!("- {}", self.pid.as_raw_pid()));
        }
    }
}

/// Free ports that no outgoing connection takes by chance while their owner is down: from below the range that the kernel uses for those.
pub fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    use rand::Rng;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let below = range
        .ok()
        .and_then(|range| range.split_ascii_whitespace().next()?.parse().ok())
        .filter(|first| *first > 12_000)
        .unwrap_or(32_768_u16);
    let mut ports: Vec<u16> = Vec::new();
    for _ in 0..10_000 {
        if ports.len() == count {
            break;
        }
        let port = rand::rng().random_range(10_000..below);
        if !ports.contains(&port) && std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports.push(port);
        }
    }
    ensure!(ports.len() == count, "there are no {count} free ports");
    Ok(ports)
}
