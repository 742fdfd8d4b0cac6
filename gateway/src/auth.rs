//! Who a client is: tokens, API keys and origins, checked against the loaded config.
//!
//! Each key pins its algorithms, so that no token chooses how it is checked. A token must expire: one without `exp` could never be taken
//! back. Nothing here logs or prints a token or a key.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use rotunda_crds::config::{AuthConfig, JwtConfig, JwtKeyConfig};
use rotunda_crds::realtime_cluster::auth::JwtAlgorithm;
use serde::Deserialize;
use serde_json::value::RawValue;
use subtle::ConstantTimeEq;

use crate::dialect::CloseReason;
use crate::ids::UserId;

pub mod capability;
pub mod origin;

pub use capability::Capability;
pub use origin::Origins;

/// How far clocks may be apart when `exp` and `nbf` are checked.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// The longest token that is looked at; proxies rarely pass longer headers.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Whom a connection speaks for.
#[derive(Clone)]
pub struct Identity {
    pub user: UserId,
    /// The token's claims as the JSON that came; `{}` for the anonymous. Kept as text: an idle connection shouldn't pay for a tree.
    pub claims: Box<str>,
    pub anonymous: bool,
    /// When the token stops counting, the leeway included.
    pub expires_at: Option<SystemTime>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("user", &self.user)
            .field("anonymous", &self.anonymous)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Someone without a token, under a name nobody else has.
    pub fn anonymous() -> Self {
        let name = format!("anonymous-{:016x}", rand::random::<u64>());
        Self {
            user: UserId::parse(&name).expect("hex digits are a user id"),
            claims: "{}".into(),
            anonymous: true,
            expires_at: None,
        }
    }

    /// How long the token still counts; `None` without an end.
    pub fn remaining(&self, now: SystemTime) -> Option<Duration> {
        self.expires_at
            .map(|at| at.duration_since(now).unwrap_or_default())
    }
}

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
    #[error("key `{id}`: the file `{file}` is no public key in PEM that fits its algorithms")]
    BadPem { id: String, file: String },
    #[error("API key `{name}` needs the file `{file}`, which is missing or empty")]
    MissingApiKey { name: String, file: String },
}

/// Checks tokens.
#[derive(Debug, Default)]
pub struct Authenticator {
    keys: Vec<Key>,
    anonymous: bool,
    /// Some keys come from a URL and aren't there.
    key_source_away: bool,
}

#[derive(Debug)]
struct Key {
    id: String,
    decoding: DecodingKey,
    validation: Validation,
}

#[derive(Deserialize)]
struct RegisteredClaims {
    sub: Option<String>,
    exp: Option<f64>,
}

impl Authenticator {
    /// Takes the keys of a config; `file` gives the contents of a file beside it.
    pub fn new<'a>(
        auth: &AuthConfig,
        file: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Result<Self, KeyError> {
        let mut authenticator = Self {
            anonymous: auth.anonymous,
            ..Self::default()
        };
        let Some(jwt) = &auth.jwt else {
            return Ok(authenticator);
        };
        for config in &jwt.keys {
            let Some(name) = &config.file else {
                authenticator.key_source_away |= config.jwks_url.is_some();
                continue;
            };
            let missing = || KeyError::MissingFile {
                id: config.id.clone(),
                file: name.clone(),
            };
            let material = file(name)
                .filter(|bytes| !bytes.is_empty())
                .ok_or_else(missing)?;
            authenticator
                .keys
                .push(build_key(jwt, config, name, material)?);
        }
        Ok(authenticator)
    }

    /// Whoever comes with this token, or without one.
    pub fn authenticate(&self, token: Option<&str>) -> Result<Identity, AuthError> {
        match token {
            Some(token) => self.verify(token),
            None if self.anonymous => Ok(Identity::anonymous()),
            None => Err(AuthError::Missing),
        }
    }

    fn verify(&self, token: &str) -> Result<Identity, AuthError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::NotAToken);
        }
        let header = decode_header(token).map_err(|_| AuthError::NotAToken)?;
        let fitting = self.keys.iter().filter(|key| {
            key.validation.algorithms.contains(&header.alg)
                && header.kid.as_ref().is_none_or(|kid| *kid == key.id)
        });
        let mut failure = if self.key_source_away {
            AuthError::KeySourceAway
        } else {
            AuthError::UnknownKey
        };
        for key in fitting {
            match decode::<Box<RawValue>>(token, &key.decoding, &key.validation) {
                Ok(data) => return identity(&data.claims),
                Err(error) => {
                    let mapped = map_error(&error);
                    // Another key may have signed it; anything else is about the token itself, whose signature was right.
                    if mapped != AuthError::BadSignature {
                        return Err(mapped);
                    }
                    if !self.key_source_away {
                        failure = mapped;
                    }
                }
            }
        }
        Err(failure)
    }
}

fn identity(claims: &RawValue) -> Result<Identity, AuthError> {
    let registered: RegisteredClaims =
        serde_json::from_str(claims.get()).map_err(|_| AuthError::MissingClaim)?;
    let subject = registered.sub.ok_or(AuthError::MissingClaim)?;
    let expires = registered.exp.ok_or(AuthError::MissingClaim)?;
    let expires_at = Duration::try_from_secs_f64(expires)
        .ok()
        .and_then(|since| UNIX_EPOCH.checked_add(since)?.checked_add(LEEWAY));
    Ok(Identity {
        user: UserId::parse(&subject).map_err(|_| AuthError::BadSubject)?,
        claims: claims.get().into(),
        anonymous: false,
        // Past what the clock can show is as good as never.
        expires_at,
    })
}

fn map_error(error: &jsonwebtoken::errors::Error) -> AuthError {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::ExpiredSignature => AuthError::Expired,
        ErrorKind::ImmatureSignature => AuthError::NotYetValid,
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => AuthError::WrongAudience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" || claim == "aud" => {
            AuthError::WrongAudience
        }
        ErrorKind::MissingRequiredClaim(_) => AuthError::MissingClaim,
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat => {
            AuthError::BadSignature
        }
        _ => AuthError::NotAToken,
    }
}

fn build_key(
    jwt: &JwtConfig,
    config: &JwtKeyConfig,
    file: &str,
    material: &[u8],
) -> Result<Key, KeyError> {
    let algorithms: Vec<_> = config
        .algorithms
        .iter()
        .map(|algorithm| algorithm_of(*algorithm))
        .collect();
    let symmetric = config
        .algorithms
        .iter()
        .all(|algorithm| algorithm.is_symmetric());
    let decoding = if symmetric {
        DecodingKey::from_secret(material)
    } else {
        public_key(material).ok_or_else(|| bad_pem(config, file))?
    };
    // A PEM is of one family; what other families are listed can't be checked with it.
    let algorithms: Vec<_> = algorithms
        .into_iter()
        .filter(|algorithm| algorithm.family() == decoding.family())
        .collect();
    let first = *algorithms.first().ok_or_else(|| bad_pem(config, file))?;
    let mut validation = Validation::new(first);
    validation.algorithms = algorithms;
    validation.leeway = LEEWAY.as_secs();
    validation.validate_nbf = true;
    // Without a configured audience a token may name any.
    validation.validate_aud = jwt.audience.is_some();
    let mut required = vec!["exp", "sub"];
    if let Some(issuer) = &jwt.issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    if let Some(audience) = &jwt.audience {
        validation.set_audience(&[audience]);
        required.push("aud");
    }
    validation.set_required_spec_claims(&required);
    Ok(Key {
        id: config.id.clone(),
        decoding,
        validation,
    })
}

fn bad_pem(config: &JwtKeyConfig, file: &str) -> KeyError {
    KeyError::BadPem {
        id: config.id.clone(),
        file: file.to_owned(),
    }
}

fn public_key(pem: &[u8]) -> Option<DecodingKey> {
    DecodingKey::from_rsa_pem(pem)
        .or_else(|_| DecodingKey::from_ec_pem(pem))
        .or_else(|_| DecodingKey::from_ed_pem(pem))
        .ok()
}

/// The library's name for an algorithm.
pub fn algorithm_of(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::HS256 => Algorithm::HS256,
        JwtAlgorithm::HS384 => Algorithm::HS384,
        JwtAlgorithm::HS512 => Algorithm::HS512,
        JwtAlgorithm::RS256 => Algorithm::RS256,
        JwtAlgorithm::RS384 => Algorithm::RS384,
        JwtAlgorithm::RS512 => Algorithm::RS512,
        JwtAlgorithm::PS256 => Algorithm::PS256,
        JwtAlgorithm::PS384 => Algorithm::PS384,
        JwtAlgorithm::PS512 => Algorithm::PS512,
        JwtAlgorithm::ES256 => Algorithm::ES256,
        JwtAlgorithm::ES384 => Algorithm::ES384,
        JwtAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}

/// The keys of the server API, by name.
#[derive(Default)]
pub struct ApiKeys(Vec<(String, Vec<u8>)>);

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl ApiKeys {
    /// Takes the keys of a config. White space around a key is no part of it: editors and `kubectl create secret --from-file` add it.
    pub fn new<'a>(
        auth: &AuthConfig,
        file: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Result<Self, KeyError> {
        auth.api_keys
            .iter()
            .map(|key| {
                let bytes = file(&key.file)
                    .map(<[u8]>::trim_ascii)
                    .filter(|bytes| !bytes.is_empty());
                let missing = || KeyError::MissingApiKey {
                    name: key.name.clone(),
                    file: key.file.clone(),
                };
                Ok((key.name.clone(), bytes.ok_or_else(missing)?.to_vec()))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The name of the key that was presented. Takes as long for a near miss as for a far one, and looks at all keys.
    pub fn name_of(&self, presented: &str) -> Option<&str> {
        let mut found = None;
        for (name, key) in &self.0 {
            if bool::from(key.as_slice().ct_eq(presented.as_bytes())) {
                found = Some(name.as_str());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
