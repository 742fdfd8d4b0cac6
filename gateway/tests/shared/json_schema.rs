//! JSON Schemas as the tests of both documents use them.

use jsonschema::Validator;
use serde_json::{Value, json};

/// Whether a value fits; the error says where it doesn't.
pub(crate) fn check(validator: &Validator, value: &Value) -> Result<(), String> {
    let errors: Vec<_> = validator
        .iter_errors(value)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{value} doesn't fit its schema: {}",
            errors.join("; ")
        ))
    }
}

/// Forbids members that a schema doesn't name.
pub(crate) fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.values_mut().for_each(close);
            if members.get("type") == Some(&json!("object")) && members.contains_key("properties") {
                members.insert("additionalProperties".to_owned(), false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}
