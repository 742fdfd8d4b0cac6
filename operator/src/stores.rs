//! What the operator has in memory of the API server: one store for each kind it reads, kept current by [`watches`].
//!
//! [`watches`]: crate::watches

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{ConfigMap, Namespace, Pod, Secret, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    ResourceExt,
    core::PartialObjectMeta,
    runtime::reflector::{Lookup, ObjectRef, Store, store, store::Writer, store::WriterDropped},
};
use rotunda_crds::{RealtimeCluster, Room};

use crate::{
    cluster::build::labels,
    key::Key,
    monitoring::{PrometheusRule, ServiceMonitor},
};

/// Declares the stores and, for the watches, their writing ends: one line a kind.
macro_rules! stores {
    ($($(#[doc = $doc:literal])* $field:ident: $kind:ty,)*; optional: $($(#[doc = $opt_doc:literal])* $opt:ident: $opt_kind:ty,)*) => {
        /// The stores, for reading.
        #[derive(Debug, Clone)]
        pub struct Stores {
            $($(#[doc = $doc])* pub $field: Store<$kind>,)*
            $($(#[doc = $opt_doc])* pub $opt: Store<$opt_kind>,)*
        }

        /// The writing ends of [`Stores`].
        #[derive(Default)]
        #[allow(missing_docs, reason = "each is documented at the field of the same name in `Stores`")]
        pub struct Writers { $(pub $field: Writer<$kind>,)* $(pub $opt: Writer<$opt_kind>,)* }

        /// A set of empty stores.
        pub fn stores() -> (Stores, Writers) {
            $(let $field = store();)*
            $(let $opt = store();)*
            (
                Stores { $($field: $field.0,)* $($opt: $opt.0,)* },
                Writers { $($field: $field.1,)* $($opt: $opt.1,)* },
            )
        }

        impl Stores {
            /// Waits until every store has its first list, but for the optional ones.
            pub async fn wait_until_ready(&self) -> Result<(), WriterDropped> {
                $(self.$field.wait_until_ready().await?;)*
                Ok(())
            }
        }
    };
}

stores! {
    /// All RealtimeClusters that parse.
    clusters: RealtimeCluster,
    /// All Rooms that parse.
    rooms: Room,
    /// Names of all Secrets; never their content.
    secrets: PartialObjectMeta<Secret>,
    /// Gateways' Deployments.
    deployments: Deployment,
    /// Redis shards.
    stateful_sets: StatefulSet,
    /// All pods of clusters.
    pods: Pod,
    /// All Services of clusters.
    services: Service,
    /// All autoscalers of clusters.
    autoscalers: HorizontalPodAutoscaler,
    /// Names of ServiceAccounts, for pruning and drift, as of the kinds below.
    service_accounts: PartialObjectMeta<ServiceAccount>,
    /// Names of ConfigMaps.
    config_maps: PartialObjectMeta<ConfigMap>,
    /// Names of disruption budgets.
    disruption_budgets: PartialObjectMeta<PodDisruptionBudget>,
    /// Names of network policies.
    network_policies: PartialObjectMeta<NetworkPolicy>,
    ; optional:
    /// Names of ServiceMonitors; empty where the API server doesn't know them, as of the next.
    service_monitors: PartialObjectMeta<ServiceMonitor>,
    /// Names of PrometheusRules.
    prometheus_rules: PartialObjectMeta<PrometheusRule>,
    /// Labels of namespaces, for `allowedRooms`. An install that may not read them works without: then no selector matches.
    namespaces: PartialObjectMeta<Namespace>,
}

impl Stores {
    /// The cluster of that name.
    pub fn cluster(&self, key: &Key) -> Option<Arc<RealtimeCluster>> {
        self.clusters.get(&key.to_ref())
    }

    /// Whether a namespace is known to be on its way out: nothing can be made there any more.
    pub fn is_leaving(&self, namespace: &str) -> bool {
        let object: ObjectRef<PartialObjectMeta<Namespace>> = ObjectRef::new(namespace);
        self.namespaces
            .get(&object)
            .is_some_and(|found| found.metadata.deletion_timestamp.is_some())
    }

    /// All Rooms that name this cluster, those being deleted included.
    pub fn rooms_of(&self, cluster: &Key) -> Vec<Arc<Room>> {
        let wanted = (cluster.namespace.as_str(), cluster.name.as_str());
        self.rooms.state_filter(|room| room.cluster_key() == wanted)
    }

    /// The children of a cluster in one store.
    pub fn children<K>(&self, store: &Store<K>, cluster: &Key) -> Vec<Arc<K>>
    where
        K: Lookup + ResourceExt + Clone + 'static,
        <K as Lookup>::DynamicType: Eq + std::hash::Hash + Clone,
    {
        store.state_filter(|child| {
            let meta = child.meta();
            meta.namespace.as_ref() == Some(&cluster.namespace)
                && child.labels().get(labels::CLUSTER) == Some(&cluster.name)
        })
    }
}
