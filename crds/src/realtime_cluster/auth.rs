//! `spec.auth`: who may connect.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::non_empty;

/// Who may connect.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Auth {
    /// Tokens (JWT) and the keys that sign them. The claim `sub` is the user's id. Default: none.
    pub jwt: Option<Jwt>,
    /// Whether clients without a token may connect, as a user with a random id and `user.anonymous` true. Default: false.
    pub anonymous: Option<bool>,
    /// Secret with the keys of the server API (port 8081), one key an entry; the entry's name is the key's name.
    /// Default: none, the server API refuses every call.
    pub api_keys_secret_ref: Option<SecretRef>,
}

/// Tokens and the keys that sign them.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Jwt {
    /// Keys that tokens may be signed with. More than one while keys are rotated.
    pub keys: Vec<JwtKey>,
    /// What the claim `iss` must be. Default: not checked.
    pub issuer: Option<String>,
    /// What the claim `aud` must be or contain. Default: not checked.
    pub audience: Option<String>,
}

/// One key for tokens. Exactly one of `secretRef`, `publicKeyRef` and `jwksUrl`.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct JwtKey {
    /// Name of the key, unique in the list. A token with a `kid` header is checked with the key of that id, or with all
    /// where none has it.
    pub id: String,
    /// Secret with the shared secret, for HS256, HS384 and HS512.
    pub secret_ref: Option<SecretKeyRef>,
    /// Secret with the public key as PEM, for the RS, PS and ES algorithms and EdDSA.
    pub public_key_ref: Option<SecretKeyRef>,
    /// URL of a JSON Web Key Set, fetched by the gateways and again before it is old: `https://`, or `http://` with a Service of this
    /// Kubernetes cluster. Its keys have the names that the set gives them.
    pub jwks_url: Option<String>,
    /// Algorithms that this key accepts. Default: HS256 with `secretRef`, else all that a public key can check.
    #[serde(default)]
    pub algorithms: Vec<JwtAlgorithm>,
}

/// Signature algorithm of a token (RFC 7518, RFC 8037).
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
#[allow(missing_docs, reason = "the names are those of the RFCs")]
pub enum JwtAlgorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl JwtAlgorithm {
    /// All that a public key can check.
    pub const ASYMMETRIC: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// Whether it takes a shared secret.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

/// Where the material of a [`JwtKey`] is.
#[derive(Clone, Debug, PartialEq)]
pub enum JwtKeySource<'a> {
    /// A shared secret.
    Secret(&'a SecretKeyRef),
    /// A public key as PEM.
    PublicKey(&'a SecretKeyRef),
    /// URL of a JSON Web Key Set.
    Jwks(&'a str),
}

/// One entry of a Secret in the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    pub name: String,
    /// Entry of the Secret.
    pub key: String,
}

/// A Secret in the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    pub name: String,
}

impl Auth {
    /// Whether clients without a token may connect.
    pub fn anonymous(&self) -> bool {
        self.anonymous.unwrap_or(false)
    }

    /// The keys for tokens; none without `jwt`.
    pub fn jwt_keys(&self) -> &[JwtKey] {
        self.jwt
            .as_ref()
            .map(|jwt| jwt.keys.as_slice())
            .unwrap_or_default()
    }
}

impl Jwt {
    /// What `iss` must be, where it is checked.
    pub fn issuer(&self) -> Option<&str> {
        non_empty(self.issuer.as_ref())
    }

    /// What `aud` must be or contain, where it is checked.
    pub fn audience(&self) -> Option<&str> {
        non_empty(self.audience.as_ref())
    }
}

impl JwtKey {
    /// Where the key is; `None` only for an object that the schema would have refused.
    pub fn source(&self) -> Option<JwtKeySource<'_>> {
        match (
            &self.secret_ref,
            &self.public_key_ref,
            non_empty(self.jwks_url.as_ref()),
        ) {
            (Some(secret), None, None) => Some(JwtKeySource::Secret(secret)),
            (None, Some(public), None) => Some(JwtKeySource::PublicKey(public)),
            (None, None, Some(url)) => Some(JwtKeySource::Jwks(url)),
            _ => None,
        }
    }

    /// Algorithms that this key accepts, never mixing shared secrets and public keys.
    pub fn algorithms(&self) -> Vec<JwtAlgorithm> {
        let symmetric = self.secret_ref.is_some();
        if !self.algorithms.is_empty() {
            return self
                .algorithms
                .iter()
                .copied()
                .filter(|alg| alg.is_symmetric() == symmetric)
                .collect();
        }
        if symmetric {
            vec![JwtAlgorithm::HS256]
        } else {
            JwtAlgorithm::ASYMMETRIC.to_vec()
        }
    }
}
