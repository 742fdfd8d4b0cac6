//! Who may reach which port. Ingress only: gateways fetch keys and send traces to places the operator doesn't know.

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
        NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{
    Component,
    gateway::{API_PORT, CLIENT_PORT, OPS_PORT},
    meta, names,
    redis::{BUS_PORT, REDIS_PORT},
};
use crate::cluster::model::Validated;

/// `<name>-gateway`: clients from everywhere, the server API from `apiFrom`, operations from operator and `metricsFrom`.
pub(super) fn build_gateway(cluster: &Validated) -> Option<NetworkPolicy> {
    let written = &cluster.cluster.spec.network_policy;
    let api_from = if written.api_from.is_empty() {
        vec![pods(LabelSelector::default())]
    } else {
        written.api_from.clone()
    };
    let mut ops_from: Vec<NetworkPolicyPeer> = operator(cluster).into_iter().collect();
    ops_from.extend(written.metrics_from.iter().cloned());

    let mut rules = vec![
        NetworkPolicyIngressRule {
            from: None,
            ports: Some(vec![port(CLIENT_PORT)]),
        },
        rule(api_from, API_PORT),
    ];
    // A rule without peers would let everyone in.
    if !ops_from.is_empty() {
        rules.push(rule(ops_from, OPS_PORT));
    }
    build(cluster, Component::Gateway, rules)
}

/// `<name>-redis`: gateways, operator, and the Redis pods among themselves.
pub(super) fn build_redis(cluster: &Validated) -> Option<NetworkPolicy> {
    let redis_pods = pods(meta::pods_of(cluster, Component::Redis));
    let mut clients = vec![
        pods(meta::pods_of(cluster, Component::Gateway)),
        redis_pods.clone(),
    ];
    clients.extend(operator(cluster));
    build(
        cluster,
        Component::Redis,
        vec![rule(clients, REDIS_PORT), rule(vec![redis_pods], BUS_PORT)],
    )
}

fn build(
    cluster: &Validated,
    component: Component,
    rules: Vec<NetworkPolicyIngressRule>,
) -> Option<NetworkPolicy> {
    let name = match component {
        Component::Gateway => names::gateway(&cluster.name),
        Component::Redis => names::redis(&cluster.name),
    };
    cluster
        .cluster
        .spec
        .network_policy
        .enabled()
        .then(|| NetworkPolicy {
            metadata: meta::object(cluster, component, name),
            spec: Some(NetworkPolicySpec {
                pod_selector: Some(meta::pods_of(cluster, component)),
                policy_types: Some(vec!["Ingress".to_owned()]),
                ingress: Some(rules),
                ..NetworkPolicySpec::default()
            }),
        })
}

/// The operator's pods; `None` where it runs outside the cluster.
fn operator(cluster: &Validated) -> Option<NetworkPolicyPeer> {
    let label =
        |key: &str, value: &str| meta::matching([(key.to_owned(), value.to_owned())].into());
    cluster
        .operator_namespace
        .as_ref()
        .map(|namespace| NetworkPolicyPeer {
            namespace_selector: Some(label("kubernetes.io/metadata.name", namespace)),
            pod_selector: Some(label("app.kubernetes.io/name", "rotunda-operator")),
            ..NetworkPolicyPeer::default()
        })
}

fn pods(selector: LabelSelector) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(selector),
        ..NetworkPolicyPeer::default()
    }
}

fn rule(from: Vec<NetworkPolicyPeer>, to: i32) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: Some(from),
        ports: Some(vec![port(to)]),
    }
}

fn port(port: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(port)),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    }
}
