use proptest::prelude::*;

use super::*;

fn read_one(text: &str) -> Result<Manifests, ManifestErrors> {
    read([ManifestFile {
        label: "chat.yaml",
        text,
    }])
}

fn mistakes(text: &str) -> Vec<String> {
    let errors = read_one(text).expect_err("refused");
    errors.0.iter().map(ToString::to_string).collect()
}

const GOOD: &str = "
# A comment, and an empty document.
---
apiVersion: v1
kind: Secret
metadata: { name: chat-jwt, namespace: demo }
type: Opaque
data: { old: aHVudGVyMg==, secret: eA== }
stringData: { secret: correct horse }
---
apiVersion: rotunda.dev/v1alpha1
kind: RealtimeCluster
metadata: { name: chat, namespace: demo }
spec:
  auth: { jwt: { keys: [{ id: main, secretRef: { name: chat-jwt, key: secret } }] } }
status: { anything: goes }
---
apiVersion: v1
kind: List
items:
  - apiVersion: rotunda.dev/v1alpha1
    kind: Room
    metadata: { name: lobby, namespace: demo }
    spec: { clusterRef: { name: chat }, name: lobby }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: app }
spec: { whatever: true }
";

#[test]
fn secrets_clusters_and_rooms_are_read_and_other_kinds_are_named() {
    let manifests = read_one(GOOD).expect("good manifests");
    assert_eq!(manifests.clusters.len(), 1);
    assert_eq!(manifests.rooms_of(&manifests.clusters[0]).len(), 1);
    assert_eq!(
        manifests.secret_entry("demo", "chat-jwt", "secret"),
        Some(&b"correct horse"[..])
    );
    assert_eq!(
        manifests.secret_entry("demo", "chat-jwt", "old"),
        Some(&b"hunter2"[..])
    );
    assert_eq!(manifests.secret_entry("demo", "chat-jwt", "none"), None);
    assert_eq!(manifests.skipped, ["chat.yaml: Deployment app"]);
}

#[test]
fn an_object_without_a_namespace_is_in_the_default_one() {
    let text = GOOD.replace(", namespace: demo", "");
    let manifests = read_one(&text).expect("good manifests");
    assert_eq!(manifests.clusters[0].namespace(), "default");
    assert_eq!(manifests.rooms[0].cluster_key(), ("default", "chat"));
    assert!(
        manifests
            .secret_entry("default", "chat-jwt", "secret")
            .is_some()
    );
}

#[test]
fn every_mistake_names_file_object_field_and_fix() {
    for (from, to, expected) in [
        (
            "auth: {",
            "gateway: { replica: 2 }\n  auth: {",
            "chat.yaml: RealtimeCluster chat: spec.gateway.replica: unknown field: did you mean `replicas`?",
        ),
        (
            "auth: {",
            "auht: {",
            "chat.yaml: RealtimeCluster chat: spec.auht: unknown field: did you mean `auth`?",
        ),
        (
            "name: lobby }\n---",
            "name: lobby, access: { join: 'user.claim.x' } }\n---",
            "Room lobby: spec.access.join: line 1, column 5: `user` has no field `claim`",
        ),
        (
            "name: lobby }\n---",
            "name: a, pattern: 'b*' }\n---",
            "Room lobby: spec: write exactly one of name",
        ),
        (
            "kind: Room\n",
            "kind: Rooms\n",
            "chat.yaml: Rooms lobby: kind: rotunda.dev has no kind \"Rooms\": write Room",
        ),
        (
            "rotunda.dev/v1alpha1\nkind: RealtimeCluster",
            "rotunda.dev/v1\nkind: RealtimeCluster",
            "apiVersion: \"rotunda.dev/v1\" isn't known here: write rotunda.dev/v1alpha1",
        ),
        (
            "clusterRef: { name: chat }",
            "clusterRef: { name: chats }",
            "Room lobby: spec.clusterRef: there is no RealtimeCluster demo/chats in these files",
        ),
        (
            "metadata: { name: lobby, namespace: demo }",
            "metadata: { name: lobby, namespace: demo, lables: {} }",
            "Room lobby: metadata.lables: unknown field: did you mean `labels`?",
        ),
        (
            "metadata: { name: lobby, namespace: demo }",
            "metadata: { namespace: demo }",
            "chat.yaml: Room: metadata.name: is required and missing",
        ),
        (
            "metadata: { name: lobby, namespace: demo }\n    spec: { clusterRef: { name: chat }",
            "metadata: { name: lobby }\n    spec: { clusterRef: { name: chat, namespace: demo }",
            "spec.clusterRef.namespace: RealtimeCluster demo/chat takes Rooms of its own namespace only",
        ),
        (
            "stringData:",
            "stringdata:",
            "chat.yaml: Secret chat-jwt: stringdata: unknown field: did you mean `stringData`?",
        ),
        (
            "eA==",
            "hunter2!",
            "Secret chat-jwt: data.secret: isn't base64: write plain text under stringData instead",
        ),
        (
            "eA==",
            "7",
            "Secret chat-jwt: data.secret: isn't a text: put it in quotes",
        ),
        ("kind: Secret", "kind: 7", "kind: isn't a text"),
        ("kind: Secret\n", "", "kind: is required and missing"),
    ] {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD, "{from} is there");
        let mistakes = mistakes(&text);
        assert!(
            mistakes.iter().any(|mistake| mistake.contains(expected)),
            "{mistakes:#?}\nnot {expected}"
        );
        assert!(!mistakes.concat().contains("hunter2"), "{mistakes:?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = GOOD
        .replace("auth: {", "auht: {")
        .replace("stringData:", "stringdata:")
        .replace("name: lobby }\n---", "nam: lobby }\n---");
    assert!(mistakes(&text).len() >= 4, "{:#?}", mistakes(&text));
}

#[test]
fn an_object_that_is_there_twice_and_rooms_that_clash_are_mistakes() {
    let twice = [
        ManifestFile {
            label: "a.yaml",
            text: GOOD,
        },
        ManifestFile {
            label: "b.yaml",
            text: GOOD,
        },
    ];
    let errors = read(twice).expect_err("refused").to_string();
    for object in ["Secret chat-jwt", "RealtimeCluster chat", "Room lobby"] {
        let expected = format!("b.yaml: {object}: metadata.name: is there twice, also in a.yaml");
        assert!(errors.contains(&expected), "{errors}");
    }
    let text = format!(
        "{GOOD}---\napiVersion: rotunda.dev/v1alpha1\nkind: Room\nmetadata: {{ name: other, namespace: demo }}\nspec: {{ clusterRef: {{ name: chat }}, name: lobby }}\n"
    );
    let expected = "chat.yaml: Room other: spec: Room demo/lobby has the same name or pattern: change one, or remove it";
    assert_eq!(mistakes(&text), [expected]);
}

#[test]
fn what_is_no_yaml_says_where() {
    for (text, expected) in [
        ("a: [", "chat.yaml: isn't YAML: "),
        ("a: 1\na: 2", "duplicate entry with key \"a\""),
        (
            "- 1",
            "chat.yaml: an object without a kind: a manifest is an object",
        ),
        ("just text", "a manifest is an object"),
        ("? [a]\n: b", "holds something that JSON can't"),
        ("kind: !secret x", "chat.yaml: "),
    ] {
        let mistakes = mistakes(text);
        assert!(
            mistakes[0].contains(expected),
            "{mistakes:?}\nnot {expected}"
        );
    }
    let bomb = (0..40).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
        format!(
            "{text}a{}: &a{} [*a{n}, *a{n}, *a{n}, *a{n}]\n",
            n + 1,
            n + 1
        )
    });
    assert!(
        mistakes(&bomb)[0].contains("repetition limit"),
        "{:?}",
        mistakes(&bomb)
    );
    assert!(mistakes(&"[".repeat(100_000))[0].contains("recursion limit"));
    assert!(mistakes(&" ".repeat(5_000_000))[0].contains("is larger than"));
}

#[test]
fn no_debug_output_shows_a_secret() {
    let manifests = read_one(GOOD).expect("good manifests");
    let debug = format!("{manifests:?}");
    assert!(
        debug.contains("chat-jwt")
            && !debug.contains("correct horse")
            && !debug.contains("104, 117")
    );
}

#[test]
fn the_chat_example_is_accepted() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/chat");
    let entries = std::fs::read_dir(folder).expect("the example is in the repository");
    let mut files: Vec<(String, String)> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            (
                path.display().to_string(),
                std::fs::read_to_string(&path).expect("text"),
            )
        })
        .collect();
    files.sort();
    let manifests = read(
        files
            .iter()
            .map(|(label, text)| ManifestFile { label, text }),
    );
    let manifests = manifests.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(manifests.clusters.len(), 1);
    assert!(!manifests.rooms.is_empty());
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        drop(read_one(&text));
    }

    #[test]
    fn no_change_of_a_good_manifest_makes_the_reader_panic(at in 0..GOOD.len(), length in 0..20usize, with in "[ -~\n]{0,20}") {
        let end = (at + length).min(GOOD.len());
        drop(read_one(&format!("{}{with}{}", &GOOD[..at], &GOOD[end..])));
    }
}
