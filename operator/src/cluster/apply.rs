//! Fourth stage: makes the API server have what was built, by server-side apply, and prunes what is no longer wanted.
//!
//! The number of gateway pods has a field manager of its own, so that the main apply never touches it: see [`replicas`].

use std::{collections::BTreeSet, fmt::Debug, marker::PhantomData};

use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Secret};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Error,
    model::{Applied, Prepared, RedisResources, Resources, Validated},
};
use crate::{
    context::{Context, FIELD_MANAGER},
    key::Key,
    monitoring::is_unknown_kind,
};

mod prune;
mod repair;
mod replicas;

/// Creates the Secret with the password of the managed Redis, where it doesn't exist yet. Never written again: whoever is
/// quicker wins. Returns whether the stages have to start anew, now with the password that is stored.
pub async fn create_password(
    ctx: &Context,
    resources: &Resources<Prepared>,
) -> Result<bool, Error> {
    let Some(secret) = resources
        .redis
        .as_ref()
        .and_then(|redis| redis.password_secret.as_ref())
    else {
        return Ok(false);
    };
    let api: Api<Secret> =
        Api::namespaced(ctx.client.clone(), &secret.namespace().unwrap_or_default());
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match api.create(&params, secret).await {
        Ok(created) => {
            ctx.echoes.wrote(&created);
            Ok(true)
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(true),
        Err(source) => Err(Error::Apply {
            kind: "Secret",
            name: secret.name_any(),
            source,
        }),
    }
}

/// Applies everything and prunes; returns what the API server has now, and sentences about what it can't change or doesn't know. What pods
/// mount comes first. Everything is tried even if something fails: one object that is refused must not hold up the others.
pub async fn apply(
    ctx: &Context,
    cluster: &Validated,
    resources: Resources<Prepared>,
) -> Result<(Resources<Applied>, Vec<String>), Error> {
    let Resources {
        service_account,
        config_map,
        gateway_secret,
        deployment,
        service,
        api_service,
        pods_service,
        autoscaler,
        disruption_budget,
        network_policy,
        service_monitor,
        prometheus_rule,
        redis,
        state: _,
    } = resources;
    let wanted = Wanted {
        service_accounts: names(
            redis
                .iter()
                .map(|redis| &redis.service_account)
                .chain([&service_account]),
        ),
        config_maps: names(
            redis
                .iter()
                .map(|redis| &redis.config_map)
                .chain([&config_map]),
        ),
        services: names(redis.iter().map(|redis| &redis.service).chain([
            &service,
            &api_service,
            &pods_service,
        ])),
        autoscalers: names(&autoscaler),
        disruption_budgets: names(
            redis
                .iter()
                .map(|redis| &redis.disruption_budget)
                .chain([&disruption_budget]),
        ),
        network_policies: names(
            redis
                .iter()
                .filter_map(|redis| redis.network_policy.as_ref())
                .chain(&network_policy),
        ),
        service_monitors: names(&service_monitor),
        prometheus_rules: names(&prometheus_rule),
    };
    let (gateway_secret, config_map, service_account) = futures::join!(
        apply_one(ctx, &gateway_secret),
        apply_one(ctx, &config_map),
        apply_one(ctx, &service_account),
    );
    let (
        deployment,
        service,
        api_service,
        pods_service,
        autoscaler,
        disruption_budget,
        network_policy,
        service_monitor,
        prometheus_rule,
        redis,
    ) = futures::join!(
        replicas::apply_deployment(ctx, &cluster.cluster.spec, &deployment),
        apply_one(ctx, &service),
        apply_one(ctx, &api_service),
        apply_one(ctx, &pods_service),
        apply_optional(ctx, autoscaler.as_ref()),
        apply_one(ctx, &disruption_budget),
        apply_optional(ctx, network_policy.as_ref()),
        apply_where_known(ctx, service_monitor.as_ref(), "serviceMonitor"),
        apply_where_known(ctx, prometheus_rule.as_ref(), "prometheusRule"),
        apply_redis(ctx, redis),
    );
    let pruned = prune::prune(ctx, cluster, &wanted).await;
    let (redis, fixed) = redis?.unzip();
    let (service_monitor, no_monitor) = service_monitor?;
    let (prometheus_rule, no_rule) = prometheus_rule?;
    let applied = Resources {
        service_account: service_account?,
        config_map: config_map?,
        gateway_secret: gateway_secret?,
        deployment: deployment?,
        service: service?,
        api_service: api_service?,
        pods_service: pods_service?,
        autoscaler: autoscaler?,
        disruption_budget: disruption_budget?,
        network_policy: network_policy?,
        service_monitor,
        prometheus_rule,
        redis,
        state: PhantomData,
    };
    pruned?;
    let fixed = fixed.into_iter().flatten();
    let left_out = fixed.chain(no_monitor).chain(no_rule).collect();
    Ok((applied, left_out))
}

async fn apply_redis(
    ctx: &Context,
    redis: Option<RedisResources>,
) -> Result<Option<(RedisResources, Vec<String>)>, Error> {
    let Some(RedisResources {
        service_account,
        // Made by `create_password`, before anything that needs it.
        password_secret: _,
        config_map,
        service,
        stateful_sets,
        disruption_budget,
        network_policy,
    }) = redis
    else {
        return Ok(None);
    };
    let (service_account, config_map, service, disruption_budget, network_policy) = futures::join!(
        apply_one(ctx, &service_account),
        apply_one(ctx, &config_map),
        apply_one(ctx, &service),
        apply_one(ctx, &disruption_budget),
        apply_optional(ctx, network_policy.as_ref()),
    );
    let (service_account, config_map) = (service_account?, config_map?);
    let mut applied_sets = Vec::with_capacity(stateful_sets.len());
    let mut fixed = Vec::new();
    for set in &stateful_sets {
        match apply_one(ctx, set).await {
            Ok(applied) => applied_sets.push(applied),
            Err(Error::Apply {
                source: kube::Error::Api(status),
                ..
            }) if is_fixed(&status) => {
                fixed.push(fixed_volumes(set));
                applied_sets.push(set.clone());
            }
            Err(error) => return Err(error),
        }
    }
    let resources = RedisResources {
        service_account,
        password_secret: None,
        config_map,
        service: service?,
        stateful_sets: applied_sets,
        disruption_budget: disruption_budget?,
        network_policy: network_policy?,
    };
    Ok(Some((resources, fixed)))
}

/// Whether the API server says that it can't change this of a StatefulSet. All that can differ from an older one of ours is
/// its volumes.
fn is_fixed(status: &kube::core::Status) -> bool {
    status.code == 422 && status.message.contains("updates to statefulset spec")
}

fn fixed_volumes(set: &StatefulSet) -> String {
    let (name, namespace) = (set.name_any(), set.namespace().unwrap_or_default());
    format!(
        "The volumes of StatefulSet \"{name}\" can't be changed in place, so its changes wait: enlarge its \
         PersistentVolumeClaims (kubectl patch pvc), then let the StatefulSet be made anew without touching its pods: kubectl \
         delete statefulset {name} -n {namespace} --cascade=orphan."
    )
}

/// Applies one object as the operator's own.
async fn apply_one<K>(ctx: &Context, object: &K) -> Result<K, Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    apply_as(ctx, FIELD_MANAGER, &Key::of(object), object).await
}

async fn apply_optional<K>(ctx: &Context, object: Option<&K>) -> Result<Option<K>, Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    match object {
        Some(object) => apply_one(ctx, object).await.map(Some),
        None => Ok(None),
    }
}

/// Applies an object whose kind the API server may not know; then says that it was left out.
async fn apply_where_known<K>(
    ctx: &Context,
    object: Option<&K>,
    field: &str,
) -> Result<(Option<K>, Option<String>), Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    match apply_optional(ctx, object).await {
        Ok(applied) => Ok((applied, None)),
        Err(Error::Apply { kind, source, .. }) if is_unknown_kind(&source) => {
            let sentence = format!(
                "spec.monitoring.{field} was left out: the API server doesn't know the kind {kind}; install the definitions of the \
                 Prometheus operator."
            );
            Ok((None, Some(sentence)))
        }
        Err(error) => Err(error),
    }
}

/// Applies `body`, an object of kind `K` or a part of one, and remembers the write.
async fn apply_as<K>(
    ctx: &Context,
    manager: &str,
    key: &Key,
    body: &(impl Serialize + Debug),
) -> Result<K, Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &key.namespace);
    let params = PatchParams::apply(manager).force();
    let applied = match api.patch(&key.name, &params, &Patch::Apply(body)).await {
        // Our part doesn't fit to what somebody else put there.
        Err(error @ kube::Error::Api(_)) if repair::may_help(&error) => {
            if repair::overwrite(&api, &key.name, body).await {
                api.patch(&key.name, &params, &Patch::Apply(body)).await
            } else {
                Err(error)
            }
        }
        other => other,
    };
    let applied = applied.map_err(|source| Error::Apply {
        kind: kind::<K>(),
        name: key.name.clone(),
        source,
    })?;
    ctx.echoes.wrote(&applied);
    Ok(applied)
}

/// Name of a kind, which for k8s-openapi's types is a constant.
fn kind<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(kind) => kind,
        std::borrow::Cow::Owned(_) => "object",
    }
}

/// Names of the objects that stay, for each kind that is pruned. StatefulSets, volumes and Secrets are never pruned: they
/// hold what can't be made again.
struct Wanted {
    service_accounts: BTreeSet<String>,
    config_maps: BTreeSet<String>,
    services: BTreeSet<String>,
    autoscalers: BTreeSet<String>,
    disruption_budgets: BTreeSet<String>,
    network_policies: BTreeSet<String>,
    service_monitors: BTreeSet<String>,
    prometheus_rules: BTreeSet<String>,
}

fn names<'a, K: Resource + 'a>(objects: impl IntoIterator<Item = &'a K>) -> BTreeSet<String> {
    objects.into_iter().map(ResourceExt::name_any).collect()
}
