//! The operator's watches: what is read into which store, and which change asks for which reconcile.
//!
//! Changes that no reconcile depends on (a status we wrote ourselves, managed fields, a heartbeat in a pod's status) are
//! told apart by a fingerprint of what does matter, and ask for nothing.

use std::{fmt::Debug, sync::Arc};

use futures::{StreamExt, future::BoxFuture};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Resource,
    core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta},
    runtime::{reflector::store::Writer, watcher},
};
use serde::de::DeserializeOwned;

use crate::{
    context::Context,
    invalid,
    key::Key,
    metrics::Kind,
    monitoring,
    stores::Writers,
    watch::{Change, Scope, follow, valid},
};

mod changes;
mod fingerprint;

use changes::{clusters_only, on_child, on_cluster, on_namespace, on_room, on_secret, push_rooms};
use fingerprint::{pod_fingerprint, whole};

/// Label selector of everything the operator makes.
const MANAGED: &str = "app.kubernetes.io/managed-by=rotunda-operator";

/// One watch, to be run for as long as the operator works.
pub struct Watch {
    /// Kind that is watched.
    pub kind: &'static str,
    /// Runs until the process stops.
    pub running: BoxFuture<'static, ()>,
}

/// What can be watched, namespace by namespace.
trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
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
        service_monitors,
        prometheus_rules,
    } = writers;
    vec![
        custom(
            "RealtimeCluster",
            Kind::RealtimeCluster,
            ctx,
            scope,
            clusters,
            on_cluster(ctx.clone()),
        ),
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
        child(
            "StatefulSet",
            ctx,
            scope,
            stateful_sets,
            whole,
            clusters_only,
        ),
        // Whether a Room is programmed depends on which gateways are ready.
        child("Pod", ctx, scope, pods, pod_fingerprint, |ctx, cluster| {
            push_rooms(ctx, &cluster);
            clusters_only(ctx, cluster);
        }),
        child("Service", ctx, scope, services, whole, clusters_only),
        child(
            "HorizontalPodAutoscaler",
            ctx,
            scope,
            autoscalers,
            fingerprint::autoscaler,
            clusters_only,
        ),
        child_metadata("ServiceAccount", ctx, scope, service_accounts),
        child_metadata("ConfigMap", ctx, scope, config_maps),
        child_metadata("PodDisruptionBudget", ctx, scope, disruption_budgets),
        child_metadata("NetworkPolicy", ctx, scope, network_policies),
        once_known(
            ctx,
            child_metadata("ServiceMonitor", ctx, scope, service_monitors),
        ),
        once_known(
            ctx,
            child_metadata("PrometheusRule", ctx, scope, prometheus_rules),
        ),
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
    K: Watched,
{
    let apis: Vec<Api<DeserializeGuard<K>>> = scope.apis(&ctx.client);
    let watches: Vec<_> = apis
        .into_iter()
        .map(|api| {
            let ctx = ctx.clone();
            valid(watcher(api, watcher::Config::default()), move |invalid| {
                invalid::report(&ctx, label, invalid);
            })
            .boxed()
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
    let watches: Vec<_> = apis
        .into_iter()
        .map(|api| watcher(api, config.clone()).boxed())
        .collect();
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
    K: Watched,
{
    let config = watcher::Config::default().labels(MANAGED);
    plain(
        kind,
        scope.apis(&ctx.client),
        &config,
        writer,
        on_child(ctx.clone(), fingerprint, ask),
    )
}

/// The same for a kind of which only the metadata is read.
fn child_metadata<K>(
    kind: &'static str,
    ctx: &Arc<Context>,
    scope: &Scope,
    writer: Writer<PartialObjectMeta<K>>,
) -> Watch
where
    K: Watched,
{
    child(
        kind,
        ctx,
        scope,
        writer,
        fingerprint::metadata,
        clusters_only,
    )
}

/// A watch of a kind that the API server may not know yet. Once it does, clusters may have been waiting for it.
fn once_known(ctx: &Arc<Context>, watch: Watch) -> Watch {
    let ctx = ctx.clone();
    Watch {
        kind: watch.kind,
        running: Box::pin(async move {
            monitoring::until_known(&ctx.client, watch.kind).await;
            for cluster in ctx.stores.clusters.state() {
                ctx.queues.clusters.push(Key::of(cluster.as_ref()));
            }
            watch.running.await;
        }),
    }
}

fn watch_namespaces(
    ctx: &Arc<Context>,
    scope: &Scope,
    writer: Writer<PartialObjectMeta<Namespace>>,
) -> Watch {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(ctx.client.clone());
    let configs = match scope {
        Scope::All => vec![watcher::Config::default()],
        // One watch each: that is what RBAC can allow by name.
        Scope::Namespaces(names) => names
            .iter()
            .map(|name| watcher::Config::default().fields(&format!("metadata.name={name}")))
            .collect(),
    };
    let watches: Vec<_> = configs
        .into_iter()
        .map(|config| watcher(api.clone(), config).boxed())
        .collect();
    Watch {
        kind: "Namespace",
        running: Box::pin(follow(
            "Namespace",
            watches,
            writer,
            on_namespace(ctx.clone()),
        )),
    }
}
