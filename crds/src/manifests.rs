//! Manifests as `rotunda-gateway dev` reads them: YAML with any number of documents, taken more strictly than by the API
//! server.
//!
//! Text goes in, objects come out, or everything that is wrong at once: each mistake names the file, the object and the
//! field, and what to write instead. Kinds that aren't ours are skipped and named. No error and no `Debug` shows what a
//! Secret holds.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;
use thiserror::Error;

use crate::{
    realtime_cluster::{AllowedNamespaces, RealtimeCluster},
    room::Room,
};

mod document;
mod secret;

pub use secret::SecretManifest;

/// Namespace of an object that names none, as `kubectl` has it.
pub const DEFAULT_NAMESPACE: &str = "default";

/// One file: what to call it in messages, and its text.
#[derive(Clone, Copy, Debug)]
pub struct ManifestFile<'a> {
    /// For messages; a path, mostly.
    pub label: &'a str,
    /// YAML.
    pub text: &'a str,
}

/// What the files hold.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// In the order of the files.
    pub clusters: Vec<RealtimeCluster>,
    /// In the order of the files.
    pub rooms: Vec<Room>,
    /// By namespace and name.
    pub secrets: BTreeMap<(String, String), SecretManifest>,
    /// Objects of other kinds, as `file: Kind name`.
    pub skipped: Vec<String>,
}

impl Manifests {
    /// What an entry of a Secret holds.
    pub fn secret_entry(&self, namespace: &str, name: &str, key: &str) -> Option<&[u8]> {
        self.secrets
            .get(&(namespace.to_owned(), name.to_owned()))?
            .entry(key)
    }

    /// The Rooms of a cluster.
    pub fn rooms_of(&self, cluster: &RealtimeCluster) -> Vec<Room> {
        let key = (cluster.namespace(), cluster.name());
        self.rooms
            .iter()
            .filter(|room| room.cluster_key() == key)
            .cloned()
            .collect()
    }
}

/// One mistake in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    /// Label of the file.
    pub file: String,
    /// The object as `Kind name`, where it is known.
    pub object: Option<String>,
    /// The field, where it is one.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with the files, one mistake a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ManifestErrors(pub Vec<ManifestError>);

/// Reads files.
pub fn read<'a>(
    files: impl IntoIterator<Item = ManifestFile<'a>>,
) -> Result<Manifests, ManifestErrors> {
    let mut reader = Reader::default();
    for file in files {
        reader.file(file);
    }
    reader.relations();
    if reader.errors.is_empty() {
        Ok(reader.found)
    } else {
        Err(ManifestErrors(reader.errors))
    }
}

/// Where an object was read, for the messages about it.
#[derive(Clone, Debug)]
struct Origin {
    file: String,
    object: String,
}

#[derive(Default)]
struct Reader {
    found: Manifests,
    errors: Vec<ManifestError>,
    /// Kind, namespace and name of what was read, and in which file.
    seen: BTreeMap<(String, String, String), String>,
    room_origins: Vec<Origin>,
}

impl Reader {
    fn file(&mut self, file: ManifestFile<'_>) {
        match document::split(file.text) {
            Ok(documents) => documents
                .into_iter()
                .for_each(|document| self.document(file.label, document)),
            Err(message) => self.errors.push(ManifestError {
                file: file.label.to_owned(),
                object: None,
                path: String::new(),
                message,
            }),
        }
    }

    fn document(&mut self, file: &str, mut document: Value) {
        if document["kind"] == "List" && document["apiVersion"] == "v1" {
            if let Some(items) = document["items"].as_array_mut() {
                for item in std::mem::take(items) {
                    self.document(file, item);
                }
            }
            return;
        }
        let object = document::describe(&document);
        let origin = Origin {
            file: file.to_owned(),
            object: object.clone(),
        };
        match document::read(document) {
            Ok(document::Object::Other) => self.found.skipped.push(format!("{file}: {object}")),
            Ok(document::Object::Cluster(cluster)) => {
                if self.is_first(&origin, cluster.namespace(), cluster.name()) {
                    self.found.clusters.push(*cluster);
                }
            }
            Ok(document::Object::Room(room)) => {
                if self.is_first(&origin, room.namespace(), room.name()) {
                    self.found.rooms.push(*room);
                    self.room_origins.push(origin);
                }
            }
            Ok(document::Object::Secret(secret)) => {
                if self.is_first(&origin, &secret.namespace, &secret.name) {
                    let key = (secret.namespace.clone(), secret.name.clone());
                    self.found.secrets.insert(key, secret);
                }
            }
            Err(violations) => {
                for violation in violations {
                    self.refuse(&origin, &violation.path, violation.message);
                }
            }
        }
    }

    fn refuse(&mut self, origin: &Origin, path: &str, message: impl Into<String>) {
        self.errors.push(ManifestError {
            file: origin.file.clone(),
            object: Some(origin.object.clone()),
            path: path.to_owned(),
            message: message.into(),
        });
    }

    fn is_first(&mut self, origin: &Origin, namespace: &str, name: &str) -> bool {
        let kind = origin.object.split(' ').next().unwrap_or_default();
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        if let Some(other) = self.seen.get(&key) {
            let message = format!("is there twice, also in {other}: remove one, or rename it");
            self.refuse(origin, "metadata.name", message);
            return false;
        }
        self.seen.insert(key, origin.file.clone());
        true
    }

    /// What Rooms say about clusters and about each other.
    fn relations(&mut self) {
        let mut refused = Vec::new();
        for (room, origin) in self.found.rooms.iter().zip(&self.room_origins) {
            let (namespace, name) = room.cluster_key();
            let mut clusters = self.found.clusters.iter();
            match clusters.find(|cluster| (cluster.namespace(), cluster.name()) == (namespace, name)) {
                None => refused.push((
                    origin.clone(),
                    "spec.clusterRef",
                    format!("there is no RealtimeCluster {namespace}/{name} in these files: add it, or change clusterRef"),
                )),
                Some(cluster) => {
                    let same_only = cluster.spec.allowed_rooms.namespaces() == AllowedNamespaces::Same;
                    if same_only && namespace != room.namespace() {
                        let message = format!(
                            "RealtimeCluster {namespace}/{name} takes Rooms of its own namespace only: write allowedRooms: \
                             {{ namespaces: All }} there, or move the Room"
                        );
                        refused.push((origin.clone(), "spec.clusterRef.namespace", message));
                    }
                }
            }
        }
        for clash in crate::clash::find_clashes(&self.found.rooms) {
            let winner = &self.found.rooms[clash.winner];
            let message = format!(
                "Room {}/{} has the same name or pattern: change one, or remove it",
                winner.namespace(),
                winner.name()
            );
            refused.push((self.room_origins[clash.loser].clone(), "spec", message));
        }
        for (origin, path, message) in refused {
            self.refuse(&origin, path, message);
        }
    }
}

#[cfg(test)]
mod tests;
