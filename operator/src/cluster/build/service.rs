//! The Services in front of the gateways.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use rotunda_crds::realtime_cluster::ServiceType;

use super::{
    Component,
    gateway::{API_PORT, CLIENT_PORT, OPS_PORT},
    labels, meta, names,
};
use crate::cluster::model::Validated;

/// `<name>`: where clients connect. What a type of Service doesn't take is left out, or the API server refuses it.
pub(super) fn build_public(cluster: &Validated) -> Service {
    let written = &cluster.cluster.spec.service;
    let type_ = written.type_();
    let balanced = type_ == ServiceType::LoadBalancer;
    let external = type_ != ServiceType::ClusterIP;
    let ranges = &written.load_balancer_source_ranges;

    let mut metadata = meta::object(cluster, Component::Gateway, names::service(&cluster.name));
    metadata.annotations = (!written.annotations.is_empty()).then(|| written.annotations.clone());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(type_.as_str().to_owned()),
            ports: Some(vec![port("client", cluster.cluster.spec.service_port())]),
            selector: Some(labels::selector(&cluster.name, Component::Gateway)),
            external_traffic_policy: external
                .then(|| written.external_traffic_policy().as_str().to_owned()),
            load_balancer_class: written
                .load_balancer_class()
                .filter(|_| balanced)
                .map(str::to_owned),
            load_balancer_source_ranges: (balanced && !ranges.is_empty()).then(|| ranges.clone()),
            ip_family_policy: written.ip_family_policy().map(str::to_owned),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// `<name>-api`: the server API, inside the Kubernetes cluster only.
pub(super) fn build_api(cluster: &Validated) -> Service {
    Service {
        metadata: meta::object(cluster, Component::Gateway, names::api(&cluster.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            ports: Some(vec![port("api", API_PORT)]),
            selector: Some(labels::selector(&cluster.name, Component::Gateway)),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// `<name>-pods`: an address for each gateway. Also for one that isn't ready: its metrics are those one needs to see.
pub(super) fn build_pods(cluster: &Validated) -> Service {
    let ports = vec![
        port("client", CLIENT_PORT),
        port("api", API_PORT),
        port("ops", OPS_PORT),
    ];
    headless(
        cluster,
        Component::Gateway,
        names::pods(&cluster.name),
        ports,
    )
}

/// A Service that only gives its pods names, whether they are ready or not.
pub(super) fn headless(
    cluster: &Validated,
    component: Component,
    name: String,
    ports: Vec<ServicePort>,
) -> Service {
    Service {
        metadata: meta::object(cluster, component, name),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            ports: Some(ports),
            selector: Some(labels::selector(&cluster.name, component)),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// A port of the Service that leads to the container port of the same name.
pub(super) fn port(name: &str, port: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    }
}
