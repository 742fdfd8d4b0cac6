//! From a RealtimeCluster and its Rooms to the config of its gateways. Pure: the operator and `rotunda-gateway dev` call
//! the same function.

use std::collections::{HashMap, HashSet};

use super::{
    AccessConfig, ApiKeyConfig, AuthConfig, CONFIG_VERSION, ClusterName, GatewayConfig,
    HeartbeatConfig, HistoryConfig, JwtConfig, JwtKeyConfig, LimitsConfig, PresenceConfig,
    RedisConfig, RoomConfig, RoomLimitsConfig, RoomMatch, RoomPolicy, RoomPresenceConfig,
    TlsConfig, TracingConfig, files,
};
use crate::{
    access::Expression,
    clash::{by_age, find_clashes},
    pattern,
    realtime_cluster::{Heartbeat, Jwt, JwtKey, JwtKeySource, Limits, Presence, RealtimeCluster},
    room::{Access, History, Room},
};

/// What a config is rendered from.
#[derive(Clone, Copy, Debug)]
pub struct RenderInput<'a> {
    /// The cluster.
    pub cluster: &'a RealtimeCluster,
    /// Rooms that may name the cluster, in any order. Those that name another one, are being deleted, or lose a clash are
    /// left out.
    pub rooms: &'a [Room],
    /// Revision of the config.
    pub revision: &'a str,
    /// Revision of the secret files.
    pub secrets_revision: &'a str,
    /// Entries of the Secret that `auth.apiKeysSecretRef` names.
    pub api_key_entries: &'a [String],
    /// Whether the broker is Redis; false: the memory broker, for development.
    pub redis: bool,
    /// The config that is in force. A Room whose access expressions don't compile keeps the policy (and the generation) it
    /// has there.
    pub previous: Option<&'a GatewayConfig>,
}

/// Renders the config of a cluster's gateways. Equal input in any order gives equal output.
pub fn render(input: &RenderInput<'_>) -> GatewayConfig {
    let cluster = input.cluster;
    let spec = &cluster.spec;
    GatewayConfig {
        version: CONFIG_VERSION,
        cluster: ClusterName {
            namespace: cluster.namespace().to_owned(),
            name: cluster.name().to_owned(),
        },
        key_prefix: cluster.key_prefix(),
        revision: input.revision.to_owned(),
        secrets_revision: input.secrets_revision.to_owned(),
        redis: RedisConfig {
            url_file: input.redis.then(|| files::REDIS_URL_FILE.to_owned()),
        },
        auth: auth(input),
        allowed_origins: spec.allowed_origins.clone(),
        trusted_proxies: spec.trusted_proxies.clone(),
        proxy_protocol: spec.proxy_protocol(),
        tls: spec.tls_secret().map(|_| TlsConfig {
            certificate_file: files::TLS_CERTIFICATE_FILE.to_owned(),
            key_file: files::TLS_KEY_FILE.to_owned(),
        }),
        heartbeat: (&spec.heartbeat).into(),
        presence: (&spec.presence).into(),
        limits: (&spec.limits).into(),
        undeclared_rooms: spec.undeclared_rooms(),
        drain_seconds: spec.gateway.drain_seconds(),
        max_connections: spec.gateway.max_connections(),
        memory_high_watermark: spec.gateway.memory_high_watermark(),
        max_connection_age_seconds: spec.gateway.max_connection_age_seconds(),
        playground: spec.playground(),
        tracing: spec
            .monitoring
            .tracing
            .endpoint()
            .map(|endpoint| TracingConfig {
                endpoint: endpoint.to_owned(),
                sample_ratio: spec.monitoring.tracing.sample_ratio(),
            }),
        rooms: rooms(input),
    }
}

fn auth(input: &RenderInput<'_>) -> AuthConfig {
    let auth = &input.cluster.spec.auth;
    let mut entries: Vec<&String> = input.api_key_entries.iter().collect();
    entries.sort();
    AuthConfig {
        jwt: auth.jwt.as_ref().map(jwt),
        anonymous: auth.anonymous(),
        api_keys: entries
            .into_iter()
            .map(|entry| ApiKeyConfig {
                name: entry.clone(),
                file: files::api_key_file(entry),
            })
            .collect(),
    }
}

fn jwt(jwt: &Jwt) -> JwtConfig {
    JwtConfig {
        keys: jwt.keys.iter().filter_map(jwt_key).collect(),
        issuer: jwt.issuer().map(str::to_owned),
        audience: jwt.audience().map(str::to_owned),
    }
}

fn jwt_key(key: &JwtKey) -> Option<JwtKeyConfig> {
    let (file, jwks_url) = match key.source()? {
        JwtKeySource::Secret(_) | JwtKeySource::PublicKey(_) => {
            (Some(files::jwt_file(&key.id)), None)
        }
        JwtKeySource::Jwks(url) => (None, Some(url.to_owned())),
    };
    Some(JwtKeyConfig {
        id: key.id.clone(),
        file,
        jwks_url,
        algorithms: key.algorithms(),
    })
}

fn rooms(input: &RenderInput<'_>) -> Vec<RoomConfig> {
    let cluster_key = (input.cluster.namespace(), input.cluster.name());
    let losers: HashSet<usize> = find_clashes(input.rooms)
        .iter()
        .map(|clash| clash.loser)
        .collect();
    let mut compiles = HashMap::new();
    let mut rooms: Vec<RoomConfig> = input
        .rooms
        .iter()
        .enumerate()
        .filter(|(index, room)| {
            let leaving = room.metadata.deletion_timestamp.is_some();
            room.cluster_key() == cluster_key && !leaving && !losers.contains(index)
        })
        .filter_map(|(_, room)| room_config(room))
        .map(|wanted| {
            let sound = wanted.policy.access.all().into_iter().all(|source| {
                let compile = || Expression::compile(source).is_ok();
                *compiles.entry(source.to_owned()).or_insert_with(compile)
            });
            if sound {
                wanted
            } else {
                in_force(input.previous, wanted)
            }
        })
        .collect();
    rooms.sort_by(by_precedence);
    rooms
}

/// What stands in the config before, where it is the same Room; else what is wanted, which denies until it compiles.
fn in_force(previous: Option<&GatewayConfig>, wanted: RoomConfig) -> RoomConfig {
    let same = |room: &&RoomConfig| {
        (&room.namespace, &room.name) == (&wanted.namespace, &wanted.name)
            && room.matches == wanted.matches
            && room.creation_timestamp == wanted.creation_timestamp
    };
    let found = previous
        .and_then(|config| config.rooms.iter().find(same))
        .cloned();
    found.unwrap_or(wanted)
}

/// Exact names first, then the longest literal prefix, then the older one, then the name.
fn by_precedence(a: &RoomConfig, b: &RoomConfig) -> std::cmp::Ordering {
    pattern::precedence(&a.matches, &b.matches)
        .then_with(|| by_age(a.creation_timestamp.as_ref(), b.creation_timestamp.as_ref()))
        .then_with(|| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)))
}

fn room_config(room: &Room) -> Option<RoomConfig> {
    let spec = &room.spec;
    let text = spec.match_text()?.to_owned();
    Some(RoomConfig {
        namespace: room.namespace().to_owned(),
        name: room.name().to_owned(),
        generation: room.metadata.generation.unwrap_or(0),
        creation_timestamp: room.creation_timestamp().cloned(),
        matches: if spec.pattern.is_some() {
            RoomMatch::Pattern(text)
        } else {
            RoomMatch::Name(text)
        },
        policy: RoomPolicy {
            access: (&spec.access).into(),
            history: (&spec.history).into(),
            presence: RoomPresenceConfig {
                mode: spec.presence.mode(),
                batch_milliseconds: spec.presence.batch_milliseconds(),
            },
            limits: RoomLimitsConfig {
                max_members: spec.limits.max_members(),
                message_bytes: spec.limits.message_bytes,
                messages_per_second: spec.limits.messages_per_second(),
            },
            slow_consumer: spec.slow_consumer.policy(),
        },
    })
}

impl From<&Heartbeat> for HeartbeatConfig {
    fn from(spec: &Heartbeat) -> Self {
        Self {
            interval_seconds: spec.interval_seconds(),
            timeout_seconds: spec.timeout_seconds(),
        }
    }
}

impl From<&Presence> for PresenceConfig {
    fn from(spec: &Presence) -> Self {
        Self {
            ttl_seconds: spec.ttl_seconds(),
        }
    }
}

impl From<&Limits> for LimitsConfig {
    fn from(spec: &Limits) -> Self {
        Self {
            messages_per_second: spec.messages_per_second(),
            burst: spec.burst(),
            bytes_per_second: spec.bytes_per_second(),
            message_bytes: spec.message_bytes(),
            rooms_per_connection: spec.rooms_per_connection(),
            send_queue_bytes: spec.send_queue_bytes(),
            connections_per_user: spec.connections_per_user(),
            handshakes_per_second: spec.handshakes_per_second(),
            handshakes_per_second_per_address: spec.handshakes_per_second_per_address(),
        }
    }
}

impl From<&Access> for AccessConfig {
    fn from(spec: &Access) -> Self {
        Self {
            join: spec.join().to_owned(),
            publish: spec.publish().to_owned(),
            signal: spec.signal().to_owned(),
            history: spec.history().to_owned(),
            members: spec.members().to_owned(),
        }
    }
}

impl From<&History> for HistoryConfig {
    fn from(spec: &History) -> Self {
        Self {
            max_messages: spec.max_messages(),
            max_age_seconds: spec.max_age_seconds(),
            durability: spec.durability(),
        }
    }
}
