//! What every reconcile shares: the connection to the API server, what is known in memory, and where to write to.

use std::{collections::HashMap, sync::Arc};

use kube::{
    Client, Resource,
    runtime::events::{Recorder, Reporter},
};
use parking_lot::Mutex;
use rotunda_crds::GatewayConfig;
use tokio_util::task::TaskTracker;

use crate::{
    backoff::Backoff,
    cluster::model::{RedisStatus, Validated},
    echo::Echoes,
    gateways::Gateways,
    key::Key,
    metrics::{Kind, Metrics},
    queue::Queue,
    status::StatusWriter,
    stores::Stores,
};

/// Annotation that pauses one resource.
pub const PAUSED_ANNOTATION: &str = "rotunda.dev/paused";
/// Annotation that says which install of the operator handles a resource.
pub const CLASS_ANNOTATION: &str = "rotunda.dev/controller-class";
/// Field manager of everything the operator applies.
pub const FIELD_MANAGER: &str = "rotunda-operator";

/// The operator's own settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Image of gateways whose cluster names none.
    pub gateway_image: String,
    /// Image of Redis pods whose cluster names none.
    pub redis_image: String,
    /// Class whose resources are handled; `None`: those without a class.
    pub controller_class: Option<String>,
    /// Where the operator runs; `None` outside a cluster.
    pub operator_namespace: Option<String>,
}

impl Settings {
    /// Whether a resource is of this operator's class.
    pub fn handles<K: Resource>(&self, object: &K) -> bool {
        annotation(object, CLASS_ANNOTATION).filter(|class| !class.is_empty())
            == self.controller_class.as_deref()
    }
}

/// Whether the user paused a resource.
pub fn is_paused<K: Resource>(object: &K) -> bool {
    annotation(object, PAUSED_ANNOTATION) == Some("true")
}

fn annotation<'a, K: Resource>(object: &'a K, name: &str) -> Option<&'a str> {
    object
        .meta()
        .annotations
        .as_ref()?
        .get(name)
        .map(String::as_str)
}

/// The queues of both controllers.
#[derive(Debug, Clone)]
pub struct Queues {
    /// RealtimeClusters to reconcile.
    pub clusters: Queue,
    /// Rooms to reconcile.
    pub rooms: Queue,
}

/// Shared by all reconciles.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The operator's own settings.
    pub settings: Settings,
    /// What is known of the API server.
    pub stores: Stores,
    /// What is known of the gateways.
    pub gateways: Gateways,
    /// What asks for the next reconcile.
    pub queues: Queues,
    /// Measurements.
    pub metrics: Arc<Metrics>,
    /// Events for people.
    pub recorder: Recorder,
    /// Writes statuses, at a bounded rate.
    pub status: StatusWriter,
    /// Failures in a row of each object.
    pub backoff: Backoff<(Kind, Key)>,
    /// Writes of our own that the watches will tell us about.
    pub echoes: Echoes,
    /// The Redis of each cluster, as last looked at.
    pub redis: Mutex<HashMap<Key, RedisStatus>>,
    /// The config in force of each cluster, as last applied.
    pub configs: Mutex<HashMap<Key, Arc<GatewayConfig>>>,
    /// Each cluster as last validated: what runs is looked after as it is while a newer spec is refused.
    pub validated: Mutex<HashMap<Key, Arc<Validated>>>,
    /// Short tasks of which a stop waits for the end.
    pub tasks: TaskTracker,
}

/// What a [`Context`] is made of.
#[allow(
    missing_docs,
    reason = "each is documented at the field of the same name in `Context`"
)]
pub struct Parts {
    pub client: Client,
    pub settings: Settings,
    pub stores: Stores,
    pub gateways: Gateways,
    pub queues: Queues,
    pub metrics: Arc<Metrics>,
    pub tasks: TaskTracker,
    /// Name of this process in Events.
    pub instance: Option<String>,
}

impl Context {
    /// A context with nothing in memory yet.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            client,
            settings,
            stores,
            gateways,
            queues,
            metrics,
            tasks,
            instance,
        } = parts;
        let reporter = Reporter {
            controller: FIELD_MANAGER.to_owned(),
            instance,
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            status: StatusWriter::new(client.clone()),
            client,
            settings,
            stores,
            gateways,
            queues,
            metrics,
            backoff: Backoff::default(),
            echoes: Echoes::default(),
            redis: Mutex::default(),
            configs: Mutex::default(),
            validated: Mutex::default(),
            tasks,
        }
    }

    /// Forgets a cluster that is gone.
    pub fn forget_cluster(&self, key: &Key) {
        self.gateways.forget(key);
        self.redis.lock().remove(key);
        self.configs.lock().remove(key);
        self.validated.lock().remove(key);
        self.backoff
            .succeeded(&(Kind::RealtimeCluster, key.clone()));
        self.metrics.forget(Kind::RealtimeCluster, key);
    }

    /// Forgets a Room that is gone.
    pub fn forget_room(&self, key: &Key) {
        self.backoff.succeeded(&(Kind::Room, key.clone()));
        self.metrics.forget(Kind::Room, key);
    }
}
