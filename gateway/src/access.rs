//! Whether someone may do something in a room: the Room's CEL expressions, and the rule of the reserved rooms.
//!
//! The commonest expressions are known by their text and need no evaluation; the rest is built and evaluated on demand, since a connection at
//! rest should hold no tree of claims. Who goes on publishing to the same room by the same policy and token isn't evaluated again: the answer
//! depends on nothing else. An expression that doesn't compile denies everything it guards. A refusal says which rule it comes from.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rotunda_crds::RoomName;
use rotunda_crds::access::{AccessRules, Action, EvaluationError, RoomFacts, Subject};
use rotunda_crds::config::AccessConfig;
use serde_json::{Map, Value};

use crate::auth::Identity;
use crate::auth::capability::Narrowed;
use crate::dialect::{ErrorCode, Failure};
use crate::policy::Policy;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// The compiled access of a Room.
#[derive(Debug)]
pub struct Access {
    /// No other policy has it, also not the next one of the same Room.
    id: u64,
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
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            rules,
            shortcuts,
        }
    }

    /// What is wrong with the expressions, if they don't compile.
    pub fn error(&self) -> Option<&str> {
        self.rules.as_ref().err().map(String::as_str)
    }

    fn ask(&self, action: Action, identity: &Identity, room: &RoomName) -> Result<(), Refusal> {
        let index = Action::ALL.iter().position(|known| *known == action);
        let allowed = match index.and_then(|index| self.shortcuts[index]) {
            Some(Shortcut::Everyone) => true,
            Some(Shortcut::Nobody) => false,
            Some(Shortcut::WithToken) => !identity.anonymous,
            None if identity.allowed.holds(self.id, action, room) => true,
            None => self.evaluate(action, identity, room)?,
        };
        match &self.rules {
            _ if allowed => Ok(()),
            Ok(_) => Err(Refusal::No),
            Err(_) => Err(Refusal::NotCompiled),
        }
    }

    fn evaluate(
        &self,
        action: Action,
        identity: &Identity,
        room: &RoomName,
    ) -> Result<bool, Refusal> {
        let rules = self.rules.as_ref().map_err(|_| Refusal::NotCompiled)?;
        let claims = serde_json::from_str::<Map<String, Value>>(&identity.claims)
            .map_err(|_| Refusal::NoAnswer(EvaluationError::ClaimsTooLarge))?;
        let subject = Subject::new(identity.user.as_str(), &claims, identity.anonymous);
        let allowed = rules
            .evaluate(action, &subject, &RoomFacts::new(room))
            .map_err(Refusal::NoAnswer)?;
        if allowed {
            identity.allowed.note(self.id, action, room);
        }
        Ok(allowed)
    }
}

/// What an expression let someone do last: what a client does a hundred times a second is decided once. It goes with the token, and is of no
/// use to another policy.
#[derive(Debug, Default)]
pub(crate) struct Allowed(Mutex<Option<Box<(u64, Action, RoomName)>>>);

impl Clone for Allowed {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Allowed {
    fn holds(&self, policy: u64, action: Action, room: &RoomName) -> bool {
        let last = self.0.lock();
        last.as_deref().is_some_and(|(known, what, place)| {
            (*known, *what) == (policy, action) && place == room
        })
    }

    /// Only what is done often: a connection at rest shouldn't pay for its joins.
    fn note(&self, policy: u64, action: Action, room: &RoomName) {
        if matches!(action, Action::Publish | Action::Signal) {
            *self.0.lock() = Some(Box::new((policy, action, room.clone())));
        }
    }
}

/// Why something isn't allowed.
#[derive(Debug)]
enum Refusal {
    Capability(Narrowed),
    /// It is another user's own room.
    NotTheOwner,
    No,
    NoAnswer(EvaluationError),
    NotCompiled,
}

/// Refuses what the token has given up or the policy doesn't allow. A user's own room is that user's alone to join and read, whatever the policy
/// says; others publish to it where a Room that names these rooms says so, and nowhere else.
pub fn check(
    policy: &Policy,
    action: Action,
    identity: &Identity,
    room: &RoomName,
) -> Result<(), Failure> {
    decide(policy, action, identity, room).map_err(|refusal| {
        if let Refusal::NoAnswer(error) = &refusal {
            tracing::debug!(%room, action = action.field(), %error, "access expression came to no answer");
        }
        forbidden(action, room, &Reason { policy, action, refusal })
    })
}

fn decide(
    policy: &Policy,
    action: Action,
    identity: &Identity,
    room: &RoomName,
) -> Result<(), Refusal> {
    identity
        .capabilities
        .leave(action)
        .map_err(Refusal::Capability)?;
    if !room.is_reserved() {
        return policy.access.ask(action, identity, room);
    }
    let owner = room.is_room_of(identity.user.as_str());
    match action {
        Action::Join | Action::History | Action::Members if owner => Ok(()),
        Action::Join | Action::History | Action::Members => Err(Refusal::NotTheOwner),
        Action::Publish | Action::Signal => match &policy.resource {
            Some(_) => policy.access.ask(action, identity, room),
            None if owner => Ok(()),
            None => Err(Refusal::NotTheOwner),
        },
    }
}

/// A refusal, in words that lead to the rule. Holds no claim of a token.
struct Reason<'a> {
    policy: &'a Policy,
    action: Action,
    refusal: Refusal,
}

impl Reason<'_> {
    fn whose(&self) -> String {
        match &self.policy.resource {
            Some(resource) => format!("of Room {}/{}", resource.namespace, resource.name),
            None => "by default".to_owned(),
        }
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (field, whose) = (self.action.field(), self.whose());
        match &self.refusal {
            Refusal::Capability(Narrowed::NotHeld) => {
                write!(f, "the token's `capabilities` don't hold `rooms:{field}`")
            }
            Refusal::Capability(Narrowed::NoList) => {
                f.write_str("the token's claim `capabilities` is no list of texts")
            }
            Refusal::NotTheOwner => f.write_str("it is another user's own"),
            Refusal::No => write!(f, "`access.{field}` {whose} says no"),
            Refusal::NoAnswer(error) => {
                write!(f, "`access.{field}` {whose} comes to no answer: {error}")
            }
            Refusal::NotCompiled => {
                write!(f, "`access` {whose} doesn't compile, so nothing is allowed")
            }
        }
    }
}

fn forbidden(action: Action, room: &RoomName, reason: &dyn fmt::Display) -> Failure {
    let verb = match action {
        Action::Join => "join",
        Action::Publish => "publish to",
        Action::Signal => "send signals to",
        Action::History => "read the history of",
        Action::Members => "see the members of",
    };
    Failure::new(
        ErrorCode::Forbidden,
        format!("you may not {verb} the room {room}: {reason}"),
    )
}

/// The answer for a room that nobody declared, where those are denied.
pub fn undeclared(room: &RoomName) -> Failure {
    forbidden(Action::Join, room, &"no Room is about it")
}

#[cfg(test)]
mod tests;
