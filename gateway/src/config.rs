//! The gateway's settings: the rendered config and the secret files beside it, checked and made ready for use.
//!
//! In a pod they come from one projected volume, which Kubernetes swaps as a whole (`..data` is a symbolic link that is renamed); in `dev`
//! from manifests. Everything that can be refused is refused here, before anything is swapped in. Secrets go into keys and URLs and are
//! kept nowhere else.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rotunda_crds::GatewayConfig;
use rotunda_crds::config::{ConfigBytesError, decode_gzip, files};

use crate::address::{NoRange, TrustedProxies};
use crate::auth::{ApiKeys, Authenticator, KeyError, Origins};
use crate::gateway::Gateway;
use crate::policy::{BadPattern, Policies, PublishCounters};

/// How often the folder is looked at.
pub const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// No file of the folder is larger: Kubernetes allows 1 MiB for a ConfigMap or Secret.
const MAX_FILE_BYTES: u64 = 2 * 1024 * 1024;

/// Contents of the files beside a config, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A config, ready for use.
pub struct Settings {
    pub config: GatewayConfig,
    pub policies: Policies,
    pub authenticator: Authenticator,
    pub api_keys: ApiKeys,
    pub origins: Origins,
    pub trusted_proxies: TrustedProxies,
    /// Holds a password.
    pub redis_url: Option<String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("revision", &self.config.revision)
            .finish_non_exhaustive()
    }
}

/// Why a config can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{} can't be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("there is no config.json.gz in {}", folder.display())]
    NoConfig { folder: PathBuf },
    #[error("the config file can't be used: {0}")]
    Bytes(#[from] ConfigBytesError),
    #[error(
        "the secret files are of revision `{found}`, the config needs `{wanted}`; waiting for the next swap"
    )]
    Revision { wanted: String, found: String },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    #[error(transparent)]
    NoRange(#[from] NoRange),
    #[error("this version of the gateway doesn't support {0}; leave it out")]
    Unsupported(&'static str),
    #[error("the config needs the file `{0}`, which is missing or no text")]
    RedisUrl(String),
}

impl Settings {
    /// Checks a config and the files beside it.
    pub fn build(
        config: GatewayConfig,
        files: &Files,
        counters: &PublishCounters,
    ) -> Result<Self, ConfigError> {
        let file = |name: &str| files.get(name).map(Vec::as_slice);
        let redis_url = match &config.redis.url_file {
            None => None,
            Some(name) => {
                let text = file(name)
                    .and_then(|bytes| std::str::from_utf8(bytes).ok())
                    .map(str::trim);
                Some(
                    text.ok_or_else(|| ConfigError::RedisUrl(name.clone()))?
                        .to_owned(),
                )
            }
        };
        // Serving in the clear what was meant to be encrypted would be worse than not serving.
        if config.tls.is_some() {
            return Err(ConfigError::Unsupported("spec.tls"));
        }
        let settings = Self {
            policies: Policies::new(&config, counters)?,
            authenticator: Authenticator::new(&config.auth, file)?,
            api_keys: ApiKeys::new(&config.auth, file)?,
            trusted_proxies: TrustedProxies::new(&config.trusted_proxies)?,
            origins: Origins::new(&config.allowed_origins),
            redis_url,
            config,
        };
        for policy in settings.policies.declared() {
            if let (Some(error), Some(resource)) = (policy.access.error(), &policy.resource) {
                tracing::warn!(
                    namespace = resource.namespace,
                    name = resource.name,
                    error,
                    "the access of a Room doesn't compile, all is denied"
                );
            }
        }
        Ok(settings)
    }

    /// How long a member stays without a sign of life.
    pub fn presence_ttl(&self) -> Duration {
        Duration::from_secs(u64::from(self.config.presence.ttl_seconds))
    }

    /// Reads the folder of a pod.
    pub fn load(folder: &Path, counters: &PublishCounters) -> Result<Self, ConfigError> {
        // All files from one swap, even if the next one comes meanwhile.
        let data = folder.join("..data");
        let folder = fs::canonicalize(&data).unwrap_or_else(|_| folder.to_owned());
        let files = read_folder(&folder)?;
        let bytes = files
            .get(files::CONFIG_FILE)
            .ok_or_else(|| ConfigError::NoConfig {
                folder: folder.clone(),
            })?;
        let config = decode_gzip(bytes)?;
        let found = files
            .get(files::REVISION_FILE)
            .map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned())
            .unwrap_or_default();
        if found != config.secrets_revision {
            let wanted = config.secrets_revision;
            return Err(ConfigError::Revision { wanted, found });
        }
        Self::build(config, &files, counters)
    }
}

fn read_folder(folder: &Path) -> Result<Files, ConfigError> {
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| ConfigError::Read { path, source }
    };
    let mut files = Files::new();
    for entry in fs::read_dir(folder).map_err(read(folder))? {
        let entry = entry.map_err(read(folder))?;
        let (path, name) = (
            entry.path(),
            entry.file_name().to_string_lossy().into_owned(),
        );
        let metadata = fs::metadata(&path).map_err(read(&path))?;
        if metadata.is_file() && !name.starts_with("..") && metadata.len() <= MAX_FILE_BYTES {
            files.insert(name, fs::read(&path).map_err(read(&path))?);
        }
    }
    Ok(files)
}

/// What tells one state of a folder from the next: where `..data` points, or the age and size of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fingerprint {
    data: Option<PathBuf>,
    files: Vec<(PathBuf, u64, Option<SystemTime>)>,
}

impl Fingerprint {
    fn of(folder: &Path) -> Self {
        let data = fs::read_link(folder.join("..data")).ok();
        let mut files = Vec::new();
        if data.is_none()
            && let Ok(entries) = fs::read_dir(folder)
        {
            for entry in entries.flatten() {
                if let Ok(metadata) = fs::metadata(entry.path()) {
                    files.push((entry.path(), metadata.len(), metadata.modified().ok()));
                }
            }
            files.sort();
        }
        Self { data, files }
    }
}

/// Follows a folder: tries each state of it once, and reloads the gateway with every one that can be used.
pub async fn watch(gateway: Arc<Gateway>, folder: PathBuf) {
    let mut seen = Fingerprint::of(&folder);
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The folder may have changed since the gateway was started from it.
    let mut first = true;
    loop {
        ticks.tick().await;
        let now = Fingerprint::of(&folder);
        let unchanged = now == seen && !std::mem::take(&mut first);
        if unchanged {
            continue;
        }
        seen = now;
        match Settings::load(&folder, &gateway.counters) {
            Ok(settings) => apply(&gateway, settings).await,
            Err(error) => gateway.refuse_config(&error),
        }
    }
}

async fn apply(gateway: &Gateway, settings: Settings) {
    let current = gateway.settings();
    if settings.config == current.config
        && settings.config.secrets_revision == current.config.secrets_revision
    {
        return;
    }
    if settings.redis_url != current.redis_url
        || settings.config.key_prefix != current.config.key_prefix
    {
        tracing::warn!("the new config names another Redis; it is used from the next start on");
    }
    tracing::info!(revision = settings.config.revision, "config loaded");
    gateway.reload(settings).await;
}

/// Waits for a folder's first config that can be used. A pod isn't ready before that.
pub async fn wait_for_first(
    folder: &Path,
    counters: &PublishCounters,
    problem: impl Fn(&ConfigError),
) -> Settings {
    let mut told = None;
    loop {
        match Settings::load(folder, counters) {
            Ok(settings) => return settings,
            Err(error) => {
                let text = error.to_string();
                if told.as_ref() != Some(&text) {
                    problem(&error);
                    told = Some(text);
                }
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests;
