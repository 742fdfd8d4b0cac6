//! A real Redis Cluster on this machine: three primaries with a replica each, set up as the operator sets up a managed Redis.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use redis::{AsyncConnectionConfig, IntoConnectionInfo, Value};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::process::{Process, Workshop, free_ports};

pub mod shards;
pub mod truth;

use shards::Shards;

/// Characters that a URL has to encode are the business of other tests.
pub const PASSWORD: &str = "torture";

/// How long a server may be silent before the others call it failed. Short, so that failovers come quickly; the operator sets 5 s.
pub const NODE_TIMEOUT: Duration = Duration::from_millis(1500);

const PRIMARIES: usize = 3;
pub const SERVERS: usize = 2 * PRIMARIES;
pub const SLOTS: u16 = 16384;

/// How long one command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(3);

/// The servers.
#[derive(Debug)]
pub struct Cluster {
    workshop: Arc<Workshop>,
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Server {
    port: u16,
    bus_port: u16,
    folder: PathBuf,
    process: Mutex<Option<Process>>,
}

impl Cluster {
    /// Starts the servers and makes them one cluster.
    pub async fn start(workshop: &Arc<Workshop>) -> anyhow::Result<Self> {
        let ports = free_ports(2 * SERVERS)?;
        let mut servers = Vec::new();
        for (index, ports) in ports.chunks(2).enumerate() {
            let server = Server {
                port: ports[0],
                bus_port: ports[1],
                folder: workshop.folder(&format!("redis-{index}"))?,
                process: Mutex::new(None),
            };
            servers.push(server);
        }
        let cluster = Self {
            workshop: Arc::clone(workshop),
            servers,
        };
        for index in 0..SERVERS {
            cluster.start_server(index).await?;
        }
        cluster.form().await?;
        Ok(cluster)
    }

    async fn form(&self) -> anyhow::Result<()> {
        for index in 0..SERVERS {
            self.wait_until_it_answers(index).await?;
        }
        let share = usize::from(SLOTS).div_ceil(PRIMARIES);
        for index in 0..PRIMARIES {
            let (first, last) = (
                index * share,
                ((index + 1) * share).min(usize::from(SLOTS)) - 1,
            );
            let (first, last, epoch) =
                (first.to_string(), last.to_string(), (index + 1).to_string());
            self.run(index, &["CLUSTER", "ADDSLOTSRANGE", &first, &last])
                .await?;
            self.run(index, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch])
                .await?;
        }
        for server in &self.servers[1..] {
            let (port, bus_port) = (server.port.to_string(), server.bus_port.to_string());
            self.run(0, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port])
                .await?;
        }
        for index in PRIMARIES..SERVERS {
            let primary = self.text(index - PRIMARIES, &["CLUSTER", "MYID"]).await?;
            // It has to hear of its primary first.
            eventually("a replica knows its primary", || async {
                self.run(index, &["CLUSTER", "REPLICATE", &primary])
                    .await
                    .map(drop)
            })
            .await?;
        }
        self.wait_until_healthy(Duration::from_mins(1))
            .await
            .map(drop)
    }

    /// The settings of a managed Redis, as far as they matter here.
    fn arguments(&self, index: usize) -> Vec<String> {
        let server = &self.servers[index];
        let (port, bus_port) = (server.port.to_string(), server.bus_port.to_string());
        let timeout = NODE_TIMEOUT.as_millis().to_string();
        let folder = server.folder.display().to_string();
        let settings: &[(&str, &str)] = &[
            ("port", &port),
            ("cluster-port", &bus_port),
            ("bind", "127.0.0.1"),
            ("dir", &folder),
            ("requirepass", PASSWORD),
            ("masterauth", PASSWORD),
            ("cluster-enabled", "yes"),
            ("cluster-config-file", "nodes.conf"),
            ("cluster-node-timeout", &timeout),
            ("cluster-require-full-coverage", "no"),
            ("cluster-allow-replica-migration", "no"),
            ("cluster-replica-validity-factor", "0"),
            ("appendonly", "yes"),
            ("appendfsync", "everysec"),
            ("save", ""),
            ("maxmemory-policy", "noeviction"),
            ("stream-node-max-bytes", "1024"),
            ("repl-backlog-size", "16mb"),
            ("repl-diskless-sync-delay", "0"),
        ];
        settings
            .iter()
            .flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()])
            .chain(PUBSUB_LIMIT.map(str::to_owned))
            .collect()
    }

    pub async fn start_server(&self, index: usize) -> anyhow::Result<()> {
        let log = format!("redis-{index}.log");
        let arguments = self.arguments(index);
        let process = self
            .workshop
            .start(Path::new("redis-server"), &arguments, &log)
            .context("redis-server is needed: run `make setup`")?;
        *self.servers[index].process.lock().await = Some(process);
        Ok(())
    }

    pub async fn wait_until_it_answers(&self, index: usize) -> anyhow::Result<()> {
        eventually("a server answers", || async {
            self.run(index, &["PING"]).await.map(drop)
        })
        .await
    }

    pub async fn kill(&self, index: usize) -> anyhow::Result<()> {
        match self.servers[index].process.lock().await.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    pub async fn freeze(&self, index: usize) {
        if let Some(process) = &*self.servers[index].process.lock().await {
            process.freeze();
        }
    }

    pub async fn thaw(&self, index: usize) {
        if let Some(process) = &*self.servers[index].process.lock().await {
            process.thaw();
        }
    }

    /// Starts what is down and wakes what is frozen.
    pub async fn revive(&self) -> anyhow::Result<()> {
        for index in 0..SERVERS {
            let is_down = {
                let mut process = self.servers[index].process.lock().await;
                match &mut *process {
                    Some(process) => {
                        process.thaw();
                        process.has_ended()?.is_some()
                    }
                    None => true,
                }
            };
            if is_down {
                self.start_server(index).await?;
            }
        }
        Ok(())
    }

    pub fn url(&self) -> String {
        let seeds: Vec<_> = self
            .servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port))
            .collect();
        format!("redis+cluster://:{PASSWORD}@{}", seeds.join(","))
    }

    pub fn port(&self, index: usize) -> u16 {
        self.servers[index].port
    }

    /// Executes a command on one server, over a connection of its own.
    pub async fn run(&self, index: usize, words: &[&str]) -> anyhow::Result<Value> {
        let port = self.servers[index].port;
        let login = redis::RedisConnectionInfo::default().set_password(PASSWORD);
        let info = redis::ConnectionAddr::Tcp("127.0.0.1".to_owned(), port)
            .into_connection_info()?
            .set_redis_settings(login);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(COMMAND_TIMEOUT))
            .set_response_timeout(Some(COMMAND_TIMEOUT));
        let asking = async {
            let mut connection = redis::Client::open(info)?
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            let mut command = redis::cmd(words[0]);
            for word in &words[1..] {
                command.arg(*word);
            }
            connection
                .send_packed_command(&command)
                .await?
                .extract_error()
        };
        // Longer than both of its own: a frozen server takes connections without a word.
        let answer = tokio::time::timeout(3 * COMMAND_TIMEOUT, asking).await;
        answer
            .with_context(|| format!("no answer from the Redis at port {port}"))?
            .with_context(|| format!("the Redis at port {port} refused {}", words[0]))
    }

    pub async fn text(&self, index: usize, words: &[&str]) -> anyhow::Result<String> {
        let answer = self.run(index, words).await?;
        Ok(redis::from_redis_value(answer)?)
    }

    /// Waits until every server is up, each primary has its replica in sync, and all agree who that is.
    pub async fn wait_until_healthy(&self, patience: Duration) -> anyhow::Result<Shards> {
        let deadline = Instant::now() + patience;
        loop {
            let problem = match self.check_health().await {
                Ok(shards) => return Ok(shards),
                Err(problem) => problem,
            };
            if Instant::now() >= deadline {
                return Err(problem.context("the Redis Cluster doesn't recover"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn check_health(&self) -> anyhow::Result<Shards> {
        let mut views = Vec::new();
        let mut histories: BTreeMap<String, usize> = BTreeMap::new();
        for index in 0..SERVERS {
            let info = self.text(index, &["CLUSTER", "INFO"]).await?;
            for wanted in [
                "cluster_state:ok",
                &format!("cluster_known_nodes:{SERVERS}\r"),
                &format!("cluster_slots_ok:{SLOTS}\r"),
            ] {
                ensure!(info.contains(wanted), "server {index} lacks {wanted}");
            }
            let replication = self.text(index, &["INFO", "replication"]).await?;
            let role_is_fine = replication.contains("master_link_status:up")
                || (replication.contains("role:master") && replication.contains("state=online"));
            ensure!(
                role_is_fine,
                "server {index} has no replica, or isn't in sync"
            );
            let history = replication
                .lines()
                .find_map(|line| line.strip_prefix("master_replid:"))
                .unwrap_or_default();
            *histories.entry(history.trim().to_owned()).or_default() += 1;
            let nodes = self.text(index, &["CLUSTER", "NODES"]).await?;
            views.push(Shards::parse(&nodes, |port| self.index_of(port))?);
        }
        ensure!(
            histories.values().all(|servers| *servers == 2),
            "not every primary has one replica of its history"
        );
        let first = views.swap_remove(0);
        ensure!(
            views.iter().all(|view| *view == first),
            "the servers don't agree"
        );
        ensure!(first.is_whole(), "a primary has no replica");
        Ok(first)
    }

    fn index_of(&self, port: u16) -> Option<usize> {
        self.servers.iter().position(|server| server.port == port)
    }
}

/// A generous output buffer for subscribers, and one that the first large message bursts.
pub const PUBSUB_LIMIT: [&str; 2] = ["--client-output-buffer-limit", "pubsub 32mb 16mb 60"];
pub const GENEROUS_PUBSUB_LIMIT: &str = "pubsub 33554432 16777216 60";
pub const TINY_PUBSUB_LIMIT: &str = "pubsub 2048 1024 1";

/// Tries until it works, 30 seconds long.
pub async fn eventually<F>(what: &str, mut attempt: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match attempt().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                bail!("waited in vain: {what}: {error:#}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
