//! `spec.limits`, `spec.heartbeat` and `spec.presence`: what connections may use and when they count as gone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// What one connection, one user and one gateway may use. 0 means no limit, where it says so.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Frames that one connection may send each second on average. 0: no limit. Default: 20.
    pub messages_per_second: Option<u32>,
    /// Frames that one connection may send at once before the average counts. Default: 40.
    pub burst: Option<u32>,
    /// Bytes that one connection may send each second on average. 0: no limit. Default: 0.
    pub bytes_per_second: Option<u64>,
    /// Most bytes of `data` in one message. Default: 65536.
    pub message_bytes: Option<u32>,
    /// Most rooms that one connection may be in. Default: 100.
    pub rooms_per_connection: Option<u32>,
    /// Most bytes waiting to be sent to one connection before its room's `slowConsumer` policy takes over.
    /// Default: 1048576.
    pub send_queue_bytes: Option<u32>,
    /// Most connections of one user over all gateways. 0: no limit. Default: 0.
    pub connections_per_user: Option<u32>,
    /// Most handshakes of one gateway each second; more are answered 503. 0: no limit. Default: 0.
    pub handshakes_per_second: Option<u32>,
    /// Most handshakes of one address at one gateway each second; more are answered 429. 0: no limit. Default: 0.
    pub handshakes_per_second_per_address: Option<u32>,
}

impl Limits {
    /// Frames each second on average; 0: no limit.
    pub fn messages_per_second(&self) -> u32 {
        self.messages_per_second.unwrap_or(20)
    }

    /// Frames at once.
    pub fn burst(&self) -> u32 {
        self.burst.unwrap_or(40)
    }

    /// Bytes each second on average; 0: no limit.
    pub fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second.unwrap_or(0)
    }

    /// Most bytes of `data` in one message.
    pub fn message_bytes(&self) -> u32 {
        self.message_bytes.unwrap_or(65_536)
    }

    /// Most rooms of one connection.
    pub fn rooms_per_connection(&self) -> u32 {
        self.rooms_per_connection.unwrap_or(100)
    }

    /// Most bytes waiting for one connection.
    pub fn send_queue_bytes(&self) -> u32 {
        self.send_queue_bytes.unwrap_or(1_048_576)
    }

    /// Most connections of one user; 0: no limit.
    pub fn connections_per_user(&self) -> u32 {
        self.connections_per_user.unwrap_or(0)
    }

    /// Most handshakes of one gateway each second; 0: no limit.
    pub fn handshakes_per_second(&self) -> u32 {
        self.handshakes_per_second.unwrap_or(0)
    }

    /// Most handshakes of one address each second; 0: no limit.
    pub fn handshakes_per_second_per_address(&self) -> u32 {
        self.handshakes_per_second_per_address.unwrap_or(0)
    }
}

/// How dead connections are found.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Heartbeat {
    /// Seconds between two pings. Proxies on the way close what is silent for a minute, mostly. Default: 25.
    pub interval_seconds: Option<u32>,
    /// Seconds to wait for an answer before the connection counts as dead. Default: 10.
    pub timeout_seconds: Option<u32>,
}

impl Heartbeat {
    /// Seconds between two pings.
    pub fn interval_seconds(&self) -> u32 {
        self.interval_seconds.unwrap_or(25)
    }

    /// Seconds to wait for an answer.
    pub fn timeout_seconds(&self) -> u32 {
        self.timeout_seconds.unwrap_or(10)
    }
}

/// How long a member stays present without a sign of life.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Presence {
    /// Seconds after the last sign of life until a member has left; a reconnect within them is invisible to others.
    /// Default: 30.
    pub ttl_seconds: Option<u32>,
}

impl Presence {
    /// Seconds until a silent member has left.
    pub fn ttl_seconds(&self) -> u32 {
        self.ttl_seconds.unwrap_or(30)
    }
}
