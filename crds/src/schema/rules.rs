//! The CEL rules of the CRDs: where each stands, and what it tells the user to write instead.

use serde_json::{Value, json};

use super::{Kind, at_mut};

mod cluster;
mod room;

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it stands, such as `spec.auth.jwt.keys[]`; empty for the object itself.
    pub path: &'static str,
    /// The field that it blames, relative to `path`.
    pub field: Option<&'static str>,
    /// CEL over `self` and, for changes, `oldSelf`.
    pub rule: &'static str,
    /// What the user reads.
    pub message: &'static str,
}

impl Rule {
    const fn new(path: &'static str, rule: &'static str, message: &'static str) -> Self {
        Self {
            path,
            field: None,
            rule,
            message,
        }
    }

    const fn blaming(mut self, field: &'static str) -> Self {
        self.field = Some(field);
        self
    }
}

/// The rules of a kind.
pub fn rules(kind: Kind) -> Vec<Rule> {
    match kind {
        Kind::RealtimeCluster => [cluster::CHANGES, cluster::SHAPE, cluster::TEXTS].concat(),
        Kind::Room => room::RULES.to_vec(),
    }
}

pub(super) fn apply(kind: Kind, schema: &mut Value) {
    for rule in rules(kind) {
        let place = at_mut(schema, rule.path);
        let place = place.unwrap_or_else(|| panic!("{} is in the schema", rule.path));
        let mut entry = json!({ "rule": rule.rule, "message": rule.message });
        if let Some(field) = rule.field {
            entry["fieldPath"] = json!(format!(".{field}"));
        }
        let place = place.as_object_mut().expect("a schema is an object");
        let rules = place
            .entry("x-kubernetes-validations")
            .or_insert_with(|| json!([]));
        rules.as_array_mut().expect("a list of rules").push(entry);
    }
}
