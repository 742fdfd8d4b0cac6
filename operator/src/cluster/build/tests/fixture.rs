//! Clusters to build from, and built objects as text.

use std::{collections::BTreeMap, sync::Arc};

use rotunda_crds::{RealtimeCluster, realtime_cluster::RedisMode};
use serde::Serialize;
use serde_json::Value;

use crate::cluster::model::{
    Hidden, Images, ManagedRedis, Prepared, RedisTarget, RenderedConfig, Resources, SecretFiles,
    Validated,
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

/// The cluster of a fixture. Config and secrets are stand-ins: what they contain isn't the builders' business.
pub(super) fn fixture(fixture: &Fixture) -> Validated {
    let documents: Vec<Value> = serde_yaml::Deserializer::from_str(fixture.yaml)
        .map(|document| serde::Deserialize::deserialize(document).expect("fixtures are YAML"))
        .collect();
    let cluster: RealtimeCluster =
        serde_json::from_value(documents[0].clone()).expect("the first document is a cluster");
    let redis = match cluster.spec.redis_mode() {
        RedisMode::Managed(_) => RedisTarget::Managed(ManagedRedis {
            password: Hidden("the-password-of-redis".to_owned()),
            password_is_new: true,
            existing_shards: Vec::new(),
            replicas_in_sync: true,
        }),
        RedisMode::External(_) => RedisTarget::External {
            url: Hidden("redis://:x@y".to_owned()),
        },
    };
    let image =
        |written: Option<String>, default: &str| written.unwrap_or_else(|| default.to_owned());
    let redis_image = match cluster.spec.redis_mode() {
        RedisMode::Managed(managed) => managed.image().map(str::to_owned),
        RedisMode::External(_) => None,
    };
    Validated {
        name: cluster.name().to_owned(),
        namespace: cluster.namespace().to_owned(),
        owner: kube::Resource::controller_owner_ref(&cluster, &()).expect("it has a UID"),
        images: Images {
            gateway: image(
                cluster.spec.gateway.image().map(str::to_owned),
                "rotunda-gateway",
            ),
            redis: image(redis_image, "rotunda-redis"),
        },
        config: RenderedConfig {
            revision: "r1".to_owned(),
            gzip: b"the config".to_vec(),
        },
        secret_files: SecretFiles(BTreeMap::from([
            ("revision".to_owned(), b"s1".to_vec()),
            ("jwt.main".to_owned(), b"a secret".to_vec()),
        ])),
        redis,
        operator_namespace: Some("rotunda-system".to_owned()),
        connection_metric: true,
        left_out: Vec::new(),
        cluster: Arc::new(cluster),
    }
}

/// All objects, in the order in which `Resources` lists them.
pub(super) fn documents(resources: &Resources<Prepared>) -> Vec<Value> {
    fn value<T: Serialize>(object: &T) -> Option<Value> {
        Some(serde_json::to_value(object).expect("objects are data"))
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
        redis,
        state: _,
    } = resources;
    let mut documents: Vec<Option<Value>> = vec![
        value(service_account),
        value(config_map),
        value(gateway_secret),
        value(deployment),
        value(service),
        value(api_service),
        value(pods_service),
        autoscaler.as_ref().and_then(value),
        value(disruption_budget),
        network_policy.as_ref().and_then(value),
    ];
    if let Some(redis) = redis {
        documents.extend([
            value(&redis.service_account),
            redis.password_secret.as_ref().and_then(value),
            value(&redis.config_map),
            value(&redis.service),
        ]);
        documents.extend(redis.stateful_sets.iter().map(value));
        documents.extend([
            value(&redis.disruption_budget),
            redis.network_policy.as_ref().and_then(value),
        ]);
    }
    documents.into_iter().flatten().collect()
}

/// All objects as YAML documents, ready for `kubectl apply`.
pub(super) fn as_yaml(resources: &Resources<Prepared>) -> String {
    let texts = documents(resources)
        .into_iter()
        .map(|document| serde_yaml::to_string(&document).expect("objects can be written as YAML"));
    texts.collect::<Vec<_>>().join("---\n")
}
