//! `spec.undeclaredRooms` and `spec.allowedRooms`: which rooms a cluster serves.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// What happens with a room that no Room resource matches.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UndeclaredRooms {
    /// Nobody can join it.
    #[default]
    Deny,
    /// It gets the defaults of a Room.
    Allow,
}

/// Whose Room resources may name this cluster.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedRooms {
    /// `Same`: those of the cluster's own namespace. `All`: those of every namespace. `Selector`: those of namespaces
    /// whose labels `selector` matches, and of the own one. Default: `Same`.
    pub namespaces: Option<AllowedNamespaces>,
    /// Labels of namespaces, for `namespaces: Selector`. Default: none.
    pub selector: Option<LabelSelector>,
}

/// Which namespaces' Rooms may name a cluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllowedNamespaces {
    /// The cluster's own.
    #[default]
    Same,
    /// Every one.
    All,
    /// Those whose labels the selector matches, and the cluster's own.
    Selector,
}

impl AllowedRooms {
    /// Which namespaces' Rooms may name the cluster.
    pub fn namespaces(&self) -> AllowedNamespaces {
        self.namespaces.unwrap_or_default()
    }
}
