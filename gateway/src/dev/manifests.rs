//! Manifests from files on this machine, and the config that a cluster of them would get.
//!
//! Reading and judging them is the `crds` crate's job, which is stricter than the API server: a typing mistake must not go unnoticed. Here
//! files are found and opened, and the Secrets' entries are put where a pod would find them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rotunda_crds::config::{RenderInput, files, render, secret_files};
use rotunda_crds::manifests::{self, ManifestFile, Manifests};

use super::{Loaded, pick};
use crate::config::Files;

/// The revision that a config from manifests carries.
const REVISION: &str = "dev";

/// Reads files, and the manifests in folders, in order of their names.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Manifests> {
    let mut texts = Vec::new();
    for path in paths {
        let inside = if path.is_dir() {
            manifests_in(path)?
        } else {
            vec![path.clone()]
        };
        for file in inside {
            let text = fs::read_to_string(&file)
                .with_context(|| format!("can't read {}", file.display()))?;
            texts.push((file.display().to_string(), text));
        }
    }
    let manifests = manifests::read(
        texts
            .iter()
            .map(|(label, text)| ManifestFile { label, text }),
    )?;
    for skipped in &manifests.skipped {
        tracing::debug!(skipped, "only RealtimeCluster, Room and Secret matter here");
    }
    Ok(manifests)
}

fn manifests_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_manifest(path))
        .collect();
    files.sort();
    Ok(files)
}

fn is_manifest(path: &Path) -> bool {
    path.is_file()
        && path.extension().is_some_and(|extension| {
            ["yaml", "yml", "json"]
                .iter()
                .any(|known| extension == *known)
        })
}

/// The config of one cluster, and the files beside it. `redis`: the broker will be one.
pub fn render_cluster(
    manifests: &Manifests,
    cluster: Option<&str>,
    redis: bool,
) -> anyhow::Result<Loaded> {
    let cluster = pick(&manifests.clusters, cluster, |cluster| cluster.name())?;
    let namespace = match cluster.namespace() {
        "" => manifests::DEFAULT_NAMESPACE,
        namespace => namespace,
    };
    let mut contents = Files::new();
    for wanted in secret_files(cluster) {
        // Neither is used here: the broker is the memory or the one on the command line, and TLS is left out.
        if [
            files::REDIS_URL_FILE,
            files::TLS_CERTIFICATE_FILE,
            files::TLS_KEY_FILE,
        ]
        .contains(&wanted.file.as_str())
        {
            continue;
        }
        let entry = manifests
            .secret_entry(namespace, &wanted.secret, &wanted.key)
            .with_context(|| {
                format!(
                    "{} names the entry `{}` of the Secret `{}`, which the manifests don't hold",
                    wanted.field, wanted.key, wanted.secret
                )
            })?;
        contents.insert(wanted.file, entry.to_vec());
    }
    let mut api_key_entries = Vec::new();
    if let Some(reference) = &cluster.spec.auth.api_keys_secret_ref {
        let key = (namespace.to_owned(), reference.name.clone());
        let secret = manifests.secrets.get(&key).with_context(|| {
            format!(
                "spec.auth.apiKeysSecretRef names the Secret `{}`, which the manifests don't hold",
                reference.name
            )
        })?;
        for entry in secret.keys() {
            contents.insert(
                files::api_key_file(entry),
                secret.entry(entry).unwrap_or_default().to_vec(),
            );
            api_key_entries.push(entry.to_owned());
        }
    }
    let config = render(&RenderInput {
        cluster,
        rooms: &manifests.rooms_of(cluster),
        revision: REVISION,
        secrets_revision: REVISION,
        api_key_entries: &api_key_entries,
        redis,
        previous: None,
    });
    Ok(Loaded {
        config,
        files: contents,
    })
}

#[cfg(test)]
mod tests;
