//! Tokens good and bad, keys and API keys.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use rotunda_crds::config::ApiKeyConfig;
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"a secret of thirty-two bytes or so";

fn key(id: &str, algorithms: &[JwtAlgorithm]) -> JwtKeyConfig {
    JwtKeyConfig {
        id: id.to_owned(),
        file: Some(format!("jwt.{id}")),
        jwks_url: None,
        algorithms: algorithms.to_vec(),
    }
}

fn config(keys: Vec<JwtKeyConfig>) -> AuthConfig {
    AuthConfig {
        jwt: Some(JwtConfig {
            keys,
            ..JwtConfig::default()
        }),
        ..AuthConfig::default()
    }
}

fn authenticator(config: &AuthConfig) -> Authenticator {
    let files: HashMap<&str, &[u8]> = HashMap::from([
        ("jwt.main", SECRET),
        ("jwt.old", b"another secret".as_slice()),
    ]);
    Authenticator::new(config, |name| files.get(name).copied()).unwrap()
}

fn hs256() -> Authenticator {
    authenticator(&config(vec![key("main", &[JwtAlgorithm::HS256])]))
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn claims() -> Value {
    json!({ "sub": "alice", "exp": now() + 60, "teams": ["red"] })
}

fn sign_with(header: &Header, claims: &Value, secret: &[u8]) -> String {
    encode(header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn sign(claims: &Value) -> String {
    sign_with(&Header::new(Algorithm::HS256), claims, SECRET)
}

fn failure(authenticator: &Authenticator, token: &str) -> AuthError {
    authenticator.authenticate(Some(token)).unwrap_err()
}

#[test]
fn a_good_token_gives_its_user_and_claims() {
    let identity = hs256().authenticate(Some(&sign(&claims()))).unwrap();
    assert_eq!(identity.user.as_str(), "alice");
    assert!(identity.claims.contains("red"));
    let remaining = identity.remaining(SystemTime::now()).unwrap();
    assert!(remaining > Duration::from_secs(55) && remaining <= Duration::from_secs(66));
}

#[test]
fn every_bad_token_has_its_own_answer() {
    let mut expired = claims();
    expired["exp"] = json!(now() - 6);
    let mut early = claims();
    early["nbf"] = json!(now() + 60);
    let mut nameless = claims();
    nameless["sub"] = json!("");
    for (token, expected) in [
        (String::new(), AuthError::NotAToken),
        ("a.b.c".to_owned(), AuthError::NotAToken),
        ("x".repeat(MAX_TOKEN_BYTES + 1), AuthError::NotAToken),
        (sign(&expired), AuthError::Expired),
        (sign(&early), AuthError::NotYetValid),
        (sign(&json!({ "sub": "alice" })), AuthError::MissingClaim),
        (sign(&json!({ "exp": now() + 60 })), AuthError::MissingClaim),
        (sign(&nameless), AuthError::BadSubject),
        (
            sign_with(&Header::new(Algorithm::HS256), &claims(), b"wrong"),
            AuthError::BadSignature,
        ),
        (
            sign_with(&Header::new(Algorithm::HS512), &claims(), SECRET),
            AuthError::UnknownKey,
        ),
    ] {
        assert_eq!(failure(&hs256(), &token), expected);
    }
    assert_eq!(hs256().authenticate(None).unwrap_err(), AuthError::Missing);
}

#[test]
fn an_expiry_within_the_leeway_still_counts() {
    let mut claims = claims();
    claims["exp"] = json!(now() - 2);
    let identity = hs256().authenticate(Some(&sign(&claims))).unwrap();
    assert!(identity.remaining(SystemTime::now()).unwrap() <= Duration::from_secs(3));
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let payload = URL_SAFE_NO_PAD.encode(claims().to_string());
    assert_eq!(
        failure(&hs256(), &format!("{header}.{payload}.")),
        AuthError::NotAToken
    );
}

#[test]
fn the_key_id_picks_the_key_and_without_one_all_are_tried() {
    let both = authenticator(&config(vec![
        key("old", &[JwtAlgorithm::HS256]),
        key("main", &[JwtAlgorithm::HS256]),
    ]));
    assert!(both.authenticate(Some(&sign(&claims()))).is_ok());
    let header = |kid: &str| Header {
        kid: Some(kid.to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    assert!(
        both.authenticate(Some(&sign_with(&header("main"), &claims(), SECRET)))
            .is_ok()
    );
    assert_eq!(
        failure(&both, &sign_with(&header("old"), &claims(), SECRET)),
        AuthError::BadSignature
    );
    assert_eq!(
        failure(&both, &sign_with(&header("new"), &claims(), SECRET)),
        AuthError::UnknownKey
    );
}

#[test]
fn issuer_and_audience_are_needed_once_configured() {
    let mut config = config(vec![key("main", &[JwtAlgorithm::HS256])]);
    config.jwt.as_mut().unwrap().issuer = Some("us".to_owned());
    config.jwt.as_mut().unwrap().audience = Some("chat".to_owned());
    let strict = authenticator(&config);
    let with = |iss: Value, aud: Value| {
        let mut claims = claims();
        claims["iss"] = iss;
        claims["aud"] = aud;
        sign(&claims)
    };
    assert!(
        strict
            .authenticate(Some(&with(json!("us"), json!(["chat", "other"]))))
            .is_ok()
    );
    assert_eq!(failure(&strict, &sign(&claims())), AuthError::WrongAudience);
    assert_eq!(
        failure(&strict, &with(json!("them"), json!("chat"))),
        AuthError::WrongAudience
    );
    assert_eq!(
        failure(&strict, &with(json!("us"), json!("shop"))),
        AuthError::WrongAudience
    );
    assert!(
        hs256()
            .authenticate(Some(&with(json!("anyone"), json!("anything"))))
            .is_ok()
    );
}

#[test]
fn the_anonymous_get_names_of_their_own_where_allowed() {
    let open = authenticator(&AuthConfig {
        anonymous: true,
        ..config(vec![key("main", &[JwtAlgorithm::HS256])])
    });
    let (first, second) = (
        open.authenticate(None).unwrap(),
        open.authenticate(None).unwrap(),
    );
    assert!(first.anonymous && first.user != second.user);
    assert_eq!(failure(&open, "garbage"), AuthError::NotAToken);
}

#[test]
fn a_key_source_that_is_away_is_not_the_clients_fault() {
    let mut config = config(vec![key("main", &[JwtAlgorithm::HS256])]);
    config.jwt.as_mut().unwrap().keys.push(JwtKeyConfig {
        id: "remote".to_owned(),
        file: None,
        jwks_url: Some("https://keys.example".to_owned()),
        algorithms: vec![JwtAlgorithm::RS256],
    });
    let away = authenticator(&config);
    assert!(away.authenticate(Some(&sign(&claims()))).is_ok());
    let unknown = sign_with(&Header::new(Algorithm::HS512), &claims(), SECRET);
    assert_eq!(
        failure(&away, &unknown).close_reason(),
        CloseReason::Unavailable
    );
}

/// Throwaway keys made for this test: `openssl genpkey -algorithm ed25519`, `openssl ecparam -name prime256v1 -genkey`.
const ED_PRIVATE: &str = include_str!("tests/ed25519.pem");
const ED_PUBLIC: &str = include_str!("tests/ed25519.pub.pem");
const EC_PRIVATE: &str = include_str!("tests/p256.pem");
const EC_PUBLIC: &str = include_str!("tests/p256.pub.pem");

#[test]
fn public_keys_in_pem_check_tokens_of_their_family_only() {
    let make = |pem: &'static str| {
        let config = config(vec![key("main", &JwtAlgorithm::ASYMMETRIC)]);
        Authenticator::new(&config, |_| Some(pem.as_bytes())).unwrap()
    };
    let ed = encode(
        &Header::new(Algorithm::EdDSA),
        &claims(),
        &EncodingKey::from_ed_pem(ED_PRIVATE.as_bytes()).unwrap(),
    )
    .unwrap();
    let ec = encode(
        &Header::new(Algorithm::ES256),
        &claims(),
        &EncodingKey::from_ec_pem(EC_PRIVATE.as_bytes()).unwrap(),
    )
    .unwrap();
    assert!(make(ED_PUBLIC).authenticate(Some(&ed)).is_ok());
    assert!(make(EC_PUBLIC).authenticate(Some(&ec)).is_ok());
    assert_eq!(failure(&make(ED_PUBLIC), &ec), AuthError::UnknownKey);
    // The oldest trick: the public key's text used as a shared secret.
    let forged = sign_with(
        &Header::new(Algorithm::HS256),
        &claims(),
        EC_PUBLIC.as_bytes(),
    );
    assert_eq!(failure(&make(EC_PUBLIC), &forged), AuthError::UnknownKey);
}

#[test]
fn a_key_that_cannot_be_used_is_named_without_its_contents() {
    let error = Authenticator::new(&config(vec![key("main", &[JwtAlgorithm::RS256])]), |_| {
        Some(b"top secret")
    })
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "key `main`: the file `jwt.main` is no public key in PEM that fits its algorithms"
    );
    let error = Authenticator::new(&config(vec![key("main", &[JwtAlgorithm::HS256])]), |_| None)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "key `main` needs the file `jwt.main`, which is missing or empty"
    );
}

#[test]
fn api_keys_are_found_by_value_and_never_printed() {
    let auth = AuthConfig {
        api_keys: vec![
            ApiKeyConfig {
                name: "backend".to_owned(),
                file: "apikey.backend".to_owned(),
            },
            ApiKeyConfig {
                name: "cron".to_owned(),
                file: "apikey.cron".to_owned(),
            },
        ],
        ..AuthConfig::default()
    };
    let keys = ApiKeys::new(&auth, |name| {
        Some(if name == "apikey.cron" {
            b"key-2"
        } else {
            b"key-1\n"
        })
    })
    .unwrap();
    assert_eq!(keys.name_of("key-1"), Some("backend"));
    assert_eq!(keys.name_of("key-2"), Some("cron"));
    assert_eq!(keys.name_of("key-3"), None);
    assert_eq!(keys.name_of(""), None);
    assert!(!format!("{keys:?}").contains("key-"));
    assert!(ApiKeys::new(&auth, |_| Some(b" \n")).is_err());
}
