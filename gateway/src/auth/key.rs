//! One key for tokens and the algorithms that it may check, which are settled when the key is read and never by a token.

use std::collections::HashSet;

use jsonwebtoken::crypto::verify;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Validation, decode};
use rotunda_crds::config::JwtConfig;
use rotunda_crds::realtime_cluster::auth::JwtAlgorithm;
use serde_json::value::RawValue;

use super::{AuthError, LEEWAY};

/// Sizes of an RSA modulus in bytes: 2048 bits at least (RFC 7518, section 3.3), and no more than the library checks.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// What DER adds to a modulus: the exponent, and the lengths.
const RSA_DER_OVERHEAD: usize = 32;

/// Bytes of an Ed25519 public key (RFC 8032, section 5.1.5).
const ED25519_BYTES: usize = 32;

/// A key, ready to check tokens.
#[derive(Debug)]
pub(super) struct Key {
    /// What a token's `kid` calls it; a key of a set may have none.
    pub(super) name: Option<String>,
    decoding: DecodingKey,
    /// All of the key's own family, at least one.
    algorithms: Vec<Algorithm>,
}

impl Key {
    /// A key whose `algorithms` fit it; of those that don't fit nothing remains. `None` when none fits.
    fn new(
        name: Option<String>,
        decoding: DecodingKey,
        algorithms: impl IntoIterator<Item = Algorithm>,
    ) -> Option<Self> {
        let algorithms: Vec<_> = algorithms
            .into_iter()
            .filter(|algorithm| fits(&decoding, *algorithm))
            .collect();
        (!algorithms.is_empty()).then_some(Self {
            name,
            decoding,
            algorithms,
        })
    }

    /// A shared secret.
    pub(super) fn shared(name: &str, secret: &[u8], algorithms: &[JwtAlgorithm]) -> Option<Self> {
        let algorithms = algorithms.iter().copied().map(algorithm_of);
        let decoding = DecodingKey::from_secret(secret);
        Self::new(Some(name.to_owned()), decoding, algorithms)
    }

    /// A public key as PEM. A private one or a certificate is none.
    pub(super) fn from_pem(name: &str, pem: &[u8], algorithms: &[JwtAlgorithm]) -> Option<Self> {
        if !String::from_utf8_lossy(pem).contains("PUBLIC KEY-----") {
            return None;
        }
        let decoding = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .ok()?;
        let algorithms = algorithms.iter().copied().map(algorithm_of);
        Self::new(Some(name.to_owned()), decoding, algorithms)
    }

    /// A public key of a set (RFC 7517); `None` for what is no key to check signatures with, or none that the gateway knows.
    pub(super) fn from_jwk(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        let signs = common
            .public_key_use
            .as_ref()
            .is_none_or(|usage| *usage == PublicKeyUse::Signature)
            && common
                .key_operations
                .as_ref()
                .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !signs {
            return None;
        }
        let able: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                &[Algorithm::EdDSA]
            }
            // Above all `oct`: whoever can read the set could sign with it.
            _ => return None,
        };
        let named = common.key_algorithm;
        let algorithms = able
            .iter()
            .copied()
            .filter(|able| named.is_none_or(|named| named == KeyAlgorithm::from(*able)));
        let decoding = DecodingKey::from_jwk(jwk).ok()?;
        Self::new(common.key_id.clone(), decoding, algorithms)
    }

    /// Whether it may check a token of this algorithm.
    pub(super) fn checks(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// The claims of a token that this key signed and that keeps the rules.
    pub(super) fn verify(
        &self,
        token: &str,
        algorithm: Algorithm,
        rules: &Rules,
    ) -> Result<Box<RawValue>, AuthError> {
        let rule = rules.of(algorithm).filter(|_| self.checks(algorithm));
        let rule = rule.ok_or(AuthError::UnknownKey)?;
        decode::<Box<RawValue>>(token, &self.decoding, rule)
            .map(|data| data.claims)
            .map_err(|error| map_error(&error))
    }
}

/// Whether a key can check that algorithm. The library finds out about some keys only when it uses them, and about one kind by panicking.
fn fits(key: &DecodingKey, algorithm: Algorithm) -> bool {
    if key.family() != algorithm.family() {
        return false;
    }
    let usable = || verify("", b"", key, algorithm).is_ok();
    match (key.family(), key.kind()) {
        (AlgorithmFamily::Hmac, _) => true,
        (AlgorithmFamily::Rsa, DecodingKeyKind::RsaModulusExponent { n, .. }) => {
            let zeros = n.iter().take_while(|byte| **byte == 0).count();
            RSA_BYTES.contains(&(n.len() - zeros))
        }
        (AlgorithmFamily::Rsa, DecodingKeyKind::SecretOrDer(der)) => {
            let (from, to) = (*RSA_BYTES.start(), *RSA_BYTES.end() + RSA_DER_OVERHEAD);
            (from..=to).contains(&der.len())
        }
        (AlgorithmFamily::Ed, DecodingKeyKind::SecretOrDer(bytes)) => {
            bytes.len() == ED25519_BYTES && usable()
        }
        (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(_)) => usable(),
        _ => false,
    }
}

/// What every token must keep to, whichever key signed it: one set of checks for each algorithm.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Validation>);

impl Rules {
    pub(super) fn new(jwt: &JwtConfig) -> Self {
        let algorithms: HashSet<_> = jwt
            .keys
            .iter()
            .flat_map(|key| key.algorithms.iter().copied())
            .map(algorithm_of)
            .collect();
        Self(
            algorithms
                .into_iter()
                .map(|algorithm| validation(jwt, algorithm))
                .collect(),
        )
    }

    fn of(&self, algorithm: Algorithm) -> Option<&Validation> {
        let mut rules = self.0.iter();
        rules.find(|rule| rule.algorithms.contains(&algorithm))
    }
}

fn validation(jwt: &JwtConfig, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
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
    validation
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
