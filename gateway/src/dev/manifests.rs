//! Manifests from files: our kinds strictly, Secrets, and nothing else.
//!
//! A typing mistake in a field must not go unnoticed, as it wouldn't in a cluster: unknown fields are errors that name file, object and field.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Secret;
use rotunda_crds::config::{RenderInput, files, render, secret_files};
use rotunda_crds::{RealtimeCluster, Room};
use serde::Deserialize;
use serde_yaml::Value;

use super::{Loaded, pick};
use crate::config::Files;

/// The revision that a config from manifests carries.
const REVISION: &str = "dev";

/// What the files hold.
#[derive(Debug, Default)]
pub struct Manifests {
    clusters: Vec<RealtimeCluster>,
    rooms: Vec<Room>,
    /// Entries by namespace and name.
    secrets: BTreeMap<(String, String), BTreeMap<String, Vec<u8>>>,
}

/// Reads files, and the manifests in folders, in order of their names.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Manifests> {
    let mut manifests = Manifests::default();
    for path in paths {
        if path.is_dir() {
            let entries =
                fs::read_dir(path).with_context(|| format!("can't read {}", path.display()))?;
            let mut inside: Vec<_> = entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| is_manifest(path))
                .collect();
            inside.sort();
            inside
                .iter()
                .try_for_each(|file| manifests.read_file(file))?;
        } else {
            manifests.read_file(path)?;
        }
    }
    Ok(manifests)
}

fn is_manifest(path: &Path) -> bool {
    path.is_file()
        && path.extension().is_some_and(|extension| {
            ["yaml", "yml", "json"]
                .iter()
                .any(|known| extension == *known)
        })
}

impl Manifests {
    fn read_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let text =
            fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
        for (index, document) in serde_yaml::Deserializer::from_str(&text).enumerate() {
            let place = || format!("{}, document {}", path.display(), index + 1);
            let value =
                Value::deserialize(document).with_context(|| format!("{} is no YAML", place()))?;
            if value.is_null() {
                continue;
            }
            self.take(value).with_context(place)?;
        }
        Ok(())
    }

    fn take(&mut self, value: Value) -> anyhow::Result<()> {
        let text = |name: &str| {
            value
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let name = value
            .get("metadata")
            .and_then(|metadata| metadata.get("name"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let object = format!("{kind} {name}");
        let group = format!("{}/", rotunda_crds::GROUP);
        let ours = format!("{group}{}", rotunda_crds::VERSION);
        match (api_version.as_str(), kind.as_str()) {
            ("v1", "Secret") => self.take_secret(serde_yaml::from_value(value).context(object)?),
            (version, "RealtimeCluster") if version == ours => self
                .clusters
                .push(serde_yaml::from_value(value).context(object)?),
            (version, "Room") if version == ours => self
                .rooms
                .push(serde_yaml::from_value(value).context(object)?),
            (version, _) if version.starts_with(&group) => bail!(
                "{object}: this version knows RealtimeCluster and Room of {ours}, not {kind} of {version}"
            ),
            (_, "") => bail!("not a manifest: `kind` is missing"),
            _ => tracing::info!(
                kind,
                name,
                "skipped: only RealtimeCluster, Room and Secret matter here"
            ),
        }
        Ok(())
    }

    fn take_secret(&mut self, secret: Secret) {
        let metadata = secret.metadata;
        let key = (
            metadata.namespace.unwrap_or_default(),
            metadata.name.unwrap_or_default(),
        );
        let entries = self.secrets.entry(key).or_default();
        entries.extend(
            secret
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(name, bytes)| (name, bytes.0)),
        );
        // As the API server does it: stringData wins.
        entries.extend(
            secret
                .string_data
                .unwrap_or_default()
                .into_iter()
                .map(|(name, text)| (name, text.into_bytes())),
        );
    }

    /// The config of one cluster, and the files beside it.
    pub fn render(&self, cluster: Option<&str>, redis: bool) -> anyhow::Result<Loaded> {
        let cluster = pick(&self.clusters, cluster, |cluster| cluster.name())?;
        let namespace = cluster.namespace();
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
            let secret = self.secret(namespace, &wanted.secret).with_context(|| {
                format!(
                    "{} names the Secret `{}`, which the manifests don't hold",
                    wanted.field, wanted.secret
                )
            })?;
            let entry = secret.get(&wanted.key).with_context(|| {
                format!(
                    "{} names the entry `{}` of the Secret `{}`, which it doesn't have",
                    wanted.field, wanted.key, wanted.secret
                )
            })?;
            contents.insert(wanted.file, entry.clone());
        }
        let mut api_key_entries = Vec::new();
        if let Some(reference) = &cluster.spec.auth.api_keys_secret_ref {
            let secret = self.secret(namespace, &reference.name).with_context(|| {
                format!("spec.auth.apiKeysSecretRef names the Secret `{}`, which the manifests don't hold", reference.name)
            })?;
            for (entry, key) in secret {
                contents.insert(files::api_key_file(entry), key.clone());
                api_key_entries.push(entry.clone());
            }
        }
        let config = render(&RenderInput {
            cluster,
            rooms: &self.rooms,
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

    fn secret(&self, namespace: &str, name: &str) -> Option<&BTreeMap<String, Vec<u8>>> {
        self.secrets.get(&(namespace.to_owned(), name.to_owned()))
    }
}

#[cfg(test)]
mod tests;
