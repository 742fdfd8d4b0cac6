//! What the gateways read: the rendered config and the generated Secret, which end up side by side in one folder.

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use rotunda_crds::config::files::CONFIG_FILE;

use super::{Component, meta, names};
use crate::cluster::model::Validated;

/// `<name>-gateway`, with the packed config.
pub(super) fn build_config_map(cluster: &Validated) -> ConfigMap {
    let config = ByteString(cluster.config.gzip.clone());
    ConfigMap {
        metadata: meta::object(cluster, Component::Gateway, names::gateway(&cluster.name)),
        binary_data: Some([(CONFIG_FILE.to_owned(), config)].into()),
        ..ConfigMap::default()
    }
}

/// `<name>-gateway`, with copies of everything secret that the config names.
pub(super) fn build_secret(cluster: &Validated) -> Secret {
    let files = cluster.secret_files.0.iter();
    Secret {
        metadata: meta::object(cluster, Component::Gateway, names::gateway(&cluster.name)),
        type_: Some("Opaque".to_owned()),
        data: Some(
            files
                .map(|(file, content)| (file.clone(), ByteString(content.clone())))
                .collect(),
        ),
        ..Secret::default()
    }
}
