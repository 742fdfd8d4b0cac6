//! Why a client isn't let in, and why a config's keys can't be used. No text here holds a token, a claim or a key.

use std::time::Duration;

use crate::dialect::{CloseReason, ErrorCode, Failure};

/// When to come back with a token whose key can't be had.
const AWAY_RETRY_AFTER: Duration = Duration::from_secs(2);

/// Why a client isn't let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error(
        "a token is needed: as the query parameter `token`, in the header `Authorization: Bearer …`, or as a subprotocol"
    )]
    Missing,
    #[error("the token is not a JSON Web Token")]
    NotAToken,
    #[error("the token was signed by no key of this service")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    BadSignature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token was issued by or for someone else (`iss`, `aud`)")]
    WrongAudience,
    #[error("the token lacks a claim: it needs `sub` and `exp`")]
    MissingClaim,
    #[error("the token's `sub` is no user id: 1 to 128 bytes without control characters")]
    BadSubject,
    /// A key can't be had at the moment: never the client's fault.
    #[error("the keys for tokens can't be had at the moment")]
    KeySourceAway,
}

impl AuthError {
    /// How a request or a `refresh` is answered for this.
    pub fn failure(self) -> Failure {
        match self {
            Self::KeySourceAway => Failure {
                retry_after: Some(AWAY_RETRY_AFTER),
                ..Failure::new(ErrorCode::Unavailable, self.to_string())
            },
            _ => Failure::new(ErrorCode::Unauthorized, self.to_string()),
        }
    }

    /// How a connection ends for this.
    pub fn close_reason(self) -> CloseReason {
        match self {
            Self::KeySourceAway => CloseReason::Unavailable,
            Self::Missing => CloseReason::Unauthorized("a token is needed"),
            Self::NotAToken => CloseReason::Unauthorized("the token is not a JSON Web Token"),
            Self::UnknownKey => {
                CloseReason::Unauthorized("the token was signed by no key of this service")
            }
            Self::BadSignature => CloseReason::Unauthorized("the token's signature is wrong"),
            Self::Expired => CloseReason::Unauthorized("the token has expired"),
            Self::NotYetValid => CloseReason::Unauthorized("the token is not valid yet"),
            Self::WrongAudience => {
                CloseReason::Unauthorized("the token was issued by or for someone else (iss, aud)")
            }
            Self::MissingClaim => {
                CloseReason::Unauthorized("the token lacks a claim: it needs sub and exp")
            }
            Self::BadSubject => CloseReason::Unauthorized("the token's sub is no user id"),
        }
    }
}

/// Why a config's keys can't be used. Names files and keys, never what is in them.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("key `{id}` needs the file `{file}`, which is missing or empty")]
    MissingFile { id: String, file: String },
    #[error(
        "key `{id}`: the file `{file}` is no public key in PEM that fits its algorithms (RSA: 2048 to 4096 bits); private keys and certificates aren't taken"
    )]
    BadPem { id: String, file: String },
    #[error("key `{id}`: its jwksUrl is no http:// or https:// URL without user name and password")]
    BadUrl { id: String },
    #[error(
        "key `{id}`: its jwksUrl can't be fetched, this machine trusts no certificate authority; set SSL_CERT_FILE"
    )]
    NoAuthorities { id: String },
    #[error("API key `{name}` needs the file `{file}`, which is missing or empty")]
    MissingApiKey { name: String, file: String },
}
