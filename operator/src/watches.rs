//! The operator's watches: what is read into which store, and which change asks for which reconcile.
//!
//! Changes that no reconcile depends on (a status we wrote ourselves, managed fields, a heartbeat in a pod's status) are
//! told apart by a fingerprint of what does matter, and ask for nothing.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    fmt::Debug,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, future::BoxFuture};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::{
    Api, Resource, ResourceExt,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{reflector::store::Writer, watcher},
};
use rotunda_crds::{RealtimeCluster, Room, realtime_cluster::AllowedNamespaces};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    cluster::build::labels,
    context::Context,
    invalid,
    key::Key,
    metrics::Kind,
    stores::Writers,
    watch::{Change, Scope, follow, valid},
};

/// Changes of Rooms are gathered for this long before a config is rendered.
const ROOMS_WINDOW: Duration = Duration::from_millis(300);
/// Changes of a cluster's objects are gathered for this long: a rollout changes several at once.
const CHILDREN_WINDOW: Duration = Duration::from_millis(200);
/// Label selector of everything the operator makes.
const MANAGED: &str = "app.kubernetes.io/managed-by=rotunda-operator";

/// One watch, to be run for as long as the operator works.
pub struct Watch {
    /// Kind that is watched.
    pub kind: &'static str,
    /// Runs until the process stops.
    pub running: BoxFuture<'static, ()>,
}

/// All watches, not started yet.
pub fn watches(ctx: &Arc<Context>, scope: &Scope, writers: Writers) -> Vec<Watch> {
    let Writers {
        clusters,
        rooms,
        namespaces,
        secrets,
        deployments,
        stateful_sets,
        pods,
        services,
        autoscalers,
        service_accounts,
        config_maps,
        disruption_budgets,
        network_policies,
    } = writers;
    vec![
        custom("RealtimeCluster", Kind::RealtimeCluster, ctx, scope, clusters, on_cluster(ctx.clone())),
        custom("Room", Kind::Room, ctx, scope, rooms, on_room(ctx.clone())),
        watch_namespaces(ctx, scope, namespaces),
        plain(
            "Secret",
            scope.apis(&ctx.client),
            &watcher::Config::default(),
            secrets,
            on_secret(ctx.clone()),
        ),
        child("Deployment", ctx, scope, deployments, whole, clusters_only),
        child("StatefulSet", ctx, scope, stateful_sets, whole, clusters_only),
        // Whether a Room is programmed depends on which gateways are ready.
        child("Pod", ctx, scope, pods, pod_fingerprint, |ctx, cluster| {
            push_rooms(ctx, &cluster);
            clusters_only(ctx, cluster);
        }),
        child("Service", ctx, scope, services, whole, clusters_only),
        // Its status changes with each measurement.
        child(
            "HorizontalPodAutoscaler",
            ctx,
            scope,
            autoscalers,
            |autoscaler| fingerprint(&json(&autoscaler.spec)),
            clusters_only,
        ),
        child_metadata("ServiceAccount", ctx, scope, service_accounts),
        child_metadata("ConfigMap", ctx, scope, config_maps),
        child_metadata("PodDisruptionBudget", ctx, scope, disruption_budgets),
        child_metadata("NetworkPolicy", ctx, scope, network_policies),
    ]
}

/// A watch of one of our own kinds, which may hold objects that don't parse.
fn custom<K>(
    kind: &'static str,
    label: Kind,
    ctx: &Arc<Context>,
    scope: &Scope,
    writer: Writer<K>,
    on_change: impl FnMut(Change<K>) + Send + 'static,
) -> Watch
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let apis: Vec<Api<DeserializeGuard<K>>> = scope.apis(&ctx.client);
    let watches: Vec<_> = apis
        .into_iter()
        .map(|api| {
            let ctx = ctx.clone();
            valid(watcher(api, watcher::Config::default()), move |invalid| invalid::report(&ctx, label, invalid)).boxed()
        })
        .collect();
    Watch {
        kind,
        running: Box::pin(follow(kind, watches, writer, on_change)),
    }
}

/// A watch of objects of the API server's own kinds, which always parse.
fn plain<K>(
    kind: &'static str,
    apis: Vec<Api<K>>,
    config: &watcher::Config,
    writer: Writer<K>,
    on_change: impl FnMut(Change<K>) + Send + 'static,
) -> Watch
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let watches: Vec<_> = apis.into_iter().map(|api| watcher(api, config.clone()).boxed()).collect();
    Watch {
        kind,
        running: Box::pin(follow(kind, watches, writer, on_change)),
    }
}

/// A watch of objects that clusters consist of; a change of `fingerprint` asks for a reconcile of the cluster.
fn child<K>(
    kind: &'static str,
    ctx: &Arc<Context>,
    scope: &Scope,
    writer: Writer<K>,
    fingerprint: impl Fn(&K) -> u64 + Send + 'static,
    ask: impl Fn(&Context, Key) + Send + 'static,
) -> Watch
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let config = watcher::Config::default().labels(MANAGED);
    plain(kind, scope.apis(&ctx.client), &config, writer, on_child(ctx.clone(), fingerprint, ask))
}

/// The same for a kind of which only the metadata is read.
fn child_metadata<K>(
    kind: &'static str,
    ctx: &Arc<Context>,
    scope: &Scope,
    writer: Writer<PartialObjectMeta<K>>,
) -> Watch
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let told = |object: &PartialObjectMeta<K>| match object.metadata.generation {
        // Kinds with a generation have a status, which is none of our business.
        Some(generation) if generation > 0 => fingerprint(&(generation, meta_fingerprint(object))),
        _ => whole(object),
    };
    child(kind, ctx, scope, writer, told, clusters_only)
}

fn watch_namespaces(ctx: &Arc<Context>, scope: &Scope, writer: Writer<PartialObjectMeta<Namespace>>) -> Watch {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(ctx.client.clone());
    let configs = match scope {
        Scope::All => vec![watcher::Config::default()],
        // One watch each: that is what RBAC can allow by name.
        Scope::Namespaces(names) => {
            names.iter().map(|name| watcher::Config::default().fields(&format!("metadata.name={name}"))).collect()
        }
    };
    let watches: Vec<_> = configs.into_iter().map(|config| watcher(api.clone(), config).boxed()).collect();
    let mut seen = Fingerprints::default();
    let ctx = ctx.clone();
    let on_change = move |change: Change<PartialObjectMeta<Namespace>>| {
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
    };
    Watch {
        kind: "Namespace",
        running: Box::pin(follow("Namespace", watches, writer, on_change)),
    }
}

fn on_cluster(ctx: Arc<Context>) -> impl FnMut(Change<RealtimeCluster>) + Send {
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

fn on_room(ctx: Arc<Context>) -> impl FnMut(Change<Room>) + Send {
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

fn on_secret(ctx: Arc<Context>) -> impl FnMut(Change<PartialObjectMeta<Secret>>) + Send {
    let mut seen = Fingerprints::default();
    move |change| {
        if !seen.changed(&change, |secret| fingerprint(&secret.resource_version())) {
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
            cluster.namespace() == namespace && crate::cluster::dereference::secret_names(cluster).contains(&name)
        };
        for cluster in ctx.stores.clusters.state_filter(naming) {
            ctx.queues.clusters.push(Key::of(cluster.as_ref()));
        }
    }
}

fn on_child<K: Resource<DynamicType = ()>>(
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

fn clusters_only(ctx: &Context, cluster: Key) {
    ctx.queues.clusters.push_within(cluster, CHILDREN_WINDOW);
}

/// Every Room that names the cluster asks for a reconcile.
pub fn push_rooms(ctx: &Context, cluster: &Key) {
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

/// Fingerprints of the objects of one kind, by UID.
#[derive(Default)]
struct Fingerprints {
    seen: HashMap<String, u64>,
}

impl Fingerprints {
    /// Whether a change matters: the object is new, gone, or has another fingerprint.
    fn changed<K: Resource>(&mut self, change: &Change<K>, fingerprint: impl Fn(&K) -> u64) -> bool {
        let uid = change.object().uid().unwrap_or_default();
        match change {
            Change::Gone(_) => {
                self.seen.remove(&uid);
                true
            }
            Change::Seen(object) => {
                let now = fingerprint(object);
                self.seen.insert(uid, now) != Some(now)
            }
        }
    }
}

fn fingerprint(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// What of an object's metadata people and we ourselves act on.
fn meta_fingerprint<K: Resource>(object: &K) -> u64 {
    let meta = object.meta();
    let owners = meta.owner_references.as_ref().map(json);
    fingerprint(&(
        &meta.labels,
        &meta.annotations,
        &meta.finalizers,
        meta.deletion_timestamp.is_some(),
        owners,
    ))
}

fn meta_and_generation<K: Resource>(object: &K) -> u64 {
    fingerprint(&(object.meta().generation, meta_fingerprint(object)))
}

fn whole<K: Resource>(object: &K) -> u64 {
    fingerprint(&object.meta().resource_version)
}

/// What of a pod statuses depend on. Annotations are left out: we push configs through one.
fn pod_fingerprint(pod: &Pod) -> u64 {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref()).map(|conditions| {
        let of_interest = |type_: &str| matches!(type_, "Ready" | "PodScheduled");
        let mut told: Vec<_> = conditions
            .iter()
            .filter(|condition| of_interest(&condition.type_))
            .map(|condition| (&condition.type_, &condition.status, &condition.reason))
            .collect();
        told.sort();
        told
    });
    let containers = status.map(|status| json(&(&status.container_statuses, &status.init_container_statuses)));
    let phase = status.map(|status| (&status.phase, &status.pod_ip, &status.host_ip));
    fingerprint(&(phase, conditions, containers, pod.metadata.deletion_timestamp.is_some(), &pod.metadata.labels))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(json: serde_json::Value) -> Pod {
        serde_json::from_value(json).expect("a pod")
    }

    #[test]
    fn our_own_annotation_on_a_pod_asks_for_nothing() {
        let before = pod(json!({ "metadata": { "uid": "u", "resourceVersion": "1" } }));
        let after = pod(json!({ "metadata": { "uid": "u", "resourceVersion": "2",
            "annotations": { "rotunda.dev/config-revision": "abc" } } }));
        let mut seen = Fingerprints::default();
        assert!(seen.changed(&Change::Seen(before), pod_fingerprint));
        assert!(!seen.changed(&Change::Seen(after), pod_fingerprint));
    }

    #[test]
    fn readiness_and_deletion_of_a_pod_ask_for_a_reconcile() {
        let status = |ready: &str| json!({ "conditions": [{ "type": "Ready", "status": ready }] });
        let mut seen = Fingerprints::default();
        for pod in [
            pod(json!({ "metadata": { "uid": "u" }, "status": status("False") })),
            pod(json!({ "metadata": { "uid": "u" }, "status": status("True") })),
            pod(json!({ "metadata": { "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z" }, "status": status("True") })),
        ] {
            assert!(seen.changed(&Change::Seen(pod), pod_fingerprint));
        }
    }

    #[test]
    fn a_status_alone_asks_for_nothing() {
        let cluster = |generation: i64, ready: i32| -> RealtimeCluster {
            serde_json::from_value(json!({
                "apiVersion": "rotunda.dev/v1alpha1", "kind": "RealtimeCluster",
                "metadata": { "name": "chat", "uid": "u", "generation": generation },
                "spec": { "auth": {} }, "status": { "readyReplicas": ready },
            }))
            .expect("a cluster")
        };
        let mut seen = Fingerprints::default();
        assert!(seen.changed(&Change::Seen(cluster(1, 0)), meta_and_generation));
        assert!(!seen.changed(&Change::Seen(cluster(1, 3)), meta_and_generation));
        assert!(seen.changed(&Change::Seen(cluster(2, 3)), meta_and_generation));
        assert!(seen.changed(&Change::Gone(cluster(2, 3)), meta_and_generation));
    }
}
