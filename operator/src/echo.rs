//! The echo of our own writes: what we just applied comes back through the watch, and must not cause another reconcile.

use std::collections::HashMap;

use kube::Resource;
use parking_lot::Mutex;

/// The last version of each object that we wrote or were shown by our own apply, by UID.
#[derive(Debug, Default)]
pub struct Echoes {
    versions: Mutex<HashMap<String, String>>,
}

impl Echoes {
    /// Remembers what the API server returned for a write of ours.
    pub fn wrote<K: Resource>(&self, object: &K) {
        let meta = object.meta();
        if let (Some(uid), Some(version)) = (&meta.uid, &meta.resource_version) {
            self.versions.lock().insert(uid.clone(), version.clone());
        }
    }

    /// Whether this is nothing but the echo of our last write.
    pub fn is_echo<K: Resource>(&self, object: &K) -> bool {
        let meta = object.meta();
        let Some(uid) = &meta.uid else { return false };
        self.versions
            .lock()
            .get(uid)
            .is_some_and(|version| Some(version) == meta.resource_version.as_ref())
    }

    /// Forgets an object that is gone.
    pub fn forget<K: Resource>(&self, object: &K) {
        if let Some(uid) = &object.meta().uid {
            self.versions.lock().remove(uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;

    use super::*;

    fn version(version: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                uid: Some("u-1".into()),
                resource_version: Some(version.into()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    #[test]
    fn only_the_version_we_wrote_is_an_echo() {
        let echoes = Echoes::default();
        assert!(!echoes.is_echo(&version("1")));
        echoes.wrote(&version("1"));
        assert!(echoes.is_echo(&version("1")));
        assert!(!echoes.is_echo(&version("2")));
        echoes.forget(&version("1"));
        assert!(!echoes.is_echo(&version("1")));
    }
}
