//! Tokens that try to choose how they are checked. Each is refused, whatever keys there are.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::auth::testing::{
    EC, EC_PUBLIC, EC384_PUBLIC, ED_PUBLIC, RSA, RSA_PUBLIC, ec_jwk, signer, token,
};

const ALL: [JwtAlgorithm; 12] = [
    JwtAlgorithm::HS256,
    JwtAlgorithm::HS384,
    JwtAlgorithm::HS512,
    JwtAlgorithm::RS256,
    JwtAlgorithm::RS384,
    JwtAlgorithm::RS512,
    JwtAlgorithm::PS256,
    JwtAlgorithm::PS384,
    JwtAlgorithm::PS512,
    JwtAlgorithm::ES256,
    JwtAlgorithm::ES384,
    JwtAlgorithm::EdDSA,
];

/// One public key, for all algorithms that public keys have unless some are named.
fn public(pem: &'static [u8], algorithms: &[JwtAlgorithm]) -> Authenticator {
    let config = config(vec![key("main", algorithms)]);
    Authenticator::new(&config, |_| Some(pem)).unwrap()
}

fn any_public(pem: &'static [u8]) -> Authenticator {
    public(pem, &JwtAlgorithm::ASYMMETRIC)
}

/// The file that goes with an algorithm.
fn file_of(algorithm: JwtAlgorithm) -> &'static [u8] {
    match algorithm {
        JwtAlgorithm::HS256 | JwtAlgorithm::HS384 | JwtAlgorithm::HS512 => SECRET,
        JwtAlgorithm::ES256 => EC_PUBLIC,
        JwtAlgorithm::ES384 => EC384_PUBLIC,
        JwtAlgorithm::EdDSA => ED_PUBLIC,
        _ => RSA_PUBLIC,
    }
}

/// A token with a header of one's own, signed as it says.
fn with_header(header: &Value, sign: impl Fn(&[u8]) -> String) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encode(header), encode(&claims()));
    let signature = sign(message.as_bytes());
    format!("{message}.{signature}")
}

fn hs256_by(secret: &[u8]) -> impl Fn(&[u8]) -> String {
    let key = EncodingKey::from_secret(secret);
    move |message| jsonwebtoken::crypto::sign(message, &key, Algorithm::HS256).unwrap()
}

#[test]
fn each_algorithm_is_checked_by_a_key_pinned_to_it_and_by_no_other() {
    for pinned in ALL {
        let authenticator = public(file_of(pinned), &[pinned]);
        for algorithm in ALL {
            let signed = token(&Header::new(algorithm_of(algorithm)));
            let admitted = admit(&authenticator, Some(&signed));
            if algorithm == pinned {
                assert!(admitted.is_ok(), "{pinned:?}");
            } else {
                let error = admitted.unwrap_err();
                assert_eq!(error, AuthError::UnknownKey, "{algorithm:?} by {pinned:?}");
            }
        }
    }
}

#[test]
fn a_token_without_a_signature_is_refused_however_none_is_written() {
    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        let header = json!({ "alg": algorithm, "typ": "JWT" });
        for signature in ["", "AAAA"] {
            let unsigned = with_header(&header, |_| signature.to_owned());
            for authenticator in [hs256(), any_public(RSA_PUBLIC)] {
                assert_eq!(failure(&authenticator, &unsigned), AuthError::NotAToken);
            }
        }
    }
    let stripped = sign(&claims());
    let (message, _) = stripped.rsplit_once('.').unwrap();
    assert_eq!(
        failure(&hs256(), &format!("{message}.")),
        AuthError::BadSignature
    );
    assert_eq!(failure(&hs256(), message), AuthError::NotAToken);
}

#[test]
fn a_public_key_is_no_shared_secret() {
    for pem in [RSA_PUBLIC, EC_PUBLIC, ED_PUBLIC] {
        for secret in [pem, pem.trim_ascii()] {
            let forged = with_header(&json!({ "alg": "HS256" }), hs256_by(secret));
            let authenticator = any_public(pem);
            assert_eq!(failure(&authenticator, &forged), AuthError::UnknownKey);
        }
    }
    // Nor where a config lists shared and public algorithms for one key.
    let mut both = JwtAlgorithm::ASYMMETRIC.to_vec();
    both.push(JwtAlgorithm::HS256);
    let forged = with_header(&json!({ "alg": "HS256" }), hs256_by(RSA_PUBLIC));
    assert_eq!(
        failure(&public(RSA_PUBLIC, &both), &forged),
        AuthError::UnknownKey
    );
}

#[test]
fn a_key_of_one_kind_or_curve_is_not_used_as_another() {
    let rsa_as_ec = with_header(&json!({ "alg": "ES256" }), |message| {
        jsonwebtoken::crypto::sign(message, &signer(Algorithm::RS256), Algorithm::RS256).unwrap()
    });
    assert_eq!(
        failure(&any_public(RSA_PUBLIC), &rsa_as_ec),
        AuthError::UnknownKey
    );
    let p256 = token(&Header::new(Algorithm::ES256));
    assert_eq!(
        failure(&any_public(EC384_PUBLIC), &p256),
        AuthError::UnknownKey
    );
    // The signature of one algorithm under the name of another of the same family.
    let renamed = with_header(&json!({ "alg": "PS256" }), |message| {
        jsonwebtoken::crypto::sign(message, &signer(Algorithm::RS256), Algorithm::RS256).unwrap()
    });
    assert_eq!(
        failure(&any_public(RSA_PUBLIC), &renamed),
        AuthError::BadSignature
    );
}

#[test]
fn keys_that_a_token_brings_or_points_to_are_ignored() {
    let mut jwk = ec_jwk("mine");
    jwk["alg"] = json!("ES256");
    let sign_es256 = |message: &[u8]| {
        jsonwebtoken::crypto::sign(message, &signer(Algorithm::ES256), Algorithm::ES256).unwrap()
    };
    for (member, value) in [
        ("jwk", jwk),
        ("jku", json!("http://127.0.0.1:9/keys")),
        ("x5u", json!("http://127.0.0.1:9/certificate")),
        ("x5c", json!(["AAAA"])),
        ("x5t#S256", json!("AAAA")),
        ("url", json!("http://127.0.0.1:9")),
    ] {
        let mut header = json!({ "alg": "ES256", "kid": "mine" });
        header[member] = value.clone();
        let signed = with_header(&header, sign_es256);
        let stranger = any_public(ED_PUBLIC);
        assert_eq!(
            failure(&stranger, &signed),
            AuthError::UnknownKey,
            "{member}"
        );
        let own = any_public(EC_PUBLIC);
        assert!(admit(&own, Some(&signed)).is_ok(), "{member}");
    }
}

#[test]
fn a_key_id_is_a_name_and_nothing_else() {
    for kid in [
        "../../../../dev/null",
        "/etc/passwd",
        "jwt.main",
        "main\0",
        "main' OR '1'='1",
        "http://127.0.0.1:9/keys",
        "ключ",
    ] {
        let forged = with_header(&json!({ "alg": "HS256", "kid": kid }), hs256_by(b""));
        assert_eq!(failure(&hs256(), &forged), AuthError::BadSignature, "{kid}");
    }
    for kid in [json!(1), json!(["main"]), json!({ "main": true })] {
        let odd = with_header(&json!({ "alg": "HS256", "kid": kid }), hs256_by(SECRET));
        assert_eq!(failure(&hs256(), &odd), AuthError::NotAToken);
    }
}

#[test]
fn what_a_header_says_must_be_understood_is_not() {
    for header in [
        json!({ "alg": "HS256", "crit": ["b64"], "b64": false }),
        json!({ "alg": "HS256", "crit": [] }),
        json!({ "alg": ["HS256"] }),
        json!({ "typ": "JWT" }),
    ] {
        let signed = with_header(&header, hs256_by(SECRET));
        assert_eq!(failure(&hs256(), &signed), AuthError::NotAToken, "{header}");
    }
}

#[test]
fn private_keys_certificates_and_weak_keys_are_not_taken_for_public_ones() {
    let certificate = include_bytes!("rsa.cert.pem").as_slice();
    let weak = include_bytes!("rsa1024.pub.pem").as_slice();
    for pem in [RSA, EC, certificate, weak] {
        let config = config(vec![key("main", &JwtAlgorithm::ASYMMETRIC)]);
        let error = Authenticator::new(&config, |_| Some(pem)).unwrap_err();
        assert!(matches!(error, KeyError::BadPem { .. }));
    }
    // An algorithm that doesn't fit the key is no mistake as long as another one does.
    let config = config(vec![key("main", &[JwtAlgorithm::ES256])]);
    assert!(Authenticator::new(&config, |_| Some(ED_PUBLIC)).is_err());
}

#[test]
fn claims_of_the_wrong_type_are_refused() {
    for (name, value) in [
        ("sub", json!(7)),
        ("sub", json!(["alice"])),
        ("exp", json!("tomorrow")),
        ("exp", json!(null)),
        ("exp", json!(-1)),
        ("nbf", json!("now")),
    ] {
        let mut claims = claims();
        claims[name] = value.clone();
        let refused = admit(&hs256(), Some(&sign(&claims)));
        assert!(refused.is_err(), "{name}: {value}");
    }
    let text = format!(r#"{{"sub":"alice","sub":"root","exp":{}}}"#, now() + 60);
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(text));
    let twice = format!("{message}.{}", hs256_by(SECRET)(message.as_bytes()));
    assert!(admit(&hs256(), Some(&twice)).is_err());
}
