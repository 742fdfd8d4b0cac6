//! `docs/crd-reference.md`: every field with its type, default, bounds and description, from the schema.

use std::fmt::Write;

use serde_json::Value;

use super::{Kind, rules, schema, shape::is_foreign};

/// The reference of both kinds as Markdown.
pub fn reference() -> String {
    let mut text = String::from(
        "<!-- Generated from the Rust types by `cargo run -p rotunda-crds --bin generate-crds`; changes here are overwritten. -->\n\
         # Reference of the custom resources\n\n\
         Both kinds are in `rotunda.dev/v1alpha1`, namespaced, and in the category `rotunda` (`kubectl get rotunda`). \
         `kubectl explain rtc.spec` shows the same texts. A field that isn't written has its default; defaults aren't stored \
         in the object, so that a better one in a later version reaches clusters that exist. An empty text is a field that \
         isn't written.\n",
    );
    for kind in Kind::ALL {
        let schema = schema(kind);
        let short = if kind == Kind::RealtimeCluster {
            " (short name `rtc`)"
        } else {
            ""
        };
        write(
            &mut text,
            format_args!("\n## {}{short}\n\n{}\n", kind.name(), description(&schema)),
        );
        for part in ["spec", "status"] {
            section(&mut text, kind, &schema["properties"][part], part);
        }
        text.push_str("\n### Rules\n\nWhat the API server checks beyond types and bounds, and what it answers:\n\n");
        for rule in rules::rules(kind) {
            let place = if rule.path.is_empty() {
                "the object"
            } else {
                rule.path
            };
            write(&mut text, format_args!("- `{place}`: {}\n", rule.message));
        }
    }
    text
}

fn write(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what)
        .expect("writing to a String can't fail");
}

/// A table of an object's fields, then the tables of the objects inside.
fn section(text: &mut String, kind: Kind, object: &Value, path: &str) {
    let Some(properties) = object["properties"].as_object() else {
        return;
    };
    write(text, format_args!("\n### {} `{path}`\n\n", kind.name()));
    let own = description(object);
    if !own.is_empty() && path != "spec" && path != "status" {
        write(text, format_args!("{own}\n\n"));
    }
    text.push_str("| field | type | default | description |\n|---|---|---|---|\n");
    let required: Vec<&str> = object["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in properties {
        let (description, default) = split_default(&description(field));
        let default = if required.contains(&name.as_str()) {
            "required".to_owned()
        } else {
            default
        };
        write(
            text,
            format_args!(
                "| `{name}` | {} | {default} | {description} |\n",
                type_of(field)
            ),
        );
    }
    for (name, field) in properties {
        let mut inner = format!("{path}.{name}");
        let mut object = field;
        while object["items"].is_object() {
            inner.push_str("[]");
            object = &object["items"];
        }
        if !is_foreign(&format!("{inner}.")) && object["properties"].is_object() {
            section(text, kind, object, &inner);
        }
    }
}

fn description(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

/// Takes "Default: …" out of a description.
fn split_default(description: &str) -> (String, String) {
    let Some(start) = description.find("Default: ") else {
        return (description.to_owned(), String::new());
    };
    let rest = &description[start + "Default: ".len()..];
    let end = rest.find(". ").map_or(rest.len(), |end| end + 1);
    let default = rest[..end].trim_end_matches('.').to_owned();
    let others = format!("{}{}", &description[..start], rest[end..].trim_start());
    (others.trim().to_owned(), default)
}

fn type_of(field: &Value) -> String {
    if field["x-kubernetes-int-or-string"] == true {
        return "quantity".to_owned();
    }
    let base = field["type"].as_str().unwrap_or_default();
    let mut text = match base {
        "array" => format!("list of {}", type_of(&field["items"])),
        "object" if field["additionalProperties"].is_object() => "map of text".to_owned(),
        "string" if field["format"] == "date-time" => "time".to_owned(),
        "string" => "text".to_owned(),
        "integer" | "number" => "number".to_owned(),
        "boolean" => "true or false".to_owned(),
        _ => "object".to_owned(),
    };
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<String> = values
            .iter()
            .filter_map(Value::as_str)
            .filter(|value| !value.is_empty())
            .map(|value| format!("`{value}`"))
            .collect();
        text = values.join(", ");
    }
    match (field["minimum"].as_f64(), field["maximum"].as_f64()) {
        (Some(from), Some(to)) => write(&mut text, format_args!(", {from} to {to}")),
        (Some(from), None) => write(&mut text, format_args!(", from {from}")),
        _ => {}
    }
    for (key, unit) in [
        ("maxLength", "characters"),
        ("maxItems", "entries"),
        ("maxProperties", "entries"),
    ] {
        if let Some(most) = field[key].as_u64() {
            write(&mut text, format_args!(", at most {most} {unit}"));
        }
    }
    text
}
