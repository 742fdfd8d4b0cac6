//! Tokens good and bad, and the keys that check them.

use std::collections::HashMap;

use jsonwebtoken::{EncodingKey, Header, encode};
use rotunda_crds::config::JwtConfig;
use rotunda_crds::realtime_cluster::auth::JwtAlgorithm;
use serde_json::{Value, json};

use super::testing::{SECRET, claims, now};
use super::*;

mod confusion;
mod sets;

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

fn sign_with(header: &Header, claims: &Value, secret: &[u8]) -> String {
    encode(header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn sign(claims: &Value) -> String {
    sign_with(&Header::new(Algorithm::HS256), claims, SECRET)
}

/// What comes of a token when nothing has to be waited for.
fn admit(authenticator: &Authenticator, token: Option<&str>) -> Result<Identity, AuthError> {
    let answer = authenticator.authenticate(token).now_or_never();
    answer.expect("no set at a URL has to be asked")
}

fn failure(authenticator: &Authenticator, token: &str) -> AuthError {
    admit(authenticator, Some(token)).unwrap_err()
}

#[test]
fn a_good_token_gives_its_user_and_claims() {
    let identity = admit(&hs256(), Some(&sign(&claims()))).unwrap();
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
    assert_eq!(admit(&hs256(), None).unwrap_err(), AuthError::Missing);
}

#[test]
fn an_expiry_within_the_leeway_still_counts() {
    let mut claims = claims();
    claims["exp"] = json!(now() - 2);
    let identity = admit(&hs256(), Some(&sign(&claims))).unwrap();
    assert!(identity.remaining(SystemTime::now()).unwrap() <= Duration::from_secs(3));
}

#[test]
fn the_key_id_picks_the_key_and_where_none_has_it_all_are_tried() {
    let both = authenticator(&config(vec![
        key("old", &[JwtAlgorithm::HS256]),
        key("main", &[JwtAlgorithm::HS256]),
    ]));
    assert!(admit(&both, Some(&sign(&claims()))).is_ok());
    let signed = |kid: &str, secret: &[u8]| {
        let header = Header {
            kid: Some(kid.to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        sign_with(&header, &claims(), secret)
    };
    for kid in ["main", "", "of-an-identity-provider"] {
        assert!(admit(&both, Some(&signed(kid, SECRET))).is_ok(), "{kid}");
    }
    for (kid, secret) in [
        ("old", SECRET),
        ("new", b"wrong"),
        ("main", b"another secret"),
    ] {
        assert_eq!(
            failure(&both, &signed(kid, secret)),
            AuthError::BadSignature
        );
    }
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
    assert!(admit(&strict, Some(&with(json!("us"), json!(["chat", "other"])))).is_ok());
    assert_eq!(failure(&strict, &sign(&claims())), AuthError::WrongAudience);
    assert_eq!(
        failure(&strict, &with(json!("them"), json!("chat"))),
        AuthError::WrongAudience
    );
    assert_eq!(
        failure(&strict, &with(json!("us"), json!("shop"))),
        AuthError::WrongAudience
    );
    assert!(admit(&hs256(), Some(&with(json!("anyone"), json!("anything")))).is_ok());
}

#[test]
fn the_anonymous_get_names_of_their_own_where_allowed() {
    let open = authenticator(&AuthConfig {
        anonymous: true,
        ..config(vec![key("main", &[JwtAlgorithm::HS256])])
    });
    let (first, second) = (admit(&open, None).unwrap(), admit(&open, None).unwrap());
    assert!(first.anonymous && first.user != second.user);
    assert_eq!(failure(&open, "garbage"), AuthError::NotAToken);
}

#[test]
fn a_key_that_cannot_be_used_is_named_without_its_contents() {
    let new = |algorithm, contents: Option<&'static [u8]>| {
        Authenticator::new(&config(vec![key("main", &[algorithm])]), |_| contents)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        new(JwtAlgorithm::RS256, Some(b"top secret")),
        "key `main`: the file `jwt.main` is no public key in PEM that fits its algorithms (RSA: 2048 to 4096 bits); private keys and certificates aren't taken"
    );
    assert_eq!(
        new(JwtAlgorithm::HS256, None),
        "key `main` needs the file `jwt.main`, which is missing or empty"
    );
}
