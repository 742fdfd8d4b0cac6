//! From a [`Validated`] cluster to every Kubernetes object it consists of. Pure and deterministic: nothing is looked up
//! and nothing can fail here, and the same input gives the same bytes, so that an apply that changes nothing is seen as
//! such. One file for each family of objects.
//!
//! What a pod template contains must not depend on the operator's version: an upgrade of the operator would roll every
//! gateway. The one exception is the image, where the spec leaves it to the operator.

mod autoscaler;
mod config;
mod gateway;
mod meta;
mod monitoring;
mod names_and_labels;
mod network_policy;
mod pod;
mod quantity;
mod redis;
mod service;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;

pub use names_and_labels::{Component, labels, names};
#[cfg(test)]
pub(crate) use redis::files as redis_files;

use super::model::{Prepared, RedisTarget, Resources, Validated};

/// Every object of `cluster`.
pub fn build(cluster: &Validated) -> Resources<Prepared> {
    Resources {
        service_account: meta::service_account(cluster, Component::Gateway),
        config_map: config::build_config_map(cluster),
        gateway_secret: config::build_secret(cluster),
        deployment: gateway::build_deployment(cluster),
        service: service::build_public(cluster),
        api_service: service::build_api(cluster),
        pods_service: service::build_pods(cluster),
        autoscaler: autoscaler::build(cluster),
        disruption_budget: gateway::build_disruption_budget(cluster),
        network_policy: network_policy::build_gateway(cluster),
        service_monitor: monitoring::build_service_monitor(cluster),
        prometheus_rule: monitoring::build_rule(cluster),
        redis: match &cluster.redis {
            RedisTarget::Managed(managed) => Some(redis::build(cluster, managed)),
            RedisTarget::External { .. } => None,
        },
        state: PhantomData,
    }
}
