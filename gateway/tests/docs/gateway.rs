//! A gateway as `rotunda-gateway dev examples/chat` runs it, on free ports, with the Rooms that an example asks for.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rotunda_crds::config::ApiKeyConfig;
use rotunda_gateway::broker::memory::MemoryBroker;
use rotunda_gateway::cli::Manifests;
use rotunda_gateway::config::{Files, Settings};
use rotunda_gateway::dev;
use rotunda_gateway::gateway::Gateway;
use rotunda_gateway::ids::UserId;
use rotunda_gateway::metrics::Metrics;
use rotunda_gateway::policy::PublishCounters;
use rotunda_gateway::{http, server, shutdown, token};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::page::root;

/// What the examples' servers bring where the manifests have no API key.
pub(crate) const API_KEY: &str = "demo-api-key";

/// Who is a user of every team, so that no example needs a token of its own.
const TEAMS: [&str; 2] = ["red", "blue"];

/// A running gateway; it ends with the test's runtime.
pub(crate) struct Running {
    gateway: Arc<Gateway>,
    listeners: CancellationToken,
    files: Files,
    pub(crate) client: SocketAddr,
    pub(crate) api: SocketAddr,
}

impl Running {
    /// Starts one; `rooms` are manifests in YAML.
    pub(crate) fn start(rooms: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let extra = folder.path().join("rooms.yaml");
        fs::write(&extra, rooms).unwrap();
        let manifests = Manifests {
            files: vec![root().join("examples/chat"), extra],
            cluster: None,
        };
        let dev::Loaded {
            mut config,
            mut files,
        } = dev::load(&manifests, false).unwrap_or_else(|error| panic!("{error:#}"));
        if config.auth.api_keys.is_empty() {
            config.auth.api_keys.push(ApiKeyConfig {
                name: "backend".to_owned(),
                file: "apikey.backend".to_owned(),
            });
            files.insert("apikey.backend".to_owned(), API_KEY.as_bytes().to_vec());
        }
        let counters = PublishCounters::default();
        let ttl = Duration::from_secs(u64::from(config.presence.ttl_seconds));
        let settings = Settings::build(config, &files, &counters).unwrap();
        let gateway = Gateway::start(settings, counters, Arc::new(Metrics::new()), |rooms| {
            MemoryBroker::start(ttl, rooms)
        });
        let listeners = CancellationToken::new();
        let listen = |router| {
            let listener = server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            let tracker = gateway.tracker.clone();
            tokio::spawn(server::serve(listener, router, tracker, listeners.clone()));
            address
        };
        Self {
            client: listen(http::public(&gateway, None)),
            api: listen(http::server_api(&gateway)),
            listeners: listeners.clone(),
            files,
            gateway: Arc::clone(&gateway),
        }
    }

    /// A token for a user, good for a minute.
    pub(crate) fn token(&self, user: &str) -> String {
        let claims = json!({ "teams": TEAMS })
            .as_object()
            .cloned()
            .unwrap_or_default();
        let user = UserId::parse(user).unwrap();
        let config = &self.gateway.settings().config;
        token::mint(config, &self.files, &user, claims, Duration::from_mins(1)).unwrap()
    }

    /// Begins to hand the connections over, as on SIGTERM.
    pub(crate) fn drain(&self) {
        let (gateway, listeners) = (Arc::clone(&self.gateway), self.listeners.clone());
        tokio::spawn(async move {
            shutdown::drain(&gateway, Duration::from_secs(1), &listeners).await;
        });
    }
}
