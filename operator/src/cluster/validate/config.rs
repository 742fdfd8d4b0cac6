//! The gateways' config file, and the revisions that name its content.

use rotunda_crds::{
    GatewayConfig,
    config::{RenderInput, render, secret_files},
};
use sha2::{Digest, Sha256};

use crate::{cluster::dereference::Dereferenced, key::Key};

/// Names the content of all copied Secrets by their UIDs and resource versions: tells that something changed, and nothing
/// about what.
pub(super) fn compute_secrets_revision(input: &Dereferenced) -> String {
    let mut hasher = Sha256::new();
    for (name, secret) in &input.secrets {
        let version = secret.as_ref().map_or("", |secret| secret.version.as_str());
        hasher.update(format!("{name}={version}\n"));
    }
    if let Some(secret) = &input.redis_secret {
        hasher.update(format!("redis={}\n", secret.version));
    }
    // Which entry became which file is decided by the spec.
    for file in secret_files(&input.cluster) {
        hasher.update(format!("{}<{}/{}\n", file.file, file.secret, file.key));
    }
    short_hex(hasher)
}

/// Renders the config, revision included.
pub(super) fn render_config(
    input: &Dereferenced,
    secrets_revision: &str,
    api_key_entries: &[String],
) -> GatewayConfig {
    let previous = input.previous.as_deref();
    let mut config = render(&RenderInput {
        cluster: &input.cluster,
        rooms: &input.rooms,
        revision: "",
        secrets_revision,
        api_key_entries,
        redis: true,
        previous,
    });
    // A paused Room keeps its policy. Its place in the order can't have changed: what decides about it is immutable.
    config.rooms.retain_mut(|room| {
        if !input
            .paused_rooms
            .contains(&Key::new(&room.namespace, &room.name))
        {
            return true;
        }
        let in_force = previous
            .into_iter()
            .flat_map(|config| &config.rooms)
            .find(|before| {
                (&before.namespace, &before.name, &before.creation_timestamp)
                    == (&room.namespace, &room.name, &room.creation_timestamp)
            });
        in_force.is_some_and(|before| {
            *room = before.clone();
            true
        })
    });
    config.revision = compute_revision(&config);
    config
}

/// Names one content of the config, secrets included by their revision. The config's own revision is not part of it.
fn compute_revision(config: &GatewayConfig) -> String {
    let mut hasher = Sha256::new();
    hasher.update(serde_json::to_vec(config).expect("a config holds nothing that JSON can't"));
    short_hex(hasher)
}

fn short_hex(hasher: Sha256) -> String {
    let bytes = hasher.finalize();
    let first: [u8; 8] = bytes[..8].try_into().expect("SHA-256 has 32 bytes");
    format!("{:016x}", u64::from_be_bytes(first))
}
