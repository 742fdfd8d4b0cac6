//! What a token allows beyond its user's own affairs and the rooms' policies, and what it gives up of them: the claim `capabilities`, a list of texts.
//!
//! One is written `<what>:<verb>`. `users:read` grants. Those that begin with `rooms:` narrow: a token that names one may do in rooms what it names
//! and nothing else, and only where the policy lets it. Those that this gateway doesn't know grant nothing, so that a token can carry what a newer
//! one understands. A claim that is no list of texts grants nothing either, and gives up everything in rooms: whoever wrote it meant to narrow.

use rotunda_crds::access::Action;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Identity;

/// What a token may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Ask about any user whether it is online.
    UsersRead,
}

impl Capability {
    /// The text in the claim.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UsersRead => "users:read",
        }
    }
}

const ROOMS: &str = "rooms:";

/// A token's capabilities, read once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    users_read: bool,
    rooms: InRooms,
}

/// What is left of what the rooms' policies allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum InRooms {
    #[default]
    Everything,
    /// A bit for each [`Action`].
    Only(u8),
    /// The claim can't be read.
    Nothing,
}

/// Why a token lets its user do less than the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrowed {
    NotHeld,
    NoList,
}

impl Capabilities {
    fn of(claim: &Value) -> Self {
        let texts: Option<Vec<&str>> = match claim {
            Value::Null => return Self::default(),
            Value::Array(items) => items.iter().map(Value::as_str).collect(),
            _ => None,
        };
        let Some(texts) = texts else {
            return Self {
                users_read: false,
                rooms: InRooms::Nothing,
            };
        };
        let mut verbs = texts
            .iter()
            .filter_map(|text| text.strip_prefix(ROOMS))
            .peekable();
        let rooms = if verbs.peek().is_none() {
            InRooms::Everything
        } else {
            let held = |verb: &str| {
                Action::ALL
                    .into_iter()
                    .find(|action| action.field() == verb)
            };
            InRooms::Only(
                verbs
                    .filter_map(held)
                    .fold(0, |bits, action| bits | bit(action)),
            )
        };
        Self {
            users_read: texts.contains(&Capability::UsersRead.as_str()),
            rooms,
        }
    }

    /// Whether these leave a policy the say.
    pub fn leave(self, action: Action) -> Result<(), Narrowed> {
        match self.rooms {
            InRooms::Everything => Ok(()),
            InRooms::Only(bits) if bits & bit(action) != 0 => Ok(()),
            InRooms::Only(_) => Err(Narrowed::NotHeld),
            InRooms::Nothing => Err(Narrowed::NoList),
        }
    }
}

fn bit(action: Action) -> u8 {
    1 << action as u8
}

impl<'de> Deserialize<'de> for Capabilities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|claim| Self::of(&claim))
    }
}

impl Identity {
    /// Whether the token carries it.
    pub fn has(&self, capability: Capability) -> bool {
        match capability {
            Capability::UsersRead => self.capabilities.users_read,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_capability_is_held_by_whoever_has_its_text_in_the_list() {
        for (claim, held) in [
            (json!(["users:read"]), true),
            (json!(["rooms:own", "users:read"]), true),
            (json!([]), false),
            (json!(["users:*"]), false),
            (json!("users:read"), false),
            (json!([1, "users:read"]), false),
            (json!(null), false),
        ] {
            let identity = Identity {
                capabilities: Capabilities::of(&claim),
                ..Identity::anonymous()
            };
            assert_eq!(identity.has(Capability::UsersRead), held, "{claim}");
        }
        assert!(!Identity::anonymous().has(Capability::UsersRead));
    }

    #[test]
    fn whoever_names_something_in_rooms_gives_up_the_rest() {
        let left = |claim: Value| {
            let capabilities = Capabilities::of(&claim);
            let mut left = Action::ALL.to_vec();
            left.retain(|action| capabilities.leave(*action).is_ok());
            left
        };
        for all in [json!(null), json!([]), json!(["users:read", "mail:send"])] {
            assert_eq!(left(all.clone()), Action::ALL, "{all}");
        }
        assert_eq!(
            left(json!(["rooms:join", "rooms:history"])),
            [Action::Join, Action::History]
        );
        // Unknown ones narrow too; and what can't be read leaves nothing.
        for none in [
            json!(["rooms:*"]),
            json!(["rooms:"]),
            json!(["rooms:moderate"]),
            json!("rooms:join"),
            json!(["rooms:join", 1]),
            json!({ "rooms": ["join"] }),
            json!(true),
        ] {
            assert!(left(none.clone()).is_empty(), "{none}");
        }
    }
}
