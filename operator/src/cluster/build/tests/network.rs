//! Who gets through the NetworkPolicies, judged as Kubernetes would.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicyPeer},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::*;

/// A pod somewhere, or a client outside of the cluster.
struct Source {
    namespace: &'static str,
    labels: BTreeMap<String, String>,
    outside: bool,
}

fn pod_in(namespace: &'static str, labels: BTreeMap<String, String>) -> Source {
    Source {
        namespace,
        labels,
        outside: false,
    }
}

fn app(name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("app.kubernetes.io/name".to_owned(), name.to_owned())])
}

fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let wanted = selector.match_labels.iter().flatten();
    wanted
        .into_iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

fn peer_matches(peer: &NetworkPolicyPeer, source: &Source) -> bool {
    let name = (
        "kubernetes.io/metadata.name".to_owned(),
        source.namespace.to_owned(),
    );
    let namespace = match &peer.namespace_selector {
        Some(selector) => selects(selector, &BTreeMap::from([name])),
        None => source.namespace == "demo",
    };
    let pod = peer
        .pod_selector
        .as_ref()
        .is_none_or(|selector| selects(selector, &source.labels));
    !source.outside && namespace && pod
}

fn lets_in(policy: &NetworkPolicy, source: &Source, port: i32) -> bool {
    let rules = policy
        .spec
        .iter()
        .filter_map(|spec| spec.ingress.as_ref())
        .flatten();
    rules.into_iter().any(|rule| {
        let ports = rule.ports.iter().flatten();
        let to_port = ports
            .into_iter()
            .any(|open| open.port == Some(IntOrString::Int(port)));
        let from = rule.from.as_ref();
        to_port && from.is_none_or(|peers| peers.iter().any(|peer| peer_matches(peer, source)))
    })
}

#[test]
fn only_the_client_port_is_open_to_the_world() {
    let outside = Source {
        namespace: "",
        labels: BTreeMap::new(),
        outside: true,
    };
    let resources = build(&fixture(&Fixture::MINIMAL));
    let gateway = resources.network_policy.expect("policies are on");
    let redis = resources
        .redis
        .and_then(|redis| redis.network_policy)
        .expect("policies are on");
    let open = |policy: &NetworkPolicy| {
        [8080, 8081, 9090, 6379, 16_379]
            .into_iter()
            .filter(|port| lets_in(policy, &outside, *port))
            .collect::<Vec<_>>()
    };
    assert_eq!(open(&gateway), [8080]);
    assert_eq!(open(&redis), [0; 0]);
}

#[test]
fn the_server_api_is_for_the_same_namespace_unless_written_otherwise() {
    let policy = |fixture_: &Fixture| {
        build(&fixture(fixture_))
            .network_policy
            .expect("policies are on")
    };
    let (here, backend) = (pod_in("demo", app("shop")), pod_in("backend", app("shop")));
    let (default, written) = (policy(&Fixture::MINIMAL), policy(&Fixture::EVERYTHING));
    assert!(lets_in(&default, &here, 8081) && !lets_in(&default, &backend, 8081));
    assert!(!lets_in(&written, &here, 8081) && lets_in(&written, &backend, 8081));
}

#[test]
fn operations_are_for_the_operator_and_whoever_collects_metrics() {
    let policy = build(&fixture(&Fixture::EVERYTHING))
        .network_policy
        .expect("policies are on");
    assert!(lets_in(
        &policy,
        &pod_in("rotunda-system", app("rotunda-operator")),
        9090
    ));
    assert!(lets_in(
        &policy,
        &pod_in("monitoring", app("prometheus")),
        9090
    ));
    assert!(!lets_in(
        &policy,
        &pod_in("rotunda-system", app("something-else")),
        9090
    ));
    assert!(!lets_in(
        &policy,
        &pod_in("demo", app("rotunda-operator")),
        9090
    ));
}

#[test]
fn redis_is_for_gateways_operator_and_other_redis_pods() {
    let policy = build(&fixture(&Fixture::MINIMAL))
        .redis
        .and_then(|redis| redis.network_policy);
    let policy = policy.expect("policies are on");
    let gateway = pod_in("demo", labels::common("chat", Component::Gateway));
    let redis = pod_in("demo", labels::common("chat", Component::Redis));
    let operator = pod_in("rotunda-system", app("rotunda-operator"));
    let of_another_cluster = pod_in("demo", labels::common("other", Component::Gateway));
    assert!(
        [&gateway, &redis, &operator]
            .iter()
            .all(|source| lets_in(&policy, source, 6379))
    );
    assert!(!lets_in(&policy, &of_another_cluster, 6379));
    assert!(lets_in(&policy, &redis, 16_379));
    assert!(
        !lets_in(&policy, &gateway, 16_379),
        "the bus has no password"
    );
}
