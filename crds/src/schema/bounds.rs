//! A minimum and a maximum for every number, a maximum for every text, list and map.
//!
//! Without them the API server refuses the CEL rules, whose cost it estimates from the largest object there could be.

use serde_json::{Value, json};

use super::{Kind, at_mut, shape::is_foreign};

/// What a value may be.
#[derive(Clone, Copy)]
enum Bound {
    /// A number from, to.
    Range(i64, i64),
    /// A text of at most that many characters.
    Length(u64),
    /// A list of at most that many items.
    Items(u64),
    /// A map of at most that many entries.
    Entries(u64),
}
use Bound::{Entries, Items, Length, Range};

/// Longest name of a Kubernetes object (a DNS subdomain, RFC 1123).
const NAME: Bound = Length(253);
/// Longest value of a label.
const LABEL: Bound = Length(63);
const MEBIBYTE: i64 = 1024 * 1024;

const REALTIME_CLUSTER: &[(&str, Bound)] = &[
    ("spec.gateway.replicas", Range(0, 1000)),
    ("spec.gateway.image", Length(512)),
    ("spec.gateway.maxConnections", Range(1, 1_000_000)),
    ("spec.gateway.memoryHighWatermark", Range(10, 100)),
    (
        "spec.gateway.maxConnectionAgeSeconds",
        Range(0, 30 * 86_400),
    ),
    ("spec.gateway.drainSeconds", Range(1, 3600)),
    ("spec.autoscaling.minReplicas", Range(1, 1000)),
    ("spec.autoscaling.maxReplicas", Range(1, 1000)),
    ("spec.autoscaling.targetConnections", Range(1, 1_000_000)),
    ("spec.autoscaling.targetCPUUtilization", Range(1, 1000)),
    (
        "spec.autoscaling.scaleDown.stabilizationSeconds",
        Range(0, 3600),
    ),
    ("spec.autoscaling.scaleDown.podsPerMinute", Range(1, 100)),
    ("spec.service.port", Range(1, 65_535)),
    ("spec.service.hostname", NAME),
    ("spec.service.annotations", Entries(64)),
    ("spec.service.annotations{}", Length(4096)),
    ("spec.service.loadBalancerClass", NAME),
    ("spec.service.loadBalancerSourceRanges", Items(64)),
    ("spec.service.loadBalancerSourceRanges[]", Length(64)),
    ("spec.trustedProxies", Items(64)),
    ("spec.trustedProxies[]", Length(64)),
    ("spec.edge.nginx.replicas", Range(1, 100)),
    ("spec.edge.nginx.workerConnections", Range(64, 1_000_000)),
    ("spec.redis.keyPrefix", Length(100)),
    ("spec.redis.managed.shards", Range(1, 100)),
    ("spec.redis.managed.replicasPerShard", Range(0, 5)),
    ("spec.redis.managed.image", Length(512)),
    ("spec.redis.managed.storage.size", Length(20)),
    ("spec.redis.managed.storage.storageClassName", NAME),
    ("spec.redis.external.urlSecretRef.name", NAME),
    ("spec.redis.external.urlSecretRef.key", NAME),
    ("spec.auth.jwt.keys", Items(16)),
    ("spec.auth.jwt.keys[].id", Length(63)),
    ("spec.auth.jwt.keys[].secretRef.name", NAME),
    ("spec.auth.jwt.keys[].secretRef.key", NAME),
    ("spec.auth.jwt.keys[].publicKeyRef.name", NAME),
    ("spec.auth.jwt.keys[].publicKeyRef.key", NAME),
    ("spec.auth.jwt.keys[].jwksUrl", Length(1024)),
    ("spec.auth.jwt.keys[].algorithms", Items(12)),
    ("spec.auth.jwt.issuer", Length(1024)),
    ("spec.auth.jwt.audience", Length(1024)),
    ("spec.auth.apiKeysSecretRef.name", NAME),
    ("spec.allowedOrigins", Items(64)),
    ("spec.allowedOrigins[]", Length(300)),
    ("spec.tls.secretName", NAME),
    ("spec.heartbeat.intervalSeconds", Range(1, 300)),
    ("spec.heartbeat.timeoutSeconds", Range(1, 300)),
    ("spec.presence.ttlSeconds", Range(5, 3600)),
    ("spec.limits.messagesPerSecond", Range(0, 1_000_000)),
    ("spec.limits.burst", Range(1, 1_000_000)),
    ("spec.limits.bytesPerSecond", Range(0, 1024 * MEBIBYTE)),
    ("spec.limits.messageBytes", Range(1, MEBIBYTE)),
    ("spec.limits.roomsPerConnection", Range(1, 10_000)),
    ("spec.limits.sendQueueBytes", Range(4096, 64 * MEBIBYTE)),
    ("spec.limits.connectionsPerUser", Range(0, 1_000_000)),
    ("spec.limits.handshakesPerSecond", Range(0, 1_000_000)),
    (
        "spec.limits.handshakesPerSecondPerAddress",
        Range(0, 1_000_000),
    ),
    ("spec.monitoring.tracing.endpoint", Length(1024)),
    ("spec.monitoring.tracing.sampleRatio", Range(0, 1)),
    ("spec.networkPolicy.apiFrom", Items(32)),
    ("spec.networkPolicy.metricsFrom", Items(32)),
    ("status.conditions", Items(32)),
    ("status.endpoint.address", Length(1024)),
    ("status.endpoint.websocket", Length(1024)),
    ("status.endpoint.sse", Length(1024)),
    ("status.endpoint.api", Length(1024)),
    ("status.selector", Length(4096)),
    ("status.version", Length(256)),
];

/// The same for gateways and Redis.
const POD: &[(&str, Bound)] = &[
    ("labels", Entries(64)),
    ("labels{}", LABEL),
    ("annotations", Entries(64)),
    ("annotations{}", Length(4096)),
    ("nodeSelector", Entries(64)),
    ("nodeSelector{}", LABEL),
    ("tolerations", Items(64)),
    ("topologySpreadConstraints", Items(16)),
    ("priorityClassName", NAME),
    ("imagePullSecrets", Items(16)),
];

const ROOM: &[(&str, Bound)] = &[
    ("spec.clusterRef.name", NAME),
    ("spec.clusterRef.namespace", LABEL),
    ("spec.name", Length(crate::room_name::MAX_LENGTH as u64)),
    ("spec.pattern", Length(crate::room_name::MAX_LENGTH as u64)),
    ("spec.access.join", Length(crate::access::MAX_LENGTH as u64)),
    (
        "spec.access.publish",
        Length(crate::access::MAX_LENGTH as u64),
    ),
    (
        "spec.access.signal",
        Length(crate::access::MAX_LENGTH as u64),
    ),
    (
        "spec.access.history",
        Length(crate::access::MAX_LENGTH as u64),
    ),
    (
        "spec.access.members",
        Length(crate::access::MAX_LENGTH as u64),
    ),
    ("spec.history.maxMessages", Range(1, 1_000_000)),
    ("spec.history.maxAge", Length(40)),
    ("spec.presence.batchMilliseconds", Range(0, 60_000)),
    ("spec.limits.maxMembers", Range(0, 10_000_000)),
    ("spec.limits.messageBytes", Range(1, MEBIBYTE)),
    ("spec.limits.messagesPerSecond", Range(0, 1_000_000)),
    ("status.conditions", Items(32)),
];

pub(super) fn apply(kind: Kind, schema: &mut Value) {
    let table = match kind {
        Kind::RealtimeCluster => REALTIME_CLUSTER,
        Kind::Room => ROOM,
    };
    for (path, bound) in table {
        set(schema, path, *bound);
    }
    if kind == Kind::RealtimeCluster {
        for pod in ["spec.gateway.pod", "spec.redis.managed.pod"] {
            for (field, bound) in POD {
                set(schema, &format!("{pod}.{field}"), *bound);
            }
        }
    }
    foreign(schema, "");
}

fn set(schema: &mut Value, path: &str, bound: Bound) {
    let place = at_mut(schema, path).unwrap_or_else(|| panic!("{path} is in the schema"));
    match bound {
        Range(from, to) => {
            place["minimum"] = json!(from);
            place["maximum"] = json!(to);
        }
        Length(most) => place["maxLength"] = json!(most),
        Items(most) => place["maxItems"] = json!(most),
        Entries(most) => place["maxProperties"] = json!(most),
    }
}

/// Kubernetes' own types come without a maximum: generous ones, so that none is missing.
fn foreign(schema: &mut Value, path: &str) {
    if is_foreign(path)
        && let Some(place) = schema.as_object_mut()
    {
        let typed = place
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        match typed.as_str() {
            "string" if !place.contains_key("format") => {
                let most = if path == "status.conditions[].message" {
                    crate::conditions::MAX_MESSAGE_BYTES
                } else {
                    1024
                };
                place.insert("maxLength".to_owned(), json!(most));
            }
            "array" => {
                place.insert("maxItems".to_owned(), json!(64));
            }
            "object" if place.contains_key("additionalProperties") => {
                place.insert("maxProperties".to_owned(), json!(64));
            }
            _ => {}
        }
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            let inner = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            foreign(property, &inner);
        }
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = schema.get_mut(key) {
            foreign(inner, &format!("{path}{mark}"));
        }
    }
}
