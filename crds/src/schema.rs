//! The CRDs: from the Rust types to the manifests that are committed and applied.
//!
//! ```text
//! types (schemars) ─► shape: structural, small ─► bounds: a maximum everywhere ─► rules: CEL ─► manifests, reference
//! ```
//!
//! [`check`](check()) says about an object what the API server would say, for tests and for `rotunda-gateway dev`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceValidation,
};
use kube::CustomResourceExt;
use serde_json::Value;

mod bounds;
pub mod check;
mod evaluate;
mod functions;
pub mod reference;
pub mod rules;
mod shape;

pub use check::{Violation, check};
pub use reference::reference;

use crate::{Room, realtime_cluster::RealtimeCluster};

/// Which of the two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `RealtimeCluster`.
    RealtimeCluster,
    /// `Room`.
    Room,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::RealtimeCluster, Self::Room];

    /// As manifests write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RealtimeCluster => "RealtimeCluster",
            Self::Room => "Room",
        }
    }

    /// Name of the CRD, which is also that of its file.
    pub fn crd_name(self) -> &'static str {
        match self {
            Self::RealtimeCluster => "realtimeclusters.rotunda.dev",
            Self::Room => "rooms.rotunda.dev",
        }
    }
}

/// The CRD of a kind, as the API server gets it.
pub fn crd(kind: Kind) -> CustomResourceDefinition {
    let (mut crd, mut schema) = match kind {
        Kind::RealtimeCluster => (RealtimeCluster::crd(), shape::derive::<RealtimeCluster>()),
        Kind::Room => (Room::crd(), shape::derive::<Room>()),
    };
    shape::apply(kind, &mut schema);
    bounds::apply(kind, &mut schema);
    rules::apply(kind, &mut schema);
    let version = crd.spec.versions.first_mut().expect("one version");
    version.schema = Some(CustomResourceValidation {
        open_api_v3_schema: serde_json::from_value(schema).expect("a schema"),
    });
    let labels = [("app.kubernetes.io/name".to_owned(), "rotunda".to_owned())];
    crd.metadata.labels = Some(labels.into());
    crd
}

/// The schema of a kind, as JSON.
pub fn schema(kind: Kind) -> Value {
    let crd = crd(kind);
    let version = crd.spec.versions.into_iter().next().expect("one version");
    let schema = version.schema.and_then(|schema| schema.open_api_v3_schema);
    serde_json::to_value(schema.expect("a schema")).expect("a schema is JSON")
}

/// The CRD of a kind as YAML, as it is committed.
pub fn manifest(kind: Kind) -> String {
    let yaml = serde_yaml::to_string(&crd(kind)).expect("a CRD is YAML");
    // Kubernetes reads YAML 1.1, in which the bare word is a boolean.
    let yaml = yaml.replace("- Off\n", "- 'Off'\n");
    format!(
        "# Generated from the Rust types by `cargo run -p rotunda-crds --bin generate-crds`; changes here are overwritten.\n{yaml}"
    )
}

/// A place in a schema by its path: `spec.auth.jwt.keys[].id`, `spec.service.annotations{}` for the values of a map.
fn at_mut<'a>(schema: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let mut place = schema;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let name = step.trim_end_matches("[]").trim_end_matches("{}");
        if !name.is_empty() {
            place = place.get_mut("properties")?.get_mut(name)?;
        }
        if step.ends_with("[]") {
            place = place.get_mut("items")?;
        } else if step.ends_with("{}") {
            place = place.get_mut("additionalProperties")?;
        }
    }
    Some(place)
}

#[cfg(test)]
mod tests;
