//! Waiting for what a resource says about itself.

use std::{fmt::Debug, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, core::NamespaceResourceScope};
use rotunda_crds::{RealtimeCluster, Room, conditions::find_condition};
use serde::de::DeserializeOwned;

use crate::{eventually::eventually, namespace::Namespace};

/// How long the operator may take, on a busy machine where images may have to be started first.
const PATIENCE: Duration = Duration::from_secs(90);

/// A kind whose status has conditions.
pub trait Conditioned:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned
{
    /// The conditions; none without a status.
    fn conditions(&self) -> &[Condition];
}

impl Conditioned for RealtimeCluster {
    fn conditions(&self) -> &[Condition] {
        self.status
            .as_ref()
            .map_or(&[], |status| &status.conditions)
    }
}

impl Conditioned for Room {
    fn conditions(&self) -> &[Condition] {
        self.status
            .as_ref()
            .map_or(&[], |status| &status.conditions)
    }
}

impl Namespace {
    /// Waits until a condition has a status and a reason, about the spec as it is now; returns its message.
    pub async fn expect_condition<K: Conditioned>(
        &self,
        name: &str,
        type_: &str,
        status: &str,
        reason: &str,
    ) -> Result<String> {
        let what = format!(
            "{} {name} has condition {type_} {status}, {reason}",
            K::kind(&())
        );
        eventually(&what, PATIENCE, async || {
            let object: K = self.api().get(name).await?;
            let condition = find_condition(object.conditions(), type_)
                .with_context(|| format!("it has only {:?}", types(&object)))?;
            ensure!(
                condition.status == status && condition.reason == reason,
                "it is {}, {}: {}",
                condition.status,
                condition.reason,
                condition.message
            );
            ensure!(
                condition.observed_generation == object.meta().generation,
                "it is about generation {:?}, not {:?}",
                condition.observed_generation,
                object.meta().generation
            );
            Ok(condition.message.clone())
        })
        .await
    }
}

fn types<K: Conditioned>(object: &K) -> Vec<&str> {
    let conditions = object.conditions().iter();
    conditions
        .map(|condition| condition.type_.as_str())
        .collect()
}
