//! The kind `RealtimeCluster`: one set of gateways, its endpoint and its Redis.
//!
//! A field is read as written (`spec.limits.burst`, mostly an `Option`) or with its default filled in, by the method of
//! the same name (`spec.limits.burst()`). Defaults stand here and not in the schema, so that a better default reaches
//! clusters that exist; an empty string means the default too.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

pub mod auth;
pub mod autoscaling;
pub mod edge;
pub mod gateway;
pub mod limits;
pub mod monitoring;
pub mod network;
pub mod pod;
pub mod redis;
pub mod rooms;
pub mod service;
pub mod status;

pub use auth::{Auth, Jwt, JwtAlgorithm, JwtKey, JwtKeySource, SecretKeyRef, SecretRef};
pub use autoscaling::{Autoscaling, ScaleDown};
pub use edge::{Edge, Nginx};
pub use gateway::Gateway;
pub use limits::{Heartbeat, Limits, Presence};
pub use monitoring::{Monitoring, Tracing};
pub use network::NetworkPolicy;
pub use pod::Pod;
pub use redis::{ExternalRedis, ManagedRedis, OnDelete, Redis, RedisMode, Storage};
pub use rooms::{AllowedNamespaces, AllowedRooms, UndeclaredRooms};
pub use service::{ExternalTrafficPolicy, IpFamilyPolicy, Scheme, Service, ServiceType, Tls};
pub use status::{Endpoint, RealtimeClusterStatus, RedisStatus};

/// Wanted state of a RealtimeCluster. Everything is optional but `auth`.
#[allow(
    clippy::duplicated_attributes,
    reason = "columns of the same type share an argument"
)]
#[skip_serializing_none]
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "rotunda.dev",
    version = "v1alpha1",
    kind = "RealtimeCluster",
    plural = "realtimeclusters",
    shortname = "rtc",
    category = "rotunda",
    namespaced,
    status = "RealtimeClusterStatus",
    derive = "PartialEq",
    doc = "One set of realtime gateways with its endpoint and its Redis.",
    scale(
        spec_replicas_path = ".spec.gateway.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether clients can connect and the cluster does what its spec says"
    ),
    printcolumn(
        name = "Endpoint",
        type_ = "string",
        json_path = ".status.endpoint.websocket",
        description = "Where clients connect by WebSocket"
    ),
    printcolumn(
        name = "Gateways",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "Gateway pods that are ready"
    ),
    printcolumn(
        name = "Connections",
        type_ = "integer",
        json_path = ".status.connections",
        description = "Connections over all gateways, to two significant digits"
    ),
    printcolumn(
        name = "Shards",
        type_ = "integer",
        json_path = ".status.redis.readyShards",
        description = "Redis shards that are ready"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct RealtimeClusterSpec {
    /// The gateway pods: how many, which image, how big.
    #[serde(default)]
    pub gateway: Gateway,
    /// Lets the number of gateway pods follow the load. While it is set, `gateway.replicas` isn't used. Default: none.
    pub autoscaling: Option<Autoscaling>,
    /// The Service that clients connect to.
    #[serde(default)]
    pub service: Service,
    /// Address ranges (CIDR) of proxies whose `X-Forwarded-For` tells the client's address. Default: none, the header is
    /// ignored.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// Whether the load balancer opens each connection with a PROXY protocol header (version 1 or 2). With it a
    /// connection without the header is refused. Default: false.
    pub proxy_protocol: Option<bool>,
    /// An HTTP proxy in front of the gateways. Default: none, the load balancer reaches the gateways directly.
    pub edge: Option<Edge>,
    /// Where rooms are ordered, stored and fanned out. Default: a managed Redis with one shard.
    pub redis: Option<Redis>,
    /// Who may connect: keys for tokens, anonymous clients, keys of the server API.
    pub auth: Auth,
    /// Web pages that may connect, as origins: `https://app.example.com`, `https://*.example.org` for every subdomain, or
    /// `*` for any. Clients that send no `Origin` header (apps, servers) aren't affected. Default: only pages served from
    /// the endpoint's own host.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    /// TLS at the gateways. Default: none, plain `ws://` and `http://`.
    pub tls: Option<Tls>,
    /// How dead connections are found.
    #[serde(default)]
    pub heartbeat: Heartbeat,
    /// How long a member stays present without a sign of life.
    #[serde(default)]
    pub presence: Presence,
    /// What one connection, one user and one gateway may use.
    #[serde(default)]
    pub limits: Limits,
    /// What happens with a room that no Room resource matches: `Deny` refuses it, `Allow` serves it with the defaults of
    /// a Room. Default: `Deny`.
    pub undeclared_rooms: Option<UndeclaredRooms>,
    /// Whose Room resources may name this cluster.
    #[serde(default)]
    pub allowed_rooms: AllowedRooms,
    /// Metrics objects and traces.
    #[serde(default)]
    pub monitoring: Monitoring,
    /// Who may reach which port of the pods.
    #[serde(default)]
    pub network_policy: NetworkPolicy,
    /// Whether the gateways serve a page at `/` to try rooms out in a browser. Default: false.
    pub playground: Option<bool>,
}

impl RealtimeClusterSpec {
    /// Whether a connection has to open with a PROXY protocol header.
    pub fn proxy_protocol(&self) -> bool {
        self.proxy_protocol.unwrap_or(false)
    }

    /// What happens with a room that no Room matches.
    pub fn undeclared_rooms(&self) -> UndeclaredRooms {
        self.undeclared_rooms.unwrap_or_default()
    }

    /// Whether the gateways serve the page to try rooms out.
    pub fn playground(&self) -> bool {
        self.playground.unwrap_or(false)
    }

    /// Name of the Secret with certificate and key, where the gateways end TLS.
    pub fn tls_secret(&self) -> Option<&str> {
        non_empty(self.tls.as_ref()?.secret_name.as_ref())
    }

    /// Port of the public Service: as written, else 443 with `tls` and 80 without.
    pub fn service_port(&self) -> i32 {
        let default = if self.tls_secret().is_some() { 443 } else { 80 };
        self.service.port.unwrap_or(default)
    }

    /// Scheme of the endpoint in the status: as written, else `wss` with `tls` and `ws` without.
    pub fn scheme(&self) -> Scheme {
        let default = if self.tls_secret().is_some() {
            Scheme::Wss
        } else {
            Scheme::Ws
        };
        self.service.scheme.unwrap_or(default)
    }

    /// Which Redis is used, with the default filled in.
    pub fn redis_mode(&self) -> RedisMode {
        match &self.redis {
            Some(Redis {
                external: Some(external),
                ..
            }) => RedisMode::External(external.clone()),
            Some(Redis {
                managed: Some(managed),
                ..
            }) => RedisMode::Managed(Box::new(managed.clone())),
            _ => RedisMode::Managed(Box::default()),
        }
    }
}

impl RealtimeCluster {
    /// Namespace of the object; empty for one that was never in a cluster.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Name of the object.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// What all Redis keys of this cluster start with: as written, else `<namespace>.<name>`.
    pub fn key_prefix(&self) -> String {
        let written = self
            .spec
            .redis
            .as_ref()
            .and_then(|redis| non_empty(redis.key_prefix.as_ref()));
        written.map_or_else(
            || format!("{}.{}", self.namespace(), self.name()),
            str::to_owned,
        )
    }
}

/// The text of an optional field, where an empty one counts as absent.
pub(crate) fn non_empty(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}
