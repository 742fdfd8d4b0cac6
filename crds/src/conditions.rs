//! Names of conditions and of the reasons they carry, and how one is set.
//!
//! Conditions follow kstatus: `Reconciling` is True while working, `Stalled` when the user must act. The names are part
//! of the API: tools wait for them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Types of conditions of a RealtimeCluster.
pub mod cluster {
    /// Clients can connect.
    pub const READY: &str = "Ready";
    /// The operator is working towards the spec.
    pub const RECONCILING: &str = "Reconciling";
    /// The user must act.
    pub const STALLED: &str = "Stalled";
    /// It serves, with less redundancy than asked for.
    pub const DEGRADED: &str = "Degraded";
    /// Redis serves all slots, or the external Redis answers.
    pub const REDIS_READY: &str = "RedisReady";
    /// The gateway pods are ready.
    pub const GATEWAYS_READY: &str = "GatewaysReady";
    /// The Service has an address.
    pub const ENDPOINT_READY: &str = "EndpointReady";
}

/// Types of conditions of a Room.
pub mod room {
    /// Valid and not shadowed.
    pub const ACCEPTED: &str = "Accepted";
    /// Every ready gateway runs it.
    pub const PROGRAMMED: &str = "Programmed";
    /// Accepted and Programmed.
    pub const READY: &str = "Ready";
}

/// Reasons that conditions carry.
pub mod reason {
    /// As it should be.
    pub const READY: &str = "Ready";
    /// Nothing to do.
    pub const UP_TO_DATE: &str = "UpToDate";
    /// Still working.
    pub const PROGRESSING: &str = "Progressing";
    /// Pods are being replaced.
    pub const ROLLING: &str = "Rolling";
    /// `rotunda.dev/paused: "true"` is set.
    pub const PAUSED: &str = "Paused";
    /// The spec can't be carried out as written.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// A Secret that the spec names doesn't exist.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// A Secret that the spec names lacks the entry, or the entry can't be used.
    pub const SECRET_INVALID: &str = "SecretInvalid";
    /// The image can't be pulled.
    pub const IMAGE_PULL_FAILED: &str = "ImagePullFailed";
    /// A pod can't be scheduled.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// Pods end and start again.
    pub const CRASHING: &str = "Crashing";
    /// Pods aren't ready yet.
    pub const PODS_NOT_READY: &str = "PodsNotReady";
    /// No gateway pod is ready.
    pub const NO_GATEWAYS: &str = "NoGateways";
    /// The load balancer has no address yet.
    pub const NO_ADDRESS: &str = "NoAddress";
    /// Redis isn't ready.
    pub const REDIS_NOT_READY: &str = "RedisNotReady";
    /// A replica is missing or behind, or there is none to fail over to.
    pub const REDUCED_REDUNDANCY: &str = "ReducedRedundancy";
    /// Everything asked for is there.
    pub const FULL_REDUNDANCY: &str = "FullRedundancy";
    /// The API server refused what the operator applied.
    pub const APPLY_FAILED: &str = "ApplyFailed";
    /// Valid, and nothing stands in its way.
    pub const ACCEPTED: &str = "Accepted";
    /// The RealtimeCluster that a Room names doesn't exist.
    pub const CLUSTER_NOT_FOUND: &str = "ClusterNotFound";
    /// The RealtimeCluster doesn't let Rooms of this namespace in.
    pub const NOT_ALLOWED: &str = "NotAllowed";
    /// An older Room has the same name or pattern.
    pub const CLASH: &str = "Clash";
    /// An access expression doesn't compile.
    pub const INVALID_ACCESS: &str = "InvalidAccess";
    /// Every ready gateway runs it.
    pub const PROGRAMMED: &str = "Programmed";
    /// Not every ready gateway runs it yet.
    pub const PENDING: &str = "Pending";
    /// A gateway doesn't answer.
    pub const GATEWAY_SILENT: &str = "GatewaySilent";
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It doesn't.
    False,
    /// Nobody can tell.
    Unknown,
}

impl ConditionStatus {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Longest message that the schema takes, in bytes (Kubernetes' own maximum for conditions).
pub const MAX_MESSAGE_BYTES: usize = 32_768;

/// Sets a condition: replaces the one of its type in place, or appends it. `lastTransitionTime` changes only with the
/// status. Returns whether anything changed.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: ConditionStatus,
    reason: &str,
    message: impl Into<String>,
    observed_generation: Option<i64>,
    now: Time,
) -> bool {
    let mut wanted = Condition {
        type_: type_.to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.to_owned(),
        message: bounded(message.into()),
        observed_generation,
        last_transition_time: now,
    };
    let Some(existing) = conditions
        .iter_mut()
        .find(|condition| condition.type_ == type_)
    else {
        conditions.push(wanted);
        return true;
    };
    if existing.status == wanted.status {
        wanted.last_transition_time = existing.last_transition_time.clone();
    }
    let changed = *existing != wanted;
    *existing = wanted;
    changed
}

/// The condition of a type, where it stands.
pub fn find_condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of a type stands and is True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find_condition(conditions, type_).is_some_and(|condition| condition.status == "True")
}

fn bounded(mut message: String) -> String {
    if message.len() > MAX_MESSAGE_BYTES {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(second).expect("in range"))
    }

    #[test]
    fn transition_time_stays_while_the_status_stays() {
        let mut conditions = vec![];
        assert!(set_condition(
            &mut conditions,
            "Ready",
            ConditionStatus::False,
            "A",
            "a",
            Some(1),
            at(1)
        ));
        assert!(set_condition(
            &mut conditions,
            "Ready",
            ConditionStatus::False,
            "B",
            "b",
            Some(2),
            at(2)
        ));
        assert_eq!(conditions[0].last_transition_time, at(1));
        assert_eq!(conditions[0].reason, "B");
        assert!(!set_condition(
            &mut conditions,
            "Ready",
            ConditionStatus::False,
            "B",
            "b",
            Some(2),
            at(3)
        ));
        assert!(set_condition(
            &mut conditions,
            "Ready",
            ConditionStatus::True,
            "C",
            "c",
            Some(2),
            at(4)
        ));
        assert_eq!(conditions[0].last_transition_time, at(4));
        assert_eq!(conditions.len(), 1);
    }

    #[test]
    fn an_endless_message_is_cut_between_characters() {
        let mut conditions = vec![];
        set_condition(
            &mut conditions,
            "Ready",
            ConditionStatus::Unknown,
            "A",
            "ä".repeat(40_000),
            None,
            at(1),
        );
        assert_eq!(conditions[0].message.len(), MAX_MESSAGE_BYTES);
    }
}
