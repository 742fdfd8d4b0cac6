//! Keys that change or are elsewhere: rotation without a dropped connection, and sets at a URL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rotunda_crds::GatewayConfig;
use rotunda_crds::config::JwtKeyConfig;
use rotunda_crds::realtime_cluster::auth::JwtAlgorithm;
use serde_json::json;

use crate::gateway::{TestGateway, config, eventually};

const KID: &str = "2026-11";

fn signing_key() -> EncodingKey {
    EncodingKey::from_ec_pem(include_bytes!("../../src/auth/tests/p256.pem")).unwrap()
}

/// A token that the set's key signed.
fn token(user: &str) -> String {
    let expires = SystemTime::now() + Duration::from_mins(1);
    let expires = expires.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(KID.to_owned());
    let claims = json!({ "sub": user, "exp": expires });
    encode(&header, &claims, &signing_key()).unwrap()
}

/// A source of keys on this machine; it serves them while `here` is true. Its URL.
async fn source(here: &Arc<AtomicBool>) -> String {
    let mut key = Jwk::from_encoding_key(&signing_key(), Algorithm::ES256).unwrap();
    key.common.key_id = Some(KID.to_owned());
    let set = json!({ "keys": [key] }).to_string();
    let here = Arc::clone(here);
    let serve = get(async move || {
        if here.load(Ordering::Relaxed) {
            (StatusCode::OK, set.clone())
        } else {
            (StatusCode::BAD_GATEWAY, String::new())
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/keys", serve)).await });
    url
}

/// As usual, and with the keys of a source.
fn with_source(url: String) -> GatewayConfig {
    let mut config = config(&["lobby"]);
    let keys = &mut config.auth.jwt.as_mut().unwrap().keys;
    keys.push(JwtKeyConfig {
        id: "login".to_owned(),
        file: None,
        jwks_url: Some(url),
        algorithms: JwtAlgorithm::ASYMMETRIC.to_vec(),
    });
    config
}

#[tokio::test]
async fn tokens_of_a_set_at_a_url_are_taken_on_every_way_in() {
    let url = source(&Arc::new(AtomicBool::new(true))).await;
    let gateway = TestGateway::start(with_source(url));
    let token = token("alice");
    let query = format!("token={token}&room=lobby");
    let mut client = gateway.try_connect(&query, &[]).await.unwrap();
    assert_eq!(client.next().await["user"], "alice");
    assert_eq!(client.next().await["type"], "joined");
    let bearer = format!("authorization: Bearer {token}\r\n");
    let members = gateway
        .http_with(&bearer, "GET /v1/rooms/lobby/members", "")
        .await;
    assert_eq!(members.status, 200);
    let metrics = gateway.ops("/metrics").await.text;
    assert!(metrics.contains(r#"rotunda_key_set_fetches_total{result="fetched"} 1"#));
}

#[tokio::test]
async fn a_source_that_is_away_is_1013_and_503_and_what_it_did_not_sign_goes_on() {
    let here = Arc::new(AtomicBool::new(false));
    let gateway = TestGateway::start(with_source(source(&here).await));
    let query = format!("token={}", token("alice"));
    let client = gateway.try_connect(&query, &[]).await.unwrap();
    assert_eq!(u16::from(client.closed().await.code), 1013);
    let bearer = format!("authorization: Bearer {}\r\n", token("alice"));
    for request in [
        "GET /v1/sse?room=lobby",
        "GET /v1/poll?room=lobby",
        "GET /v1/rooms/lobby/members",
    ] {
        let answer = gateway.http_with(&bearer, request, "").await;
        assert_eq!(answer.error(), (503, "unavailable".to_owned()), "{request}");
        assert!(answer.header("retry-after").is_some(), "{request}");
    }
    // Its own key is at hand; a refresh with one that isn't leaves the connection as it was.
    let mut bob = gateway.connect("bob", "room=lobby").await;
    assert_eq!(bob.next().await["type"], "joined");
    let refresh = json!({ "type": "refresh", "token": token("bob") });
    assert_eq!(bob.ask(refresh.clone()).await["code"], "unavailable");
    here.store(true, Ordering::Relaxed);
    eventually(async || bob.ask(refresh.clone()).await["type"] == "refreshed").await;
    let mut alice = gateway.try_connect(&query, &[]).await.unwrap();
    assert_eq!(alice.next().await["user"], "alice");
}

#[tokio::test]
async fn keys_are_rotated_without_a_dropped_connection() {
    let mut gateway = TestGateway::start(config(&["lobby"]));
    let mut alice = gateway.connect("alice", "room=lobby").await;
    assert_eq!(alice.next().await["type"], "joined");
    let old = gateway.token("alice");
    gateway.files.insert(
        "jwt.next".to_owned(),
        b"the secret that comes next".to_vec(),
    );
    // First both, the new one for signing; then the new one alone.
    let mut both = config(&["lobby"]);
    let keys = &mut both.auth.jwt.as_mut().unwrap().keys;
    let mut next = keys[0].clone();
    next.id = "next".to_owned();
    next.file = Some("jwt.next".to_owned());
    keys.insert(0, next);
    gateway.reload(both.clone()).await;
    let new = gateway.token("alice");
    for token in [&old, &new] {
        let query = format!("token={token}");
        let mut client = gateway.try_connect(&query, &[]).await.unwrap();
        assert_eq!(client.next().await["type"], "welcome");
    }
    both.auth.jwt.as_mut().unwrap().keys.truncate(1);
    gateway.reload(both).await;
    let refused = gateway.try_connect(&format!("token={old}"), &[]).await;
    assert_eq!(u16::from(refused.unwrap().closed().await.code), 4401);
    let published = alice
        .ask(json!({ "type": "publish", "room": "lobby", "data": 1 }))
        .await;
    assert!(published["type"] == "ack" || published["type"] == "message");
    alice.next().await;
    let stale = alice.ask(json!({ "type": "refresh", "token": old })).await;
    assert_eq!(stale["code"], "unauthorized");
    let fresh = alice.ask(json!({ "type": "refresh", "token": new })).await;
    assert_eq!(fresh["type"], "refreshed");
}
