//! What flows between the stages of a cluster's reconcile: [`Dereferenced`] → [`Validated`] → [`Resources<Prepared>`] →
//! [`Resources<Applied>`] → status. Plain data: nothing here talks to the API server. Whatever holds bytes of a Secret
//! hides them from `Debug`.

use std::{collections::BTreeMap, fmt, marker::PhantomData, sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{ConfigMap, Secret, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use rotunda_crds::{RealtimeCluster, redis_url::RedisUrl};

use crate::monitoring::{PrometheusRule, ServiceMonitor};

/// The finished input of [`build`](super::build::build): nothing in it has to be looked up, checked or defaulted again.
#[derive(Debug, Clone)]
pub struct Validated {
    /// Name of the RealtimeCluster; all object names derive from it.
    pub name: String,
    /// Namespace of the RealtimeCluster and of all its objects.
    pub namespace: String,
    /// Owner reference (controller, blockOwnerDeletion) for every object.
    pub owner: OwnerReference,
    /// The resource itself; defaults are read through the accessors of `rotunda_crds`.
    pub cluster: Arc<RealtimeCluster>,
    /// The images to run, resolved from the spec and the operator's flags.
    pub images: Images,
    /// The gateways' config file.
    pub config: RenderedConfig,
    /// Everything that goes into the generated Secret `<name>-gateway`, `revision` included.
    pub secret_files: SecretFiles,
    /// Where messages are kept.
    pub redis: RedisTarget,
    /// Where the operator itself runs, for NetworkPolicies. `None` outside a cluster: then no rule is made for it.
    pub operator_namespace: Option<String>,
    /// Whether this operator serves connections as a metric (`custom.metrics.k8s.io`), for the autoscaler to aim at.
    pub connection_metric: bool,
    /// Sentences about fields that are set and that this version leaves out.
    pub left_out: Vec<String>,
}

/// The images of one cluster's pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// `spec.gateway.image`, or the operator's `--gateway-image`.
    pub gateway: String,
    /// `spec.redis.managed.image`, or the operator's `--redis-image`.
    pub redis: String,
}

/// The config file of the gateways as it goes into the ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedConfig {
    /// What a gateway reports in `/stats` once it has loaded this file.
    pub revision: String,
    /// `config.json.gz`: gzip of the config as JSON, the same bytes for the same config.
    pub gzip: Vec<u8>,
}

/// File name → content of the generated Secret. `Debug` shows the names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretFiles(pub BTreeMap<String, Vec<u8>>);

impl fmt::Debug for SecretFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A password or a URL that may contain one. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

/// The Redis of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisTarget {
    /// Shards run by the operator.
    Managed(ManagedRedis),
    /// Somebody else's, behind the URL of the named Secret.
    External {
        /// As the named Secret has it.
        url: RedisUrl,
    },
}

/// What is known about the managed Redis before its objects are built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedRedis {
    /// The password of all shards: as stored in Secret `<name>-redis`, or freshly drawn where that Secret is absent.
    pub password: Hidden,
    /// True while Secret `<name>-redis` doesn't exist: `build` must make it then, and only then.
    pub password_is_new: bool,
    /// Numbers of the shards whose StatefulSets exist now, ascending; more than `spec` asks for while scaling in.
    pub existing_shards: Vec<u32>,
    /// Whether every replica was in sync when last looked at; decides about the disruption budget.
    pub replicas_in_sync: bool,
}

/// Marker: built, not yet sent.
#[derive(Debug, Clone, Copy)]
pub enum Prepared {}

/// Marker: as the API server returned it after the apply.
#[derive(Debug, Clone, Copy)]
pub enum Applied {}

/// Every object of one cluster. `apply` destructures it without `..`, so that a new kind can't be forgotten there.
#[derive(Debug, Clone)]
pub struct Resources<State> {
    /// `<name>-gateway`, no token mounted.
    pub service_account: ServiceAccount,
    /// `<name>-gateway`, `binaryData["config.json.gz"]`.
    pub config_map: ConfigMap,
    /// `<name>-gateway`: [`Validated::secret_files`].
    pub gateway_secret: Secret,
    /// `<name>-gateway`, **without `spec.replicas`**: that field has a manager of its own (see `apply`).
    pub deployment: Deployment,
    /// `<name>`: where clients connect.
    pub service: Service,
    /// `<name>-api`: the server API inside the cluster.
    pub api_service: Service,
    /// `<name>-pods`: headless, all gateway ports.
    pub pods_service: Service,
    /// `<name>-gateway`, only with `spec.autoscaling`.
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    /// `<name>-gateway`.
    pub disruption_budget: PodDisruptionBudget,
    /// `<name>-gateway`, unless `spec.networkPolicy.enabled` is false.
    pub network_policy: Option<NetworkPolicy>,
    /// `<name>-gateway`, only with `spec.monitoring.serviceMonitor`.
    pub service_monitor: Option<ServiceMonitor>,
    /// `<name>-gateway`, only with `spec.monitoring.prometheusRule`.
    pub prometheus_rule: Option<PrometheusRule>,
    /// Only with a managed Redis.
    pub redis: Option<RedisResources>,
    /// How far these objects have come.
    pub state: PhantomData<State>,
}

/// The objects of a managed Redis.
#[derive(Debug, Clone)]
pub struct RedisResources {
    /// `<name>-redis`, no token mounted.
    pub service_account: ServiceAccount,
    /// `<name>-redis`; `Some` only while [`ManagedRedis::password_is_new`]: created once, never written again.
    pub password_secret: Option<Secret>,
    /// `<name>-redis`: `redis.conf` and scripts.
    pub config_map: ConfigMap,
    /// `<name>-redis`: headless, all shards.
    pub service: Service,
    /// `<name>-redis-0` and on, one a shard. Applied in this order, never pruned.
    pub stateful_sets: Vec<StatefulSet>,
    /// `<name>-redis`.
    pub disruption_budget: PodDisruptionBudget,
    /// `<name>-redis`, unless `spec.networkPolicy.enabled` is false.
    pub network_policy: Option<NetworkPolicy>,
}

/// How the Redis of a cluster is doing, after one look at it and at most one step of repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisStatus {
    /// Shards that should be there; 0 for an external Redis.
    pub shards: u32,
    /// Shards whose slots are served.
    pub ready_shards: u32,
    /// Becomes condition `RedisReady`.
    pub ready: Verdict,
    /// `Some` makes condition `Degraded` true: it works, with reduced redundancy.
    pub degraded: Option<Problem>,
    /// Whether every replica is in sync; handed back as [`ManagedRedis::replicas_in_sync`] in the next reconcile.
    pub replicas_in_sync: bool,
    /// Look again after this long (something is in progress); `None`: the normal interval is enough.
    pub look_again: Option<Duration>,
    /// Events worth telling, each once per change (for example a takeover): reason and note.
    pub events: Vec<Problem>,
}

/// A CamelCase reason and a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// CamelCase, from a fixed set.
    pub reason: &'static str,
    /// A sentence for people, without anything secret.
    pub message: String,
}

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Status True.
    Yes(Problem),
    /// Status False.
    No(Problem),
    /// Status Unknown.
    Unknown(Problem),
}
