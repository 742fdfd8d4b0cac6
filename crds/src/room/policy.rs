//! The parts of a Room's policy: access, history, presence, limits, slow consumers, deletion.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{duration, realtime_cluster::non_empty};

/// What join and publish default to: whoever has shown a token.
pub const DEFAULT_ACCESS: &str = "!user.anonymous";

/// Who may do what, as CEL expressions that yield true or false.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Access {
    /// Who may join the room and receive its messages. Default: `!user.anonymous`.
    pub join: Option<String>,
    /// Who may publish messages. Default: `!user.anonymous`.
    pub publish: Option<String>,
    /// Who may send signals. Default: as `publish`.
    pub signal: Option<String>,
    /// Who may read pages of the history. Default: as `join`.
    pub history: Option<String>,
    /// Who may ask who is there. Default: as `join`.
    pub members: Option<String>,
}

impl Access {
    /// Expression for joining.
    pub fn join(&self) -> &str {
        non_empty(self.join.as_ref()).unwrap_or(DEFAULT_ACCESS)
    }

    /// Expression for publishing.
    pub fn publish(&self) -> &str {
        non_empty(self.publish.as_ref()).unwrap_or(DEFAULT_ACCESS)
    }

    /// Expression for signals.
    pub fn signal(&self) -> &str {
        non_empty(self.signal.as_ref()).unwrap_or_else(|| self.publish())
    }

    /// Expression for reading history.
    pub fn history(&self) -> &str {
        non_empty(self.history.as_ref()).unwrap_or_else(|| self.join())
    }

    /// Expression for asking who is there.
    pub fn members(&self) -> &str {
        non_empty(self.members.as_ref()).unwrap_or_else(|| self.join())
    }
}

/// What is stored and replayed.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct History {
    /// Most messages that a room keeps; older ones go first. Default: 1000.
    pub max_messages: Option<u32>,
    /// How long a message is kept: whole numbers with `d`, `h`, `m` or `s`, such as `24h`, `7d` or `1h30m`. Default: 24h.
    pub max_age: Option<String>,
    /// When a publish is acknowledged: `Async` once the primary has it, `Replicated` once a replica has it too.
    /// Default: `Async`.
    pub durability: Option<Durability>,
}

/// When a publish is acknowledged.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Once the primary has it.
    #[default]
    Async,
    /// Once a replica has it too.
    Replicated,
}

impl History {
    /// Most messages that a room keeps.
    pub fn max_messages(&self) -> u32 {
        self.max_messages.unwrap_or(1000)
    }

    /// How long a message is kept, in seconds. Text that the schema would have refused counts as the default.
    pub fn max_age_seconds(&self) -> u64 {
        non_empty(self.max_age.as_ref())
            .and_then(|text| duration::parse_seconds(text).ok())
            .unwrap_or(24 * 60 * 60)
    }

    /// When a publish is acknowledged.
    pub fn durability(&self) -> Durability {
        self.durability.unwrap_or_default()
    }
}

/// What members learn about each other.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RoomPresence {
    /// `Full`: each coming and going at once. `Batched`: gathered, 100 names at most, then counts.
    /// `Count`: only how many. `"Off"`: nothing; in quotes, since kubectl takes a bare Off for false.
    /// Default: `Full`.
    pub mode: Option<PresenceMode>,
    /// Milliseconds for which changes are gathered before they are told. Default: 1000 with `Batched` and `Count`, else 0.
    pub batch_milliseconds: Option<u32>,
}

/// What members learn about each other.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PresenceMode {
    /// Each coming and going.
    #[default]
    Full,
    /// Comings and goings gathered, at most 100 names, then counts.
    Batched,
    /// Only how many.
    Count,
    /// Nothing.
    Off,
}

impl RoomPresence {
    /// What members learn.
    pub fn mode(&self) -> PresenceMode {
        self.mode.unwrap_or_default()
    }

    /// Milliseconds for which changes are gathered.
    pub fn batch_milliseconds(&self) -> u32 {
        match (self.batch_milliseconds, self.mode()) {
            (None | Some(0), PresenceMode::Batched | PresenceMode::Count) => 1000,
            (written, _) => written.unwrap_or(0),
        }
    }
}

/// What one room may use.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RoomLimits {
    /// Most members of one room. 0: no limit. Default: 0.
    pub max_members: Option<u32>,
    /// Most bytes of `data` in one message; the cluster's limit holds too. Default: the cluster's.
    pub message_bytes: Option<u32>,
    /// Messages published in one room each second, over all gateways. 0: no limit. Default: 0.
    pub messages_per_second: Option<u32>,
}

impl RoomLimits {
    /// Most members of one room; 0: no limit.
    pub fn max_members(&self) -> u32 {
        self.max_members.unwrap_or(0)
    }

    /// Most bytes of `data` in one message, in a cluster with that limit.
    pub fn message_bytes(&self, cluster_limit: u32) -> u32 {
        self.message_bytes
            .map_or(cluster_limit, |bytes| bytes.min(cluster_limit))
    }

    /// Messages each second in one room; 0: no limit.
    pub fn messages_per_second(&self) -> u32 {
        self.messages_per_second.unwrap_or(0)
    }
}

/// What happens to a connection that reads too slowly.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct SlowConsumer {
    /// Once its send queue is full: `Disconnect` closes it with 4430, to resume later; `DropOldest` drops the oldest
    /// waiting messages of the room and tells the gap; `KeepLatest` keeps only the newest message of the room.
    /// Default: `Disconnect`.
    pub policy: Option<SlowConsumerPolicy>,
}

/// What gives way when a send queue is full.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowConsumerPolicy {
    /// The connection: closed with 4430, to resume later.
    #[default]
    Disconnect,
    /// The oldest waiting messages of the room.
    DropOldest,
    /// All waiting messages of the room but the newest.
    KeepLatest,
}

impl SlowConsumer {
    /// What gives way when a send queue is full.
    pub fn policy(&self) -> SlowConsumerPolicy {
        self.policy.unwrap_or_default()
    }
}

/// What happens with stored messages when their Room resource is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// They stay until their `maxAge`.
    #[default]
    Retain,
    /// They go with it.
    Delete,
}
