//! Pruning: deletes what carries a cluster's label *and* is owned by this very cluster (by UID), and isn't wanted any more.
//! Something a user labelled by hand is left alone, and so is what an earlier cluster of the same name left behind (the
//! garbage collector takes that).

use std::{collections::BTreeSet, fmt::Debug, hash::Hash, sync::Arc};

use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Preconditions},
    core::{NamespaceResourceScope, PartialObjectMeta},
    runtime::reflector::{Lookup, Store},
};
use serde::de::DeserializeOwned;

use super::{Error, Wanted, kind};
use crate::{cluster::model::Validated, context::Context, key::Key};

pub(super) async fn prune(
    ctx: &Context,
    cluster: &Validated,
    wanted: &Wanted,
) -> Result<(), Error> {
    let Wanted {
        service_accounts,
        config_maps,
        services,
        autoscalers,
        disruption_budgets,
        network_policies,
        service_monitors,
        prometheus_rules,
    } = wanted;
    let stores = &ctx.stores;
    prune_kind(ctx, cluster, &stores.service_accounts, service_accounts).await?;
    prune_kind(ctx, cluster, &stores.config_maps, config_maps).await?;
    prune_kind(ctx, cluster, &stores.services, services).await?;
    prune_kind(ctx, cluster, &stores.autoscalers, autoscalers).await?;
    prune_kind(ctx, cluster, &stores.disruption_budgets, disruption_budgets).await?;
    prune_kind(ctx, cluster, &stores.network_policies, network_policies).await?;
    prune_kind(ctx, cluster, &stores.service_monitors, service_monitors).await?;
    prune_kind(ctx, cluster, &stores.prometheus_rules, prometheus_rules).await
}

/// The kind whose object a store holds, whole or only its metadata.
pub(super) trait Stored: ResourceExt + Lookup<DynamicType = ()> + Clone + 'static {
    type Kind: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned;
}

impl<K> Stored for PartialObjectMeta<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + 'static,
{
    type Kind = K;
}

macro_rules! stored_whole {
    ($($kind:ty),*) => { $(impl Stored for $kind { type Kind = $kind; })* };
}

stored_whole!(
    k8s_openapi::api::core::v1::Service,
    k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler
);

async fn prune_kind<S>(
    ctx: &Context,
    cluster: &Validated,
    store: &Store<S>,
    wanted: &BTreeSet<String>,
) -> Result<(), Error>
where
    S: Stored,
    <S as Lookup>::DynamicType: Eq + Hash + Clone,
{
    let key = Key::new(&cluster.namespace, &cluster.name);
    let children: Vec<Arc<S>> = ctx.stores.children(store, &key);
    let api: Api<S::Kind> = Api::namespaced(ctx.client.clone(), &cluster.namespace);
    for child in children {
        if wanted.contains(&child.name_any()) || !is_prunable(child.as_ref(), &cluster.owner.uid) {
            continue;
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: child.meta().uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let name = child.name_any();
        match api.delete(&name, &params).await {
            Ok(_) => {
                tracing::info!(kind = kind::<S::Kind>(), %name, "pruned what is no longer wanted");
            }
            // Gone already, or replaced by another object of that name.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
            Err(source) => {
                return Err(Error::Prune {
                    kind: kind::<S::Kind>(),
                    name,
                    source,
                });
            }
        }
    }
    Ok(())
}

/// Whether an object is owned by the cluster of this UID, and not on its way out already.
fn is_prunable<K: ResourceExt>(object: &K, owner_uid: &str) -> bool {
    object.meta().deletion_timestamp.is_none()
        && object
            .owner_references()
            .iter()
            .any(|owner| owner.uid == owner_uid && owner.controller == Some(true))
}
