//! The gateways of a run: `rotunda-gateway serve`, each with ports of its own and one config folder for all, as in pods.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rotunda_crds::config::{encode_gzip, files};
use rotunda_gateway::cli::Manifests;
use rotunda_gateway::dev::{self, Loaded};
use rotunda_gateway::ids::UserId;
use rotunda_gateway::token;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::process::{Process, Workshop, free_ports};
use crate::redis::eventually;

const HOUR: Duration = Duration::from_hours(1);

/// How long a process may take to come to its first line of code, on a busy machine.
const CHILDHOOD: Duration = Duration::from_secs(3);

const SIGTERM: i32 = Signal::TERM.as_raw();

/// How long a drain may take beyond its window.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);

/// The gateways, and what is needed to talk to them.
pub struct Gateways {
    workshop: Arc<Workshop>,
    program: PathBuf,
    config: PathBuf,
    loaded: Loaded,
    all: Vec<Gateway>,
}

struct Gateway {
    ports: [u16; 3],
    process: Mutex<Option<Process>>,
}

impl Gateways {
    /// Writes the config that the operator would render for these manifests, and starts the gateways with it.
    pub async fn start(
        workshop: &Arc<Workshop>,
        program: &Path,
        count: usize,
        manifests: &str,
        redis_url: String,
    ) -> anyhow::Result<Self> {
        let file = workshop.root().join("manifests.yaml");
        std::fs::write(&file, manifests)?;
        let manifests = Manifests {
            files: vec![file],
            cluster: None,
        };
        let mut loaded = dev::load(&manifests, true)?;
        loaded
            .files
            .insert(files::REDIS_URL_FILE.to_owned(), redis_url.into_bytes());
        let config = workshop.folder("config")?;
        std::fs::write(config.join(files::CONFIG_FILE), encode_gzip(&loaded.config))?;
        std::fs::write(
            config.join(files::REVISION_FILE),
            &loaded.config.secrets_revision,
        )?;
        for (name, bytes) in &loaded.files {
            std::fs::write(config.join(name), bytes)?;
        }
        let all = free_ports(3 * count)?
            .chunks(3)
            .map(|ports| Gateway {
                ports: [ports[0], ports[1], ports[2]],
                process: Mutex::new(None),
            })
            .collect();
        let gateways = Self {
            workshop: Arc::clone(workshop),
            program: program.to_owned(),
            config,
            loaded,
            all,
        };
        for index in 0..count {
            gateways.start_one(index).await?;
        }
        for index in 0..count {
            gateways.wait_until_ready(index).await?;
        }
        Ok(gateways)
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    pub fn prefix(&self) -> &str {
        &self.loaded.config.key_prefix
    }

    /// Where clients connect.
    pub fn address(&self, index: usize) -> (&'static str, u16) {
        ("127.0.0.1", self.all[index].ports[0])
    }

    /// A token that outlives the run.
    pub fn token(&self, user: &str, run: Duration) -> anyhow::Result<String> {
        let user = UserId::parse(user)?;
        let Loaded { config, files } = &self.loaded;
        token::mint(config, files, &user, serde_json::Map::new(), run + HOUR)
    }

    pub async fn start_one(&self, index: usize) -> anyhow::Result<()> {
        let [client, api, ops] = self.all[index]
            .ports
            .map(|port| format!("127.0.0.1:{port}"));
        let config = self.config.display().to_string();
        let arguments = [
            "serve",
            "--config-dir",
            &config,
            "--listen",
            &client,
            "--api-listen",
            &api,
            "--ops-listen",
            &ops,
        ]
        .map(str::to_owned);
        let log = format!("gateway-{index}.log");
        let process = self.workshop.start(&self.program, &arguments, &log)?;
        *self.all[index].process.lock().await = Some(process);
        Ok(())
    }

    pub async fn wait_until_ready(&self, index: usize) -> anyhow::Result<()> {
        let port = self.all[index].ports[2];
        eventually("a gateway is ready", || async {
            let status = tokio::time::timeout(Duration::from_secs(3), readiness(port))
                .await
                .context("no answer")??;
            anyhow::ensure!(status.starts_with("HTTP/1.1 200"), "{status}");
            Ok(())
        })
        .await
    }

    pub async fn kill(&self, index: usize) -> anyhow::Result<()> {
        match self.all[index].process.lock().await.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Has it hand its connections over, and waits until it has ended. It must end well.
    pub async fn drain(&self, index: usize) -> anyhow::Result<()> {
        let Some(mut process) = self.all[index].process.lock().await.take() else {
            return Ok(());
        };
        // Until it listens for signals, they end it by themselves.
        let is_young = process.age() < CHILDHOOD;
        process.terminate();
        let window = Duration::from_secs(u64::from(self.loaded.config.drain_seconds));
        let status = process
            .ended(window + DRAIN_PATIENCE)
            .await
            .with_context(|| format!("gateway {index} was told to drain"))?;
        anyhow::ensure!(
            status.success() || (is_young && status.signal() == Some(SIGTERM)),
            "gateway {index} was told to drain and ended with {status}"
        );
        Ok(())
    }

    pub async fn freeze(&self, index: usize) {
        if let Some(process) = &*self.all[index].process.lock().await {
            process.freeze();
        }
    }

    pub async fn thaw(&self, index: usize) {
        if let Some(process) = &*self.all[index].process.lock().await {
            process.thaw();
        }
    }

    /// Fails if one has ended that nobody ended.
    pub async fn check(&self) -> anyhow::Result<()> {
        for (index, gateway) in self.all.iter().enumerate() {
            if let Some(process) = &mut *gateway.process.lock().await
                && let Some(status) = process.has_ended()?
            {
                anyhow::bail!("gateway {index} ended by itself: {status}");
            }
        }
        Ok(())
    }

    /// Starts what is down and wakes what is frozen.
    pub async fn revive(&self) -> anyhow::Result<()> {
        self.check().await?;
        for index in 0..self.count() {
            self.thaw(index).await;
            if self.all[index].process.lock().await.is_none() {
                self.start_one(index).await?;
            }
        }
        for index in 0..self.count() {
            self.wait_until_ready(index).await?;
        }
        Ok(())
    }
}

/// The first line that `/readyz` answers with.
async fn readiness(port: u16) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}
