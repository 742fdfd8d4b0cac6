use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use rotunda_crds::{Room, config::decode_gzip};
use serde::Deserialize;

use super::*;
use crate::{
    cluster::{build::names, dereference::NamedSecret, model::Hidden},
    key::Key,
};

const MINIMAL: &str = "
apiVersion: rotunda.dev/v1alpha1
kind: RealtimeCluster
metadata: { name: chat, namespace: demo, uid: 5c1b3c1e-0000-4000-8000-000000000001, generation: 1 }
spec:
  auth:
    jwt: { keys: [{ id: main, secretRef: { name: chat-jwt, key: secret } }] }
";

const SECRET: &str = "
apiVersion: v1
kind: Secret
metadata: { name: chat-jwt, namespace: demo, uid: 5c1b3c1e-0000-4000-8000-000000000002, resourceVersion: '7' }
stringData: { secret: not-a-real-secret }
";

pub(crate) fn settings() -> Settings {
    Settings {
        gateway_image: "rotunda-gateway:test".to_owned(),
        redis_image: "redis:test".to_owned(),
        controller_class: None,
        operator_namespace: Some("rotunda-system".to_owned()),
    }
}

/// A cluster, its Rooms and its Secrets as YAML documents, as if they had been read from the API server.
fn dereferenced(yaml: &str) -> Dereferenced {
    let mut cluster = None;
    let mut rooms = Vec::new();
    let mut found = BTreeMap::new();
    for document in serde_yaml::Deserializer::from_str(yaml) {
        let value = serde_json::Value::deserialize(document).expect("YAML");
        let parse = "a manifest of that kind";
        match value["kind"].as_str() {
            Some("RealtimeCluster") => {
                cluster = Some(serde_json::from_value::<RealtimeCluster>(value).expect(parse));
            }
            Some("Room") => rooms.push(serde_json::from_value::<Room>(value).expect(parse)),
            Some("Secret") => {
                let mut secret: Secret = serde_json::from_value(value).expect(parse);
                let written = secret.string_data.take().unwrap_or_default().into_iter();
                let entries =
                    written.map(|(name, text)| (name, k8s_openapi::ByteString(text.into_bytes())));
                secret.data.get_or_insert_default().extend(entries);
                found.insert(secret.name_any(), NamedSecret::from(secret));
            }
            _ => {}
        }
    }
    let cluster = Arc::new(cluster.expect("a RealtimeCluster"));
    let names = super::super::dereference::secret_names(&cluster);
    Dereferenced {
        secrets: names
            .into_iter()
            .map(|name| (name.clone(), found.get(&name).cloned()))
            .collect(),
        redis_secret: found.get(&names::redis(cluster.name())).cloned(),
        fresh_password: Hidden("drawn-for-this-test".to_owned()),
        rooms,
        paused_rooms: BTreeSet::new(),
        previous: None,
        existing_shards: Vec::new(),
        replicas_in_sync: false,
        cluster,
    }
}

/// The same, through the real stage.
pub(crate) fn fixture(yaml: &str) -> Validated {
    validate(&dereferenced(yaml), &settings())
        .expect("a valid cluster")
        .validated
}

fn refusal(yaml: &str) -> Refusal {
    validate(&dereferenced(yaml), &settings()).expect_err("refused")
}

fn with(documents: &[&str]) -> String {
    documents.join("\n---\n")
}

#[test]
fn a_missing_secret_is_refused_with_the_command_that_makes_it() {
    insta::assert_snapshot!(refusal(MINIMAL).message(), @r#"Secret "chat-jwt", which spec.auth.jwt.keys[0].secretRef names, doesn't exist in namespace "demo". Create it: kubectl create secret generic chat-jwt -n demo --from-literal=secret="$(openssl rand -hex 32)"."#);
    assert_eq!(refusal(MINIMAL).reason(), reason::SECRET_NOT_FOUND);
}

#[test]
fn a_missing_entry_is_refused_with_the_entries_there_are() {
    let secret = SECRET.replace("secret: not-a-real-secret", "secert: typo");
    let refusal = refusal(&with(&[MINIMAL, &secret]));
    assert_eq!(refusal.reason(), reason::SECRET_INVALID);
    insta::assert_snapshot!(refusal.message(), @r#"Entry "secret" of Secret "chat-jwt", which spec.auth.jwt.keys[0].secretRef names, doesn't exist. The Secret has "secert". Set it: kubectl create secret generic chat-jwt -n demo --from-literal=secret="$(openssl rand -hex 32)" --dry-run=client -o yaml | kubectl apply -f -."#);
}

#[test]
fn all_problems_are_told_at_once() {
    let cluster = MINIMAL.replace(
        "  auth:",
        "  tls: { secretName: chat-tls }\n  auth:\n    apiKeysSecretRef: { name: keys }",
    );
    let refusal = refusal(&cluster);
    assert_eq!(refusal.problems.len(), 3, "{refusal:?}");
    let message = refusal.message();
    assert!(
        message.contains("kubectl create secret tls chat-tls -n demo --cert=tls.crt --key=tls.key"),
        "{message}"
    );
    assert!(
        message.contains("kubectl create secret generic keys -n demo"),
        "{message}"
    );
}

/// What is wrong with a cluster whose external Redis is at this URL, if anything is.
fn refusal_of_redis_at(url: &str) -> Option<String> {
    let cluster = MINIMAL.replace(
        "  auth:",
        "  redis: { external: { urlSecretRef: { name: my-redis, key: url } } }\n  auth:",
    );
    let secret = format!(
        "
kind: Secret
apiVersion: v1
metadata: {{ name: my-redis, namespace: demo }}
stringData: {{ url: {} }}
",
        serde_json::json!(url)
    );
    let input = with(&[&cluster, SECRET, &secret]);
    let validated = validate(&dereferenced(&input), &settings());
    validated.err().map(|refusal| {
        assert_eq!(refusal.reason(), reason::SECRET_INVALID);
        refusal.message().clone()
    })
}

#[test]
fn whatever_url_of_redis_the_gateways_take_is_accepted() {
    for url in [
        "redis://:p%40ss@redis/3",
        "rediss://redis:6380\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "redis+sentinel://a,b:26380/main",
        "rediss+sentinel://a/main/2",
        "redis+cluster://user:secret@a,b",
        "rediss+cluster://a",
    ] {
        assert_eq!(refusal_of_redis_at(url), None, "{url}");
    }
}

#[test]
fn another_url_of_redis_is_refused_without_showing_it() {
    for (url, hint) in [
        ("http://:hunter2@redis", "redis+cluster://"),
        ("redis+sentinel://:hunter2@redis", "/mymaster"),
        ("redis://:hunter2@redis/x", "database"),
        ("redis://:hunter2@a,b", "one host"),
    ] {
        let refusal = refusal_of_redis_at(url).expect("it is refused");
        assert!(!refusal.contains("hunter2"), "{refusal}");
        assert!(refusal.contains(hint), "{refusal}");
        assert!(refusal.contains("spec.redis.external.urlSecretRef"));
    }
}

#[test]
fn a_name_that_no_service_can_have_is_refused() {
    for name in ["1st", "a-name-of-many-words-that-goes-on-and-on-and-on"] {
        let refusal = refusal(&with(&[
            &MINIMAL.replace("name: chat,", &format!("name: {name},")),
            SECRET,
        ]));
        assert_eq!(refusal.reason(), reason::INVALID_SPEC, "{name}");
    }
}

#[test]
fn secrets_are_copied_and_named_by_their_version_only() {
    let before = fixture(&with(&[MINIMAL, SECRET]));
    let files: Vec<&String> = before.secret_files.0.keys().collect();
    assert_eq!(files, ["jwt.main", "redis.url", "revision"]);
    assert_eq!(
        before.secret_files.0["redis.url"],
        b"redis+cluster://:drawn-for-this-test@chat-redis.demo.svc:6379"
    );
    let config = decode_gzip(&before.config.gzip).expect("a config");
    assert_eq!(
        config.secrets_revision.as_bytes(),
        before.secret_files.0["revision"]
    );
    assert_eq!(config.revision, before.config.revision);

    let other_content = fixture(&with(&[
        MINIMAL,
        &SECRET.replace("not-a-real-secret", "changed"),
    ]));
    assert_eq!(
        other_content.config.revision, before.config.revision,
        "content must not be part of a revision"
    );
    let other_version = fixture(&with(&[MINIMAL, &SECRET.replace("'7'", "'8'")]));
    assert_ne!(other_version.config.revision, before.config.revision);
    assert_ne!(
        other_version.secret_files.0["revision"],
        before.secret_files.0["revision"]
    );
}

fn room(generation: i64, max_messages: u32) -> String {
    format!(
        "
apiVersion: rotunda.dev/v1alpha1
kind: Room
metadata: {{ name: lobby, namespace: demo, uid: r-1, generation: {generation} }}
spec: {{ clusterRef: {{ name: chat }}, name: lobby, history: {{ maxMessages: {max_messages} }} }}
"
    )
}

#[test]
fn an_edited_room_gives_another_revision_and_the_same_edit_the_same() {
    let revision = |room: &str| fixture(&with(&[MINIMAL, SECRET, room])).config.revision;
    assert_eq!(revision(&room(1, 10)), revision(&room(1, 10)));
    assert_ne!(revision(&room(1, 10)), revision(&room(2, 20)));
}

#[test]
fn a_paused_room_keeps_the_policy_in_force_or_stays_out() {
    let mut edited = dereferenced(&with(&[MINIMAL, SECRET, &room(2, 20)]));
    edited.paused_rooms.insert(Key::new("demo", "lobby"));
    let rooms = |input: &Dereferenced| {
        validate(input, &settings())
            .expect("valid")
            .config
            .rooms
            .clone()
    };
    assert!(rooms(&edited).is_empty());
    let before = dereferenced(&with(&[MINIMAL, SECRET, &room(1, 10)]));
    edited.previous = Some(validate(&before, &settings()).expect("valid").config);
    assert_eq!(
        (
            rooms(&edited)[0].generation,
            rooms(&edited)[0].policy.history.max_messages
        ),
        (1, 10)
    );
}

#[test]
fn what_this_version_leaves_out_is_said() {
    let cluster = MINIMAL.replace("  auth:", "  edge: { nginx: {} }\n  auth:");
    let left_out = fixture(&with(&[&cluster, SECRET])).left_out;
    assert_eq!(left_out.len(), 1);
    assert!(left_out[0].starts_with("spec.edge "), "{left_out:?}");
}

#[test]
fn a_stored_password_that_is_gone_is_refused_instead_of_drawn_anew() {
    let secret = "
kind: Secret
apiVersion: v1
metadata: { name: chat-redis, namespace: demo }
";
    assert_eq!(
        refusal(&with(&[MINIMAL, SECRET, secret])).reason(),
        reason::SECRET_INVALID
    );
}
