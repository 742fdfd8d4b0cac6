//! The Secrets that a spec names: which of their entries become files of the gateways, and what is wrong with them.

use rotunda_crds::{
    RealtimeCluster,
    conditions::reason,
    config::{SecretFile, files, secret_files},
    realtime_cluster::RedisMode,
    redis_url::RedisUrl,
};

use crate::cluster::{
    build::names,
    dereference::{Dereferenced, NamedSecret},
    model::{Hidden, ManagedRedis, Problem, RedisTarget, SecretFiles},
};

/// Copies the entries that fields name one by one.
pub(super) fn copied_files(input: &Dereferenced, problems: &mut Vec<Problem>) -> SecretFiles {
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
            found => problems.push(unusable_entry(
                &input.cluster,
                &file,
                found.is_some(),
                secret,
            )),
        }
    }
    copied
}

/// Copies all keys of the server API, and returns their names.
pub(super) fn copied_api_keys(
    input: &Dereferenced,
    copied: &mut SecretFiles,
    problems: &mut Vec<Problem>,
) -> Vec<String> {
    let Some(reference) = &input.cluster.spec.auth.api_keys_secret_ref else {
        return Vec::new();
    };
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
    for (entry, content) in secret
        .entries
        .iter()
        .filter(|(_, content)| !content.is_empty())
    {
        copied.0.insert(files::api_key_file(entry), content.clone());
        entries.push(entry.clone());
    }
    entries
}

/// Where messages are kept; makes sure that the gateways get its URL. `None` with a problem told.
pub(super) fn redis_target(
    input: &Dereferenced,
    copied: &mut SecretFiles,
    problems: &mut Vec<Problem>,
) -> Option<RedisTarget> {
    match input.cluster.spec.redis_mode() {
        RedisMode::Managed(_) => {
            let stored = input
                .redis_secret
                .as_ref()
                .map(|secret| secret.entries.get("password"));
            let (password, is_new) = match stored {
                None => (input.fresh_password.0.clone(), true),
                Some(password) => {
                    match password.and_then(|bytes| String::from_utf8(bytes.clone()).ok()) {
                        Some(text) if !text.is_empty() => (text, false),
                        _ => {
                            let (name, namespace) = (
                                names::redis(input.cluster.name()),
                                input.cluster.namespace(),
                            );
                            problems.push(Problem {
                            reason: reason::SECRET_INVALID,
                            message: format!(
                                "The generated Secret \"{name}\" has lost its entry \"password\". Restore it from a \
                                 backup, or read the password in force from /run/redis/auth.conf in a Redis pod; if no Redis runs \
                                 yet, delete the Secret: kubectl delete secret {name} -n {namespace}."
                            ),
                        });
                            return None;
                        }
                    }
                }
            };
            let host = format!(
                "{}.{}.svc",
                names::redis(input.cluster.name()),
                input.cluster.namespace()
            );
            let url = format!("redis+cluster://:{password}@{host}:6379");
            copied
                .0
                .insert(files::REDIS_URL_FILE.to_owned(), url.into_bytes());
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
            // What isn't even text can't begin as it should.
            match RedisUrl::parse(std::str::from_utf8(bytes).unwrap_or_default()) {
                Ok(url) => Some(RedisTarget::External { url }),
                Err(error) => {
                    let reference = &external.url_secret_ref;
                    problems.push(Problem {
                        reason: reason::SECRET_INVALID,
                        message: format!(
                            "Entry \"{}\" of Secret \"{}\", which spec.redis.external.urlSecretRef names, is no URL of a \
                             Redis that can be used: {error}.",
                            reference.key, reference.name
                        ),
                    });
                    None
                }
            }
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

fn unusable_entry(
    cluster: &RealtimeCluster,
    file: &SecretFile,
    is_empty: bool,
    secret: &NamedSecret,
) -> Problem {
    let (name, key, field) = (&file.secret, &file.key, &file.field);
    let there: Vec<String> = secret
        .entries
        .keys()
        .filter(|entry| *entry != key)
        .map(|entry| format!("\"{entry}\""))
        .collect();
    let state = if is_empty {
        "is empty"
    } else {
        "doesn't exist"
    };
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
            format!(
                "kubectl create secret tls {secret} -n {namespace} --cert=tls.crt --key=tls.key"
            )
        }
        files::REDIS_URL_FILE => {
            format!(
                "kubectl create secret generic {secret} -n {namespace} --from-literal={key}=redis://HOST:6379"
            )
        }
        _ if file.field.ends_with("publicKeyRef") => {
            format!(
                "kubectl create secret generic {secret} -n {namespace} --from-file={key}=public.pem"
            )
        }
        _ => format!(
            "kubectl create secret generic {secret} -n {namespace} --from-literal={key}=\"$(openssl rand -hex 32)\""
        ),
    }
}
