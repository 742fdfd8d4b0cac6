//! What a token allows beyond its user's own affairs and the rooms' policies: the claim `capabilities`, a list of texts.
//!
//! One is written `<what>:<verb>`. Those that this gateway doesn't know are ignored, so that a token can carry what a newer one understands; a
//! claim that is no list of texts grants nothing.

use serde::Deserialize;

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

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    capabilities: Vec<String>,
}

impl Identity {
    /// Whether the token carries it. The claims are looked through each time: it is asked rarely, and a connection at rest should pay for nothing.
    pub fn has(&self, capability: Capability) -> bool {
        serde_json::from_str::<Claims>(&self.claims).is_ok_and(|claims| {
            let mut held = claims.capabilities.iter();
            held.any(|held| held == capability.as_str())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserId;

    #[test]
    fn a_capability_is_held_by_whoever_has_its_text_in_the_list() {
        for (claims, held) in [
            (r#"{"capabilities":["users:read"]}"#, true),
            (r#"{"capabilities":["rooms:own","users:read"]}"#, true),
            (r#"{"capabilities":[]}"#, false),
            (r#"{"capabilities":["users:*"]}"#, false),
            (r#"{"capabilities":"users:read"}"#, false),
            (r#"{"capabilities":[1,"users:read"]}"#, false),
            (r#"{"capabilities":null}"#, false),
            ("{}", false),
        ] {
            let identity = Identity {
                user: UserId::parse("alice").unwrap(),
                claims: claims.into(),
                anonymous: false,
                expires_at: None,
            };
            assert_eq!(identity.has(Capability::UsersRead), held, "{claims}");
        }
    }
}
