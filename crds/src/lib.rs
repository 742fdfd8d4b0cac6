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
//! | [`conditions`] | names of conditions and reasons, and how to set one |
//! | [`room_name`] | names of rooms, the reserved `user:` rooms |
//! | [`config`] | the gateways' config file: its types, its rendering, its bytes |
//! | [`duration`] | durations such as `24h` |
//!
//! Nothing here talks to a network, reads a file or knows the time.

pub mod access;
pub mod clash;
pub mod conditions;
pub mod config;
pub mod duration;
pub mod nearest;
pub mod pattern;
pub mod realtime_cluster;
pub mod room;
pub mod room_name;
pub mod schema;

pub use config::GatewayConfig;
pub use realtime_cluster::{RealtimeCluster, RealtimeClusterSpec, RealtimeClusterStatus};
pub use room::{Room, RoomSpec, RoomStatus};
pub use room_name::{RoomName, RoomNameError};

/// API group of both kinds.
pub const GROUP: &str = "rotunda.dev";
/// API version of both kinds.
pub const VERSION: &str = "v1alpha1";
