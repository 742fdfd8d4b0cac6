//! First stage: what a Room's status depends on, all of it from memory.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use rotunda_crds::{RealtimeCluster, Room};

use crate::{
    cluster::{
        admission,
        build::Component,
        pods::{is_of, is_ready},
    },
    context::{Context, Settings},
    gateways::Report,
    key::Key,
};

/// What a Room's status depends on.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The resource itself.
    pub room: Arc<Room>,
    /// The cluster it names, if that exists.
    pub cluster: Option<Arc<RealtimeCluster>>,
    /// Whether that cluster lets Rooms of this namespace in.
    pub admitted: bool,
    /// All Rooms that name the same cluster and are let in, this one included.
    pub siblings: Vec<Room>,
    /// UIDs of the gateway pods that count: ready, and not on their way out.
    pub ready_pods: Vec<String>,
    /// What the gateways say.
    pub report: Arc<Report>,
}

impl Facts {
    /// Whether this operator handles the Room: as its cluster, and where there is none, as the Room itself says.
    pub fn is_handled(&self, settings: &Settings) -> bool {
        match &self.cluster {
            Some(cluster) => settings.handles(cluster.as_ref()),
            None => settings.handles(self.room.as_ref()),
        }
    }
}

/// Collects the facts about `room`.
pub fn dereference(ctx: &Context, room: Arc<Room>) -> Facts {
    let (namespace, name) = room.cluster_key();
    let key = Key::new(namespace, name);
    let cluster = ctx.stores.cluster(&key);
    let admits = |room: &Room| {
        cluster
            .as_ref()
            .is_some_and(|cluster| admission::admits(cluster, room.namespace(), &ctx.stores))
    };
    let siblings = ctx.stores.rooms_of(&key);
    Facts {
        admitted: admits(&room),
        // Only those that want the same can be in each other's way; the others needn't be copied.
        siblings: siblings
            .iter()
            .filter(|sibling| {
                sibling.spec.match_text() == room.spec.match_text() && admits(sibling)
            })
            .map(|sibling| sibling.as_ref().clone())
            .collect(),
        ready_pods: ready_pods(&ctx.stores.children(&ctx.stores.pods, &key)),
        report: ctx.gateways.report(&key),
        cluster,
        room,
    }
}

fn ready_pods(pods: &[Arc<Pod>]) -> Vec<String> {
    let counts = |pod: &&Arc<Pod>| {
        is_of(pod, Component::Gateway) && is_ready(pod) && pod.metadata.deletion_timestamp.is_none()
    };
    let mut uids: Vec<String> = pods
        .iter()
        .filter(counts)
        .filter_map(|pod| pod.uid())
        .collect();
    uids.sort();
    uids
}
