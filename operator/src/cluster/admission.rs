//! Which Rooms a cluster lets in: `spec.allowedRooms`, judged the same way for the config and for a Room's status.

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    ResourceExt,
    core::{PartialObjectMeta, Selector, SelectorExt},
    runtime::reflector::ObjectRef,
};
use rotunda_crds::{RealtimeCluster, realtime_cluster::AllowedNamespaces};

use crate::stores::Stores;

/// Whether Rooms of `namespace` may name `cluster`. A selector never matches a namespace whose labels aren't known.
pub fn admits(cluster: &RealtimeCluster, namespace: &str, stores: &Stores) -> bool {
    if namespace == cluster.namespace() {
        return true;
    }
    match cluster.spec.allowed_rooms.namespaces() {
        AllowedNamespaces::Same => false,
        AllowedNamespaces::All => true,
        AllowedNamespaces::Selector => {
            let selector = cluster.spec.allowed_rooms.selector.clone();
            let Some(Ok(selector)) = selector.map(Selector::try_from) else {
                return false;
            };
            let object: ObjectRef<PartialObjectMeta<Namespace>> = ObjectRef::new(namespace);
            stores
                .namespaces
                .get(&object)
                .is_some_and(|found| selector.matches(found.labels()))
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::stores::stores;

    fn cluster(allowed: &serde_json::Value) -> RealtimeCluster {
        serde_json::from_value(json!({
            "apiVersion": "rotunda.dev/v1alpha1", "kind": "RealtimeCluster",
            "metadata": { "name": "chat", "namespace": "demo" },
            "spec": { "auth": {}, "allowedRooms": allowed },
        }))
        .expect("a cluster")
    }

    #[test]
    fn own_namespace_is_always_let_in_and_others_only_as_the_spec_says() {
        let (stores, mut writers) = stores();
        let namespace = |name: &str, team: &str| {
            serde_json::from_value(json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": { "name": name, "labels": { "team": team } },
            }))
            .expect("metadata")
        };
        writers
            .namespaces
            .apply_watcher_event(&Event::Apply(namespace("red", "red")));
        writers
            .namespaces
            .apply_watcher_event(&Event::Apply(namespace("blue", "blue")));
        let admitted = |allowed: serde_json::Value| -> Vec<bool> {
            let cluster = cluster(&allowed);
            ["demo", "red", "blue", "unknown"]
                .iter()
                .map(|name| admits(&cluster, name, &stores))
                .collect()
        };
        assert_eq!(admitted(json!({})), [true, false, false, false]);
        assert_eq!(
            admitted(json!({ "namespaces": "All" })),
            [true, true, true, true]
        );
        let selector =
            json!({ "namespaces": "Selector", "selector": { "matchLabels": { "team": "red" } } });
        assert_eq!(admitted(selector), [true, true, false, false]);
        assert_eq!(
            admitted(json!({ "namespaces": "Selector" })),
            [true, false, false, false]
        );
    }
}
