//! `spec.redis`: a managed Redis or one that exists already.

use k8s_openapi::{
    api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{Pod, SecretKeyRef, non_empty};

/// Where rooms are ordered, stored and fanned out. At most one of `managed` and `external`; with neither, a managed Redis
/// with one shard.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Redis {
    /// Redis in cluster mode, run by the operator.
    pub managed: Option<ManagedRedis>,
    /// A Redis or Valkey (7.0 or newer) that exists already.
    pub external: Option<ExternalRedis>,
    /// What all keys and channels of this cluster start with. Immutable. Default: `<namespace>.<name>`.
    pub key_prefix: Option<String>,
}

/// Redis in cluster mode, run by the operator.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedRedis {
    /// Number of shards: primaries, over which the rooms are spread. Default: 1.
    pub shards: Option<i32>,
    /// Replicas of each primary. Default: 1 from three shards on, else 0.
    pub replicas_per_shard: Option<i32>,
    /// Image of Redis or Valkey, 7.0 or newer. Default: the operator's.
    pub image: Option<String>,
    /// CPU and memory of each Redis pod. Redis keeps to 70 % of the memory limit. Default: small requests and a memory
    /// limit.
    pub resources: ResourceRequirements,
    /// What else the Redis pods carry.
    pub pod: Pod,
    /// A volume for each Redis pod. Can't be added or removed later. Default: none, the data goes with the pod.
    pub storage: Option<Storage>,
}

/// A volume for each Redis pod.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Storage {
    /// Size of each volume. May grow, never shrink. Default: 1Gi.
    pub size: Option<Quantity>,
    /// StorageClass of the volumes. Immutable. Default: the cluster's own default.
    pub storage_class_name: Option<String>,
    /// What happens with the volumes when the RealtimeCluster is deleted: `Retain` or `Delete`. Default: `Retain`.
    pub on_delete: Option<OnDelete>,
}

/// What happens with volumes when their owner is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDelete {
    /// They stay.
    #[default]
    Retain,
    /// They go with it.
    Delete,
}

/// A Redis or Valkey that exists already.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExternalRedis {
    /// Secret with the URL: `redis://`, `rediss://`, `redis+sentinel://` or `redis+cluster://`.
    pub url_secret_ref: SecretKeyRef,
}

/// Which Redis a cluster uses, with the default filled in.
#[derive(Clone, Debug, PartialEq)]
pub enum RedisMode {
    /// Run by the operator.
    Managed(Box<ManagedRedis>),
    /// Exists already.
    External(ExternalRedis),
}

impl ManagedRedis {
    /// Number of shards.
    pub fn shards(&self) -> i32 {
        self.shards.unwrap_or(1)
    }

    /// Replicas of each primary.
    pub fn replicas_per_shard(&self) -> i32 {
        self.replicas_per_shard
            .unwrap_or_else(|| i32::from(self.shards() >= 3))
    }

    /// Image, where one is written.
    pub fn image(&self) -> Option<&str> {
        non_empty(self.image.as_ref())
    }
}

impl Storage {
    /// Size of each volume.
    pub fn size(&self) -> Quantity {
        self.size
            .clone()
            .unwrap_or_else(|| Quantity("1Gi".to_owned()))
    }

    /// StorageClass, where one is written.
    pub fn storage_class_name(&self) -> Option<&str> {
        non_empty(self.storage_class_name.as_ref())
    }

    /// What happens with the volumes when the cluster is deleted.
    pub fn on_delete(&self) -> OnDelete {
        self.on_delete.unwrap_or_default()
    }
}
