//! Getting in: tokens, origins, upgrades, and a gateway that is full.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio_tungstenite::tungstenite::Error;

use crate::gateway::{TestGateway, config, eventually};

fn status(error: &Error) -> u16 {
    match error {
        Error::Http(response) => response.status().as_u16(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_token_is_taken_from_the_query_the_header_and_the_subprotocol() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let token = gateway.token("alice");
    let protocol = format!("rotunda.v1, bearer.{}", URL_SAFE_NO_PAD.encode(&token));
    let ways = [
        (format!("token={token}"), vec![]),
        (
            String::new(),
            vec![("authorization", format!("Bearer {token}"))],
        ),
        (String::new(), vec![("sec-websocket-protocol", protocol)]),
    ];
    for (query, headers) in ways {
        let mut client = gateway.try_connect(&query, &headers).await.unwrap();
        assert_eq!(client.next().await["user"], "alice");
    }
}

#[tokio::test]
async fn a_bad_token_is_let_in_only_to_be_closed_with_4401() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let expired = gateway.expired_token("alice");
    let mut forged = gateway.token("alice");
    forged.truncate(forged.len() - 4);
    for query in [
        String::new(),
        "token=nonsense".to_owned(),
        format!("token={expired}"),
        format!("token={forged}"),
    ] {
        let client = gateway.try_connect(&query, &[]).await.unwrap();
        let close = client.closed().await;
        assert_eq!(u16::from(close.code), 4401);
        assert!(close.reason.as_str().contains("token"), "{}", close.reason);
    }
}

#[tokio::test]
async fn foreign_pages_are_refused_before_the_upgrade_and_others_are_not() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let query = format!("token={}", gateway.token("alice"));
    for origin in [
        "https://evil.example",
        "null",
        "https://app.example.com.evil.example",
    ] {
        let refused = gateway
            .try_connect(&query, &[("origin", origin.to_owned())])
            .await;
        assert_eq!(status(&refused.err().unwrap()), 403, "{origin}");
    }
    let own = gateway
        .url("")
        .replace("ws://", "http://")
        .replace("/v1/ws?", "");
    for origin in ["https://app.example.com".to_owned(), own] {
        let mut client = gateway
            .try_connect(&query, &[("origin", origin)])
            .await
            .unwrap();
        assert_eq!(client.next().await["type"], "welcome");
    }
}

#[tokio::test]
async fn a_full_gateway_answers_503_with_a_time_to_come_back() {
    let mut config = config(&["lobby"]);
    config.max_connections = 1;
    let gateway = TestGateway::start(config);
    let first = gateway.connect("alice", "").await;
    let query = format!("token={}", gateway.token("bob"));
    let Err(Error::Http(response)) = gateway.try_connect(&query, &[]).await else {
        panic!("it was let in")
    };
    assert_eq!(response.status().as_u16(), 503);
    let after = response.headers()["retry-after"].to_str().unwrap();
    assert!((5..=15).contains(&after.parse::<u64>().unwrap()), "{after}");
    assert_eq!(response.headers()["connection"], "close");
    first.close().await;
    eventually(async || gateway.try_connect(&query, &[]).await.is_ok()).await;
}

#[tokio::test]
async fn a_gateway_short_of_memory_takes_nobody_in_and_serves_on_who_is_there() {
    let mut plenty = config(&["lobby"]);
    plenty.memory_high_watermark = 100;
    let mut scarce = plenty.clone();
    scarce.memory_high_watermark = 0;
    let gateway = TestGateway::start(plenty.clone());
    let mut alice = gateway.connect("alice", "room=lobby").await;
    alice.next_of("joined").await;
    gateway.reload(scarce).await;
    let query = format!("token={}&room=lobby", gateway.token("bob"));
    let refused = async || match gateway.try_connect(&query, &[]).await {
        Err(Error::Http(response)) => response.headers().contains_key("retry-after"),
        _ => false,
    };
    eventually(refused).await;
    for path in ["sse", "poll"] {
        let request = format!("GET /v1/{path}?room=lobby");
        let answer = gateway.http("bob", &request, "").await;
        assert_eq!(answer.error(), (503, "unavailable".to_owned()));
        assert!(answer.header("retry-after").is_some(), "{}", answer.head);
    }
    let id = gateway.publish("carol", "lobby", "1").await;
    assert_eq!(alice.next_of("message").await["id"], id.as_str());
    gateway.reload(plenty).await;
    eventually(async || gateway.try_connect(&query, &[]).await.is_ok()).await;
}

#[tokio::test]
async fn a_user_with_too_many_connections_is_closed_with_4409() {
    let mut config = config(&["lobby"]);
    config.limits.connections_per_user = 1;
    let gateway = TestGateway::start(config);
    let _first = gateway.connect("alice", "").await;
    let query = format!("token={}", gateway.token("alice"));
    let second = gateway.try_connect(&query, &[]).await.unwrap();
    assert_eq!(u16::from(second.closed().await.code), 4409);
    gateway.connect("bob", "").await;
}

#[tokio::test]
async fn the_anonymous_come_in_where_allowed_and_may_do_what_the_room_says() {
    let mut config = config(&["lobby", "open"]);
    config.auth.anonymous = true;
    "true".clone_into(&mut config.rooms[1].policy.access.join);
    let gateway = TestGateway::start(config);
    let mut client = gateway
        .try_connect("room=lobby&room=open", &[])
        .await
        .unwrap();
    let welcome = client.next().await;
    assert!(welcome["user"].as_str().unwrap().starts_with("anonymous-"));
    assert_eq!(client.next().await["code"], "forbidden");
    assert_eq!(client.next().await["room"], "open");
}

#[tokio::test]
async fn what_is_no_request_for_a_websocket_is_told_so() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let plain = gateway.http("alice", "GET /v1/ws", "").await;
    assert_eq!(plain.error(), (426, "bad_request".to_owned()));
    assert!(plain.head.contains("upgrade: websocket"));
    let posted = gateway.http("alice", "POST /v1/ws", "").await;
    assert_eq!(posted.status, 405);
    let old = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 8\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    assert_eq!(gateway.http_with(old, "GET /v1/ws", "").await.status, 426);
}

#[tokio::test]
async fn rooms_of_the_request_are_joined_each_with_its_own_cursor() {
    let gateway = TestGateway::start(config(&["a", "b", "c"]));
    let mut first = gateway.connect("alice", "room=a").await;
    let id = first.next().await["id"].as_str().unwrap().to_owned();
    first
        .ask(serde_json::json!({ "type": "publish", "room": "a", "data": 1 }))
        .await;
    let query = format!("room=b&last_seen_id=&room=a&last_seen_id={id}&room=not+a+room&room=c");
    let mut second = gateway.connect("bob", &query).await;
    assert_eq!(second.next().await["code"], "invalid_room");
    let mut kinds = Vec::new();
    for _ in 0..4 {
        let frame = second.next().await;
        let text = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
        kinds.push(format!(
            "{} {} {}",
            text("type"),
            text("room"),
            frame["recovered"]
        ));
    }
    kinds.sort();
    assert_eq!(
        kinds,
        [
            "joined a true",
            "joined b null",
            "joined c null",
            "message a null"
        ]
    );
}
