//! Rotunda's two custom resources and everything pure that operator and gateways share.
//!
//! ```text
//! kubectl apply ─► RealtimeCluster + Room ─► config::render ─► config.json.gz ─► gateway
//! ```
//!
//! | module | job |
//! |---|---|
//! | [`realtime_cluster`] | the kind `RealtimeCluster`, by topic, with its defaults |
//! | [`room`] | the kind `Room`, with its defaults |
//! | [`schema`] | the CRDs: shape, bounds, CEL rules, manifests, reference; what the API server would say about an object |
//! | [`validate`] | what the schema can't say about an object |
//! | [`conditions`] | names of conditions and reasons, and how to set one |
//! | [`room_name`] | names of rooms, the reserved `user:` rooms |
//! | [`pattern`] | patterns of room names, and which policy goes first |
//! | [`clash`] | Rooms that want the same name or pattern |
//! | [`access`] | who may do what in a room: CEL, compiled once, safe against hostile text |
//! | [`redis_url`] | where Redis is and how to log in |
//! | [`duration`] | durations such as `24h` |
//! | [`config`] | the gateways' config file: its types, its rendering, its bytes |
//! | [`manifests`] | manifests for `rotunda-gateway dev`, read strictly |
//! | [`nearest`] | "did you mean …?" |
//!
//! Nothing here talks to a network, reads a file or knows the time.

pub mod access;
pub mod clash;
pub mod conditions;
pub mod config;
pub mod duration;
pub mod manifests;
pub mod nearest;
pub mod pattern;
pub mod realtime_cluster;
pub mod redis_url;
pub mod room;
pub mod room_name;
pub mod schema;
pub mod validate;

pub use config::GatewayConfig;
pub use realtime_cluster::{RealtimeCluster, RealtimeClusterSpec, RealtimeClusterStatus};
pub use room::{Room, RoomSpec, RoomStatus};
pub use room_name::{RoomName, RoomNameError};

/// API group of both kinds.
pub const GROUP: &str = "rotunda.dev";
/// API version of both kinds.
pub const VERSION: &str = "v1alpha1";
