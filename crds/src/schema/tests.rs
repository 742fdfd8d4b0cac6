//! The committed manifests are up to date and complete; the examples under `tests/` are accepted and refused as they say.

use std::{collections::BTreeSet, fs, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::{
    check::{check_traced, generic},
    rules::rules,
    *,
};
use crate::duration;

/// Several documents of one object: it as created and as changed.
struct Example {
    name: String,
    text: String,
    documents: Vec<Value>,
}

impl Example {
    fn expects(&self, key: &str) -> Option<&str> {
        let mark = format!("# {key}:");
        self.text
            .lines()
            .find_map(|line| line.strip_prefix(&mark))
            .map(str::trim)
    }
}

fn examples(folder: &str) -> Vec<Example> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).expect("text");
            let documents = serde_yaml::Deserializer::from_str(&text)
                .map(|document| Value::deserialize(document).expect("YAML"))
                .collect();
            let name = file
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            Example {
                name,
                text,
                documents,
            }
        })
        .collect()
}

fn kind(document: &Value) -> Kind {
    let name = document["kind"].as_str().expect("a kind");
    Kind::ALL
        .into_iter()
        .find(|kind| kind.name() == name)
        .expect("one of ours")
}

/// Each document with the one before it, where that is the same object.
fn steps(example: &Example) -> impl Iterator<Item = (&Value, Option<&Value>)> {
    let documents = &example.documents;
    documents.iter().enumerate().map(|(index, document)| {
        let before = index.checked_sub(1).map(|before| &documents[before]);
        (
            document,
            before.filter(|before| before["metadata"] == document["metadata"]),
        )
    })
}

#[test]
fn good_examples_are_accepted_and_readable() {
    for example in examples("valid") {
        for (document, old) in steps(&example) {
            assert_eq!(check(kind(document), document, old), [], "{}", example.name);
            let text = document.to_string();
            match kind(document) {
                Kind::RealtimeCluster => {
                    drop(serde_json::from_str::<RealtimeCluster>(&text).expect(&example.name));
                }
                Kind::Room => drop(serde_json::from_str::<Room>(&text).expect(&example.name)),
            }
        }
    }
}

#[test]
fn bad_examples_are_refused_with_the_message_they_name_and_no_other() {
    for example in examples("invalid") {
        let steps: Vec<_> = steps(&example).collect();
        let (last, before) = steps.split_last().expect("a document");
        for (document, old) in before {
            assert_eq!(
                check(kind(document), document, *old),
                [],
                "{} before the change",
                example.name
            );
        }
        let violations = check(kind(last.0), last.0, last.1);
        let [violation] = violations.as_slice() else {
            panic!("{} is refused once, not: {violations:?}", example.name);
        };
        let message = example
            .expects("message")
            .or(example.expects("offline"))
            .expect("a message");
        assert!(
            violation.message.contains(message),
            "{}: {violation}",
            example.name
        );
        assert_eq!(
            violation.path,
            example.expects("field").expect("a field"),
            "{}",
            example.name
        );
    }
}

#[test]
fn every_rule_has_an_example_that_it_accepts_and_one_that_it_refuses() {
    let mut accepted = BTreeSet::new();
    for example in examples("valid") {
        for (document, old) in steps(&example) {
            accepted.extend(check_traced(kind(document), document, old).1);
        }
    }
    let mut refused = BTreeSet::new();
    for example in examples("invalid") {
        let (last, old) = steps(&example).last().expect("a document");
        for violation in check(kind(last), last, old) {
            refused.insert((
                kind(last).name(),
                generic(&violation.path),
                violation.message,
            ));
        }
    }
    for kind in Kind::ALL {
        for rule in rules(kind) {
            assert!(
                accepted.contains(&(rule.path.to_owned(), rule.rule.to_owned())),
                "no good example for {rule:?}"
            );
            let blamed = rule.field.map_or_else(
                || rule.path.to_owned(),
                |field| format!("{}.{field}", rule.path),
            );
            let refusal = (kind.name(), blamed, rule.message.to_owned());
            assert!(refused.contains(&refusal), "no bad example for {rule:?}");
        }
    }
}

#[test]
fn what_the_schema_takes_for_a_duration_pattern_or_name_the_code_takes_too() {
    for example in examples("valid") {
        for document in example
            .documents
            .iter()
            .filter(|document| kind(document) == Kind::Room)
        {
            let spec = &document["spec"];
            if let Some(age) = spec["history"]["maxAge"]
                .as_str()
                .filter(|age| !age.is_empty())
            {
                duration::parse_seconds(age).expect(age);
            }
            if let Some(pattern) = spec["pattern"].as_str() {
                crate::pattern::RoomPattern::parse(pattern).expect(pattern);
            }
        }
    }
    // The longest that its regular expression lets through.
    duration::parse_seconds("9999d99999h9999999m999999999s").expect("within the code's maximum");
}

#[test]
fn messages_say_what_to_write() {
    for kind in Kind::ALL {
        for rule in rules(kind) {
            assert!(
                !rule.message.contains('\n') && rule.message.len() > 30,
                "{}",
                rule.message
            );
            assert!(rule.rule.len() <= 1024, "{}", rule.rule);
        }
    }
}

/// Calls `each` with every schema inside, and its path.
fn walk(schema: &Value, path: &str, each: &mut impl FnMut(&Value, &str)) {
    each(schema, path);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let inner = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        walk(property, &inner, each);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            walk(&schema[key], &format!("{path}{mark}"), each);
        }
    }
}

#[test]
fn every_field_has_a_description_and_every_size_a_maximum() {
    for kind in Kind::ALL {
        walk(&schema(kind), "", &mut |schema, path| {
            let place = format!("{} {path}", kind.name());
            let is_field = !path.ends_with("[]") && !path.ends_with("{}");
            if is_field && !shape::is_foreign(path) {
                let description = schema["description"].as_str().unwrap_or_default();
                assert!(description.len() > 10, "{place} has no description");
                assert!(!description.contains('\n'), "{place}: {description}");
            }
            assert!(schema["nullable"].is_null(), "{place} is nullable");
            if schema["enum"].is_array() {
                return;
            }
            let bound = match schema["type"].as_str() {
                Some("string") if schema["format"].is_null() => "maxLength",
                Some("array") => "maxItems",
                Some("object") if schema["additionalProperties"].is_object() => "maxProperties",
                Some("integer" | "number")
                    if !shape::is_foreign(path) && !path.starts_with("status") =>
                {
                    "maximum"
                }
                _ => return,
            };
            let required_by_kubernetes =
                path.ends_with("resources.limits{}") || path.ends_with("resources.requests{}");
            assert!(
                schema[bound].is_number() || required_by_kubernetes,
                "{place} has no {bound}"
            );
        });
    }
}

#[test]
fn the_schema_fills_in_nothing_but_what_kubernetes_needs() {
    for kind in Kind::ALL {
        let mut defaults = Vec::new();
        walk(&schema(kind), "", &mut |schema, path| {
            if !schema["default"].is_null() {
                defaults.push(path.to_owned());
            }
        });
        let mut expected = vec!["status", "status.observedGeneration"];
        if kind == Kind::RealtimeCluster {
            expected.splice(0..0, ["spec.gateway", "spec.gateway.replicas"]);
        }
        assert_eq!(defaults, expected);
    }
}

#[test]
fn a_crd_fits_into_the_annotation_of_kubectl_apply() {
    for kind in Kind::ALL {
        let json = serde_json::to_string(&crd(kind)).expect("JSON");
        assert!(
            json.len() < 256 * 1024 && manifest(kind).len() < 256 * 1024,
            "{}",
            kind.name()
        );
    }
}

#[test]
fn names_columns_and_scale_are_as_designed() {
    let columns = |kind| {
        let crd = crd(kind);
        let columns = crd.spec.versions[0]
            .additional_printer_columns
            .clone()
            .expect("columns");
        columns
            .into_iter()
            .map(|column| column.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        columns(Kind::RealtimeCluster),
        [
            "Ready",
            "Endpoint",
            "Gateways",
            "Connections",
            "Shards",
            "Age"
        ]
    );
    assert_eq!(
        columns(Kind::Room),
        ["Cluster", "Match", "Accepted", "Members", "Msg/s", "Age"]
    );
    let crd = crd(Kind::RealtimeCluster);
    assert_eq!(
        crd.spec.names.short_names.as_deref(),
        Some(&["rtc".to_owned()][..])
    );
    assert_eq!(
        crd.spec.names.categories.as_deref(),
        Some(&["rotunda".to_owned()][..])
    );
    let scale = crd.spec.versions[0]
        .subresources
        .as_ref()
        .and_then(|s| s.scale.clone())
        .expect("scale");
    assert_eq!(scale.spec_replicas_path, ".spec.gateway.replicas");
    assert_eq!(scale.status_replicas_path, ".status.replicas");
    assert_eq!(
        scale.label_selector_path.as_deref(),
        Some(".status.selector")
    );
}

#[test]
fn no_bare_word_in_a_manifest_is_a_boolean_of_yaml_1_1() {
    for kind in Kind::ALL {
        for line in manifest(kind).lines() {
            let value = line.rsplit([' ']).next().unwrap_or_default().to_lowercase();
            let key = line
                .trim()
                .trim_start_matches("- ")
                .split(':')
                .next()
                .unwrap_or_default();
            for word in [value.as_str(), &key.to_lowercase()] {
                let is_text = line.contains("description") || line.contains("message");
                assert!(
                    is_text || !matches!(word, "y" | "n" | "yes" | "no" | "on" | "off"),
                    "{line}"
                );
            }
        }
    }
}

#[test]
fn the_committed_manifests_are_what_the_types_say() {
    for kind in Kind::ALL {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("manifests")
            .join(format!("{}.yaml", kind.crd_name()));
        let found = fs::read_to_string(file).expect("a manifest");
        assert!(
            found == manifest(kind),
            "run `cargo run -p rotunda-crds --bin generate-crds`"
        );
    }
}
