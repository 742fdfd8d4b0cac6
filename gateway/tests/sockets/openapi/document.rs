//! `docs/openapi.yaml`, read: its operations, what they may answer, and validators for that. And whether it is OpenAPI, whole, and of one
//! mind with itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use jsonschema::Validator;
use rotunda_gateway::dialect::{ErrorCode, GapReason};
use rotunda_gateway::http::{self, Side};
use serde_json::{Value, json};

use crate::gateway::Answer;
use crate::json_schema::{check, close};

pub(crate) struct Document(pub(crate) Value);

/// An operation: its method and path, as `GET /v1/users/{user}`.
pub(crate) type Name = String;

impl Document {
    pub(crate) fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.yaml");
        Self(serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap())
    }

    /// All operations with what belongs to their paths merged in.
    pub(crate) fn operations(&self) -> BTreeMap<Name, Value> {
        let mut operations = BTreeMap::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if method == "parameters" {
                    continue;
                }
                let mut operation = operation.clone();
                let shared = item["parameters"].as_array().cloned().unwrap_or_default();
                let own = operation["parameters"].as_array().cloned();
                operation["parameters"] = [shared, own.unwrap_or_default()].concat().into();
                operations.insert(format!("{} {path}", method.to_uppercase()), operation);
            }
        }
        operations
    }

    /// Which ports serve an operation.
    pub(crate) fn sides(&self, operation: &Value) -> Vec<Side> {
        let servers = operation.get("servers").unwrap_or(&self.0["servers"]);
        let is_api = |server: &Value| server["url"].as_str().unwrap().ends_with(":8081");
        let servers = servers.as_array().unwrap();
        let side = |server| {
            if is_api(server) {
                Side::Server
            } else {
                Side::Public
            }
        };
        servers.iter().map(side).collect()
    }

    /// What a reference stands for, or the thing itself.
    pub(crate) fn resolve<'a>(&'a self, thing: &'a Value) -> &'a Value {
        match thing["$ref"].as_str() {
            Some(reference) => {
                let found = self.0.pointer(reference.strip_prefix('#').unwrap());
                found.unwrap_or_else(|| panic!("{reference} leads nowhere"))
            }
            None => thing,
        }
    }

    /// Parameters by their place and name.
    pub(crate) fn parameter(&self, operation: &Value, place: &str, name: &str) -> Option<Value> {
        let parameters = operation["parameters"].as_array().unwrap();
        let mut parameters = parameters.iter().map(|parameter| self.resolve(parameter));
        parameters
            .find(|parameter| parameter["in"] == place && parameter["name"] == name)
            .cloned()
    }

    pub(crate) fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        check(&self.validator(schema, false), value)
    }

    /// What comes is held to closed schemas: a member that isn't described fails, although clients have to ignore it.
    pub(crate) fn check_answer(&self, operation: &Value, answer: &Answer) -> Result<(), String> {
        let described = &operation["responses"][answer.status.to_string()];
        if described.is_null() {
            return Err(format!("the status {} isn't described", answer.status));
        }
        let described = self.resolve(described);
        for (name, header) in described["headers"].as_object().into_iter().flatten() {
            let header = self.resolve(header);
            match answer.header(name) {
                Some(value) => self.check(&header["schema"], &as_value(header, &value))?,
                None if header["required"] == true => return Err(format!("no header {name}")),
                None => {}
            }
        }
        let Some(content) = described["content"].as_object() else {
            return if answer.text.is_empty() {
                Ok(())
            } else {
                Err(format!("a body came: {}", answer.text))
            };
        };
        let (kind, media) = content.iter().next().unwrap();
        let came = answer.header("content-type").unwrap_or_default();
        if came != *kind {
            return Err(format!("content type {came:?} instead of {kind}"));
        }
        check(&self.validator(&media["schema"], true), &answer.json())
    }

    fn validator(&self, schema: &Value, closed: bool) -> Validator {
        let mut components = self.0["components"].clone();
        let mut schema = schema.clone();
        if closed {
            close(&mut components["schemas"]);
            close(&mut schema);
        }
        schema["components"] = components;
        jsonschema::draft202012::new(&schema).unwrap()
    }
}

fn as_value(described: &Value, text: &str) -> Value {
    if described["schema"]["type"] == "integer" {
        serde_json::from_str(text).unwrap_or_else(|_| text.into())
    } else {
        json!(text)
    }
}

/// The official schema of OpenAPI 3.1 documents, <https://spec.openapis.org/oas/3.1/schema/2022-10-07> (Apache-2.0), unchanged.
const OPENAPI: &str = include_str!("openapi-3.1.json");

#[test]
fn the_document_is_openapi() {
    let schema: Value = serde_json::from_str(OPENAPI).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    check(&validator, &Document::read().0).unwrap();
}

#[test]
fn it_describes_just_what_is_served() {
    let document = Document::read();
    for side in [Side::Public, Side::Server] {
        let served: BTreeSet<_> = http::table(side)
            .iter()
            .map(|route| format!("{} {}", route.method, route.path))
            .collect();
        let described: BTreeSet<_> = document
            .operations()
            .into_iter()
            .filter(|(_, operation)| document.sides(operation).contains(&side))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(described, served, "{side:?}");
    }
}

#[test]
fn it_names_the_errors_and_gaps_of_the_code() {
    let document = Document::read().0;
    let schemas = &document["components"]["schemas"];
    let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(
        schemas["Problem"]["properties"]["code"]["enum"],
        json!(codes)
    );
    let reasons: Vec<_> = GapReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(
        schemas["Page"]["properties"]["gap"]["properties"]["reason"]["enum"],
        json!(reasons)
    );
}

/// Everything that has a schema and examples beside it.
fn examples(thing: &Value, found: &mut Vec<(Value, Value)>) {
    if let Some(schema) = thing.get("schema") {
        let named = thing["examples"].as_object().into_iter().flatten();
        found.extend(named.map(|(_, example)| (schema.clone(), example["value"].clone())));
    }
    match thing {
        Value::Object(members) => members.values().for_each(|member| examples(member, found)),
        Value::Array(items) => items.iter().for_each(|item| examples(item, found)),
        _ => {}
    }
}

#[test]
fn its_examples_fit_its_schemas() {
    let document = Document::read();
    let mut found = Vec::new();
    examples(&document.0, &mut found);
    assert!(found.len() > 15, "only {} examples", found.len());
    for (schema, example) in found {
        document.check(&schema, &example).unwrap();
    }
}
