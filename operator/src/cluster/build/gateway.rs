//! The gateways' Deployment and disruption budget.
//!
//! Rollouts go gently over connections: no pod leaves before its successor is ready, and `minReadySeconds` of the drain
//! time keeps waves apart, since a Deployment doesn't wait for pods that are still draining.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            ConfigMapProjection, Container, ContainerPort, HTTPGetAction, KeyToPath, PodSpec,
            Probe, ProjectedVolumeSource, SecretProjection, Volume, VolumeMount, VolumeProjection,
        },
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use rotunda_crds::config::files::CONFIG_FILE;

use super::{
    Component, labels, meta, names,
    pod::{self, DefaultResources},
};
use crate::cluster::model::Validated;

/// Port of the clients.
pub(super) const CLIENT_PORT: i32 = 8080;
/// Port of the server API.
pub(super) const API_PORT: i32 = 8081;
/// Port of probes, metrics and statistics.
pub(super) const OPS_PORT: i32 = 9090;

const CONFIG_FOLDER: &str = "/etc/rotunda";

/// Room for the default `maxConnections` with idle connections; the autoscaler needs the CPU request.
const DEFAULT_RESOURCES: DefaultResources = DefaultResources {
    cpu_request: "250m",
    memory_request: "256Mi",
    memory_limit: "1Gi",
};

/// `<name>-gateway`. Without `spec.replicas`: that field has another manager.
pub(super) fn build_deployment(cluster: &Validated) -> Deployment {
    let gateway = &cluster.cluster.spec.gateway;
    let drain_seconds = i32::try_from(gateway.drain_seconds()).unwrap_or(i32::MAX - 600);
    let selector = meta::pods_of(cluster, Component::Gateway);
    let spec = PodSpec {
        service_account_name: Some(names::gateway(&cluster.name)),
        security_context: Some(pod::restricted_pod(false)),
        // The drain, and a little to close what is left.
        termination_grace_period_seconds: Some(i64::from(drain_seconds) + 15),
        containers: vec![build_container(cluster)],
        volumes: Some(vec![build_config_volume(cluster)]),
        ..PodSpec::default()
    };
    Deployment {
        metadata: meta::object(cluster, Component::Gateway, names::gateway(&cluster.name)),
        spec: Some(DeploymentSpec {
            min_ready_seconds: Some(drain_seconds),
            progress_deadline_seconds: Some(600 + drain_seconds),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_unavailable: Some(IntOrString::Int(0)),
                    max_surge: Some(IntOrString::String("25%".to_owned())),
                }),
            }),
            template: pod::template(
                &gateway.pod,
                labels::common(&cluster.name, Component::Gateway),
                // By revision: during a rollout the new pods spread among themselves.
                pod::spread_evenly(&selector, &["pod-template-hash"]),
                spec,
            ),
            selector,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// `<name>-gateway`: one pod at a time leaves by eviction; a broken one never blocks a node from being drained.
pub(super) fn build_disruption_budget(cluster: &Validated) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: meta::object(cluster, Component::Gateway, names::gateway(&cluster.name)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(meta::pods_of(cluster, Component::Gateway)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

fn build_container(cluster: &Validated) -> Container {
    let port = |name: &str, port: i32| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    Container {
        name: "gateway".to_owned(),
        image: Some(cluster.images.gateway.clone()),
        args: Some(
            ["serve", "--config-dir", CONFIG_FOLDER]
                .map(str::to_owned)
                .into(),
        ),
        env: Some(vec![
            pod::env_from_field("POD_NAME", "metadata.name"),
            pod::env_from_field("POD_UID", "metadata.uid"),
            pod::env_from_field("POD_NAMESPACE", "metadata.namespace"),
        ]),
        ports: Some(vec![
            port("client", CLIENT_PORT),
            port("api", API_PORT),
            port("ops", OPS_PORT),
        ]),
        resources: Some(pod::resources(
            &cluster.cluster.spec.gateway.resources,
            DEFAULT_RESOURCES,
        )),
        security_context: Some(pod::restricted_container()),
        startup_probe: Some(probe("/livez", 1, 60)),
        liveness_probe: Some(probe("/livez", 10, 3)),
        readiness_probe: Some(probe("/readyz", 2, 3)),
        volume_mounts: Some(vec![VolumeMount {
            name: "config".to_owned(),
            mount_path: CONFIG_FOLDER.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("ops".to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

/// Config and secrets in one volume, which the kubelet swaps as a whole.
fn build_config_volume(cluster: &Validated) -> Volume {
    let name = names::gateway(&cluster.name);
    let sources = vec![
        VolumeProjection {
            config_map: Some(ConfigMapProjection {
                name: name.clone(),
                items: Some(vec![KeyToPath {
                    key: CONFIG_FILE.to_owned(),
                    path: CONFIG_FILE.to_owned(),
                    ..KeyToPath::default()
                }]),
                ..ConfigMapProjection::default()
            }),
            ..VolumeProjection::default()
        },
        VolumeProjection {
            secret: Some(SecretProjection {
                name,
                ..SecretProjection::default()
            }),
            ..VolumeProjection::default()
        },
    ];
    Volume {
        name: "config".to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(sources),
            default_mode: Some(0o444),
        }),
        ..Volume::default()
    }
}
