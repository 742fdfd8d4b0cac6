//! Which change asks for which reconcile: one handler for each kind of change.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{Resource, ResourceExt, core::PartialObjectMeta};
use rotunda_crds::{RealtimeCluster, Room, realtime_cluster::AllowedNamespaces};

use super::fingerprint::{Fingerprints, fingerprint, meta_and_generation, whole};
use crate::{
    cluster::{build::labels, dereference::secret_names},
    context::Context,
    key::Key,
    watch::Change,
};

/// Changes of Rooms are gathered for this long before a config is rendered.
const ROOMS_WINDOW: Duration = Duration::from_millis(300);
/// Changes of a cluster's objects are gathered for this long: a rollout changes several at once.
const CHILDREN_WINDOW: Duration = Duration::from_millis(200);

pub(super) fn on_cluster(ctx: Arc<Context>) -> impl FnMut(Change<RealtimeCluster>) + Send {
    let mut seen = Fingerprints::default();
    move |change| {
        if !seen.changed(&change, meta_and_generation) {
            return;
        }
        let key = Key::of(change.object());
        if let Change::Gone(_) = change {
            ctx.forget_cluster(&key);
        }
        push_rooms(&ctx, &key);
        ctx.queues.clusters.push(key);
    }
}

pub(super) fn on_room(ctx: Arc<Context>) -> impl FnMut(Change<Room>) + Send {
    let mut seen = Fingerprints::default();
    move |change| {
        if !seen.changed(&change, meta_and_generation) {
            return;
        }
        let room = change.object();
        let key = Key::of(room);
        let (namespace, name) = room.cluster_key();
        let cluster = Key::new(namespace, name);
        // Whoever lost a clash to this one, or would now.
        let wanted = room.spec.match_text();
        for sibling in ctx.stores.rooms_of(&cluster) {
            if sibling.spec.match_text() == wanted {
                ctx.queues.rooms.push(Key::of(sibling.as_ref()));
            }
        }
        ctx.queues.clusters.push_within(cluster, ROOMS_WINDOW);
        if let Change::Gone(_) = change {
            ctx.forget_room(&key);
        }
        ctx.queues.rooms.push(key);
    }
}

pub(super) fn on_secret(ctx: Arc<Context>) -> impl FnMut(Change<PartialObjectMeta<Secret>>) + Send {
    let mut seen = Fingerprints::default();
    move |change| {
        if !seen.changed(&change, whole) {
            return;
        }
        let secret = change.object();
        if ctx.echoes.is_echo(secret) {
            return;
        }
        let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
        if let Some(owner) = owner(secret) {
            ctx.queues.clusters.push_within(owner, CHILDREN_WINDOW);
        }
        let naming = |cluster: &RealtimeCluster| {
            cluster.namespace() == namespace && secret_names(cluster).contains(&name)
        };
        for cluster in ctx.stores.clusters.state_filter(naming) {
            ctx.queues.clusters.push(Key::of(cluster.as_ref()));
        }
    }
}

pub(super) fn on_namespace(
    ctx: Arc<Context>,
) -> impl FnMut(Change<PartialObjectMeta<Namespace>>) + Send {
    let mut seen = Fingerprints::default();
    move |change| {
        if !seen.changed(&change, |namespace| fingerprint(namespace.labels())) {
            return;
        }
        let selecting = |cluster: &RealtimeCluster| {
            cluster.spec.allowed_rooms.namespaces() == AllowedNamespaces::Selector
        };
        for cluster in ctx.stores.clusters.state_filter(selecting) {
            let key = Key::of(cluster.as_ref());
            push_rooms(&ctx, &key);
            ctx.queues.clusters.push_within(key, ROOMS_WINDOW);
        }
    }
}

pub(super) fn on_child<K: Resource<DynamicType = ()>>(
    ctx: Arc<Context>,
    fingerprint: impl Fn(&K) -> u64 + Send,
    ask: impl Fn(&Context, Key) + Send,
) -> impl FnMut(Change<K>) + Send {
    let mut seen = Fingerprints::default();
    move |change| {
        let changed = seen.changed(&change, &fingerprint);
        match &change {
            Change::Seen(object) if !changed || ctx.echoes.is_echo(object) => return,
            Change::Seen(_) => {}
            Change::Gone(object) => ctx.echoes.forget(object),
        }
        if let Some(owner) = owner(change.object()) {
            ask(&ctx, owner);
        }
    }
}

pub(super) fn clusters_only(ctx: &Context, cluster: Key) {
    ctx.queues.clusters.push_within(cluster, CHILDREN_WINDOW);
}

/// Every Room that names the cluster asks for a reconcile.
pub(super) fn push_rooms(ctx: &Context, cluster: &Key) {
    for room in ctx.stores.rooms_of(cluster) {
        ctx.queues.rooms.push(Key::of(room.as_ref()));
    }
}

/// The cluster that an object belongs to, by its label.
fn owner<K: Resource>(object: &K) -> Option<Key> {
    let meta = object.meta();
    let name = meta.labels.as_ref()?.get(labels::CLUSTER)?;
    Some(Key::new(meta.namespace.clone()?, name))
}
