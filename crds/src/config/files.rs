//! Names of the files in a gateway's config folder, and which entry of which Secret each is copied from.
//!
//! The folder is flat and swapped as a whole: `config.json.gz`, `revision` and the secret files.

use crate::realtime_cluster::{JwtKeySource, RealtimeCluster, RedisMode};

/// The config itself.
pub const CONFIG_FILE: &str = "config.json.gz";
/// Revision of the secret files; must equal the config's `secretsRevision`.
pub const REVISION_FILE: &str = "revision";
/// URL of Redis, with its password.
pub const REDIS_URL_FILE: &str = "redis.url";
/// Certificate chain of the public port.
pub const TLS_CERTIFICATE_FILE: &str = "tls.crt";
/// Key of the public port.
pub const TLS_KEY_FILE: &str = "tls.key";

/// File of a key for tokens.
pub fn jwt_file(id: &str) -> String {
    format!("jwt.{id}")
}

/// File of a key of the server API.
pub fn api_key_file(entry: &str) -> String {
    format!("apikey.{entry}")
}

/// One file that is copied from an entry of a Secret in the cluster's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretFile {
    /// Name of the file.
    pub file: String,
    /// Name of the Secret.
    pub secret: String,
    /// Entry of the Secret.
    pub key: String,
    /// Path of the field that names it, for messages.
    pub field: String,
}

/// Every file that is copied from a Secret the spec names, in the spec's order. API keys aren't among them (all entries of
/// `auth.apiKeysSecretRef` are copied, whatever they are called), nor is the URL of a managed Redis.
pub fn secret_files(cluster: &RealtimeCluster) -> Vec<SecretFile> {
    let spec = &cluster.spec;
    let mut files = Vec::new();
    if let RedisMode::External(external) = spec.redis_mode() {
        files.push(SecretFile {
            file: REDIS_URL_FILE.to_owned(),
            secret: external.url_secret_ref.name,
            key: external.url_secret_ref.key,
            field: "spec.redis.external.urlSecretRef".to_owned(),
        });
    }
    for (index, key) in spec.auth.jwt_keys().iter().enumerate() {
        let (reference, field) = match key.source() {
            Some(JwtKeySource::Secret(reference)) => (reference, "secretRef"),
            Some(JwtKeySource::PublicKey(reference)) => (reference, "publicKeyRef"),
            Some(JwtKeySource::Jwks(_)) | None => continue,
        };
        files.push(SecretFile {
            file: jwt_file(&key.id),
            secret: reference.name.clone(),
            key: reference.key.clone(),
            field: format!("spec.auth.jwt.keys[{index}].{field}"),
        });
    }
    if let Some(secret) = spec.tls_secret() {
        for file in [TLS_CERTIFICATE_FILE, TLS_KEY_FILE] {
            files.push(SecretFile {
                file: file.to_owned(),
                secret: secret.to_owned(),
                key: file.to_owned(),
                field: "spec.tls.secretName".to_owned(),
            });
        }
    }
    files
}
