//! Clusters to build from, and built objects as text.

use serde::Serialize;
use serde_json::Value;

use crate::cluster::{
    model::{Prepared, RenderedConfig, Resources, Validated},
    validate,
};

/// A YAML file with a RealtimeCluster and its Secrets.
pub(super) struct Fixture {
    pub(super) name: &'static str,
    yaml: &'static str,
}

macro_rules! fixtures {
    ($($constant:ident $name:literal),+ $(,)?) => {
        impl Fixture {
            $(pub(super) const $constant: Self =
                Self { name: $name, yaml: include_str!(concat!("../fixtures/", $name, ".yaml")) };)+
            pub(super) const ALL: [Self; [$($name),+].len()] = [$(Self::$constant),+];
        }
    };
}

fixtures! {
    MINIMAL "minimal",
    EVERYTHING "everything",
    TLS "tls",
    NODE_PORT "node_port",
    CLUSTER_IP "cluster_ip",
    EXTERNAL_REDIS "external_redis",
    AUTOSCALING "autoscaling",
    STORAGE "storage",
    CUSTOM_PODS "custom_pods",
}

/// The cluster of a fixture, through the real `validate`. The packed config and the revision of the secrets are
/// stand-ins: what they contain isn't the builders' business.
pub(super) fn fixture(fixture: &Fixture) -> Validated {
    let mut validated = validate::fixture(fixture.yaml);
    validated.config = RenderedConfig {
        revision: "r1".to_owned(),
        gzip: b"the config".to_vec(),
    };
    let files = &mut validated.secret_files.0;
    files.insert("revision".to_owned(), b"s1".to_vec());
    validated.connection_metric = true;
    validated
}

/// All objects, in the order in which `Resources` lists them.
pub(super) fn documents(resources: &Resources<Prepared>) -> Vec<Value> {
    fn value<T: Serialize>(object: &T) -> Value {
        serde_json::to_value(object).expect("objects are data")
    }
    let Resources {
        service_account,
        config_map,
        gateway_secret,
        deployment,
        service,
        api_service,
        pods_service,
        autoscaler,
        disruption_budget,
        network_policy,
        service_monitor,
        prometheus_rule,
        redis,
        state: _,
    } = resources;
    let mut documents = vec![
        value(service_account),
        value(config_map),
        value(gateway_secret),
        value(deployment),
        value(service),
        value(api_service),
        value(pods_service),
    ];
    documents.extend(autoscaler.as_ref().map(value));
    documents.push(value(disruption_budget));
    documents.extend(network_policy.as_ref().map(value));
    documents.extend(service_monitor.as_ref().map(value));
    documents.extend(prometheus_rule.as_ref().map(value));
    if let Some(redis) = redis {
        documents.push(value(&redis.service_account));
        documents.extend(redis.password_secret.as_ref().map(value));
        documents.extend([value(&redis.config_map), value(&redis.service)]);
        documents.extend(redis.stateful_sets.iter().map(value));
        documents.push(value(&redis.disruption_budget));
        documents.extend(redis.network_policy.as_ref().map(value));
    }
    documents
}

/// All objects as YAML documents, ready for `kubectl apply`.
pub(super) fn as_yaml(resources: &Resources<Prepared>) -> String {
    let texts = documents(resources)
        .into_iter()
        .map(|document| serde_yaml::to_string(&document).expect("objects can be written as YAML"));
    texts.collect::<Vec<_>>().join("---\n")
}
