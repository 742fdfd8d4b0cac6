//! A Secret in a manifest. What it holds never gets into an error or into `Debug`.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::ByteString;
use serde_json::{Map, Value};

use super::document::{refused, unknown};
use crate::schema::Violation;

const FIELDS: [&str; 7] = [
    "apiVersion",
    "kind",
    "metadata",
    "type",
    "data",
    "stringData",
    "immutable",
];

/// A Secret, with `stringData` merged into the rest as the API server does.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretManifest {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    entries: BTreeMap<String, Vec<u8>>,
}

impl SecretManifest {
    /// What an entry holds.
    pub fn entry(&self, key: &str) -> Option<&[u8]> {
        self.entries.get(key).map(Vec::as_slice)
    }

    /// Names of the entries.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub(super) fn read(
        namespace: String,
        name: String,
        fields: &Map<String, Value>,
    ) -> Result<Self, Vec<Violation>> {
        let mut violations: Vec<Violation> = fields
            .keys()
            .filter(|field| !FIELDS.contains(&field.as_str()))
            .map(|field| unknown(field, field, &FIELDS))
            .collect();
        let mut entries = BTreeMap::new();
        for (field, is_plain) in [("data", false), ("stringData", true)] {
            match fields.get(field) {
                None | Some(Value::Null) => {}
                Some(Value::Object(map)) => {
                    for (key, value) in map {
                        match bytes(value, is_plain) {
                            Ok(bytes) => drop(entries.insert(key.clone(), bytes)),
                            Err(message) => {
                                violations.extend(refused(&format!("{field}.{key}"), message));
                            }
                        }
                    }
                }
                Some(_) => violations.extend(refused(
                    field,
                    "isn't an object: write one entry a line, key: value",
                )),
            }
        }
        if violations.is_empty() {
            Ok(Self {
                namespace,
                name,
                entries,
            })
        } else {
            Err(violations)
        }
    }
}

fn bytes(value: &Value, is_plain: bool) -> Result<Vec<u8>, &'static str> {
    let Value::String(text) = value else {
        return Err("isn't a text: put it in quotes");
    };
    if is_plain {
        return Ok(text.clone().into_bytes());
    }
    // The error would quote the text.
    serde_json::from_value::<ByteString>(Value::String(text.clone()))
        .map(|ByteString(bytes)| bytes)
        .map_err(|_| "isn't base64: write plain text under stringData instead")
}

impl fmt::Debug for SecretManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.keys().collect();
        f.debug_struct("SecretManifest")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("keys", &keys)
            .finish_non_exhaustive()
    }
}
