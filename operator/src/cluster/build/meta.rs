//! What all objects have in common: metadata with labels and owner, and the ServiceAccounts.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::ServiceAccount,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};

use super::{Component, labels, names};
use crate::cluster::model::Validated;

/// Metadata of an object of `cluster`.
pub(super) fn object(cluster: &Validated, component: Component, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(labels::common(&cluster.name, component)),
        owner_references: Some(vec![cluster.owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// The ServiceAccount of a component's pods. None of them talks to the API server, so no token is mounted.
pub(super) fn service_account(cluster: &Validated, component: Component) -> ServiceAccount {
    let name = match component {
        Component::Gateway => names::gateway(&cluster.name),
        Component::Redis => names::redis(&cluster.name),
    };
    ServiceAccount {
        metadata: object(cluster, component, name),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// What selects the pods of a component.
pub(super) fn pods_of(cluster: &Validated, component: Component) -> LabelSelector {
    matching(labels::selector(&cluster.name, component))
}

/// A selector of these labels.
pub(super) fn matching(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    }
}
