//! The StatefulSet of one shard. Pods are replaced one by one by the operator (`OnDelete`), which knows the roles; they
//! start all at once, since none can be ready before it has met the others.

use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
            StatefulSetUpdateStrategy,
        },
        core::v1::{
            ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, ExecAction,
            Lifecycle, LifecycleHandler, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSpec,
            Probe, SecretVolumeSource, Volume, VolumeMount, VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use rotunda_crds::realtime_cluster::{ManagedRedis as Spec, OnDelete, Storage};

use super::{BUS_PORT, DEFAULT_RESOURCES, REDIS_PORT};
use crate::cluster::{
    build::{Component, labels, meta, names, pod},
    model::Validated,
};

const DATA: &str = "data";
const CONFIG: &str = "config";
const SECRET: &str = "secret";
const RUN: &str = "run";

/// `<name>-redis-<shard>`.
pub(super) fn build(cluster: &Validated, spec: &Spec, shard: u32) -> StatefulSet {
    let of_shard = (labels::SHARD.to_owned(), shard.to_string());
    let mut selector = labels::selector(&cluster.name, Component::Redis);
    selector.extend([of_shard.clone()]);
    let mut pod_labels = labels::common(&cluster.name, Component::Redis);
    pod_labels.extend([of_shard.clone()]);
    let selector = meta::matching(selector);

    let mut metadata = meta::object(
        cluster,
        Component::Redis,
        names::redis_shard(&cluster.name, shard),
    );
    metadata.labels.get_or_insert_default().extend([of_shard]);
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            replicas: Some(1 + spec.replicas_per_shard()),
            service_name: Some(names::redis(&cluster.name)),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            persistent_volume_claim_retention_policy: spec.storage.as_ref().map(build_retention),
            volume_claim_templates: spec
                .storage
                .as_ref()
                .map(|storage| vec![build_claim(cluster, storage)]),
            // Primary and replica of a shard belong on different nodes, so shards are spread one by one.
            template: pod::template(
                &spec.pod,
                pod_labels,
                pod::spread_evenly(&selector, &[]),
                build_pod(cluster, spec),
            ),
            selector,
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn build_pod(cluster: &Validated, spec: &Spec) -> PodSpec {
    let name = names::redis(&cluster.name);
    let mut volumes = vec![
        Volume {
            name: CONFIG.to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: name.clone(),
                default_mode: Some(0o444),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: SECRET.to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(name.clone()),
                default_mode: Some(0o440),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
        // In memory: the file with the password is written there.
        Volume {
            name: RUN.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                medium: Some("Memory".to_owned()),
                size_limit: Some(Quantity("1Mi".to_owned())),
            }),
            ..Volume::default()
        },
    ];
    if spec.storage.is_none() {
        volumes.push(Volume {
            name: DATA.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        });
    }
    PodSpec {
        service_account_name: Some(name),
        security_context: Some(pod::restricted_pod(true)),
        // The handover, and the last writes of a large AOF.
        termination_grace_period_seconds: Some(60),
        containers: vec![build_container(cluster, spec)],
        volumes: Some(volumes),
        ..PodSpec::default()
    }
}

fn build_container(cluster: &Validated, spec: &Spec) -> Container {
    let port = |name: &str, port: i32| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    Container {
        name: "redis".to_owned(),
        image: Some(cluster.images.redis.clone()),
        command: Some(script("start.sh", &[])),
        env: Some(vec![
            pod::env_from_field("POD_IP", "status.podIP"),
            pod::env_from_field("POD_UID", "metadata.uid"),
        ]),
        ports: Some(vec![port("redis", REDIS_PORT), port("bus", BUS_PORT)]),
        resources: Some(pod::resources(&spec.resources, DEFAULT_RESOURCES)),
        security_context: Some(pod::restricted_container()),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                exec: Some(ExecAction {
                    command: Some(script("stop.sh", &[])),
                }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        // Ten minutes: a large AOF takes its time to load, and an empty primary waits before it starts.
        startup_probe: Some(probe(&["live"], 2, 300)),
        // A minute: a long script must not cost the process.
        liveness_probe: Some(probe(&["live"], 10, 6)),
        readiness_probe: Some(probe(&[], 5, 2)),
        volume_mounts: Some(vec![
            mount(CONFIG, "/etc/redis", true),
            mount(SECRET, "/etc/redis-secret", true),
            mount(RUN, "/run/redis", false),
            mount(DATA, "/data", false),
        ]),
        ..Container::default()
    }
}

fn script(name: &str, arguments: &[&str]) -> Vec<String> {
    let mut command = vec!["/bin/sh".to_owned(), format!("/etc/redis/{name}")];
    command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    command
}

fn probe(arguments: &[&str], period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        exec: Some(ExecAction {
            command: Some(script("ping.sh", arguments)),
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

/// Volumes of a shard that is scaled in stay until its data has been moved; the operator deletes them.
fn build_retention(storage: &Storage) -> StatefulSetPersistentVolumeClaimRetentionPolicy {
    let when_deleted = match storage.on_delete() {
        OnDelete::Retain => "Retain",
        OnDelete::Delete => "Delete",
    };
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: Some(when_deleted.to_owned()),
        when_scaled: Some("Retain".to_owned()),
    }
}

fn build_claim(cluster: &Validated, storage: &Storage) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DATA.to_owned()),
            labels: Some(labels::common(&cluster.name, Component::Redis)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name().map(str::to_owned),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), storage.size())].into()),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
