//! The number of gateway pods, which three parties may set in turn: the spec, the autoscaler, and whoever scales the
//! RealtimeCluster.
//!
//! The field `spec.replicas` of the Deployment belongs to a field manager of its own. While autoscaling is off, it is
//! applied from the spec each time, so that drift is repaired. While it is on, it is set only at creation: the last value
//! stands until the autoscaler changes it, and the autoscaler's word is never touched. The main apply must leave the field
//! out; a field that nobody owns any more would fall back to 1.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, ResourceExt};
use rotunda_crds::RealtimeClusterSpec;
use serde_json::json;

use super::{Error, apply_as};
use crate::{
    context::{Context, FIELD_MANAGER},
    key::Key,
};

/// Field manager of `spec.replicas`.
const REPLICAS_MANAGER: &str = "rotunda-replicas";

/// What to do about the number of pods before and after the main apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// There is no Deployment: the main apply sets this number, then its own manager co-owns it.
    Create(i32),
    /// Its own manager sets this number.
    Set(i32),
    /// Somebody else owns it.
    Leave,
}

pub(super) async fn apply_deployment(
    ctx: &Context,
    spec: &RealtimeClusterSpec,
    deployment: &Deployment,
) -> Result<Deployment, Error> {
    let key = Key::of(deployment);
    match plan_replicas(spec, fetch_existing(ctx, spec, &key).await?.as_ref()) {
        Plan::Create(replicas) => {
            let mut with_replicas = deployment.clone();
            with_replicas.spec.get_or_insert_default().replicas = Some(replicas);
            apply_as::<Deployment>(ctx, FIELD_MANAGER, &key, &with_replicas).await?;
            apply_replicas(ctx, &key, replicas).await?;
        }
        Plan::Set(replicas) => apply_replicas(ctx, &key, replicas).await?,
        Plan::Leave => {}
    }
    apply_as(ctx, FIELD_MANAGER, &key, deployment).await
}

async fn apply_replicas(ctx: &Context, key: &Key, replicas: i32) -> Result<(), Error> {
    let body =
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "spec": { "replicas": replicas } });
    apply_as::<Deployment>(ctx, REPLICAS_MANAGER, key, &body)
        .await
        .map(drop)
}

/// From memory where its existence is all that counts. Absence is checked at the source, since memory may lag behind our own
/// creation; so are managed fields, which memory doesn't hold.
async fn fetch_existing(
    ctx: &Context,
    spec: &RealtimeClusterSpec,
    key: &Key,
) -> Result<Option<Deployment>, Error> {
    if let (None, Some(known)) = (&spec.autoscaling, ctx.stores.deployments.get(&key.to_ref())) {
        return Ok(Some(known.as_ref().clone()));
    }
    let api: Api<Deployment> = Api::namespaced(ctx.client.clone(), &key.namespace);
    api.get_opt(&key.name).await.map_err(|source| Error::Read {
        kind: "Deployment",
        name: key.name.clone(),
        source,
    })
}

fn plan_replicas(spec: &RealtimeClusterSpec, existing: Option<&Deployment>) -> Plan {
    let Some(existing) = existing else {
        let replicas = spec.gateway.replicas();
        return Plan::Create(match &spec.autoscaling {
            Some(autoscaling) => replicas
                .min(autoscaling.max_replicas())
                .max(autoscaling.min_replicas()),
            None => replicas,
        });
    };
    if spec.autoscaling.is_none() {
        return Plan::Set(spec.gateway.replicas());
    }
    // Created, and then we were interrupted before the field was handed over.
    let current = existing.spec.as_ref().and_then(|spec| spec.replicas);
    match current {
        Some(replicas) if main_manager_owns_replicas(existing) => Plan::Set(replicas),
        _ => Plan::Leave,
    }
}

fn main_manager_owns_replicas(deployment: &Deployment) -> bool {
    deployment.managed_fields().iter().any(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry
                .fields_v1
                .as_ref()
                .is_some_and(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(autoscaling: serde_json::Value) -> RealtimeClusterSpec {
        let mut spec = json!({ "auth": {}, "gateway": { "replicas": 4 } });
        if !autoscaling.is_null() {
            spec["autoscaling"] = autoscaling;
        }
        serde_json::from_value(spec).expect("a spec")
    }

    fn deployment(replicas: i32, owner: &str) -> Deployment {
        serde_json::from_value(json!({
            "metadata": { "name": "chat-gateway", "managedFields": [
                { "manager": owner, "operation": "Apply", "fieldsV1": { "f:spec": { "f:replicas": {} } } },
            ] },
            "spec": { "replicas": replicas, "selector": {}, "template": {} },
        }))
        .expect("a deployment")
    }

    #[test]
    fn without_autoscaling_the_spec_is_always_set() {
        let spec = spec(json!(null));
        assert_eq!(plan_replicas(&spec, None), Plan::Create(4));
        assert_eq!(
            plan_replicas(&spec, Some(&deployment(9, "kubectl"))),
            Plan::Set(4)
        );
    }

    #[test]
    fn with_autoscaling_an_existing_number_stays() {
        let spec = spec(json!({ "minReplicas": 5, "maxReplicas": 10 }));
        assert_eq!(plan_replicas(&spec, None), Plan::Create(5));
        assert_eq!(
            plan_replicas(&spec, Some(&deployment(7, "kube-controller-manager"))),
            Plan::Leave
        );
        assert_eq!(
            plan_replicas(&spec, Some(&deployment(7, REPLICAS_MANAGER))),
            Plan::Leave
        );
    }

    #[test]
    fn a_handover_that_was_interrupted_is_completed() {
        let spec = spec(json!({ "minReplicas": 5, "maxReplicas": 10 }));
        assert_eq!(
            plan_replicas(&spec, Some(&deployment(7, FIELD_MANAGER))),
            Plan::Set(7)
        );
    }
}
