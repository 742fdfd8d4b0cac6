//! `spec.edge`: an optional HTTP proxy in front of the gateways.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// An HTTP proxy between the public Service and the gateways.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Edge {
    /// Runs nginx as that proxy.
    pub nginx: Option<Nginx>,
}

/// nginx in front of the gateways.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Nginx {
    /// Number of nginx pods. Default: 2.
    pub replicas: Option<i32>,
    /// Most connections of one nginx worker, both sides counted (`worker_connections`). Default: 65535.
    pub worker_connections: Option<u32>,
}

impl Nginx {
    /// Number of nginx pods.
    pub fn replicas(&self) -> i32 {
        self.replicas.unwrap_or(2)
    }

    /// Most connections of one worker.
    pub fn worker_connections(&self) -> u32 {
        self.worker_connections.unwrap_or(65_535)
    }
}
