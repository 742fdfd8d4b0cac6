//! What the schema can't say about an object: access expressions that don't compile, selectors, labels that are taken.
//!
//! Pure, like the schema's rules: what it finds becomes a condition that tells the user what to write instead.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::{
    access::Expression,
    duration,
    pattern::RoomPattern,
    realtime_cluster::{Pod, RealtimeCluster, RedisMode},
    room::Room,
    room_name::RoomName,
    schema::Violation,
};

/// Labels of pods that are the operator's: what starts with one of these selects the pods or tells them apart.
const OWN_LABELS: [&str; 2] = ["app.kubernetes.io/", "rotunda.dev/"];

/// Checks a RealtimeCluster.
pub fn cluster(cluster: &RealtimeCluster) -> Vec<Violation> {
    let spec = &cluster.spec;
    let mut found = Vec::new();
    pod(&mut found, "spec.gateway.pod", &spec.gateway.pod);
    if let RedisMode::Managed(managed) = spec.redis_mode() {
        pod(&mut found, "spec.redis.managed.pod", &managed.pod);
    }
    if let Some(selector) = &spec.allowed_rooms.selector {
        label_selector(&mut found, "spec.allowedRooms.selector", selector);
    }
    for (index, key) in spec.auth.jwt_keys().iter().enumerate() {
        let path = format!("spec.auth.jwt.keys[{index}]");
        if key.source().is_none() {
            refuse(
                &mut found,
                &path,
                "write exactly one of secretRef, publicKeyRef and jwksUrl",
            );
        } else if key.algorithms().is_empty() {
            let message =
                "none of them goes with this kind of key: leave algorithms out for the default";
            refuse(&mut found, &format!("{path}.algorithms"), message);
        }
    }
    found
}

/// Checks a Room.
pub fn room(room: &Room) -> Vec<Violation> {
    let spec = &room.spec;
    let mut found = Vec::new();
    match (&spec.name, &spec.pattern) {
        (Some(name), None) => {
            if let Err(error) = RoomName::parse(name) {
                refuse(&mut found, "spec.name", error.to_string());
            }
        }
        (None, Some(pattern)) => {
            if let Err(error) = RoomPattern::parse(pattern) {
                refuse(&mut found, "spec.pattern", error.to_string());
            }
        }
        _ => refuse(&mut found, "spec", "write exactly one of name and pattern"),
    }
    let access = &spec.access;
    for (field, written) in [
        ("join", &access.join),
        ("publish", &access.publish),
        ("signal", &access.signal),
        ("history", &access.history),
        ("members", &access.members),
    ] {
        let Some(source) = written.as_ref().filter(|source| !source.is_empty()) else {
            continue;
        };
        if let Err(error) = Expression::compile(source) {
            refuse(
                &mut found,
                &format!("spec.access.{field}"),
                error.to_string(),
            );
        }
    }
    if let Some(age) = spec.history.max_age.as_ref().filter(|age| !age.is_empty())
        && let Err(error) = duration::parse_seconds(age)
    {
        refuse(&mut found, "spec.history.maxAge", error.to_string());
    }
    found
}

fn refuse(found: &mut Vec<Violation>, path: &str, message: impl Into<String>) {
    found.push(Violation {
        path: path.to_owned(),
        message: message.into(),
    });
}

fn pod(found: &mut Vec<Violation>, path: &str, pod: &Pod) {
    for (field, labels) in [
        ("labels", &pod.labels),
        ("nodeSelector", &pod.node_selector),
    ] {
        check_labels(found, &format!("{path}.{field}"), labels);
    }
    for key in pod
        .labels
        .keys()
        .filter(|key| OWN_LABELS.iter().any(|own| key.starts_with(own)))
    {
        let message =
            format!("label {key:?} is the operator's own: write one with a prefix of yours");
        refuse(found, &format!("{path}.labels"), message);
    }
    for key in pod.annotations.keys().filter(|key| !is_label_key(key)) {
        let message = format!("{key:?} is no name of an annotation: {KEY_FIX}");
        refuse(found, &format!("{path}.annotations"), message);
    }
}

const KEY_FIX: &str =
    "write at most 63 letters, digits, -, _ and ., with a DNS name and / before it if need be";

fn check_labels(found: &mut Vec<Violation>, path: &str, labels: &BTreeMap<String, String>) {
    for (key, value) in labels {
        if !is_label_key(key) {
            refuse(
                found,
                path,
                format!("{key:?} is no name of a label: {KEY_FIX}"),
            );
        }
        if !value.is_empty() && !is_label_name(value) {
            let message = format!(
                "{value:?} is no value of a label: write at most 63 letters, digits, -, _ and ."
            );
            refuse(found, path, message);
        }
    }
}

fn label_selector(found: &mut Vec<Violation>, path: &str, selector: &LabelSelector) {
    if let Some(labels) = &selector.match_labels {
        check_labels(found, &format!("{path}.matchLabels"), labels);
    }
    for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let values = expression.values.as_ref().map_or(0, Vec::len);
        match expression.operator.as_str() {
            "In" | "NotIn" if values == 0 => {
                refuse(
                    found,
                    &path,
                    format!("{} needs values: write some", expression.operator),
                );
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                refuse(
                    found,
                    &path,
                    format!("{} takes no values: remove them", expression.operator),
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let message =
                    format!("{other:?} is no operator: write In, NotIn, Exists or DoesNotExist");
                refuse(found, &format!("{path}.operator"), message);
            }
        }
        if !is_label_key(&expression.key) {
            refuse(
                found,
                &format!("{path}.key"),
                format!("{:?} is no name of a label: {KEY_FIX}", expression.key),
            );
        }
    }
}

/// Whether it is a qualified name of Kubernetes: a name, and a DNS subdomain with `/` before it where there is one.
fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        None => is_label_name(key),
        Some((prefix, name)) => {
            let part = |part: &str| {
                let ends = part.starts_with(is_lower_alphanumeric)
                    && part.ends_with(is_lower_alphanumeric);
                ends && part.chars().all(|c| is_lower_alphanumeric(c) || c == '-')
            };
            prefix.len() <= 253 && prefix.split('.').all(part) && is_label_name(name)
        }
    }
}

fn is_lower_alphanumeric(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label_name(name: &str) -> bool {
    let end = |c: char| c.is_ascii_alphanumeric();
    let fits = name.len() <= 63 && name.starts_with(end) && name.ends_with(end);
    fits && name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: &str, spec: &str) -> Vec<String> {
        let text = format!(
            "apiVersion: rotunda.dev/v1alpha1\nkind: {kind}\nmetadata: {{ namespace: a, name: b }}\nspec: {spec}"
        );
        let violations = if kind == "Room" {
            room(&serde_yaml::from_str(&text).expect("a Room"))
        } else {
            cluster(&serde_yaml::from_str(&text).expect("a RealtimeCluster"))
        };
        violations.iter().map(Violation::to_string).collect()
    }

    #[test]
    fn a_broken_access_expression_names_its_field_and_place() {
        let spec = "{ clusterRef: { name: c }, name: a, access: { join: '', publish: 'user.claim.x', members: '1' } }";
        assert_eq!(
            found("Room", spec),
            [
                "spec.access.publish: line 1, column 5: `user` has no field `claim`: did you mean `user.claims`?",
                "spec.access.members: line 1, column 1: an access expression has to be true or false, this is a number: \
                 compare it with something",
            ]
        );
    }

    #[test]
    fn a_room_that_the_schema_would_refuse_is_refused_here_too() {
        assert_eq!(
            found("Room", "{ clusterRef: { name: c } }"),
            ["spec: write exactly one of name and pattern"]
        );
        let spec = "{ clusterRef: { name: c }, pattern: 'a***', history: { maxAge: 5x } }";
        let errors = found("Room", spec);
        assert!(
            errors[0].starts_with("spec.pattern: three stars"),
            "{errors:?}"
        );
        assert!(
            errors[1].starts_with("spec.history.maxAge: `5x` is no duration"),
            "{errors:?}"
        );
        assert_eq!(
            found(
                "Room",
                "{ clusterRef: { name: c }, name: 'a:b', access: { join: 'true' } }"
            )
            .len(),
            0
        );
    }

    #[test]
    fn labels_and_selectors_are_checked() {
        let spec = "{ auth: { anonymous: true }, gateway: { pod: { labels: {
            rotunda.dev/cluster: x, 'a b': c, ok: 'not ok', example.com/team: red } } },
            redis: { managed: { pod: { annotations: { '/x': y } } } },
            allowedRooms: { namespaces: Selector, selector: { matchExpressions: [
                { key: a, operator: Equals }, { key: a, operator: In }, { key: a, operator: Exists, values: [x] },
                { key: 'a b', operator: Exists } ] } } }";
        let errors = found("RealtimeCluster", spec);
        for (error, expected) in errors.iter().zip([
            "spec.gateway.pod.labels: \"a b\" is no name of a label",
            "spec.gateway.pod.labels: \"not ok\" is no value of a label",
            "spec.gateway.pod.labels: label \"rotunda.dev/cluster\" is the operator's own",
            "spec.redis.managed.pod.annotations: \"/x\" is no name of an annotation",
            "spec.allowedRooms.selector.matchExpressions[0].operator: \"Equals\" is no operator",
            "spec.allowedRooms.selector.matchExpressions[1]: In needs values",
            "spec.allowedRooms.selector.matchExpressions[2]: Exists takes no values",
            "spec.allowedRooms.selector.matchExpressions[3].key: \"a b\" is no name of a label",
        ]) {
            assert!(error.starts_with(expected), "{error}\nnot {expected}");
        }
        assert_eq!(errors.len(), 8);
    }
}
