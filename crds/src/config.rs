//! The gateways' config file: what the operator renders and a gateway loads.
//!
//! The file holds no secret, only the names of the files beside it that do. It can be read by gateways one version older
//! and newer than the operator: unknown fields are ignored, missing ones get their defaults.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use crate::{
    pattern::{MatcherError, RoomMatcher, RoomPattern},
    realtime_cluster::{Heartbeat, JwtAlgorithm, Limits, Presence, UndeclaredRooms},
    room::{Durability, PresenceMode, SlowConsumerPolicy},
    room_name::RoomName,
};

pub mod bytes;
pub mod files;
pub mod render;

pub use bytes::{ConfigBytesError, MAX_CONFIG_BYTES, decode_gzip, encode_gzip};
pub use files::{SecretFile, secret_files};
pub use render::{RenderInput, render};

/// Version of the file's layout.
pub const CONFIG_VERSION: u32 = 1;

/// Everything that a gateway needs to know.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayConfig {
    /// Version of the layout, [`CONFIG_VERSION`].
    pub version: u32,
    /// The RealtimeCluster it was rendered from.
    pub cluster: ClusterName,
    /// What all Redis keys and channels start with.
    pub key_prefix: String,
    /// Revision of this config; what a gateway reports as loaded.
    pub revision: String,
    /// Revision of the secret files that belong to it; the file `revision` beside it must say the same.
    pub secrets_revision: String,
    /// The broker.
    pub redis: RedisConfig,
    /// Who may connect.
    pub auth: AuthConfig,
    /// Origins of web pages that may connect; empty: only those of the own host.
    pub allowed_origins: Vec<String>,
    /// Address ranges of proxies whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<String>,
    /// Whether a connection opens with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// TLS of the public port, where the gateway ends it.
    pub tls: Option<TlsConfig>,
    /// Pings.
    pub heartbeat: HeartbeatConfig,
    /// Presence of all rooms.
    pub presence: PresenceConfig,
    /// What connections may use.
    pub limits: LimitsConfig,
    /// What happens with a room that none of `rooms` matches.
    pub undeclared_rooms: UndeclaredRooms,
    /// Seconds to hand connections over when the gateway leaves.
    pub drain_seconds: u32,
    /// Most connections.
    pub max_connections: u32,
    /// Percent of the memory limit past which handshakes are refused.
    pub memory_high_watermark: u32,
    /// Seconds after which a connection moves on; 0: never.
    pub max_connection_age_seconds: u64,
    /// Whether `/` serves the playground.
    pub playground: bool,
    /// Traces, where asked for.
    pub tracing: Option<TracingConfig>,
    /// Policies, by precedence: the first that matches a room's name is its policy.
    pub rooms: Vec<RoomConfig>,
}

/// Namespace and name of a RealtimeCluster.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// The broker.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct RedisConfig {
    /// File with the URL. `None`: the memory broker, for development only.
    pub url_file: Option<String>,
}

/// Who may connect.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthConfig {
    /// Tokens; `None`: no token is accepted.
    pub jwt: Option<JwtConfig>,
    /// Whether clients without a token may connect.
    pub anonymous: bool,
    /// Keys of the server API.
    pub api_keys: Vec<ApiKeyConfig>,
}

/// Tokens.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtConfig {
    /// Keys that tokens may be signed with.
    pub keys: Vec<JwtKeyConfig>,
    /// What `iss` must be, where checked.
    pub issuer: Option<String>,
    /// What `aud` must be or contain, where checked.
    pub audience: Option<String>,
}

/// One key for tokens: a file or a URL.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtKeyConfig {
    /// Name of the key.
    pub id: String,
    /// File with the shared secret (all `algorithms` are HS) or with a public key as PEM (none is).
    pub file: Option<String>,
    /// URL of a JSON Web Key Set.
    pub jwks_url: Option<String>,
    /// Algorithms that it accepts.
    pub algorithms: Vec<JwtAlgorithm>,
}

/// One key of the server API.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiKeyConfig {
    /// Name of the key.
    pub name: String,
    /// File with the key.
    pub file: String,
}

/// Files of certificate and key.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsConfig {
    /// File with the certificate chain, PEM.
    pub certificate_file: String,
    /// File with the key, PEM.
    pub key_file: String,
}

/// Pings.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatConfig {
    /// Seconds between two pings.
    pub interval_seconds: u32,
    /// Seconds to wait for an answer.
    pub timeout_seconds: u32,
}

/// Presence of all rooms.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PresenceConfig {
    /// Seconds until a silent member has left.
    pub ttl_seconds: u32,
}

/// What connections may use; 0 means no limit in the same places as in [`Limits`].
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
#[allow(
    missing_docs,
    reason = "each is documented at the field of the same name in `Limits`"
)]
pub struct LimitsConfig {
    pub messages_per_second: u32,
    pub burst: u32,
    pub bytes_per_second: u64,
    pub message_bytes: u32,
    pub rooms_per_connection: u32,
    pub send_queue_bytes: u32,
    pub connections_per_user: u32,
    pub handshakes_per_second: u32,
    pub handshakes_per_second_per_address: u32,
}

/// Traces.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct TracingConfig {
    /// URL of the OTLP collector.
    pub endpoint: String,
    /// Share of publishes that are traced.
    pub sample_ratio: f64,
}

/// One Room resource.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RoomConfig {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// Generation whose policy this is.
    pub generation: i64,
    /// When the resource was created.
    #[serde(default)]
    pub creation_timestamp: Option<Time>,
    /// Which rooms it is about.
    #[serde(rename = "match")]
    pub matches: RoomMatch,
    /// What holds in them.
    #[serde(flatten)]
    pub policy: RoomPolicy,
}

/// Which rooms a policy is about: `{"name": "lobby"}` or `{"pattern": "team:*"}`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub enum RoomMatch {
    /// The one room of that name.
    Name(String),
    /// Every room whose name matches.
    Pattern(String),
}

impl RoomMatch {
    /// Reads it into what matches names; an error is for the user.
    pub fn matcher(&self) -> Result<RoomMatcher, MatcherError> {
        Ok(match self {
            Self::Name(text) => RoomMatcher::Name(RoomName::parse(text)?),
            Self::Pattern(text) => RoomMatcher::Pattern(RoomPattern::parse(text)?),
        })
    }

    /// The name or pattern.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Name(text) | Self::Pattern(text) => text,
        }
    }
}

/// What holds in a room; the default is that of an undeclared room where those are allowed.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct RoomPolicy {
    /// CEL expressions.
    pub access: AccessConfig,
    /// What is stored and replayed.
    pub history: HistoryConfig,
    /// What members learn about each other.
    pub presence: RoomPresenceConfig,
    /// What one room may use.
    pub limits: RoomLimitsConfig,
    /// What happens to a connection that reads too slowly.
    pub slow_consumer: SlowConsumerPolicy,
}

/// CEL expressions, each with its default filled in.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
#[allow(
    missing_docs,
    reason = "each is documented at the field of the same name in `Access`"
)]
pub struct AccessConfig {
    pub join: String,
    pub publish: String,
    pub signal: String,
    pub history: String,
    pub members: String,
}

impl AccessConfig {
    /// All expressions.
    pub fn all(&self) -> [&str; 5] {
        [
            &self.join,
            &self.publish,
            &self.signal,
            &self.history,
            &self.members,
        ]
    }
}

/// What is stored and replayed.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct HistoryConfig {
    /// Most messages.
    pub max_messages: u32,
    /// How long a message is kept.
    pub max_age_seconds: u64,
    /// When a publish is acknowledged.
    pub durability: Durability,
}

/// What members learn about each other.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct RoomPresenceConfig {
    /// What they learn.
    pub mode: PresenceMode,
    /// Milliseconds for which changes are gathered; 0: told at once.
    pub batch_milliseconds: u32,
}

/// What one room may use.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct RoomLimitsConfig {
    /// Most members; 0: no limit.
    pub max_members: u32,
    /// Most bytes of `data` in one message; `None`: the cluster's limit.
    pub message_bytes: Option<u32>,
    /// Messages each second over all gateways; 0: no limit.
    pub messages_per_second: u32,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        let gateway = crate::realtime_cluster::Gateway::default();
        Self {
            version: CONFIG_VERSION,
            cluster: ClusterName::default(),
            key_prefix: String::new(),
            revision: String::new(),
            secrets_revision: String::new(),
            redis: RedisConfig::default(),
            auth: AuthConfig::default(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            tls: None,
            heartbeat: HeartbeatConfig::default(),
            presence: PresenceConfig::default(),
            limits: LimitsConfig::default(),
            undeclared_rooms: UndeclaredRooms::default(),
            drain_seconds: gateway.drain_seconds(),
            max_connections: gateway.max_connections(),
            memory_high_watermark: gateway.memory_high_watermark(),
            max_connection_age_seconds: gateway.max_connection_age_seconds(),
            playground: false,
            tracing: None,
            rooms: Vec::new(),
        }
    }
}

impl Default for HeartbeatConfig {
    fn default() -> Self {
        (&Heartbeat::default()).into()
    }
}

impl Default for PresenceConfig {
    fn default() -> Self {
        (&Presence::default()).into()
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        (&Limits::default()).into()
    }
}

impl Default for AccessConfig {
    fn default() -> Self {
        (&crate::room::Access::default()).into()
    }
}

impl Default for HistoryConfig {
    fn default() -> Self {
        (&crate::room::History::default()).into()
    }
}

#[cfg(test)]
mod tests;
