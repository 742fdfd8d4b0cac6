//! Second stage, pure: judges what was read, and fills in everything that `build` needs. What a user has to put right is a
//! [`Refusal`] that names the field, the object and the command.

use std::sync::Arc;

use kube::Resource;
use rotunda_crds::{
    GatewayConfig, RealtimeCluster,
    conditions::reason,
    config::{encode_gzip, files},
    realtime_cluster::RedisMode,
};

use super::{
    dereference::Dereferenced,
    model::{Images, Problem, RenderedConfig, Validated},
};
use crate::context::Settings;

mod config;
mod secrets;

use config::{compute_secrets_revision, render_config};
use secrets::{copied_api_keys, copied_files, redis_target};

/// Largest packed config. A ConfigMap takes 1 MiB, names and metadata included.
const MAX_PACKED_BYTES: usize = 1_000_000;
/// Longest name of a RealtimeCluster.
const MAX_NAME_BYTES: usize = 43;
/// What the user has to put right before anything can be built; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Everything that is wrong, in the spec's order.
    pub problems: Vec<Problem>,
}

impl Refusal {
    /// The reason of the first problem.
    pub fn reason(&self) -> &'static str {
        self.problems
            .first()
            .map_or(reason::INVALID_SPEC, |problem| problem.reason)
    }

    /// All problems, as sentences.
    pub fn message(&self) -> String {
        let messages: Vec<&str> = self
            .problems
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
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
    secret_files.0.insert(
        files::REVISION_FILE.to_owned(),
        secrets_revision.clone().into_bytes(),
    );
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
        let problems = vec![Problem {
            reason: reason::INVALID_SPEC,
            message,
        }];
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
            gateway: spec
                .gateway
                .image()
                .unwrap_or(&settings.gateway_image)
                .to_owned(),
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
    let fits =
        name.len() <= MAX_NAME_BYTES && name.starts_with(|first: char| first.is_ascii_lowercase());
    (!fits).then(|| Problem {
        reason: reason::INVALID_SPEC,
        message: format!(
            "The name \"{name}\" can't be used for Services and StatefulSets: make the RealtimeCluster anew under a name that \
             starts with a letter and has at most {MAX_NAME_BYTES} characters."
        ),
    })
}

fn left_out(cluster: &RealtimeCluster) -> Vec<String> {
    let spec = &cluster.spec;
    let aims_at_connections = spec
        .autoscaling
        .as_ref()
        .is_some_and(|autoscaling| autoscaling.target_connections().is_some());
    [
        (spec.edge.is_some(), "spec.edge isn't supported by this version and was left out."),
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
pub(crate) use tests::{fixture, settings};
