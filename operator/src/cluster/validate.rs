//! Second stage, pure: judges what was read, and fills in everything that `build` needs. What a user has to put right is a
//! [`Refusal`] that names the field, the object and the command.

use std::sync::Arc;

use kube::Resource;
use rotunda_crds::{
    GatewayConfig, RealtimeCluster,
    conditions::reason,
    config::{RenderInput, SecretFile, encode_gzip, files, render, secret_files},
    realtime_cluster::RedisMode,
};
use sha2::{Digest, Sha256};

use super::{
    build::names,
    dereference::{Dereferenced, NamedSecret},
    model::{Hidden, Images, ManagedRedis, Problem, RedisTarget, RenderedConfig, SecretFiles, Validated},
};
use crate::{context::Settings, key::Key};

/// Largest packed config. A ConfigMap takes 1 MiB, names and metadata included.
const MAX_PACKED_BYTES: usize = 1_000_000;
/// Longest name of a RealtimeCluster.
const MAX_NAME_BYTES: usize = 43;
/// URL schemes of an external Redis.
const REDIS_SCHEMES: [&str; 4] = ["redis://", "rediss://", "redis+sentinel://", "redis+cluster://"];

/// What the user has to put right before anything can be built; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Everything that is wrong, in the spec's order.
    pub problems: Vec<Problem>,
}

impl Refusal {
    /// The reason of the first problem.
    pub fn reason(&self) -> &'static str {
        self.problems.first().map_or(reason::INVALID_SPEC, |problem| problem.reason)
    }

    /// All problems, as sentences.
    pub fn message(&self) -> String {
        let messages: Vec<&str> = self.problems.iter().map(|problem| problem.message.as_str()).collect();
        messages.join(" ")
    }
}

/// Judges `input`.
pub fn validate(input: &Dereferenced, settings: &Settings) -> Result<Outcome, Refusal> {
    let cluster = input.cluster.as_ref();
    let mut problems: Vec<Problem> = name_problem(cluster).into_iter().collect();
    let mut secret_files = copied_files(input, &mut problems);
    let api_key_entries = copied_api_keys(input, &mut secret_files, &mut problems);
    let redis = redis_target(input, &mut secret_files, &mut problems);
    let owner = cluster.controller_owner_ref(&());
    if owner.is_none() {
        problems.push(Problem {
            reason: reason::INVALID_SPEC,
            message: "The object has no name or UID.".to_owned(),
        });
    }
    let (Some(redis), Some(owner), true) = (redis, owner, problems.is_empty()) else {
        return Err(Refusal { problems });
    };
    let secrets_revision = compute_secrets_revision(input);
    secret_files.0.insert(files::REVISION_FILE.to_owned(), secrets_revision.clone().into_bytes());
    let config = render_config(input, &secrets_revision, &api_key_entries);
    let rendered = RenderedConfig {
        revision: config.revision.clone(),
        gzip: encode_gzip(&config),
    };
    if rendered.gzip.len() > MAX_PACKED_BYTES {
        let message = format!(
            "The config of the gateways is {} bytes large, more than the {MAX_PACKED_BYTES} that a ConfigMap holds: \
             replace Rooms that differ only in their name by one with a pattern.",
            rendered.gzip.len()
        );
        let problems = vec![Problem { reason: reason::INVALID_SPEC, message }];
        return Err(Refusal { problems });
    }
    let spec = &cluster.spec;
    let redis_image = match spec.redis_mode() {
        RedisMode::Managed(managed) => managed.image().map(str::to_owned),
        RedisMode::External(_) => None,
    };
    let validated = Validated {
        name: cluster.name().to_owned(),
        namespace: cluster.namespace().to_owned(),
        owner,
        cluster: input.cluster.clone(),
        images: Images {
            gateway: spec.gateway.image().unwrap_or(&settings.gateway_image).to_owned(),
            redis: redis_image.unwrap_or_else(|| settings.redis_image.clone()),
        },
        config: rendered,
        secret_files,
        redis,
        operator_namespace: settings.operator_namespace.clone(),
        connection_metric: false,
        left_out: left_out(cluster),
    };
    Ok(Outcome {
        validated,
        config: Arc::new(config),
    })
}

/// What [`validate`] yields.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Input of `build`.
    pub validated: Validated,
    /// The config that is in there, unpacked: the next reconcile's `previous`.
    pub config: Arc<GatewayConfig>,
}

/// Names of Services start with a letter (DNS-1035), and the labels that Kubernetes derives from the name of a StatefulSet
/// (`<name>-redis-<shard>-<hash>`) have at most 63 characters.
fn name_problem(cluster: &RealtimeCluster) -> Option<Problem> {
    let name = cluster.name();
    let fits = name.len() <= MAX_NAME_BYTES && name.starts_with(|first: char| first.is_ascii_lowercase());
    (!fits).then(|| Problem {
        reason: reason::INVALID_SPEC,
        message: format!(
            "The name \"{name}\" can't be used for Services and StatefulSets: make the RealtimeCluster anew under a name that \
             starts with a letter and has at most {MAX_NAME_BYTES} characters."
        ),
    })
}

fn copied_files(input: &Dereferenced, problems: &mut Vec<Problem>) -> SecretFiles {
    let mut copied = SecretFiles::default();
    for file in secret_files(&input.cluster) {
        let Some(secret) = input.secrets.get(&file.secret).and_then(Option::as_ref) else {
            let problem = missing_secret(&input.cluster, &file);
            // Two entries of one Secret are one problem.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
            continue;
        };
        match secret.entries.get(&file.key) {
            Some(content) if !content.is_empty() => {
                copied.0.insert(file.file, content.clone());
            }
            found => problems.push(unusable_entry(&input.cluster, &file, found.is_some(), secret)),
        }
    }
    copied
}

fn copied_api_keys(input: &Dereferenced, copied: &mut SecretFiles, problems: &mut Vec<Problem>) -> Vec<String> {
    let Some(reference) = &input.cluster.spec.auth.api_keys_secret_ref else { return Vec::new() };
    let Some(secret) = input.secrets.get(&reference.name).and_then(Option::as_ref) else {
        let (name, namespace) = (&reference.name, input.cluster.namespace());
        problems.push(Problem {
            reason: reason::SECRET_NOT_FOUND,
            message: format!(
                "Secret \"{name}\", which spec.auth.apiKeysSecretRef names, doesn't exist in namespace \"{namespace}\". \
                 Create it with one entry a key: kubectl create secret generic {name} -n {namespace} \
                 --from-literal=backend=\"$(openssl rand -hex 32)\"."
            ),
        });
        return Vec::new();
    };
    let mut entries = Vec::new();
    for (entry, content) in secret.entries.iter().filter(|(_, content)| !content.is_empty()) {
        copied.0.insert(files::api_key_file(entry), content.clone());
        entries.push(entry.clone());
    }
    entries
}

fn redis_target(input: &Dereferenced, copied: &mut SecretFiles, problems: &mut Vec<Problem>) -> Option<RedisTarget> {
    match input.cluster.spec.redis_mode() {
        RedisMode::Managed(_) => {
            let stored = input.redis_secret.as_ref().map(|secret| secret.entries.get("password"));
            let (password, is_new) = match stored {
                None => (input.fresh_password.0.clone(), true),
                Some(password) => match password.and_then(|bytes| String::from_utf8(bytes.clone()).ok()) {
                    Some(text) if !text.is_empty() => (text, false),
                    _ => {
                        let (name, namespace) = (names::redis(input.cluster.name()), input.cluster.namespace());
                        problems.push(Problem {
                            reason: reason::SECRET_INVALID,
                            message: format!(
                                "The generated Secret \"{name}\" has lost its entry \"password\". Restore it from a \
                                 backup, or read the password in force from /etc/redis in a Redis pod; if no Redis runs \
                                 yet, delete the Secret: kubectl delete secret {name} -n {namespace}."
                            ),
                        });
                        return None;
                    }
                },
            };
            let host = format!("{}.{}.svc", names::redis(input.cluster.name()), input.cluster.namespace());
            let url = format!("redis+cluster://:{password}@{host}:6379");
            copied.0.insert(files::REDIS_URL_FILE.to_owned(), url.into_bytes());
            Some(RedisTarget::Managed(ManagedRedis {
                password: Hidden(password),
                password_is_new: is_new,
                existing_shards: input.existing_shards.clone(),
                replicas_in_sync: input.replicas_in_sync,
            }))
        }
        RedisMode::External(external) => {
            // Absent: told already, as a missing Secret.
            let bytes = copied.0.get(files::REDIS_URL_FILE)?;
            let url = std::str::from_utf8(bytes).ok().map(str::trim);
            let Some(url) = url.filter(|url| REDIS_SCHEMES.iter().any(|scheme| url.starts_with(scheme))) else {
                let reference = &external.url_secret_ref;
                problems.push(Problem {
                    reason: reason::SECRET_INVALID,
                    message: format!(
                        "Entry \"{}\" of Secret \"{}\", which spec.redis.external.urlSecretRef names, is no Redis URL: it \
                         has to start with one of {}.",
                        reference.key,
                        reference.name,
                        REDIS_SCHEMES.join(", ")
                    ),
                });
                return None;
            };
            Some(RedisTarget::External { url: Hidden(url.to_owned()) })
        }
    }
}

fn missing_secret(cluster: &RealtimeCluster, file: &SecretFile) -> Problem {
    let (secret, field, namespace) = (&file.secret, &file.field, cluster.namespace());
    Problem {
        reason: reason::SECRET_NOT_FOUND,
        message: format!(
            "Secret \"{secret}\", which {field} names, doesn't exist in namespace \"{namespace}\". Create it: {}.",
            creation_command(cluster, file)
        ),
    }
}

fn unusable_entry(cluster: &RealtimeCluster, file: &SecretFile, is_empty: bool, secret: &NamedSecret) -> Problem {
    let (name, key, field) = (&file.secret, &file.key, &file.field);
    let there: Vec<String> =
        secret.entries.keys().filter(|entry| *entry != key).map(|entry| format!("\"{entry}\"")).collect();
    let state = if is_empty { "is empty" } else { "doesn't exist" };
    let hint = match there.as_slice() {
        _ if is_empty => String::new(),
        [] => " The Secret has no entries.".to_owned(),
        names => format!(" The Secret has {}.", names.join(", ")),
    };
    Problem {
        reason: reason::SECRET_INVALID,
        message: format!(
            "Entry \"{key}\" of Secret \"{name}\", which {field} names, {state}.{hint} Set it: {} --dry-run=client -o yaml \
             | kubectl apply -f -.",
            creation_command(cluster, file)
        ),
    }
}

/// A command that makes the Secret; secret values are drawn or left to be filled in.
fn creation_command(cluster: &RealtimeCluster, file: &SecretFile) -> String {
    let (secret, key, namespace) = (&file.secret, &file.key, cluster.namespace());
    match file.file.as_str() {
        files::TLS_CERTIFICATE_FILE | files::TLS_KEY_FILE => {
            format!("kubectl create secret tls {secret} -n {namespace} --cert=tls.crt --key=tls.key")
        }
        files::REDIS_URL_FILE => {
            format!("kubectl create secret generic {secret} -n {namespace} --from-literal={key}=redis://HOST:6379")
        }
        _ if file.field.ends_with("publicKeyRef") => {
            format!("kubectl create secret generic {secret} -n {namespace} --from-file={key}=public.pem")
        }
        _ => format!(
            "kubectl create secret generic {secret} -n {namespace} --from-literal={key}=\"$(openssl rand -hex 32)\""
        ),
    }
}

/// Names the content of all copied Secrets by their UIDs and resource versions: tells that something changed, and nothing
/// about what.
fn compute_secrets_revision(input: &Dereferenced) -> String {
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

fn render_config(input: &Dereferenced, secrets_revision: &str, api_key_entries: &[String]) -> GatewayConfig {
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
        if !input.paused_rooms.contains(&Key::new(&room.namespace, &room.name)) {
            return true;
        }
        let in_force = previous.into_iter().flat_map(|config| &config.rooms).find(|before| {
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
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn left_out(cluster: &RealtimeCluster) -> Vec<String> {
    let spec = &cluster.spec;
    let monitoring = &spec.monitoring;
    let aims_at_connections =
        spec.autoscaling.as_ref().is_some_and(|autoscaling| autoscaling.target_connections().is_some());
    [
        (spec.edge.is_some(), "spec.edge isn't supported by this version and was left out."),
        (
            monitoring.service_monitor(),
            "spec.monitoring.serviceMonitor isn't supported by this version and was left out.",
        ),
        (
            monitoring.prometheus_rule(),
            "spec.monitoring.prometheusRule isn't supported by this version and was left out.",
        ),
        (
            aims_at_connections,
            "spec.autoscaling.targetConnections isn't a target yet: this version scales by CPU only.",
        ),
    ]
    .into_iter()
    .filter(|(is_set, _)| *is_set)
    .map(|(_, sentence)| sentence.to_owned())
    .collect()
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
pub(crate) use tests::{dereferenced, fixture, settings};
