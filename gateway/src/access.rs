//! Whether someone may do something in a room: the Room's CEL expressions, and the rule of the reserved rooms.
//!
//! The commonest expressions are known by their text and need no evaluation; the rest is built and evaluated on demand, since a connection at
//! rest should hold no tree of claims. An expression that doesn't compile denies everything it guards.

use rotunda_crds::RoomName;
use rotunda_crds::access::{AccessRules, Action, RoomFacts, Subject};
use rotunda_crds::config::AccessConfig;
use serde_json::{Map, Value};

use crate::auth::Identity;
use crate::dialect::{ErrorCode, Failure};
use crate::policy::Policy;

/// The compiled access of a Room.
#[derive(Debug)]
pub struct Access {
    rules: Result<AccessRules, String>,
    shortcuts: [Option<Shortcut>; Action::ALL.len()],
}

/// An expression whose answer needs no evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortcut {
    Everyone,
    Nobody,
    WithToken,
}

impl Shortcut {
    fn of(expression: &str) -> Option<Self> {
        match expression.trim() {
            "true" => Some(Self::Everyone),
            "false" => Some(Self::Nobody),
            "!user.anonymous" => Some(Self::WithToken),
            _ => None,
        }
    }
}

impl Access {
    pub fn compile(config: &AccessConfig) -> Self {
        let rules = AccessRules::compile(config).map_err(|error| error.to_string());
        let shortcuts = match &rules {
            Ok(rules) => Action::ALL.map(|action| Shortcut::of(rules.expression(action).source())),
            Err(_) => [Some(Shortcut::Nobody); Action::ALL.len()],
        };
        Self { rules, shortcuts }
    }

    /// What is wrong with the expressions, if they don't compile.
    pub fn error(&self) -> Option<&str> {
        self.rules.as_ref().err().map(String::as_str)
    }

    fn allows(&self, action: Action, identity: &Identity, room: &RoomName) -> bool {
        let index = Action::ALL.iter().position(|known| *known == action);
        match index.and_then(|index| self.shortcuts[index]) {
            Some(Shortcut::Everyone) => true,
            Some(Shortcut::Nobody) => false,
            Some(Shortcut::WithToken) => !identity.anonymous,
            None => self.evaluate(action, identity, room),
        }
    }

    fn evaluate(&self, action: Action, identity: &Identity, room: &RoomName) -> bool {
        let (Ok(rules), Ok(claims)) = (
            &self.rules,
            serde_json::from_str::<Map<String, Value>>(&identity.claims),
        ) else {
            return false;
        };
        let subject = Subject::new(identity.user.as_str(), &claims, identity.anonymous);
        match rules.evaluate(action, &subject, &RoomFacts::new(room)) {
            Ok(allowed) => allowed,
            Err(error) => {
                tracing::debug!(%room, action = action.field(), %error, "access expression came to no answer");
                false
            }
        }
    }
}

/// Refuses what the policy doesn't allow. A user's own room is that user's alone to join and read, whatever the policy says; others publish
/// to it where a Room that names these rooms says so, and nowhere else.
pub fn check(
    policy: &Policy,
    action: Action,
    identity: &Identity,
    room: &RoomName,
) -> Result<(), Failure> {
    let allowed = if room.is_reserved() {
        let owner = room.is_room_of(identity.user.as_str());
        match action {
            Action::Join | Action::History | Action::Members => owner,
            Action::Publish | Action::Signal => {
                (owner && policy.resource.is_none()) || policy.access.allows(action, identity, room)
            }
        }
    } else {
        policy.access.allows(action, identity, room)
    };
    if allowed {
        Ok(())
    } else {
        Err(forbidden(action, room))
    }
}

fn forbidden(action: Action, room: &RoomName) -> Failure {
    let verb = match action {
        Action::Join => "join",
        Action::Publish => "publish to",
        Action::Signal => "send signals to",
        Action::History => "read the history of",
        Action::Members => "see the members of",
    };
    Failure::new(
        ErrorCode::Forbidden,
        format!("you may not {verb} the room {room}"),
    )
}

/// The answer for a room that nobody declared, where those are denied. The same as for one that may not be joined: what exists is nobody's
/// business.
pub fn undeclared(room: &RoomName) -> Failure {
    forbidden(Action::Join, room)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rotunda_crds::config::{GatewayConfig, RoomConfig, RoomMatch, RoomPolicy};
    use rotunda_crds::realtime_cluster::UndeclaredRooms;

    use super::*;
    use crate::ids::UserId;
    use crate::policy::{Policies, PublishCounters};

    fn identity(user: &str, claims: &str, anonymous: bool) -> Identity {
        Identity {
            user: UserId::parse(user).unwrap(),
            claims: claims.into(),
            anonymous,
            expires_at: None,
        }
    }

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    fn policy_of(
        name: &str,
        matches: Option<RoomMatch>,
        access: AccessConfig,
        undeclared: UndeclaredRooms,
    ) -> Arc<Policy> {
        let rooms = matches.map(|matches| RoomConfig {
            namespace: "demo".to_owned(),
            name: "it".to_owned(),
            generation: 1,
            creation_timestamp: None,
            matches,
            policy: RoomPolicy {
                access,
                ..RoomPolicy::default()
            },
        });
        let config = GatewayConfig {
            rooms: rooms.into_iter().collect(),
            undeclared_rooms: undeclared,
            ..GatewayConfig::default()
        };
        let policies = Policies::new(&config, &PublishCounters::default()).unwrap();
        Arc::clone(policies.of(&room(name)).unwrap())
    }

    fn may(policy: &Policy, action: Action, identity: &Identity, name: &str) -> bool {
        check(policy, action, identity, &room(name)).is_ok()
    }

    #[test]
    fn expressions_see_the_claims_and_a_missing_claim_denies() {
        let access = AccessConfig {
            join: "room.segments[1] in user.claims.teams".to_owned(),
            ..AccessConfig::default()
        };
        let pattern = RoomMatch::Pattern("team:*".to_owned());
        let policy = policy_of("team:red", Some(pattern), access, UndeclaredRooms::Deny);
        let red = identity("alice", r#"{"teams":["red"]}"#, false);
        assert!(may(&policy, Action::Join, &red, "team:red"));
        assert!(!may(&policy, Action::Join, &red, "team:blue"));
        assert!(!may(
            &policy,
            Action::Join,
            &identity("bob", "{}", false),
            "team:red"
        ));
    }

    #[test]
    fn the_default_lets_in_whoever_has_a_token() {
        let name = RoomMatch::Name("lobby".to_owned());
        let policy = policy_of(
            "lobby",
            Some(name),
            AccessConfig::default(),
            UndeclaredRooms::Deny,
        );
        for action in Action::ALL {
            assert!(may(
                &policy,
                action,
                &identity("alice", "{}", false),
                "lobby"
            ));
            assert!(!may(
                &policy,
                action,
                &identity("anonymous-1", "{}", true),
                "lobby"
            ));
        }
    }

    #[test]
    fn an_expression_that_does_not_compile_denies_and_is_told() {
        let access = AccessConfig {
            join: "room.segments[".to_owned(),
            ..AccessConfig::default()
        };
        let policy = policy_of(
            "lobby",
            Some(RoomMatch::Name("lobby".to_owned())),
            access,
            UndeclaredRooms::Deny,
        );
        assert!(policy.access.error().is_some());
        assert!(!may(
            &policy,
            Action::Publish,
            &identity("alice", "{}", false),
            "lobby"
        ));
    }

    #[test]
    fn a_users_room_is_that_users_alone() {
        let (alice, bob) = (identity("alice", "{}", false), identity("bob", "{}", false));
        let open = AccessConfig {
            join: "true".to_owned(),
            publish: "true".to_owned(),
            ..AccessConfig::default()
        };
        let declared = policy_of(
            "user:alice",
            Some(RoomMatch::Pattern("user:*".to_owned())),
            open,
            UndeclaredRooms::Deny,
        );
        assert!(may(&declared, Action::Join, &alice, "user:alice"));
        assert!(!may(&declared, Action::Join, &bob, "user:alice"));
        assert!(may(&declared, Action::Publish, &bob, "user:alice"));

        let denied = policy_of(
            "user:alice",
            None,
            AccessConfig::default(),
            UndeclaredRooms::Deny,
        );
        assert!(may(&denied, Action::Join, &alice, "user:alice"));
        assert!(may(&denied, Action::Publish, &alice, "user:alice"));
        assert!(!may(&denied, Action::Publish, &bob, "user:alice"));

        let allowed = policy_of(
            "user:alice",
            None,
            AccessConfig::default(),
            UndeclaredRooms::Allow,
        );
        assert!(!may(&allowed, Action::Join, &bob, "user:alice"));
        assert!(!may(&allowed, Action::Publish, &bob, "user:alice"));
        assert!(may(&allowed, Action::Publish, &alice, "user:alice"));
    }
}
