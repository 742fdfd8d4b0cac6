//! One document: from YAML to an object of ours, or what is wrong with it.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{DEFAULT_NAMESPACE, secret::SecretManifest};
use crate::{
    GROUP, VERSION,
    nearest::nearest,
    realtime_cluster::RealtimeCluster,
    room::Room,
    schema::{Kind, Violation, check},
    validate,
};

/// Most bytes of a file; YAML's aliases are bounded by its reader.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Fields of `metadata` that a manifest may have.
const METADATA: [&str; 14] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "generateName",
    "finalizers",
    "ownerReferences",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
];

/// What a document is.
pub(super) enum Object {
    Cluster(Box<RealtimeCluster>),
    Room(Box<Room>),
    Secret(SecretManifest),
    /// A kind that isn't ours.
    Other,
}

/// The documents of a file, without the empty ones.
pub(super) fn split(text: &str) -> Result<Vec<Value>, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("is larger than {MAX_BYTES} bytes"));
    }
    let mut documents = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        // By way of YAML's own value, which refuses a key that is there twice.
        let value = serde_yaml::Value::deserialize(document)
            .map_err(|error| format!("isn't YAML: {error}"))?;
        let value = serde_json::to_value(value)
            .map_err(|error| format!("holds something that JSON can't: {error}"))?;
        if !value.is_null() {
            documents.push(value);
        }
    }
    Ok(documents)
}

/// A document for messages: `Kind name`.
pub(super) fn describe(document: &Value) -> String {
    let kind = document["kind"]
        .as_str()
        .unwrap_or("an object without a kind");
    match document["metadata"]["name"].as_str() {
        Some(name) => format!("{kind} {name}"),
        None => kind.to_owned(),
    }
}

/// Reads a document.
pub(super) fn read(mut document: Value) -> Result<Object, Vec<Violation>> {
    let Some(fields) = document.as_object_mut() else {
        return Err(refused(
            "",
            "a manifest is an object with apiVersion, kind, metadata and spec",
        ));
    };
    let version = text_of(fields, "apiVersion")?;
    let kind = text_of(fields, "kind")?;
    if version == "v1" && kind == "Secret" {
        let (namespace, name) = metadata(fields)?;
        return SecretManifest::read(namespace, name, fields).map(Object::Secret);
    }
    if version.split('/').next() != Some(GROUP) {
        return Ok(Object::Other);
    }
    let Some(known) = Kind::ALL.into_iter().find(|known| known.name() == kind) else {
        let names = Kind::ALL.map(Kind::name);
        let hint = nearest(&kind, names).map_or_else(|| names.join(" or "), str::to_owned);
        return Err(refused(
            "kind",
            format!("{GROUP} has no kind {kind:?}: write {hint}"),
        ));
    };
    if version != format!("{GROUP}/{VERSION}") {
        let message = format!("{version:?} isn't known here: write {GROUP}/{VERSION}");
        return Err(refused("apiVersion", message));
    }
    metadata(fields)?;
    fields.remove("status");
    let violations = check(known, &document, None);
    if !violations.is_empty() {
        return Err(violations);
    }
    match known {
        Kind::RealtimeCluster => {
            let cluster: RealtimeCluster = typed(document)?;
            accepted(validate::cluster(&cluster)).map(|()| Object::Cluster(Box::new(cluster)))
        }
        Kind::Room => {
            let room: Room = typed(document)?;
            accepted(validate::room(&room)).map(|()| Object::Room(Box::new(room)))
        }
    }
}

fn typed<T: DeserializeOwned>(document: Value) -> Result<T, Vec<Violation>> {
    serde_json::from_value(document).map_err(|error| refused("", error.to_string()))
}

fn accepted(violations: Vec<Violation>) -> Result<(), Vec<Violation>> {
    if violations.is_empty() {
        Ok(())
    } else {
        Err(violations)
    }
}

pub(super) fn refused(path: &str, message: impl Into<String>) -> Vec<Violation> {
    vec![Violation {
        path: path.to_owned(),
        message: message.into(),
    }]
}

fn text_of(fields: &Map<String, Value>, name: &str) -> Result<String, Vec<Violation>> {
    match fields.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(refused(name, "isn't a text: put it in quotes")),
        None => Err(refused(name, "is required and missing")),
    }
}

/// Checks `metadata`, fills the namespace in, and returns namespace and name.
fn metadata(fields: &mut Map<String, Value>) -> Result<(String, String), Vec<Violation>> {
    let Some(Value::Object(metadata)) = fields.get_mut("metadata") else {
        return Err(refused(
            "metadata",
            "is required and missing: write metadata: { name: … }",
        ));
    };
    let unknown: Vec<Violation> = metadata
        .keys()
        .filter(|name| !METADATA.contains(&name.as_str()))
        .map(|name| unknown(&format!("metadata.{name}"), name, &METADATA))
        .collect();
    accepted(unknown)?;
    let text = |name: &str| match metadata.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(refused(
            &format!("metadata.{name}"),
            "isn't a name: write lower-case letters, digits and -",
        )),
    };
    let name = text("name")?.ok_or_else(|| refused("metadata.name", "is required and missing"))?;
    let namespace = text("namespace")?.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    metadata.insert("namespace".to_owned(), json!(namespace));
    Ok((namespace, name))
}

/// The mistake of a field that isn't known.
pub(super) fn unknown(path: &str, name: &str, known: &[&str]) -> Violation {
    let message = match nearest(name, known.iter().copied()) {
        Some(candidate) => format!("unknown field: did you mean `{candidate}`?"),
        None => format!("unknown field; there are {}", known.join(", ")),
    };
    Violation {
        path: path.to_owned(),
        message,
    }
}
