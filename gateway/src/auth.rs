//! Who a client is: tokens, API keys and origins, checked against the loaded config.
//!
//! ```text
//! token → header → the keys that its algorithm and `kid` point to → signature → exp, nbf, iss, aud, sub → Identity
//!                     └ files of the config, or sets at a URL, held in memory
//! ```
//!
//! Each key pins its algorithms, so that no token chooses how it is checked; what a token's header says beyond `alg` and `kid` is never followed. A
//! token must expire: one without `exp` could never be taken back. Nothing here logs or prints a token or a key.
//!
//! [`key`] is one key, [`key_set`] reads sets, [`key_source`] keeps one up to date, [`fetch`] gets it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::future::join_all;
use jsonwebtoken::{Algorithm, Header, decode_header};
use rotunda_crds::config::{AuthConfig, JwtKeyConfig};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Allowed;
use crate::ids::UserId;
use crate::metrics::Metrics;

pub mod api_keys;
pub mod capability;
pub mod error;
mod fetch;
mod key;
mod key_set;
mod key_source;
pub mod origin;

pub use api_keys::ApiKeys;
pub use capability::{Capabilities, Capability};
pub use error::{AuthError, KeyError};
pub use key::algorithm_of;
pub use origin::Origins;

use fetch::Fetcher;
use key::{Key, Rules};
use key_set::KeySet;
use key_source::{KeySource, Looked};

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
    pub capabilities: Capabilities,
    /// What an access expression allowed last.
    pub(crate) allowed: Allowed,
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
            capabilities: Capabilities::default(),
            allowed: Allowed::default(),
        }
    }

    /// How long the token still counts; `None` without an end.
    pub fn remaining(&self, now: SystemTime) -> Option<Duration> {
        self.expires_at
            .map(|at| at.duration_since(now).unwrap_or_default())
    }
}

/// Checks tokens.
#[derive(Debug, Default)]
pub struct Authenticator {
    rules: Rules,
    /// Of files.
    keys: Vec<Key>,
    /// Of URLs.
    sets: Vec<RemoteSet>,
    anonymous: bool,
}

/// A key set at a URL, and what its keys are taken for.
#[derive(Debug)]
struct RemoteSet {
    source: Arc<KeySource>,
    algorithms: Vec<Algorithm>,
}

#[derive(Deserialize)]
struct RegisteredClaims {
    sub: Option<String>,
    exp: Option<f64>,
    #[serde(default)]
    capabilities: Capabilities,
}

impl Authenticator {
    /// Takes the keys of a config; `file` gives the contents of a file beside it. Sets at a URL aren't fetched before [`start`](Self::start).
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
        authenticator.rules = Rules::new(jwt);
        for config in &jwt.keys {
            if let Some(url) = &config.jwks_url {
                authenticator.sets.push(remote_set(config, url)?);
            } else if let Some(name) = &config.file {
                let missing = || KeyError::MissingFile {
                    id: config.id.clone(),
                    file: name.clone(),
                };
                let material = file(name)
                    .filter(|bytes| !bytes.is_empty())
                    .ok_or_else(missing)?;
                authenticator.keys.push(read_key(config, name, material)?);
            }
        }
        Ok(authenticator)
    }

    /// Goes on with the sets that another one has fetched already, where they come from the same URL.
    pub fn take_over(&mut self, before: &Self) {
        for set in &mut self.sets {
            let mut known = before.sets.iter().map(|set| &set.source);
            if let Some(source) = known.find(|source| source.url == set.source.url) {
                set.source = Arc::clone(source);
            }
        }
    }

    /// Starts to fetch the sets at URLs and to keep them up to date, until this and whoever took them over is dropped.
    pub fn start(
        &self,
        tracker: &TaskTracker,
        stopping: &CancellationToken,
        metrics: &Arc<Metrics>,
    ) {
        for set in &self.sets {
            set.source.start(tracker, stopping, metrics);
        }
    }

    /// Whoever comes with this token, or without one. Waits only for a set that may hold a key which isn't known yet, and not for long.
    pub async fn authenticate(&self, token: Option<&str>) -> Result<Identity, AuthError> {
        match token {
            Some(token) => self.verify(token).await,
            None if self.anonymous => Ok(Identity::anonymous()),
            None => Err(AuthError::Missing),
        }
    }

    async fn verify(&self, token: &str) -> Result<Identity, AuthError> {
        let header = read_header(token)?;
        let checked = self.check(token, &header);
        let unknown = matches!(
            checked,
            Err(AuthError::UnknownKey | AuthError::BadSignature)
        );
        if !unknown || self.names_a_key(&header) {
            return checked;
        }
        let asked = self.sets.iter().filter(|set| set.takes(header.alg));
        let looked = join_all(asked.map(|set| set.source.look_again())).await;
        if looked.is_empty() {
            return checked;
        }
        match self.check(token, &header) {
            Err(AuthError::UnknownKey | AuthError::BadSignature)
                if looked.contains(&Looked::Away) =>
            {
                Err(AuthError::KeySourceAway)
            }
            other => other,
        }
    }

    /// Whether there is a key that the token's `kid` means.
    fn names_a_key(&self, header: &Header) -> bool {
        header.kid.as_deref().is_some_and(|kid| {
            let named = |key: &Key| key.name.as_deref() == Some(kid) && key.checks(header.alg);
            self.keys.iter().any(named)
                || self
                    .sets
                    .iter()
                    .any(|set| set.takes(header.alg) && set.source.keys().names(kid, header.alg))
        })
    }

    /// Checks with the keys at hand: those that `kid` means, or without such those that it might mean.
    fn check(&self, token: &str, header: &Header) -> Result<Identity, AuthError> {
        let sets: Vec<Arc<KeySet>> = self
            .sets
            .iter()
            .filter(|set| set.takes(header.alg))
            .map(|set| set.source.keys())
            .collect();
        let of_files = self.keys.iter().filter(|key| key.checks(header.alg));
        let of_sets = sets
            .iter()
            .flat_map(|set| set.keys())
            .filter(|key| key.checks(header.alg));
        let kid = header.kid.as_deref();
        let try_all = |keys: &mut dyn Iterator<Item = &Key>| self.try_all(token, header.alg, keys);
        if kid.is_some() {
            let all = of_files.clone().chain(of_sets.clone());
            let tried = try_all(&mut all.filter(|key| key.name.as_deref() == kid));
            if !matches!(tried, Err(AuthError::UnknownKey)) {
                return tried;
            }
        }
        // The ids of a config's own keys needn't be known to who signs; those in a set are.
        try_all(&mut of_files.chain(of_sets.filter(|key| kid.is_none() || key.name.is_none())))
    }

    fn try_all(
        &self,
        token: &str,
        algorithm: Algorithm,
        keys: &mut dyn Iterator<Item = &Key>,
    ) -> Result<Identity, AuthError> {
        let mut failure = AuthError::UnknownKey;
        for key in keys {
            match key.verify(token, algorithm, &self.rules) {
                Ok(claims) => return identity(&claims),
                // Another key may have signed it; anything else is about the token itself, whose signature was right.
                Err(AuthError::BadSignature) => failure = AuthError::BadSignature,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }
}

impl RemoteSet {
    fn takes(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}

/// Reads what says how to check a token. Most of it is ignored, above all keys and where to find them (`jwk`, `jku`, `x5c`, `x5u`).
fn read_header(token: &str) -> Result<Header, AuthError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(AuthError::NotAToken);
    }
    let header = decode_header(token).map_err(|_| AuthError::NotAToken)?;
    // What must be understood and isn't (RFC 7515, section 4.1.11).
    if header.crit.is_some() {
        return Err(AuthError::NotAToken);
    }
    Ok(header)
}

fn read_key(config: &JwtKeyConfig, file: &str, material: &[u8]) -> Result<Key, KeyError> {
    let mut algorithms = config.algorithms.iter();
    let key = if algorithms.all(|algorithm| algorithm.is_symmetric()) {
        Key::shared(&config.id, material, &config.algorithms)
    } else {
        Key::from_pem(&config.id, material, &config.algorithms)
    };
    key.ok_or_else(|| KeyError::BadPem {
        id: config.id.clone(),
        file: file.to_owned(),
    })
}

fn remote_set(config: &JwtKeyConfig, url: &str) -> Result<RemoteSet, KeyError> {
    let id = || config.id.clone();
    let parsed = fetch::parse_url(url).ok_or_else(|| KeyError::BadUrl { id: id() })?;
    let fetcher = Fetcher::of(&parsed).ok_or_else(|| KeyError::NoAuthorities { id: id() })?;
    let fetch = move || {
        let (fetcher, url) = (fetcher.clone(), parsed.clone());
        async move { fetcher.fetch(&url).await }.boxed()
    };
    // Whoever can read a set could sign with a shared secret in it.
    let algorithms = config
        .algorithms
        .iter()
        .filter(|algorithm| !algorithm.is_symmetric());
    Ok(RemoteSet {
        source: Arc::new(KeySource::new(url.to_owned(), Box::new(fetch))),
        algorithms: algorithms.copied().map(algorithm_of).collect(),
    })
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
        capabilities: registered.capabilities,
        allowed: Allowed::default(),
    })
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
