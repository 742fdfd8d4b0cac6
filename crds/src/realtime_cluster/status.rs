//! `status` of a RealtimeCluster, as the operator writes it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Observed state of a RealtimeCluster.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RealtimeClusterStatus {
    /// Generation of the spec that this status is about; -1 before the operator has seen the object.
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling, Stalled, Degraded, RedisReady, GatewaysReady and EndpointReady, each with a reason and a
    /// sentence that says what to do.
    pub conditions: Vec<Condition>,
    /// Where clients and servers connect.
    pub endpoint: Option<Endpoint>,
    /// Number of gateway pods.
    pub replicas: Option<i32>,
    /// Number of gateway pods that are ready.
    pub ready_replicas: Option<i32>,
    /// Label selector of the gateway pods, for the scale subresource.
    pub selector: Option<String>,
    /// Connections over all gateways, to two significant digits.
    pub connections: Option<i64>,
    /// Rooms with at least one member, to two significant digits.
    pub rooms: Option<i64>,
    /// The managed Redis.
    pub redis: Option<RedisStatus>,
    /// Version of the operator that wrote this.
    pub version: Option<String>,
}

/// Where clients and servers connect.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Address of the load balancer: an IP address or a host name.
    pub address: Option<String>,
    /// URL of the WebSocket endpoint.
    pub websocket: Option<String>,
    /// URL of the SSE endpoint.
    pub sse: Option<String>,
    /// URL of the server API, inside the Kubernetes cluster.
    pub api: Option<String>,
}

/// The managed Redis.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RedisStatus {
    /// Number of shards.
    pub shards: Option<i32>,
    /// Number of shards whose primary serves all its slots.
    pub ready_shards: Option<i32>,
}
