//! How fast clients may come, and by which address they are told apart.

use tokio_tungstenite::tungstenite::Error;

use crate::gateway::{Client, TestGateway, config, eventually};

const LOCALHOST: &str = "127.0.0.0/8";

/// Whether a client that proxies name is let in; else the status, and whether it was told when to come back.
async fn arrive(gateway: &TestGateway, forwarded: &str) -> Result<Client, (u16, bool)> {
    let query = format!("token={}", gateway.token("alice"));
    let headers = [("x-forwarded-for", forwarded.to_owned())];
    gateway
        .try_connect(&query, &headers)
        .await
        .map_err(|error| {
            let Error::Http(response) = error else {
                panic!("{error}")
            };
            let told = response.headers().contains_key("retry-after");
            (response.status().as_u16(), told)
        })
}

#[tokio::test]
async fn one_address_is_answered_429_past_its_rate_and_others_are_let_in() {
    let mut config = config(&["lobby"]);
    config.limits.handshakes_per_second_per_address = 2;
    config.trusted_proxies = vec![LOCALHOST.to_owned()];
    let gateway = TestGateway::start(config);
    let _first = arrive(&gateway, "203.0.113.1").await.unwrap();
    let _second = arrive(&gateway, "203.0.113.1").await.unwrap();
    assert_eq!(
        arrive(&gateway, "203.0.113.1").await.err(),
        Some((429, true))
    );
    // What the client wrote itself stands to the left, and changes nothing.
    let forged = arrive(&gateway, "198.51.100.9, 203.0.113.1").await;
    assert_eq!(forged.err(), Some((429, true)));
    arrive(&gateway, "203.0.113.2").await.unwrap();
    // A second brings two more.
    eventually(async || arrive(&gateway, "203.0.113.1").await.is_ok()).await;
    let metrics = gateway.gateway.metrics.render();
    assert!(metrics.contains("handshakes_refused_total{reason=\"rate_of_address\"}"));
}

#[tokio::test]
async fn without_a_trusted_proxy_the_address_is_that_of_the_connection() {
    let mut config = config(&["lobby"]);
    config.limits.handshakes_per_second_per_address = 1;
    config.trusted_proxies = vec!["10.0.0.0/8".to_owned()];
    let gateway = TestGateway::start(config);
    let _first = arrive(&gateway, "203.0.113.1").await.unwrap();
    assert_eq!(
        arrive(&gateway, "203.0.113.2").await.err(),
        Some((429, true))
    );
}

#[tokio::test]
async fn every_transport_counts_and_a_poll_that_goes_on_does_not() {
    let mut config = config(&["lobby"]);
    config.limits.handshakes_per_second_per_address = 1;
    config.trusted_proxies = vec![LOCALHOST.to_owned()];
    let gateway = TestGateway::start(config);
    let bearer = format!("authorization: Bearer {}\r\n", gateway.token("alice"));
    let ask = async |address: u8, path: &str| {
        let headers = format!("{bearer}x-forwarded-for: 203.0.113.{address}\r\n");
        gateway
            .http_with(&headers, &format!("GET {path}"), "")
            .await
    };
    let _first = arrive(&gateway, "203.0.113.1").await.unwrap();
    let refused = ask(1, "/v1/sse?room=lobby").await;
    assert_eq!(refused.error(), (429, "rate_limited".to_owned()));
    assert!(refused.json()["error"]["retry_after_ms"].as_u64().unwrap() > 0);
    let refused = ask(1, "/v1/poll?room=lobby&wait=0").await;
    assert_eq!(refused.error(), (429, "rate_limited".to_owned()));
    let begun = ask(2, "/v1/poll?room=lobby&wait=0").await;
    let id = begun.json()["id"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        let next = ask(2, &format!("/v1/poll?room=lobby&wait=0&last_seen_id={id}")).await;
        assert_eq!(next.status, 200);
    }
}

#[tokio::test]
async fn a_gateway_answers_503_past_its_own_rate_whoever_comes() {
    let mut config = config(&["lobby"]);
    config.limits.handshakes_per_second = 2;
    config.trusted_proxies = vec![LOCALHOST.to_owned()];
    let gateway = TestGateway::start(config);
    let _first = arrive(&gateway, "203.0.113.1").await.unwrap();
    let _second = arrive(&gateway, "203.0.113.2").await.unwrap();
    assert_eq!(
        arrive(&gateway, "203.0.113.3").await.err(),
        Some((503, true))
    );
    eventually(async || arrive(&gateway, "203.0.113.3").await.is_ok()).await;
}
