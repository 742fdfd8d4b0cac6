//! The objects of a managed Redis. The password is in its Secret alone: never in the ConfigMap, on a command line or in
//! the environment.

mod conf;
mod shard;

use k8s_openapi::{
    ByteString,
    api::{
        core::v1::{ConfigMap, Secret, Service},
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use rotunda_crds::realtime_cluster::{ManagedRedis as Spec, RedisMode};

use super::{Component, meta, names, network_policy, pod::DefaultResources, service};
use crate::cluster::model::{ManagedRedis, RedisResources, Validated};

/// Port of the clients.
pub(super) const REDIS_PORT: i32 = 6379;
/// Port of the cluster bus.
pub(super) const BUS_PORT: i32 = 16_379;

/// Small: most clusters keep a few thousand messages. Redis itself stays under 70 % of the limit.
const DEFAULT_RESOURCES: DefaultResources = DefaultResources {
    cpu_request: "100m",
    memory_request: "256Mi",
    memory_limit: "1Gi",
};

/// Every object of the managed Redis of `cluster`.
pub(super) fn build(cluster: &Validated, managed: &ManagedRedis) -> RedisResources {
    let spec = &spec(cluster);
    let mut shards = managed.existing_shards.clone();
    shards.extend(0..u32::try_from(spec.shards()).unwrap_or(1));
    shards.sort_unstable();
    shards.dedup();
    RedisResources {
        service_account: meta::service_account(cluster, Component::Redis),
        password_secret: managed
            .password_is_new
            .then(|| build_password(cluster, managed)),
        config_map: build_config_map(cluster, spec),
        service: build_service(cluster),
        stateful_sets: shards
            .into_iter()
            .map(|shard| shard::build(cluster, spec, shard))
            .collect(),
        disruption_budget: build_disruption_budget(cluster, spec, managed),
        network_policy: network_policy::build_redis(cluster),
    }
}

fn spec(cluster: &Validated) -> Spec {
    match cluster.cluster.spec.redis_mode() {
        RedisMode::Managed(spec) => *spec,
        RedisMode::External(_) => Spec::default(),
    }
}

fn build_password(cluster: &Validated, managed: &ManagedRedis) -> Secret {
    let password = ByteString(managed.password.0.clone().into_bytes());
    Secret {
        metadata: meta::object(cluster, Component::Redis, names::redis(&cluster.name)),
        type_: Some("Opaque".to_owned()),
        data: Some([("password".to_owned(), password)].into()),
        ..Secret::default()
    }
}

/// The files in a Redis pod's `/etc/redis`, for a container with this memory limit in bytes.
pub(crate) fn files(memory_limit: Option<u64>) -> [(&'static str, String); 4] {
    [
        ("redis.conf", conf::render(memory_limit)),
        ("start.sh", include_str!("redis/start.sh").to_owned()),
        ("ping.sh", include_str!("redis/ping.sh").to_owned()),
        ("stop.sh", include_str!("redis/stop.sh").to_owned()),
    ]
}

fn build_config_map(cluster: &Validated, spec: &Spec) -> ConfigMap {
    let files = files(conf::memory_limit(spec));
    ConfigMap {
        metadata: meta::object(cluster, Component::Redis, names::redis(&cluster.name)),
        data: Some(files.map(|(name, text)| (name.to_owned(), text)).into()),
        ..ConfigMap::default()
    }
}

/// `<name>-redis`: an address for each Redis pod, ready or not, since the nodes need each other to become ready.
fn build_service(cluster: &Validated) -> Service {
    let ports = vec![
        service::port("redis", REDIS_PORT),
        service::port("bus", BUS_PORT),
    ];
    service::headless(
        cluster,
        Component::Redis,
        names::redis(&cluster.name),
        ports,
    )
}

/// `<name>-redis`: one pod at a time while every replica is in sync, none while one isn't. Without replicas there is no
/// good moment, so one at a time as well: a node must be drainable.
fn build_disruption_budget(
    cluster: &Validated,
    spec: &Spec,
    managed: &ManagedRedis,
) -> PodDisruptionBudget {
    let allowed = i32::from(spec.replicas_per_shard() == 0 || managed.replicas_in_sync);
    PodDisruptionBudget {
        metadata: meta::object(cluster, Component::Redis, names::redis(&cluster.name)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(allowed)),
            selector: Some(meta::pods_of(cluster, Component::Redis)),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
