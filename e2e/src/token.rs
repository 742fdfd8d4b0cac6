//! Tokens as an app's backend makes them: a JWT signed with the secret that it shares with the gateways.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Map, Value};

/// The claims of a token, to be signed.
#[derive(Debug, Clone)]
pub struct Token {
    claims: Map<String, Value>,
}

impl Token {
    /// For a user, for an hour.
    pub fn of(user: &str) -> Self {
        const HOUR: Duration = Duration::from_hours(1);
        let claims = Map::from_iter([("sub".to_owned(), user.into())]);
        Self { claims }.expires_in(HOUR)
    }

    /// With another claim, or another value for one.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// With another end.
    #[must_use]
    pub fn expires_in(self, duration: Duration) -> Self {
        let end = SystemTime::now() + duration;
        let seconds = end
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        self.claim("exp", seconds)
    }

    /// Signed with HS256.
    pub fn sign(&self, secret: &str) -> Result<String> {
        Ok(encode(
            &Header::default(),
            &self.claims,
            &EncodingKey::from_secret(secret.as_bytes()),
        )?)
    }
}
