//! What is read out of a pod's status.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::build::Component;
use crate::gateways::PodTarget;

/// Whether the kubelet says that the pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether a pod of a cluster is of that component.
pub fn is_of(pod: &Pod, component: Component) -> bool {
    pod.labels()
        .get("app.kubernetes.io/component")
        .map(String::as_str)
        == Some(component.as_str())
}

/// The pod as someone to be asked; `None` while it has no address, or once it is on its way out.
pub fn to_target(pod: &Pod) -> Option<PodTarget> {
    let status = pod.status.as_ref()?;
    if pod.metadata.deletion_timestamp.is_some() || status.phase.as_deref() != Some("Running") {
        return None;
    }
    Some(PodTarget {
        namespace: pod.namespace()?,
        name: pod.name_any(),
        uid: pod.uid()?,
        ip: status.pod_ip.clone().filter(|ip| !ip.is_empty())?,
    })
}
