//! Makes what the derives yield structural, and small enough for plain `kubectl apply`.

use kube::core::schema::{OptionalEnum, OptionalIntOrString, StructuralSchemaRewriter};
use schemars::{
    JsonSchema, Schema,
    generate::SchemaSettings,
    transform::{AddNullable, Transform, transform_subschemas},
};
use serde_json::{Value, json};

use super::{Kind, at_mut};

/// Fields whose types are Kubernetes' own: their descriptions are dropped (`kubectl explain pod.spec.affinity` has them).
const FOREIGN: [&str; 13] = [
    "spec.gateway.resources",
    "spec.gateway.pod.tolerations",
    "spec.gateway.pod.affinity",
    "spec.gateway.pod.topologySpreadConstraints",
    "spec.gateway.pod.imagePullSecrets",
    "spec.redis.managed.resources",
    "spec.redis.managed.pod.tolerations",
    "spec.redis.managed.pod.affinity",
    "spec.redis.managed.pod.topologySpreadConstraints",
    "spec.redis.managed.pod.imagePullSecrets",
    "spec.allowedRooms.selector",
    "spec.networkPolicy.apiFrom",
    "spec.networkPolicy.metricsFrom",
];

/// Whether a path is inside a field of one of Kubernetes' own types.
pub(super) fn is_foreign(path: &str) -> bool {
    let inside = |field: &&str| {
        path.strip_prefix(*field)
            .is_some_and(|rest| rest.starts_with(['.', '[', '{']))
    };
    FOREIGN.iter().any(inside) || path.starts_with("status.conditions[]")
}

/// The schema of a type, as kube derives it, but for [`FieldsOwnDescription`].
pub(super) fn derive<T: JsonSchema>() -> Value {
    SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(FieldsOwnDescription)
        .with_transform(AddNullable::default())
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum)
        .with_transform(OptionalIntOrString)
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// An `Option` of a type with a description of its own is `anyOf` that type and null. kube's transforms then let the type's
/// description win over the field's, which says more.
#[derive(Debug, Clone)]
struct FieldsOwnDescription;

impl Transform for FieldsOwnDescription {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema
            .as_object_mut()
            .filter(|object| object.contains_key("description"))
        else {
            return;
        };
        let variants = object.get_mut("anyOf").and_then(Value::as_array_mut);
        for variant in variants
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            variant.remove("description");
        }
    }
}

pub(super) fn apply(kind: Kind, schema: &mut Value) {
    clean(schema);
    if kind == Kind::RealtimeCluster {
        for field in FOREIGN {
            let place = at_mut(schema, field).expect("a foreign field is in the schema");
            let ours = place.get("description").cloned();
            drop_descriptions(place);
            if let (Some(ours), Some(place)) = (ours, place.as_object_mut()) {
                place.insert("description".to_owned(), ours);
            }
        }
        // The scale subresource reads this path, and fails where it is missing.
        set(schema, "spec.gateway", "default", json!({}));
        set(schema, "spec.gateway.replicas", "default", json!(3));
        // Text only: an int-or-string can't be compared in a rule.
        let size = at_mut(schema, "spec.redis.managed.storage.size").expect("in the schema");
        size.as_object_mut()
            .expect("an object")
            .remove("x-kubernetes-int-or-string");
        size["type"] = json!("string");
    }
    // A new object is never taken for one that is ready (kstatus).
    set(
        schema,
        "status",
        "default",
        json!({ "observedGeneration": -1 }),
    );
    set(schema, "status.observedGeneration", "default", json!(-1));
    let conditions = at_mut(schema, "status.conditions").expect("in the schema");
    conditions["x-kubernetes-list-type"] = json!("map");
    conditions["x-kubernetes-list-map-keys"] = json!(["type"]);
    if kind == Kind::RealtimeCluster {
        let keys = at_mut(schema, "spec.auth.jwt.keys").expect("in the schema");
        keys["x-kubernetes-list-type"] = json!("map");
        keys["x-kubernetes-list-map-keys"] = json!(["id"]);
        for set_of_texts in [
            "spec.auth.jwt.keys[].algorithms",
            "spec.allowedOrigins",
            "spec.trustedProxies",
            "spec.service.loadBalancerSourceRanges",
        ] {
            set(schema, set_of_texts, "x-kubernetes-list-type", json!("set"));
        }
    }
}

fn set(schema: &mut Value, path: &str, key: &str, value: Value) {
    at_mut(schema, path).unwrap_or_else(|| panic!("{path} is in the schema"))[key] = value;
}

/// Drops what the API server warns about or would act on: unknown formats, defaults, `nullable` (without it a null counts
/// as absent, which is what the types take it for).
fn clean(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    object.remove("default");
    object.remove("nullable");
    object.remove("title");
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if object
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|format| format.starts_with("uint"))
    {
        object.remove("format");
    }
    if let Some(minimum) = object.get_mut("minimum")
        && minimum.as_f64() == Some(0.0)
    {
        *minimum = json!(0);
    }
    children_mut(schema, &mut clean);
}

fn drop_descriptions(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        object.remove("description");
    }
    children_mut(schema, &mut drop_descriptions);
}

/// Calls `each` with every schema directly inside.
fn children_mut(schema: &mut Value, each: &mut impl FnMut(&mut Value)) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(&mut *each);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key).filter(|inner| inner.is_object()) {
            each(inner);
        }
    }
}
