//! Folders as Kubernetes swaps them, and what becomes of configs that can't be used.

use std::os::unix::fs::symlink;

use rotunda_crds::config::{JwtConfig, JwtKeyConfig, encode_gzip};
use rotunda_crds::realtime_cluster::auth::JwtAlgorithm;

use super::*;
use crate::testing::{config, gateway};

/// A projected volume.
struct Volume {
    folder: tempfile::TempDir,
    swaps: u32,
}

impl Volume {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            swaps: 0,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a new state beside the old one and renames the link, as the kubelet does.
    fn swap(&mut self, files: &[(&str, &[u8])]) {
        self.swaps += 1;
        let name = format!("..2026_{}", self.swaps);
        let data = self.path().join(&name);
        fs::create_dir(&data).unwrap();
        for (name, contents) in files {
            fs::write(data.join(name), contents).unwrap();
        }
        let link = self.path().join("..data_tmp");
        symlink(&name, &link).unwrap();
        fs::rename(&link, self.path().join("..data")).unwrap();
        for (name, _) in files {
            symlink(Path::new("..data").join(name), self.path().join(name)).ok();
        }
    }

    fn swap_config(&mut self, config: &GatewayConfig) {
        let bytes = encode_gzip(config);
        let revision = config.secrets_revision.clone();
        self.swap(&[
            ("config.json.gz", &bytes),
            ("revision", revision.as_bytes()),
            ("jwt.main", b"secret"),
        ]);
    }

    fn load(&self) -> Result<Settings, ConfigError> {
        Settings::load(self.path(), &PublishCounters::default())
    }
}

fn versioned(revision: &str, rooms: &[&str]) -> GatewayConfig {
    let mut config = config(rooms);
    config.revision = revision.to_owned();
    config.secrets_revision = "s1".to_owned();
    config.auth.jwt = Some(JwtConfig {
        keys: vec![JwtKeyConfig {
            id: "main".to_owned(),
            file: Some("jwt.main".to_owned()),
            jwks_url: None,
            algorithms: vec![JwtAlgorithm::HS256],
        }],
        ..JwtConfig::default()
    });
    config
}

#[test]
fn a_folder_is_loaded_through_its_link() {
    let mut volume = Volume::new();
    volume.swap_config(&versioned("r1", &["lobby"]));
    assert_eq!(volume.load().unwrap().config.revision, "r1");
    volume.swap_config(&versioned("r2", &["lobby"]));
    assert_eq!(volume.load().unwrap().config.revision, "r2");
}

#[test]
fn what_cannot_be_used_is_refused_with_a_sentence() {
    let mut volume = Volume::new();
    let refusal = |volume: &Volume| volume.load().unwrap_err().to_string();
    assert!(refusal(&volume).contains("there is no config.json.gz"));
    volume.swap(&[("config.json.gz", b"not gzip"), ("revision", b"s1")]);
    assert!(refusal(&volume).contains("the config file can't be used"));
    let config = versioned("r1", &["lobby"]);
    volume.swap(&[
        ("config.json.gz", &encode_gzip(&config)),
        ("revision", b"s0\n"),
        ("jwt.main", b"secret"),
    ]);
    assert!(refusal(&volume).contains("of revision `s0`, the config needs `s1`"));
    volume.swap(&[
        ("config.json.gz", &encode_gzip(&config)),
        ("revision", b"s1\n"),
    ]);
    assert!(refusal(&volume).contains("`jwt.main`"));
    let mut redis = config.clone();
    redis.redis.url_file = Some("redis.url".to_owned());
    volume.swap_config(&redis);
    assert!(refusal(&volume).contains("`redis.url`"));
    let mut proxies = config.clone();
    proxies.trusted_proxies = vec!["10.0.0.0".to_owned()];
    volume.swap_config(&proxies);
    assert!(refusal(&volume).contains("spec.trustedProxies holds \"10.0.0.0\""));
    let mut tls = config.clone();
    tls.tls = Some(rotunda_crds::config::TlsConfig::default());
    volume.swap_config(&tls);
    assert!(refusal(&volume).contains("spec.tls"));
}

#[tokio::test(start_paused = true)]
async fn a_swap_takes_effect_and_a_broken_one_keeps_the_old() {
    let mut volume = Volume::new();
    let first = versioned("r1", &["lobby"]);
    volume.swap_config(&first);
    let (gateway, _broker) = gateway(config(&["lobby"]));
    let connection = crate::testing::Client::connect(&gateway, "alice");
    let watching = tokio::spawn(watch(Arc::clone(&gateway), volume.path().to_owned()));
    let later = async || tokio::time::sleep(POLL_INTERVAL * 3).await;
    later().await;

    volume.swap_config(&versioned("r2", &["lobby", "hall"]));
    later().await;
    assert_eq!(gateway.settings().config.revision, "r2");
    assert_eq!(gateway.config_error(), None);

    volume.swap(&[("config.json.gz", b"broken"), ("revision", b"s1")]);
    later().await;
    assert_eq!(gateway.settings().config.revision, "r2");
    assert!(gateway.config_error().unwrap().contains("can't be used"));
    let metrics = gateway.metrics.render();
    assert!(metrics.contains("rotunda_policy_reloads_total{result=\"refused\"} 1"));

    volume.swap_config(&versioned("r3", &["lobby"]));
    later().await;
    assert_eq!(
        (
            gateway.settings().config.revision.as_str(),
            gateway.config_error()
        ),
        ("r3", None)
    );
    assert_eq!(connection.connection.outbox.closing(), None);
    watching.abort();
}

#[tokio::test(start_paused = true)]
async fn the_first_config_is_waited_for() {
    let mut volume = Volume::new();
    let (folder, counters) = (volume.path().to_owned(), PublishCounters::default());
    let problems = std::sync::Mutex::new(Vec::new());
    let waiting = wait_for_first(&folder, &counters, |error| {
        problems.lock().unwrap().push(error.to_string());
    });
    let (settings, ()) = tokio::join!(waiting, async {
        tokio::time::sleep(POLL_INTERVAL * 5).await;
        volume.swap_config(&versioned("r1", &["lobby"]));
    });
    assert_eq!(settings.config.revision, "r1");
    assert_eq!(problems.lock().unwrap().len(), 1);
}
