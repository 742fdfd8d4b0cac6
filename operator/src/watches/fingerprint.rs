//! Fingerprints: what of an object a reconcile depends on. A change that leaves the fingerprint as it was asks for nothing.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};
use kube::{Resource, ResourceExt, core::PartialObjectMeta};
use serde::Serialize;

use crate::watch::Change;

/// Fingerprints of the objects of one kind, by UID.
#[derive(Default)]
pub(super) struct Fingerprints {
    seen: HashMap<String, u64>,
}

impl Fingerprints {
    /// Whether a change matters: the object is new, gone, or has another fingerprint.
    pub(super) fn changed<K: Resource>(
        &mut self,
        change: &Change<K>,
        fingerprint: impl Fn(&K) -> u64,
    ) -> bool {
        let uid = change.object().uid().unwrap_or_default();
        match change {
            Change::Gone(_) => {
                self.seen.remove(&uid);
                true
            }
            Change::Seen(object) => {
                let now = fingerprint(object);
                self.seen.insert(uid, now) != Some(now)
            }
        }
    }
}

pub(super) fn fingerprint(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// What of an object's metadata people and we ourselves act on.
fn meta_fingerprint<K: Resource>(object: &K) -> u64 {
    let meta = object.meta();
    let owners = meta.owner_references.as_ref().map(json);
    fingerprint(&(
        &meta.labels,
        &meta.annotations,
        &meta.finalizers,
        meta.deletion_timestamp.is_some(),
        owners,
    ))
}

pub(super) fn meta_and_generation<K: Resource>(object: &K) -> u64 {
    fingerprint(&(object.meta().generation, meta_fingerprint(object)))
}

pub(super) fn whole<K: Resource>(object: &K) -> u64 {
    fingerprint(&object.meta().resource_version)
}

/// What of a pod statuses depend on. Annotations are left out: we push configs through one.
pub(super) fn pod_fingerprint(pod: &Pod) -> u64 {
    let status = pod.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_ref())
        .map(|conditions| {
            let of_interest = |type_: &str| matches!(type_, "Ready" | "PodScheduled");
            let mut told: Vec<_> = conditions
                .iter()
                .filter(|condition| of_interest(&condition.type_))
                .map(|condition| (&condition.type_, &condition.status, &condition.reason))
                .collect();
            told.sort();
            told
        });
    let containers =
        status.map(|status| json(&(&status.container_statuses, &status.init_container_statuses)));
    let phase = status.map(|status| (&status.phase, &status.pod_ip, &status.host_ip));
    fingerprint(&(
        phase,
        conditions,
        containers,
        pod.metadata.deletion_timestamp.is_some(),
        &pod.metadata.labels,
    ))
}

/// What of a kind matters of which only the metadata is read.
pub(super) fn metadata<K: Resource<DynamicType = ()>>(object: &PartialObjectMeta<K>) -> u64 {
    match object.metadata.generation {
        // Kinds with a generation have a status, which is none of our business.
        Some(generation) if generation > 0 => fingerprint(&(generation, meta_fingerprint(object))),
        _ => whole(object),
    }
}

/// What of an autoscaler matters: its status changes with each measurement.
pub(super) fn autoscaler(object: &HorizontalPodAutoscaler) -> u64 {
    fingerprint(&(json(&object.spec), meta_fingerprint(object)))
}

#[cfg(test)]
mod tests {
    use rotunda_crds::RealtimeCluster;
    use serde_json::json;

    use super::*;

    fn pod(json: serde_json::Value) -> Pod {
        serde_json::from_value(json).expect("a pod")
    }

    #[test]
    fn our_own_annotation_on_a_pod_asks_for_nothing() {
        let before = pod(json!({ "metadata": { "uid": "u", "resourceVersion": "1" } }));
        let after = pod(json!({ "metadata": { "uid": "u", "resourceVersion": "2",
            "annotations": { "rotunda.dev/config-revision": "abc" } } }));
        let mut seen = Fingerprints::default();
        assert!(seen.changed(&Change::Seen(before), pod_fingerprint));
        assert!(!seen.changed(&Change::Seen(after), pod_fingerprint));
    }

    #[test]
    fn readiness_and_deletion_of_a_pod_ask_for_a_reconcile() {
        let status = |ready: &str| json!({ "conditions": [{ "type": "Ready", "status": ready }] });
        let mut seen = Fingerprints::default();
        for pod in [
            pod(json!({ "metadata": { "uid": "u" }, "status": status("False") })),
            pod(json!({ "metadata": { "uid": "u" }, "status": status("True") })),
            pod(
                json!({ "metadata": { "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z" }, "status": status("True") }),
            ),
        ] {
            assert!(seen.changed(&Change::Seen(pod), pod_fingerprint));
        }
    }

    #[test]
    fn a_status_alone_asks_for_nothing() {
        let cluster = |generation: i64, ready: i32| -> RealtimeCluster {
            serde_json::from_value(json!({
                "apiVersion": "rotunda.dev/v1alpha1", "kind": "RealtimeCluster",
                "metadata": { "name": "chat", "uid": "u", "generation": generation },
                "spec": { "auth": {} }, "status": { "readyReplicas": ready },
            }))
            .expect("a cluster")
        };
        let mut seen = Fingerprints::default();
        assert!(seen.changed(&Change::Seen(cluster(1, 0)), meta_and_generation));
        assert!(!seen.changed(&Change::Seen(cluster(1, 3)), meta_and_generation));
        assert!(seen.changed(&Change::Seen(cluster(2, 3)), meta_and_generation));
        assert!(seen.changed(&Change::Gone(cluster(2, 3)), meta_and_generation));
    }
}
