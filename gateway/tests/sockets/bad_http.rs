//! Requests that no well-behaved client sends: each gets an error, and nothing of it gets anywhere else.

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use tower::ServiceExt;

use crate::gateway::{API_KEY, TestGateway, config};
use crate::raw::RawClient;

async fn status(gateway: &TestGateway, request: &str) -> String {
    let mut client = RawClient::connect(gateway).await;
    client.send(request).await;
    let answer = client.ended().await;
    String::from_utf8_lossy(&answer)
        .split("\r\n")
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn a_head_that_is_too_large_or_no_http_is_refused() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let long = "x".repeat(80_000);
    for (request, code) in [
        (format!("GET /v1/ws?token={long} HTTP/1.1\r\nhost: a\r\n\r\n"), "431"),
        (format!("GET /v1/ws HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"), "431"),
        (format!("GET /v1/ws HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1000)), "431"),
        ("GET /v1/ws HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), "400"),
        ("GET /v1/ws HTTP/1.1\r\nx: a\0b\r\n\r\n".to_owned(), "400"),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03\r\n\r\n".to_owned(), "400"),
        (
            "POST /v1/rooms/lobby/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n".to_owned(),
            "400",
        ),
        (
            "POST /v1/rooms/lobby/messages HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n".to_owned(),
            "400",
        ),
    ] {
        let line = status(&gateway, &request).await;
        let shown: String = request.chars().take(60).collect();
        assert!(line.starts_with(&format!("HTTP/1.1 {code}")), "{line:?} for {shown:?}");
    }
}

#[tokio::test]
async fn a_body_past_the_limit_is_refused_without_being_read() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut client = RawClient::connect(&gateway).await;
    let token = gateway.token("alice");
    client
        .send(format!(
            "POST /v1/rooms/lobby/messages HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: 10000000000\r\n\r\n{{"
        ))
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 413 "));
    // The same without a length.
    let mut client = RawClient::connect(&gateway).await;
    client
        .send(format!(
            "POST /v1/rooms/lobby/messages HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\n\r\n"
        ))
        .await;
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    for _ in 0..4 {
        client.send(&chunk).await;
    }
    assert!(client.head().await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let first = stream::once(async {
        Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(Bytes::from_static(b"{")))
    });
    let body = StreamBody::new(futures::StreamExt::chain(first, stream::pending()));
    let request = Request::post("/v1/rooms/lobby/messages")
        .header("authorization", format!("Bearer {API_KEY}"))
        .body(Body::new(body))
        .unwrap();
    let router = rotunda_gateway::http::server_api(&gateway.gateway);
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status().as_u16(), 408);
    let answer = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&answer).contains("request_timeout"));
}

#[tokio::test]
async fn paths_that_are_no_text_are_answered_as_every_bad_request() {
    let gateway = TestGateway::start(config(&["lobby"]));
    for (path, code) in [
        ("GET /v1/rooms/%ff/messages", "bad_request"),
        ("GET /v1/users/%c3%28", "bad_request"),
        ("GET /v1/rooms/a%00b/members", "invalid_room"),
        (
            "GET /v1/rooms/a%0d%0aset-cookie:x=y/members",
            "invalid_room",
        ),
        ("GET /v1/rooms/..%2f..%2fetc/members", "invalid_room"),
        ("GET /v1/rooms/%E2%82%AC/members", "invalid_room"),
    ] {
        let answer = gateway.http("alice", path, "").await;
        assert_eq!(answer.error(), (400, code.to_owned()), "{path}");
        assert!(!answer.head.contains("set-cookie"), "{path}");
    }
}

#[tokio::test]
async fn of_a_parameter_given_twice_the_first_counts() {
    let gateway = TestGateway::start(config(&["lobby"]));
    for number in 0..3 {
        let body = format!(r#"{{"data":{number}}}"#);
        gateway
            .http("alice", "POST /v1/rooms/lobby/messages", &body)
            .await;
    }
    let page = gateway
        .http("alice", "GET /v1/rooms/lobby/messages?limit=1&limit=3", "")
        .await
        .json();
    assert_eq!(page["messages"].as_array().unwrap().len(), 1);
    let query = format!("token=nonsense&token={}", gateway.token("alice"));
    let client = gateway.try_connect(&query, &[]).await.unwrap();
    assert_eq!(u16::from(client.closed().await.code), 4401);
}

#[tokio::test]
async fn nothing_of_a_token_or_a_query_gets_into_a_head() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let headers = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: a%0d%0aset-cookie: x\r\n\
         sec-websocket-protocol: rotunda.v1, bearer.c2V0LWNvb2tpZQ, set-cookie\r\n";
    let mut client = RawClient::connect(&gateway).await;
    client
        .send(format!(
            "GET /v1/ws?token=%0d%0aset-cookie:x&room=%0d%0aset-cookie:x HTTP/1.1\r\nhost: a\r\n{headers}\r\n"
        ))
        .await;
    let head = client.head().await.to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 101 ") && !head.contains("set-cookie"),
        "{head}"
    );
    assert!(
        head.contains("sec-websocket-protocol: rotunda.v1\r\n"),
        "{head}"
    );
    assert_eq!(client.closed().await.0, 4401);
}
