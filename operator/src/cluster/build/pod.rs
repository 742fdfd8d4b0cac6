//! What gateway and Redis pods share: the restricted security profile, spreading, and whatever the spec adds to them.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, EnvVar, EnvVarSource, ObjectFieldSelector, PodSecurityContext, PodSpec,
        PodTemplateSpec, ResourceRequirements, SeccompProfile, SecurityContext,
        TopologySpreadConstraint,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
    },
};
use rotunda_crds::realtime_cluster::Pod;

/// User and group of all processes, as in the distroless images.
const NON_ROOT: i64 = 65_532;

/// The template of `spec` with everything that the user adds. `labels` are the operator's own and win.
pub(super) fn template(
    custom: &Pod,
    labels: BTreeMap<String, String>,
    spread: Vec<TopologySpreadConstraint>,
    spec: PodSpec,
) -> PodTemplateSpec {
    let mut all_labels = custom.labels.clone();
    all_labels.extend(labels);
    let spread = if custom.topology_spread_constraints.is_empty() {
        spread
    } else {
        custom.topology_spread_constraints.clone()
    };
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(all_labels),
            annotations: (!custom.annotations.is_empty()).then(|| custom.annotations.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            node_selector: (!custom.node_selector.is_empty()).then(|| custom.node_selector.clone()),
            tolerations: filled(&custom.tolerations),
            affinity: custom.affinity.clone(),
            topology_spread_constraints: Some(spread),
            priority_class_name: custom.priority_class_name().map(str::to_owned),
            image_pull_secrets: filled(&custom.image_pull_secrets),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            ..spec
        }),
    }
}

/// Evenly over zones and nodes as far as possible: a preference, so that a small cluster can run the pods too.
pub(super) fn spread_evenly(
    pods: &LabelSelector,
    match_label_keys: &[&str],
) -> Vec<TopologySpreadConstraint> {
    let over = |topology_key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(pods.clone()),
        match_label_keys: filled(
            &match_label_keys
                .iter()
                .map(|key| (*key).to_owned())
                .collect::<Vec<_>>(),
        ),
        ..TopologySpreadConstraint::default()
    };
    vec![
        over("topology.kubernetes.io/zone"),
        over("kubernetes.io/hostname"),
    ]
}

/// Security context of a pod under the "restricted" Pod Security Standard. `owns_volumes`: its volumes belong to its group.
pub(super) fn restricted_pod(owns_volumes: bool) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NON_ROOT),
        run_as_group: Some(NON_ROOT),
        fs_group: owns_volumes.then_some(NON_ROOT),
        fs_group_change_policy: owns_volumes.then(|| "OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

/// Security context of a container under the "restricted" Pod Security Standard, with a read-only root file system.
pub(super) fn restricted_container() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            ..Capabilities::default()
        }),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..SecurityContext::default()
    }
}

/// An environment variable with a field of the pod.
pub(super) fn env_from_field(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                // Written out, as the API server would: a default filled in by it would look like drift.
                api_version: Some("v1".to_owned()),
                field_path: field.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// CPU and memory of one container where the spec leaves them open.
#[derive(Debug, Clone, Copy)]
pub(super) struct DefaultResources {
    pub(super) cpu_request: &'static str,
    pub(super) memory_request: &'static str,
    pub(super) memory_limit: &'static str,
}

/// `written`, filled up. A resource of which anything is written is left alone, since a default could contradict it; no
/// CPU limit is ever added, because throttling shows as latency.
pub(super) fn resources(
    written: &ResourceRequirements,
    defaults: DefaultResources,
) -> ResourceRequirements {
    let mentions = |resource: &str| {
        [&written.requests, &written.limits]
            .iter()
            .any(|map| map.as_ref().is_some_and(|map| map.contains_key(resource)))
    };
    let mut requests = written.requests.clone().unwrap_or_default();
    let mut limits = written.limits.clone().unwrap_or_default();
    if !mentions("cpu") {
        requests.insert("cpu".to_owned(), Quantity(defaults.cpu_request.to_owned()));
    }
    if !mentions("memory") {
        requests.insert(
            "memory".to_owned(),
            Quantity(defaults.memory_request.to_owned()),
        );
        limits.insert(
            "memory".to_owned(),
            Quantity(defaults.memory_limit.to_owned()),
        );
    }
    ResourceRequirements {
        claims: written.claims.clone(),
        requests: (!requests.is_empty()).then_some(requests),
        limits: (!limits.is_empty()).then_some(limits),
    }
}

fn filled<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}
