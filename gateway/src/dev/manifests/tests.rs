//! Files found, and what of them reaches the config. What makes a good manifest is tested with the reader.

use super::*;

const CLUSTER: &str = r"
apiVersion: rotunda.dev/v1alpha1
kind: RealtimeCluster
metadata: { name: chat, namespace: demo }
spec:
  auth:
    jwt: { keys: [{ id: main, secretRef: { name: chat-jwt, key: secret }, algorithms: [HS256] }] }
    apiKeysSecretRef: { name: chat-keys }
---
apiVersion: v1
kind: Secret
metadata: { name: chat-jwt, namespace: demo }
stringData: { secret: new }
---
apiVersion: v1
kind: Secret
metadata: { name: chat-keys, namespace: demo }
stringData: { backend: key-1 }
---
apiVersion: rotunda.dev/v1alpha1
kind: Room
metadata: { name: lobby, namespace: demo }
spec: { clusterRef: { name: chat }, name: lobby }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: unrelated }
";

fn read_text(text: &str) -> anyhow::Result<Manifests> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("chat.yaml"), text).unwrap();
    fs::write(folder.path().join("notes.txt"), "not: [a manifest").unwrap();
    read(&[folder.path().to_owned()])
}

fn refusal(text: &str) -> String {
    format!(
        "{:#}",
        read_text(text)
            .and_then(|manifests| render_cluster(&manifests, None, false))
            .unwrap_err()
    )
}

#[test]
fn a_folder_becomes_a_config_with_its_secrets_beside_it() {
    let loaded = render_cluster(&read_text(CLUSTER).unwrap(), None, false).unwrap();
    assert_eq!(loaded.config.cluster.name, "chat");
    assert_eq!(loaded.config.rooms.len(), 1);
    assert_eq!(loaded.config.redis.url_file, None);
    assert_eq!(loaded.files["jwt.main"], b"new");
    assert_eq!(loaded.files["apikey.backend"], b"key-1");
}

#[test]
fn mistakes_name_the_file_the_object_and_the_field() {
    let typo =
        refusal(&CLUSTER.replace("{ name: chat }, name: lobby", "{ name: chat }, naem: lobby"));
    for part in ["chat.yaml", "Room lobby", "naem"] {
        assert!(typo.contains(part), "{part} is missing in: {typo}");
    }
    let missing = refusal(&CLUSTER.replace("name: chat-jwt, namespace", "name: other, namespace"));
    assert!(
        missing.contains("spec.auth.jwt.keys[0].secretRef") && missing.contains("chat-jwt"),
        "{missing}"
    );
    assert!(refusal("kind: [").contains("chat.yaml"));
    assert!(
        refusal("apiVersion: v1\nkind: Pod\nmetadata: { name: x }\n")
            .contains("no RealtimeCluster")
    );
    let gone = format!(
        "{:#}",
        read(&[PathBuf::from("/nowhere/chat.yaml")]).unwrap_err()
    );
    assert!(gone.contains("/nowhere/chat.yaml"), "{gone}");
}

#[test]
fn one_of_several_clusters_is_chosen_by_name() {
    let second = CLUSTER
        .split("---")
        .next()
        .unwrap()
        .replace("name: chat, namespace", "name: other, namespace");
    let manifests = read_text(&format!("{CLUSTER}---\n{second}")).unwrap();
    let refused = format!("{:#}", render_cluster(&manifests, None, false).unwrap_err());
    assert!(
        refused.contains("--cluster") && refused.contains("chat, other"),
        "{refused}"
    );
    assert_eq!(
        render_cluster(&manifests, Some("other"), false)
            .unwrap()
            .config
            .cluster
            .name,
        "other"
    );
    assert!(render_cluster(&manifests, Some("third"), false).is_err());
}
