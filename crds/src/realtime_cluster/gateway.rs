//! `spec.gateway`: the gateway pods.

use k8s_openapi::api::core::v1::ResourceRequirements;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{Pod, non_empty};

/// The gateway pods.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Gateway {
    /// Number of gateway pods while `autoscaling` is absent. Default: 3.
    pub replicas: Option<i32>,
    /// Image of the gateway. Default: the gateway of the operator's own version.
    pub image: Option<String>,
    /// CPU and memory of each gateway pod. Default: a CPU request, which the autoscaler needs, and a memory limit.
    pub resources: ResourceRequirements,
    /// Most connections of one pod. Past it a handshake is answered 503 with `Retry-After`. Default: 50000.
    pub max_connections: Option<u32>,
    /// Percent of the memory limit past which new handshakes are answered 503. Default: 85.
    pub memory_high_watermark: Option<u32>,
    /// Seconds after which a connection is asked to move to another pod, spread by jitter, so that new pods fill up.
    /// 0: never. Default: 0.
    pub max_connection_age_seconds: Option<u64>,
    /// What else the gateway pods carry.
    pub pod: Pod,
    /// Seconds that a leaving pod takes to hand its connections over. Default: 60.
    pub drain_seconds: Option<u32>,
}

impl Gateway {
    /// Number of pods while autoscaling is off.
    pub fn replicas(&self) -> i32 {
        self.replicas.unwrap_or(3)
    }

    /// Image, where one is written.
    pub fn image(&self) -> Option<&str> {
        non_empty(self.image.as_ref())
    }

    /// Most connections of one pod.
    pub fn max_connections(&self) -> u32 {
        self.max_connections.unwrap_or(50_000)
    }

    /// Percent of the memory limit past which handshakes are refused.
    pub fn memory_high_watermark(&self) -> u32 {
        self.memory_high_watermark.unwrap_or(85)
    }

    /// Seconds after which a connection moves on; 0: never.
    pub fn max_connection_age_seconds(&self) -> u64 {
        self.max_connection_age_seconds.unwrap_or(0)
    }

    /// Seconds to hand connections over.
    pub fn drain_seconds(&self) -> u32 {
        self.drain_seconds.unwrap_or(60)
    }
}
