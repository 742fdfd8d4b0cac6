//! Says about an object what the API server would say: unknown fields, types, bounds, enums, list keys, CEL rules.

use std::{collections::BTreeSet, fmt, sync::LazyLock};

use serde_json::Value;

use super::{Kind, evaluate::evaluate};
use crate::nearest::nearest;

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The field, such as `spec.auth.jwt.keys[0].id`; empty for the object itself.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

static SCHEMAS: LazyLock<[Value; 2]> = LazyLock::new(|| Kind::ALL.map(super::schema));

/// Checks an object, and the change from `old` to it where there is one. Rules are asked only about what the schema
/// accepts, as the API server does.
pub fn check(kind: Kind, object: &Value, old: Option<&Value>) -> Vec<Violation> {
    check_traced(kind, object, old).0
}

/// Paths and texts of rules.
pub(super) type Asked = BTreeSet<(String, String)>;

/// As [`check`], and which rules were asked.
pub(super) fn check_traced(
    kind: Kind,
    object: &Value,
    old: Option<&Value>,
) -> (Vec<Violation>, Asked) {
    let schema = &SCHEMAS[kind as usize];
    let mut walk = Walk::default();
    walk.shape(schema, object, "");
    if walk.violations.is_empty() {
        walk.rules(schema, object, old, "");
    }
    (walk.violations, walk.asked)
}

#[derive(Default)]
struct Walk {
    violations: Vec<Violation>,
    asked: Asked,
}

impl Walk {
    fn refuse(&mut self, path: &str, message: impl Into<String>) {
        self.violations.push(Violation {
            path: path.to_owned(),
            message: message.into(),
        });
    }

    fn shape(&mut self, schema: &Value, value: &Value, path: &str) {
        if schema["x-kubernetes-int-or-string"] == true {
            if !value.is_i64() && !value.is_u64() && !value.is_string() {
                self.refuse(
                    path,
                    format!("{} is neither a whole number nor a text", brief(value)),
                );
            }
            return;
        }
        let wanted = schema["type"].as_str().unwrap_or_default();
        if !has_type(wanted, value) {
            return self.refuse(
                path,
                format!("{} is not {}", brief(value), type_name(wanted)),
            );
        }
        if let Some(known) = schema["enum"].as_array()
            && !known.contains(value)
        {
            self.enumerated(known, value, path);
        }
        match value {
            Value::Object(_) => self.object(schema, value, path),
            Value::Array(items) => self.list(schema, items, path),
            Value::String(text) => {
                let length = text.chars().count() as u64;
                if schema["maxLength"]
                    .as_u64()
                    .is_some_and(|most| length > most)
                {
                    self.refuse(
                        path,
                        format!(
                            "has {length} characters, at most {} are allowed",
                            schema["maxLength"]
                        ),
                    );
                }
            }
            Value::Number(number) => self.number(schema, number.as_f64().unwrap_or(f64::NAN), path),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn enumerated(&mut self, known: &[Value], value: &Value, path: &str) {
        let names: Vec<&str> = known
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| !name.is_empty())
            .collect();
        let hint = value
            .as_str()
            .and_then(|text| nearest(text, names.iter().copied()));
        let hint = hint.map_or_else(String::new, |hint| format!(": did you mean `{hint}`?"));
        self.refuse(
            path,
            format!("{} is not one of {}{hint}", brief(value), names.join(", ")),
        );
    }

    fn object(&mut self, schema: &Value, value: &Value, path: &str) {
        let Some(entries) = value.as_object() else {
            return;
        };
        if schema["maxProperties"]
            .as_u64()
            .is_some_and(|most| entries.len() as u64 > most)
        {
            self.refuse(
                path,
                format!(
                    "has {} entries, at most {} are allowed",
                    entries.len(),
                    schema["maxProperties"]
                ),
            );
        }
        for name in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if entries.get(name).is_none_or(Value::is_null) {
                self.refuse(&join(path, name), "is required and missing");
            }
        }
        for (name, inner) in entries {
            let inner_path = join(path, name);
            // A null counts as absent, as for the API server.
            if inner.is_null()
                || (path.is_empty() && matches!(name.as_str(), "metadata" | "apiVersion" | "kind"))
            {
                continue;
            }
            if let Some(property) = schema["properties"].get(name) {
                self.shape(property, inner, &inner_path);
            } else if schema["additionalProperties"].is_object() {
                self.shape(&schema["additionalProperties"], inner, &inner_path);
            } else if schema["x-kubernetes-preserve-unknown-fields"] != true {
                self.unknown(schema, name, &inner_path);
            }
        }
    }

    fn unknown(&mut self, schema: &Value, name: &str, path: &str) {
        let known: Vec<&str> = schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        let message = match nearest(name, known.iter().copied()) {
            Some(candidate) => format!("unknown field: did you mean `{candidate}`?"),
            None if known.is_empty() => "unknown field".to_owned(),
            None => format!("unknown field; there are {}", known.join(", ")),
        };
        self.refuse(path, message);
    }

    fn list(&mut self, schema: &Value, items: &[Value], path: &str) {
        if schema["maxItems"]
            .as_u64()
            .is_some_and(|most| items.len() as u64 > most)
        {
            self.refuse(
                path,
                format!(
                    "has {} entries, at most {} are allowed",
                    items.len(),
                    schema["maxItems"]
                ),
            );
        }
        // No list map of ours has more than one key.
        let key = schema["x-kubernetes-list-map-keys"][0].as_str();
        let is_set = schema["x-kubernetes-list-type"] == "set";
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let inner_path = format!("{path}[{index}]");
            self.shape(&schema["items"], item, &inner_path);
            let (label, identity) = match key {
                Some(key) => (format!("{key} "), &item[key]),
                None if is_set => (String::new(), item),
                None => continue,
            };
            if !seen.insert(identity.to_string()) {
                let what = brief(identity);
                self.refuse(
                    &inner_path,
                    format!("{label}{what} is there twice: remove one"),
                );
            }
        }
    }

    fn number(&mut self, schema: &Value, number: f64, path: &str) {
        if schema["minimum"]
            .as_f64()
            .is_some_and(|least| number < least)
        {
            self.refuse(
                path,
                format!(
                    "{number} is too small: write at least {}",
                    schema["minimum"]
                ),
            );
        }
        if schema["maximum"].as_f64().is_some_and(|most| number > most) {
            self.refuse(
                path,
                format!("{number} is too large: write at most {}", schema["maximum"]),
            );
        }
    }

    fn rules(&mut self, schema: &Value, value: &Value, old: Option<&Value>, path: &str) {
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let text = rule["rule"].as_str().unwrap_or_default();
            if old.is_none() && text.contains("oldSelf") {
                continue;
            }
            let field = rule["fieldPath"].as_str().unwrap_or_default();
            let blamed = if path.is_empty() {
                field.trim_start_matches('.').to_owned()
            } else {
                format!("{path}{field}")
            };
            self.asked.insert((generic(path), text.to_owned()));
            match evaluate(text, value, old) {
                Ok(true) => {}
                Ok(false) => self.refuse(&blamed, rule["message"].as_str().unwrap_or_default()),
                Err(error) => self.refuse(&blamed, format!("its rule failed: {error}")),
            }
        }
        match value {
            Value::Object(entries) => {
                for (name, inner) in entries.iter().filter(|(_, inner)| !inner.is_null()) {
                    let inner_schema = schema["properties"]
                        .get(name)
                        .unwrap_or(&schema["additionalProperties"]);
                    let old = old
                        .and_then(|old| old.get(name))
                        .filter(|old| !old.is_null());
                    self.rules(inner_schema, inner, old, &join(path, name));
                }
            }
            Value::Array(items) => {
                // Items of a list map could be matched by their keys; no rule of theirs is about changes.
                for (index, item) in items.iter().enumerate() {
                    self.rules(&schema["items"], item, None, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }
}

fn has_type(wanted: &str, value: &Value) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

fn type_name(wanted: &str) -> &'static str {
    match wanted {
        "object" => "an object with fields",
        "array" => "a list",
        "string" => "a text; put it in quotes",
        "boolean" => "true or false",
        "integer" => "a whole number",
        _ => "a number",
    }
}

/// A value for a message: short, and never what is inside a list or object.
fn brief(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) if text.chars().count() > 60 => {
            format!("{:?}…", text.chars().take(60).collect::<String>())
        }
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// A path with the numbers of list items left out, as rules are kept.
pub(super) fn generic(path: &str) -> String {
    let mut parts = path.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |path, part| {
        path + "[" + part.trim_start_matches(|c: char| c.is_ascii_digit())
    })
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
