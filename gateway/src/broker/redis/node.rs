//! A connection for commands to one server: many calls share it, each waits for its own answer.
//!
//! It is made once and never mended: when it breaks, [`Node::lost`] tells, and whoever keeps it makes another.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, Value};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::link::{Link, Login, describe};
use super::url::{Address, RedisUrl};
use super::wire::{number, text};

/// What a server says of its part in replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replication {
    pub(super) primary: bool,
    /// `master_replid`: the name of the replication history.
    pub(super) id: Arc<str>,
    /// `master_replid2`: the history that this one goes on from, as far as this server was there; `None` after a full resynchronization, too.
    pub(super) predecessor: Option<Arc<str>>,
}

/// How long a publish waits for a replica to have it.
const REPLICA_TIMEOUT: Duration = Duration::from_millis(500);

/// See the module.
pub(super) struct Node {
    pub(super) address: Address,
    /// `run_id`: the name of the server's process.
    pub(super) run: Arc<str>,
    /// When the process was started, at the latest.
    pub(super) started: Instant,
    url: RedisUrl,
    tasks: TaskTracker,
    link: Link,
    /// For publishes that wait for a replica: `WAIT` holds up whatever comes behind it. Made when first needed.
    waiting_link: tokio::sync::Mutex<Option<Link>>,
    replication: Mutex<Replication>,
}

impl Node {
    /// Connects, logs in, and asks for the replication history. The error is a sentence without secrets.
    pub(super) async fn connect(
        address: &Address,
        url: &RedisUrl,
        tasks: &TaskTracker,
    ) -> Result<Self, String> {
        let link = Link::open(address, url, Login::Full, tasks)
            .await
            .map_err(|no_link| no_link.why)?;
        let Process { run, uptime } = ask_process(&link)
            .await
            .map_err(|why| format!("{address}: {why}"))?;
        let now = Instant::now();
        let node = Self {
            address: address.clone(),
            run,
            started: now.checked_sub(uptime).unwrap_or(now),
            url: url.clone(),
            tasks: tasks.clone(),
            link,
            waiting_link: tokio::sync::Mutex::default(),
            replication: Mutex::new(Replication {
                primary: false,
                id: "".into(),
                predecessor: None,
            }),
        };
        node.check()
            .await
            .map_err(|why| format!("{address}: {why}"))?;
        Ok(node)
    }

    /// Asks for the replication history and keeps the answer.
    pub(super) async fn check(&self) -> Result<Replication, String> {
        let answer = self
            .send(redis::cmd("INFO").arg("replication"))
            .await
            .and_then(Value::extract_error);
        let answer = answer.map_err(|error| describe(&error))?;
        let replication = text(&answer)
            .ok()
            .and_then(parse_replication)
            .ok_or("INFO replication isn't readable")?;
        *self.replication.lock() = replication.clone();
        Ok(replication)
    }

    /// As the last check found it, at most about a second ago.
    pub(super) fn replication(&self) -> Replication {
        self.replication.lock().clone()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.link.lost.is_cancelled()
    }

    /// Ends when the connection is broken.
    pub(super) async fn lost(&self) {
        self.link.lost.cancelled().await;
    }

    /// Declares the connection broken.
    pub(super) fn give_up(&self) {
        self.link.lost.cancel();
    }

    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        self.link
            .connection
            .clone()
            .send_packed_command(command)
            .await
    }

    /// Sends commands in one go; each answer may be a server's error.
    pub(super) async fn send_all(&self, commands: &Pipeline) -> Result<Vec<Value>, RedisError> {
        let count = commands.len();
        self.link
            .connection
            .clone()
            .send_packed_commands(commands, 0, count)
            .await
    }

    /// Makes sure that [`send_and_wait`](Self::send_and_wait) has a connection.
    pub(super) async fn prepare_to_wait(&self) -> Result<(), String> {
        let mut link = self.waiting_link.lock().await;
        if link.as_ref().is_none_or(|link| link.lost.is_cancelled()) {
            let opened = Link::open(&self.address, &self.url, Login::Full, &self.tasks).await;
            *link = Some(opened.map_err(|no_link| no_link.why)?);
        }
        Ok(())
    }

    /// Sends a command, after `ASKING` if so wanted, and waits for a replica to have what it wrote; gives how many have.
    pub(super) async fn send_and_wait(
        &self,
        command: &Cmd,
        asking: bool,
    ) -> Result<(Value, u64), RedisError> {
        let connection = self
            .waiting_link
            .lock()
            .await
            .as_ref()
            .map(|link| link.connection.clone());
        let Some(mut connection) = connection else {
            return Err((ErrorKind::Client, "not connected").into());
        };
        let mut pipeline = Pipeline::with_capacity(3);
        if asking {
            pipeline.cmd("ASKING");
        }
        pipeline.add_command(command.clone());
        pipeline
            .cmd("WAIT")
            .arg(1)
            .arg(u64::try_from(REPLICA_TIMEOUT.as_millis()).unwrap_or(u64::MAX));
        let mut answers = connection
            .send_packed_commands(&pipeline, 0, pipeline.len())
            .await?;
        let replicas = answers
            .pop()
            .and_then(|answer| number(&answer).ok())
            .unwrap_or(0);
        Ok((answers.pop().unwrap_or(Value::Nil), replicas))
    }
}

/// What a server says of its process.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    run: Arc<str>,
    uptime: Duration,
}

async fn ask_process(link: &Link) -> Result<Process, String> {
    let answer = link
        .connection
        .clone()
        .send_packed_command(redis::cmd("INFO").arg("server"))
        .await
        .and_then(Value::extract_error)
        .map_err(|error| describe(&error))?;
    let process = text(&answer).ok().and_then(parse_process);
    process.ok_or_else(|| "INFO server isn't readable".into())
}

fn parse_process(info: &str) -> Option<Process> {
    Some(Process {
        run: field(info, "run_id")?.into(),
        uptime: Duration::from_secs(field(info, "uptime_in_seconds")?.parse().ok()?),
    })
}

fn parse_replication(info: &str) -> Option<Replication> {
    // Forty zeros stand for none.
    let predecessor =
        field(info, "master_replid2").filter(|id| id.bytes().any(|byte| byte != b'0'));
    Some(Replication {
        primary: field(info, "role")? == "master",
        id: field(info, "master_replid")?.into(),
        predecessor: predecessor.map(Arc::from),
    })
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_is_read_from_info() {
        let info = "# Replication\r\nrole:slave\r\nmaster_host:h\r\nmaster_replid:abc\r\nmaster_replid2:000\r\n";
        let expected = Replication {
            primary: false,
            id: "abc".into(),
            predecessor: None,
        };
        assert_eq!(parse_replication(info), Some(expected.clone()));
        let info = info.replace("replid2:000", "replid2:de0");
        let expected = Replication {
            predecessor: Some("de0".into()),
            ..expected
        };
        assert_eq!(parse_replication(&info), Some(expected));
        assert_eq!(parse_replication("role:master\r\n"), None);
    }

    #[test]
    fn the_process_is_read_from_info() {
        let info = "# Server\r\nrun_id:abc\r\nuptime_in_seconds:61\r\nuptime_in_days:0\r\n";
        let expected = Process {
            run: "abc".into(),
            uptime: Duration::from_secs(61),
        };
        assert_eq!(parse_process(info), Some(expected));
        assert_eq!(parse_process("run_id:abc\r\n"), None);
    }
}
