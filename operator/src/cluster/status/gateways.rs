//! The gateways' part of a cluster's status: how many there are, whether they serve, and why one doesn't.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use kube::ResourceExt;
use rotunda_crds::conditions::reason;

use super::{Observed, Problem, Verdict, problem};

/// Longest part of a container's own message that is repeated.
const MAX_QUOTE_BYTES: usize = 400;

/// A container that isn't ready after this many restarts is called crashing even while it runs.
const MANY_RESTARTS: i32 = 3;

/// The gateways in numbers and words.
#[derive(Debug, Clone)]
pub(super) struct Summary {
    /// Pods there should be.
    pub(super) desired: i32,
    /// Pods there are, of any age.
    pub(super) replicas: i32,
    /// Pods that are ready.
    pub(super) ready: i32,
    /// Becomes condition `GatewaysReady`.
    pub(super) verdict: Verdict,
    /// What only the user can put right.
    pub(super) stall: Option<Problem>,
    /// What the Deployment controller is busy with.
    pub(super) rolling: Option<Problem>,
}

impl Summary {
    /// Whether clients find a gateway.
    pub(super) fn serves(&self) -> bool {
        self.ready > 0
    }

    /// Fewer serve than should.
    pub(super) fn reduced(&self) -> Option<Problem> {
        (self.serves() && self.ready < self.desired).then(|| {
            problem(
                reason::REDUCED_REDUNDANCY,
                format!("{} of {} gateway pods are ready.", self.ready, self.desired),
            )
        })
    }
}

pub(super) fn summarize(observed: &Observed<'_>) -> Summary {
    let Some(deployment) = observed.deployment else {
        return Summary {
            desired: observed.cluster.spec.gateway.replicas(),
            replicas: 0,
            ready: 0,
            verdict: Verdict::No(problem(
                reason::NO_GATEWAYS,
                "The gateways haven't been created yet.",
            )),
            stall: None,
            rolling: None,
        };
    };
    let status = deployment.status.clone().unwrap_or_default();
    let desired = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let (replicas, ready) = (
        status.replicas.unwrap_or(0),
        status.ready_replicas.unwrap_or(0),
    );
    let updated = status.updated_replicas.unwrap_or(0);
    let current =
        status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0);
    let is_rolled_out = current && updated >= desired && replicas <= desired && ready >= desired;
    let trouble = find_pod_problem(observed.pods);
    let rolling = (!is_rolled_out).then(|| {
        if ready == 0 && updated >= replicas {
            problem(
                reason::PROGRESSING,
                format!("{ready} of {desired} gateway pods are ready."),
            )
        } else {
            problem(
                reason::ROLLING,
                format!("{updated} of {desired} gateway pods are up to date, {ready} are ready."),
            )
        }
    });
    let verdict = if desired == 0 {
        Verdict::No(problem(
            reason::NO_GATEWAYS,
            "The number of gateway pods is 0; set spec.gateway.replicas to at least 1.",
        ))
    } else if let Some(trouble) = &trouble {
        Verdict::No(trouble.problem.clone())
    } else if ready >= desired {
        Verdict::Yes(problem(
            reason::READY,
            format!("{ready} of {desired} gateway pods are ready."),
        ))
    } else {
        let reason = if ready == 0 {
            reason::NO_GATEWAYS
        } else {
            reason::PODS_NOT_READY
        };
        let mut message = format!("{ready} of {desired} gateway pods are ready.");
        if let Some(refusal) = config_refusal(observed) {
            message = format!("{message} {refusal}");
        }
        Verdict::No(problem(reason, message))
    };
    Summary {
        desired,
        replicas,
        ready,
        verdict,
        stall: trouble
            .filter(|trouble| trouble.user_must_act)
            .map(|trouble| trouble.problem),
        rolling,
    }
}

/// Why a gateway refused its newest config, in its own words.
fn config_refusal(observed: &Observed<'_>) -> Option<String> {
    observed.report.pods.values().find_map(|pod| {
        let error = pod.stats.as_ref()?.config_error.as_ref()?;
        Some(format!(
            "Gateway {} can't use its config: {}.",
            pod.name,
            quote(error)
        ))
    })
}

/// Why a pod doesn't start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodProblem {
    pub(super) problem: Problem,
    /// Waiting won't help.
    pub(super) user_must_act: bool,
}

/// The most telling problem among pods that aren't being deleted.
pub(super) fn find_pod_problem(pods: &[Arc<Pod>]) -> Option<PodProblem> {
    let mut found: Vec<(u8, PodProblem)> = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter_map(|pod| {
            let status = pod.status.as_ref()?;
            image_problem(pod, status)
                .map(|problem| (0, problem))
                .or_else(|| crash_problem(pod, status).map(|problem| (1, problem)))
                .or_else(|| scheduling_problem(pod, status).map(|problem| (2, problem)))
        })
        .collect();
    // The order of pods in memory is arbitrary; a message must not change with it.
    found.sort_by(|(a_rank, a), (b_rank, b)| {
        (a_rank, &a.problem.message).cmp(&(b_rank, &b.problem.message))
    });
    found.into_iter().next().map(|(_, problem)| problem)
}

fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let init = status.init_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten())
}

fn image_problem(pod: &Pod, status: &PodStatus) -> Option<PodProblem> {
    containers(status).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let waiting_reason = waiting.reason.as_deref()?;
        if !matches!(
            waiting_reason,
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError"
        ) {
            return None;
        }
        let field = match container.name.as_str() {
            "redis" => "spec.redis.managed.image",
            _ => "spec.gateway.image",
        };
        let pod_field = field.replace("image", "pod.imagePullSecrets");
        // Without the pod's name and the kubelet's reason: each try makes another pod, the reason alternates between two, and
        // the sentence should stay.
        let text = format!(
            "Image \"{}\" can't be pulled. Check {field}, that the image exists, and {pod_field} if the \
             registry asks for a login; details: kubectl describe pod -n {} -l {}.",
            container.image,
            pod.namespace().unwrap_or_default(),
            pod_selector(pod),
        );
        Some(PodProblem {
            problem: problem(reason::IMAGE_PULL_FAILED, text),
            user_must_act: true,
        })
    })
}

fn crash_problem(pod: &Pod, status: &PodStatus) -> Option<PodProblem> {
    containers(status).find_map(|container| {
        let state = container.state.as_ref();
        let waiting = state.and_then(|state| state.waiting.as_ref());
        let waiting_reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let text = match (waiting_reason, ended) {
            (Some(waiting_reason @ ("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError")), _) => {
                let said = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or("no details");
                format!("Container \"{}\" can't be started ({waiting_reason}): {}.", container.name, quote(said))
            }
            // Between two crashes it runs for a moment, which is no reason to call it well.
            (waiting_reason, Some(ended))
                if waiting_reason == Some("CrashLoopBackOff")
                    || (!container.ready && container.restart_count >= MANY_RESTARTS) =>
            {
                let said = ended.message.as_deref().map(|text| format!(": {}", quote(text))).unwrap_or_default();
                format!(
                    "Container \"{name}\" ends again and again (last: {}, exit code {}{said}); see: kubectl logs -n {} -l {} \
                     -c {name} --previous.",
                    ended.reason.as_deref().unwrap_or("ended"),
                    ended.exit_code,
                    pod.namespace().unwrap_or_default(),
                    pod_selector(pod),
                    name = container.name,
                )
            }
            _ => return None,
        };
        Some(PodProblem {
            problem: problem(reason::CRASHING, text),
            user_must_act: true,
        })
    })
}

fn scheduling_problem(pod: &Pod, status: &PodStatus) -> Option<PodProblem> {
    let refused = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    })?;
    let text = format!(
        "No node takes a pod ({}). Add nodes, or lower the resources or the constraints in spec.{}.",
        quote(refused.message.as_deref().unwrap_or("no details")),
        match pod
            .labels()
            .get("app.kubernetes.io/component")
            .map(String::as_str)
        {
            Some("redis") => "redis.managed",
            _ => "gateway",
        }
    );
    // An autoscaler of nodes may be on its way.
    Some(PodProblem {
        problem: problem(reason::UNSCHEDULABLE, text),
        user_must_act: false,
    })
}

fn pod_selector(pod: &Pod) -> String {
    let label = |name: &str| {
        pod.labels()
            .get(name)
            .map(|value| format!("{name}={value}"))
    };
    let labels = ["app.kubernetes.io/instance", "app.kubernetes.io/component"];
    labels
        .iter()
        .filter_map(|name| label(name))
        .collect::<Vec<_>>()
        .join(",")
}

/// Someone else's words, on one line and not too many.
fn quote(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > MAX_QUOTE_BYTES {
        line.truncate(line.floor_char_boundary(MAX_QUOTE_BYTES));
        line.push('…');
    }
    line.trim_end_matches('.').to_owned()
}
