//! Which rules hold in a room: from a room's name to its policy, by the loaded config.
//!
//! A table is built once for each config and never changed; a reload swaps in another one whole. It knows nothing of rooms that are in use.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use rotunda_crds::RoomName;
use rotunda_crds::config::{GatewayConfig, RoomConfig, RoomMatch, RoomPolicy};
use rotunda_crds::pattern::RoomPattern;
use rotunda_crds::realtime_cluster::UndeclaredRooms;
use rotunda_crds::room::{Durability as ConfiguredDurability, PresenceMode};

use crate::access::Access;
use crate::broker::{Durability, Retention};

/// A Room resource, as `/stats` tells of it.
#[derive(Debug)]
pub struct Resource {
    pub namespace: String,
    pub name: String,
    /// As loaded.
    pub generation: i64,
    /// Messages published in its rooms through this gateway since it started.
    pub published: Counter,
}

/// Message counts by Room resource, which outlive the configs.
#[derive(Debug, Default)]
pub struct PublishCounters(Mutex<HashMap<(String, String), Counter>>);

impl PublishCounters {
    fn of(&self, room: &RoomConfig) -> Counter {
        let key = (room.namespace.clone(), room.name.clone());
        self.0.lock().entry(key).or_default().clone()
    }
}

/// What holds in one room or in all rooms of a pattern.
#[derive(Debug)]
pub struct Policy {
    /// Which Room resource it comes from; `None` for a room that nobody declared.
    pub resource: Option<Arc<Resource>>,
    pub access: Access,
    pub retention: Retention,
    pub durability: Durability,
    pub presence: PresenceMode,
    /// For how long changes of presence are gathered; zero tells them at once.
    pub presence_batch: Duration,
    /// Most names in one frame about presence; past that only the count is told.
    pub presence_names: usize,
    pub max_members: Option<u64>,
    /// Most bytes of `data`.
    pub message_bytes: usize,
    /// Messages a second over all gateways.
    pub messages_per_second: Option<u32>,
    source: RoomPolicy,
}

/// A room that isn't to tell each change at once, and whose policy names no time, gathers for this long.
const DEFAULT_BATCH: Duration = Duration::from_secs(1);

/// As many as an answer to `members` has.
const FULL_NAMES: usize = 1000;

const BATCHED_NAMES: usize = 100;

impl Policy {
    fn new(resource: Option<Arc<Resource>>, policy: &RoomPolicy, config: &GatewayConfig) -> Self {
        let cluster_limit = config.limits.message_bytes;
        let batch = Duration::from_millis(u64::from(policy.presence.batch_milliseconds));
        Self {
            resource,
            access: Access::compile(&policy.access),
            retention: Retention {
                max_messages: u64::from(policy.history.max_messages).max(1),
                max_age: Duration::from_secs(policy.history.max_age_seconds),
            },
            durability: match policy.history.durability {
                ConfiguredDurability::Async => Durability::Async,
                ConfiguredDurability::Replicated => Durability::Replicated,
            },
            presence: policy.presence.mode,
            presence_batch: match policy.presence.mode {
                PresenceMode::Batched | PresenceMode::Count if batch.is_zero() => DEFAULT_BATCH,
                _ => batch,
            },
            presence_names: match policy.presence.mode {
                PresenceMode::Full => FULL_NAMES,
                PresenceMode::Batched => BATCHED_NAMES,
                PresenceMode::Count | PresenceMode::Off => 0,
            },
            max_members: Some(u64::from(policy.limits.max_members)).filter(|max| *max > 0),
            message_bytes: policy
                .limits
                .message_bytes
                .unwrap_or(cluster_limit)
                .min(cluster_limit) as usize,
            messages_per_second: Some(policy.limits.messages_per_second).filter(|rate| *rate > 0),
            source: policy.clone(),
        }
    }

    /// Whether the rules are the same, wherever they come from.
    pub fn same_rules(&self, other: &Self) -> bool {
        self.source == other.source && self.message_bytes == other.message_bytes
    }

    /// Whether members are counted at all.
    pub fn counts_members(&self) -> bool {
        !matches!(self.presence, PresenceMode::Off)
    }
}

/// The policies of a config.
#[derive(Debug)]
pub struct Policies {
    exact: HashMap<String, Arc<Policy>>,
    /// By precedence.
    patterns: Vec<(RoomPattern, Arc<Policy>)>,
    undeclared: Option<Arc<Policy>>,
    /// For the reserved rooms that nobody declared.
    reserved: Arc<Policy>,
    /// One for each Room resource, in the config's order.
    declared: Vec<Arc<Policy>>,
}

/// A config's room whose pattern is none.
#[derive(Debug, thiserror::Error)]
#[error("the Room {namespace}/{name} has an impossible pattern: {reason}")]
pub struct BadPattern {
    namespace: String,
    name: String,
    reason: String,
}

impl Policies {
    /// Builds the table of a config.
    pub fn new(config: &GatewayConfig, counters: &PublishCounters) -> Result<Self, BadPattern> {
        let default = Policy::new(None, &RoomPolicy::default(), config);
        let allow = matches!(config.undeclared_rooms, UndeclaredRooms::Allow);
        let mut policies = Self {
            exact: HashMap::new(),
            patterns: Vec::new(),
            undeclared: allow.then(|| Arc::new(default)),
            reserved: Arc::new(Policy::new(None, &owner_only(), config)),
            declared: Vec::with_capacity(config.rooms.len()),
        };
        for room in &config.rooms {
            let resource = Arc::new(Resource {
                namespace: room.namespace.clone(),
                name: room.name.clone(),
                generation: room.generation,
                published: counters.of(room),
            });
            let policy = Arc::new(Policy::new(Some(resource), &room.policy, config));
            policies.declared.push(Arc::clone(&policy));
            match &room.matches {
                RoomMatch::Name(name) => {
                    policies.exact.entry(name.clone()).or_insert(policy);
                }
                RoomMatch::Pattern(pattern) => policies
                    .patterns
                    .push((parse_pattern(room, pattern)?, policy)),
            }
        }
        Ok(policies)
    }

    /// One for each Room resource, in the config's order.
    pub fn declared(&self) -> &[Arc<Policy>] {
        &self.declared
    }

    /// The policy of a room; `None` where the room is nobody's and undeclared rooms are denied.
    pub fn of(&self, room: &RoomName) -> Option<&Arc<Policy>> {
        self.exact
            .get(room.as_str())
            .or_else(|| {
                self.patterns
                    .iter()
                    .find(|(pattern, _)| pattern.matches(room))
                    .map(|(_, policy)| policy)
            })
            .or(if room.is_reserved() {
                Some(&self.reserved)
            } else {
                self.undeclared.as_ref()
            })
    }
}

/// Nobody but the owner, who needs no expression, may publish into a user's room that no Room is about. Also where undeclared rooms are allowed:
/// there anyone could write to anyone.
fn owner_only() -> RoomPolicy {
    let mut policy = RoomPolicy::default();
    "false".clone_into(&mut policy.access.publish);
    "false".clone_into(&mut policy.access.signal);
    policy
}

fn parse_pattern(room: &RoomConfig, pattern: &str) -> Result<RoomPattern, BadPattern> {
    RoomPattern::parse(pattern).map_err(|error| BadPattern {
        namespace: room.namespace.clone(),
        name: room.name.clone(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    fn declared(resource: &str, matches: RoomMatch) -> RoomConfig {
        RoomConfig {
            namespace: "demo".to_owned(),
            name: resource.to_owned(),
            generation: 1,
            creation_timestamp: None,
            matches,
            policy: RoomPolicy::default(),
        }
    }

    fn policies(rooms: Vec<RoomConfig>, undeclared_rooms: UndeclaredRooms) -> Policies {
        let config = GatewayConfig {
            rooms,
            undeclared_rooms,
            ..GatewayConfig::default()
        };
        Policies::new(&config, &PublishCounters::default()).unwrap()
    }

    fn resource_of(policies: &Policies, name: &str) -> Option<String> {
        policies
            .of(&room(name))
            .and_then(|policy| Some(policy.resource.as_ref()?.name.clone()))
    }

    #[test]
    fn the_exact_name_wins_and_then_the_first_pattern_that_matches() {
        let policies = policies(
            vec![
                declared("lobby", RoomMatch::Name("team:lobby".to_owned())),
                declared("red", RoomMatch::Pattern("team:red*".to_owned())),
                declared("teams", RoomMatch::Pattern("team:*".to_owned())),
            ],
            UndeclaredRooms::Deny,
        );
        assert_eq!(
            resource_of(&policies, "team:lobby").as_deref(),
            Some("lobby")
        );
        assert_eq!(resource_of(&policies, "team:red1").as_deref(), Some("red"));
        assert_eq!(
            resource_of(&policies, "team:blue").as_deref(),
            Some("teams")
        );
        assert!(policies.of(&room("team:blue:deep")).is_none());
    }

    #[test]
    fn undeclared_rooms_are_denied_or_get_the_defaults_and_users_rooms_always_exist() {
        let deny = policies(vec![], UndeclaredRooms::Deny);
        assert!(deny.of(&room("lobby")).is_none());
        assert!(deny.of(&room("user:alice")).is_some());
        let allow = policies(vec![], UndeclaredRooms::Allow);
        assert!(
            allow
                .of(&room("lobby"))
                .is_some_and(|policy| policy.resource.is_none())
        );
    }

    #[test]
    fn a_room_takes_no_more_bytes_than_the_cluster() {
        let mut config = declared("lobby", RoomMatch::Name("lobby".to_owned()));
        config.policy.limits.message_bytes = Some(1 << 20);
        let policies = policies(vec![config], UndeclaredRooms::Deny);
        assert_eq!(policies.of(&room("lobby")).unwrap().message_bytes, 65_536);
    }

    #[test]
    fn message_counts_outlive_a_config() {
        let config = GatewayConfig {
            rooms: vec![declared("lobby", RoomMatch::Name("lobby".to_owned()))],
            ..GatewayConfig::default()
        };
        let counters = PublishCounters::default();
        for expected in [1, 2] {
            let policies = Policies::new(&config, &counters).unwrap();
            let resource = policies.declared()[0].resource.clone().unwrap();
            resource.published.inc();
            assert_eq!(resource.published.get(), expected);
        }
    }
}
