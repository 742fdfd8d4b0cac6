//! The kind `Room`: the policy of one room, or of every room whose name matches a pattern.
//!
//! Read like a [`RealtimeCluster`](crate::RealtimeCluster): a field as written, or with its default by the method of the
//! same name.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

pub mod policy;

pub use policy::{
    Access, DeletionPolicy, Durability, History, PresenceMode, RoomLimits, RoomPresence,
    SlowConsumer, SlowConsumerPolicy,
};

use crate::realtime_cluster::non_empty;

/// Wanted state of a Room: which rooms it is about, and their policy.
#[allow(
    clippy::duplicated_attributes,
    reason = "columns of the same type share an argument"
)]
#[skip_serializing_none]
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "rotunda.dev",
    version = "v1alpha1",
    kind = "Room",
    plural = "rooms",
    category = "rotunda",
    namespaced,
    status = "RoomStatus",
    derive = "PartialEq",
    doc = "The policy of one room, or of every room whose name matches a pattern.",
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.clusterRef.name",
        description = "RealtimeCluster that serves the rooms"
    ),
    printcolumn(
        name = "Match",
        type_ = "string",
        json_path = ".spec['name','pattern']",
        description = "Name or pattern of the rooms"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether the policy is valid and not shadowed by an identical name or pattern"
    ),
    printcolumn(
        name = "Members",
        type_ = "integer",
        json_path = ".status.members",
        description = "Members over all rooms of this policy"
    ),
    printcolumn(
        name = "Msg/s",
        type_ = "integer",
        json_path = ".status.messagesPerSecond",
        description = "Messages published each second over all rooms of this policy"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct RoomSpec {
    /// RealtimeCluster that serves the rooms. Immutable.
    pub cluster_ref: ClusterRef,
    /// Name of the one room this is about. Exactly one of `name` and `pattern`; immutable.
    pub name: Option<String>,
    /// Pattern of the names of rooms this is about: `*` matches within a segment, `**` across; segments part at `:`.
    /// Exactly one of `name` and `pattern`; immutable.
    pub pattern: Option<String>,
    /// Who may do what, as CEL expressions over `user.id`, `user.claims`, `user.anonymous`, `room.name` and
    /// `room.segments`. An error or a missing claim denies.
    #[serde(default)]
    pub access: Access,
    /// What is stored and replayed.
    #[serde(default)]
    pub history: History,
    /// What members learn about each other.
    #[serde(default)]
    pub presence: RoomPresence,
    /// What one room may use.
    #[serde(default)]
    pub limits: RoomLimits,
    /// What happens to a connection that reads too slowly.
    #[serde(default)]
    pub slow_consumer: SlowConsumer,
    /// What happens with the stored messages when this resource is deleted: `Retain` leaves them to their `maxAge`,
    /// `Delete` takes them along. Default: `Retain`.
    pub deletion_policy: Option<DeletionPolicy>,
}

/// The RealtimeCluster that serves a Room.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// Name of the RealtimeCluster.
    pub name: String,
    /// Namespace of the RealtimeCluster, whose `allowedRooms` must let this one in. Default: the Room's own.
    pub namespace: Option<String>,
}

/// Observed state of a Room.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RoomStatus {
    /// Generation of the spec that this status is about; -1 before the operator has seen the object.
    pub observed_generation: Option<i64>,
    /// Accepted: valid and not shadowed. Programmed: every ready gateway runs it. Ready: both.
    pub conditions: Vec<Condition>,
    /// Rooms of this policy with at least one member, to two significant digits.
    pub active_rooms: Option<i64>,
    /// Members over all those rooms, to two significant digits.
    pub members: Option<i64>,
    /// Messages published each second over all those rooms, to two significant digits.
    pub messages_per_second: Option<i64>,
}

impl RoomSpec {
    /// The name or the pattern; `None` only for an object that the schema would have refused.
    pub fn match_text(&self) -> Option<&str> {
        match (
            non_empty(self.name.as_ref()),
            non_empty(self.pattern.as_ref()),
        ) {
            (Some(text), None) | (None, Some(text)) => Some(text),
            _ => None,
        }
    }

    /// What happens with the stored messages when the resource is deleted.
    pub fn deletion_policy(&self) -> DeletionPolicy {
        self.deletion_policy.unwrap_or_default()
    }
}

impl Room {
    /// Namespace of the object; empty for one that was never in a cluster.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Name of the object (not of the room).
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Namespace and name of the RealtimeCluster that serves it.
    pub fn cluster_key(&self) -> (&str, &str) {
        let reference = &self.spec.cluster_ref;
        let namespace = non_empty(reference.namespace.as_ref()).unwrap_or_else(|| self.namespace());
        (namespace, &reference.name)
    }

    /// When the object was created; the older one wins a clash.
    pub fn creation_timestamp(&self) -> Option<&Time> {
        self.metadata.creation_timestamp.as_ref()
    }
}
