//! `spec.autoscaling`: how the number of gateway pods follows the load.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Scaling of the gateway pods.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Autoscaling {
    /// Fewest gateway pods. Default: 3.
    pub min_replicas: Option<i32>,
    /// Most gateway pods. Default: 50.
    pub max_replicas: Option<i32>,
    /// Connections that a pod should hold on average. Needs the operator's metrics API, which its chart turns on.
    /// Default: none; 30000 is a good start for the default resources.
    pub target_connections: Option<u32>,
    /// CPU that a pod should use on average, in percent of its request. Default: 70 while `targetConnections` is absent,
    /// else none.
    #[serde(rename = "targetCPUUtilization")]
    pub target_cpu_utilization: Option<i32>,
    /// How slowly pods are taken away.
    pub scale_down: ScaleDown,
}

/// How slowly pods are taken away.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleDown {
    /// Seconds for which the load must have been low. Default: 600.
    pub stabilization_seconds: Option<i32>,
    /// Most pods taken away each minute. Default: 1.
    pub pods_per_minute: Option<i32>,
}

impl Autoscaling {
    /// Fewest gateway pods.
    pub fn min_replicas(&self) -> i32 {
        self.min_replicas.unwrap_or(3)
    }

    /// Most gateway pods.
    pub fn max_replicas(&self) -> i32 {
        self.max_replicas.unwrap_or(50)
    }

    /// Connections per pod to aim at, where written.
    pub fn target_connections(&self) -> Option<u32> {
        self.target_connections
    }

    /// Percent of the CPU request to aim at; 70 where nothing else is aimed at.
    pub fn target_cpu_utilization(&self) -> Option<i32> {
        self.target_cpu_utilization
            .or(if self.target_connections.is_some() {
                None
            } else {
                Some(70)
            })
    }
}

impl ScaleDown {
    /// Seconds for which the load must have been low.
    pub fn stabilization_seconds(&self) -> i32 {
        self.stabilization_seconds.unwrap_or(600)
    }

    /// Most pods taken away each minute.
    pub fn pods_per_minute(&self) -> i32 {
        self.pods_per_minute.unwrap_or(1)
    }
}
