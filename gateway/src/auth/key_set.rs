//! A JSON Web Key Set (RFC 7517, section 5) as far as it is of use: its public keys for signatures.
//!
//! What the gateway doesn't know is passed over, as the RFC asks: other kinds of keys, keys for encryption, broken ones. Shared secrets (`oct`) and
//! private keys are passed over too: what everyone can read proves nothing.

use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use serde_json::Value;

use super::key::Key;

/// Keys of a set that are looked at. A token without a `kid` is tried with each, so there can't be any number of them.
const MAX_KEYS: usize = 32;

/// The usable keys of a set.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Key>);

/// Why a set is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("the answer is no JSON Web Key Set")]
    NotASet,
    #[error("the set holds no public key that can check a token")]
    NoUsableKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a set. One without a usable key is an error: taking it would lock everyone out.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        let document: Document = serde_json::from_slice(bytes).map_err(|_| KeySetError::NotASet)?;
        let keys: Vec<_> = document
            .keys
            .into_iter()
            .take(MAX_KEYS)
            .filter(|key| key.get("d").is_none())
            .filter_map(|key| Key::from_jwk(&serde_json::from_value::<Jwk>(key).ok()?))
            .collect();
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey);
        }
        Ok(Self(keys))
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.0
    }

    /// Whether it has a key of that name for that algorithm.
    pub(super) fn names(&self, name: &str, algorithm: Algorithm) -> bool {
        let mut keys = self.0.iter();
        keys.any(|key| key.name.as_deref() == Some(name) && key.checks(algorithm))
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::AlgorithmFamily;
    use serde_json::json;

    use super::*;
    use crate::auth::testing::{ec_jwk, ed_jwk, rsa_jwk};

    fn names(keys: &[Value]) -> Result<Vec<String>, KeySetError> {
        let set = KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())?;
        Ok(set.0.into_iter().filter_map(|key| key.name).collect())
    }

    fn with(mut key: Value, name: &str, value: impl Into<Value>) -> Value {
        key[name] = value.into();
        key
    }

    #[test]
    fn public_keys_for_signatures_are_taken_and_all_else_is_passed_over() {
        let keys = [
            rsa_jwk("rsa"),
            ec_jwk("ec"),
            ed_jwk("ed"),
            with(rsa_jwk("for-encryption"), "use", "enc"),
            with(rsa_jwk("to-wrap"), "key_ops", json!(["wrapKey"])),
            with(ec_jwk("private"), "d", "AAAA"),
            json!({ "kid": "shared", "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" }),
            json!({ "kid": "new-kind", "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA" }),
            with(ec_jwk("other-curve"), "crv", "secp256k1"),
            with(ec_jwk("p521"), "crv", "P-521"),
            with(ec_jwk("off-the-curve"), "x", "AAAA"),
            with(ed_jwk("too-short"), "x", "AAAA"),
            with(ed_jwk("x25519"), "crv", "X25519"),
            with(rsa_jwk("weak"), "n", "AAECAwQF"),
            json!("text"),
            json!(null),
        ];
        assert_eq!(names(&keys).unwrap(), ["rsa", "ec", "ed"]);
    }

    #[test]
    fn a_key_checks_what_its_kind_its_curve_and_its_alg_allow() {
        let algorithms = |key: Value| {
            let set = KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()).unwrap();
            let families = [
                AlgorithmFamily::Rsa,
                AlgorithmFamily::Ec,
                AlgorithmFamily::Ed,
                AlgorithmFamily::Hmac,
            ];
            let all = families.iter().flat_map(AlgorithmFamily::algorithms);
            let able = all.filter(|algorithm| set.0[0].checks(**algorithm));
            able.copied().collect::<Vec<_>>()
        };
        assert_eq!(algorithms(ec_jwk("a")), [Algorithm::ES256]);
        assert_eq!(algorithms(ed_jwk("a")), [Algorithm::EdDSA]);
        assert_eq!(algorithms(rsa_jwk("a")).len(), 6);
        assert_eq!(
            algorithms(with(rsa_jwk("a"), "alg", "PS384")),
            [Algorithm::PS384]
        );
        // An RSA key that claims to be for another kind of signature is for none.
        assert_eq!(
            names(&[with(rsa_jwk("a"), "alg", "ES256")]),
            Err(KeySetError::NoUsableKey)
        );
    }

    #[test]
    fn what_is_no_set_or_has_no_usable_key_is_an_error() {
        for text in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#, "{\"keys\":[]"] {
            let error = KeySet::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error, KeySetError::NotASet, "{text}");
        }
        assert_eq!(names(&[]), Err(KeySetError::NoUsableKey));
    }

    #[test]
    fn of_a_set_without_end_only_the_beginning_is_taken() {
        let keys: Vec<_> = (0..100).map(|n| ec_jwk(&n.to_string())).collect();
        assert_eq!(names(&keys).unwrap().len(), MAX_KEYS);
    }
}
