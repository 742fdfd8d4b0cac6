//! Keys and tokens for tests. The keys are throwaway, made by `openssl genpkey`; the tokens are signed with them.

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{SystemTime, UNIX_EPOCH};

pub(super) const SECRET: &[u8] = b"a secret of thirty-two bytes or so";

pub(super) const RSA: &[u8] = include_bytes!("tests/rsa.pem");
pub(super) const RSA_PUBLIC: &[u8] = include_bytes!("tests/rsa.pub.pem");
pub(super) const EC: &[u8] = include_bytes!("tests/p256.pem");
pub(super) const EC_PUBLIC: &[u8] = include_bytes!("tests/p256.pub.pem");
pub(super) const EC384: &[u8] = include_bytes!("tests/p384.pem");
pub(super) const EC384_PUBLIC: &[u8] = include_bytes!("tests/p384.pub.pem");
pub(super) const ED: &[u8] = include_bytes!("tests/ed25519.pem");
pub(super) const ED_PUBLIC: &[u8] = include_bytes!("tests/ed25519.pub.pem");

pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

pub(super) fn claims() -> Value {
    json!({ "sub": "alice", "exp": now() + 60, "teams": ["red"] })
}

/// What signs for that algorithm.
pub(super) fn signer(algorithm: Algorithm) -> EncodingKey {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => EncodingKey::from_secret(SECRET),
        Algorithm::ES256 => EncodingKey::from_ec_pem(EC).unwrap(),
        Algorithm::ES384 => EncodingKey::from_ec_pem(EC384).unwrap(),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(ED).unwrap(),
        _ => EncodingKey::from_rsa_pem(RSA).unwrap(),
    }
}

pub(super) fn named(algorithm: Algorithm, kid: &str) -> Header {
    Header {
        kid: Some(kid.to_owned()),
        ..Header::new(algorithm)
    }
}

/// A token of alice, signed as its header says.
pub(super) fn token(header: &Header) -> String {
    encode(header, &claims(), &signer(header.alg)).unwrap()
}

fn jwk(kid: &str, algorithm: Algorithm) -> Value {
    let mut jwk = Jwk::from_encoding_key(&signer(algorithm), algorithm).unwrap();
    jwk.common.key_id = Some(kid.to_owned());
    jwk.common.key_algorithm = None;
    serde_json::to_value(jwk).unwrap()
}

pub(super) fn rsa_jwk(kid: &str) -> Value {
    jwk(kid, Algorithm::RS256)
}

pub(super) fn ec_jwk(kid: &str) -> Value {
    jwk(kid, Algorithm::ES256)
}

pub(super) fn ed_jwk(kid: &str) -> Value {
    jwk(kid, Algorithm::EdDSA)
}

/// A set, as a source serves it.
pub(super) fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}
