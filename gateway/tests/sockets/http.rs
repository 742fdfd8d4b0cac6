//! Without a WebSocket: the same rooms over HTTP, for clients and for servers.

use serde_json::json;

use crate::gateway::{API_KEY, TestGateway, config};

#[tokio::test]
async fn clients_publish_read_and_look_around_with_a_token() {
    let gateway = TestGateway::start(config(&["team:*"]));
    let mut listener = gateway.connect("bob", "room=team:red").await;
    listener.next_of("joined").await;
    let published = gateway
        .http(
            "alice",
            "POST /v1/rooms/team:red/messages",
            r#"{"data":{"x":1},"key":"k"}"#,
        )
        .await;
    assert_eq!(published.status, 200, "{published:?}");
    let message = listener.next_of("message").await;
    assert_eq!(message["id"], published.json()["id"]);
    assert_eq!(
        (&message["from"], &message["data"]),
        (&json!("alice"), &json!({ "x": 1 }))
    );
    // `:` may be encoded in a path.
    let again = gateway
        .http(
            "alice",
            "POST /v1/rooms/team%3Ared/messages",
            r#"{"data":{"x":1},"key":"k"}"#,
        )
        .await;
    assert_eq!(again.json()["id"], published.json()["id"]);
    let signaled = gateway
        .http(
            "alice",
            "POST /v1/rooms/team:red/signals",
            r#"{"name":"wave"}"#,
        )
        .await;
    assert_eq!(signaled.status, 204);
    assert_eq!(listener.next_of("signal").await["name"], "wave");
    let history = gateway
        .http("alice", "GET /v1/rooms/team:red/messages?limit=1", "")
        .await
        .json();
    assert_eq!(
        (&history["messages"][0]["data"], &history["next"]),
        (&json!({ "x": 1 }), &json!(null))
    );
    let members = gateway
        .http("alice", "GET /v1/rooms/team:red/members", "")
        .await
        .json();
    assert_eq!(
        members,
        json!({ "members": [{ "user": "bob" }], "count": 1 })
    );
    let alice = gateway
        .http("alice", "GET /v1/users/alice", "")
        .await
        .json();
    assert_eq!(alice["online"], false);
}

#[tokio::test]
async fn bad_requests_get_the_fitting_status_and_an_error_as_json() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let too_large = format!(r#"{{"data":"{}"}}"#, "x".repeat(66_000));
    let huge = format!(r#"{{"data":"{}"}}"#, "x".repeat(100_000));
    let deep = format!(r#"{{"data":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    let publish = "POST /v1/rooms/lobby/messages";
    for (request, body, status, code) in [
        (
            "POST /v1/rooms/no+room/messages",
            r#"{"data":1}"#,
            400,
            "invalid_room",
        ),
        (
            "POST /v1/rooms/nowhere/messages",
            r#"{"data":1}"#,
            403,
            "forbidden",
        ),
        (publish, "not json", 400, "bad_request"),
        (publish, "[]", 400, "bad_request"),
        (publish, "{}", 400, "bad_request"),
        (publish, &deep, 400, "bad_request"),
        (publish, r#"{"data":1,"from":"bob"}"#, 403, "forbidden"),
        (publish, &too_large, 413, "too_large"),
        (publish, &huge, 413, "too_large"),
        (
            "GET /v1/rooms/lobby/messages?limit=0",
            "",
            400,
            "bad_request",
        ),
        (
            "GET /v1/rooms/lobby/messages?limit=many",
            "",
            400,
            "bad_request",
        ),
        (
            "GET /v1/rooms/lobby/messages?before=x",
            "",
            400,
            "invalid_id",
        ),
        ("GET /v1/users/bob", "", 403, "forbidden"),
        ("GET /v1/nothing", "", 404, "not_found"),
        ("GET /", "", 404, "not_found"),
        (
            "PUT /v1/rooms/lobby/messages",
            "",
            405,
            "method_not_allowed",
        ),
        (
            "DELETE /v1/rooms/lobby/messages",
            "",
            405,
            "method_not_allowed",
        ),
    ] {
        let answer = gateway.http("alice", request, body).await;
        assert_eq!(answer.error(), (status, code.to_owned()), "{request}");
        assert!(answer.head.contains("cache-control: no-store"), "{request}");
    }
    let nobody = gateway.http_with("", publish, r#"{"data":1}"#).await;
    assert_eq!(nobody.error(), (401, "unauthorized".to_owned()));
    assert!(nobody.head.contains("www-authenticate: bearer"));
}

#[tokio::test]
async fn too_many_requests_of_one_user_get_429_with_a_time_to_come_back() {
    let mut config = config(&["lobby"]);
    config.limits.burst = 2;
    config.limits.messages_per_second = 1;
    let gateway = TestGateway::start(config);
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(
            gateway
                .http("alice", "POST /v1/rooms/lobby/messages", r#"{"data":1}"#)
                .await,
        );
    }
    assert_eq!((answers[0].status, answers[1].status), (200, 200));
    let refused = answers.last().unwrap();
    assert_eq!(refused.error(), (429, "rate_limited".to_owned()));
    assert!(refused.head.contains("retry-after: 1"));
    assert_eq!(
        gateway
            .http("bob", "POST /v1/rooms/lobby/messages", r#"{"data":1}"#)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_the_answers() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let preflight = "origin: https://app.example.com\r\naccess-control-request-method: POST\r\n";
    let answer = gateway
        .http_with(preflight, "OPTIONS /v1/rooms/lobby/messages", "")
        .await;
    assert_eq!(answer.status, 204);
    assert!(
        answer
            .head
            .contains("access-control-allow-origin: https://app.example.com")
    );
    let foreign = gateway
        .http_with(
            "origin: https://evil.example\r\n",
            "GET /v1/rooms/lobby/messages",
            "",
        )
        .await;
    assert_eq!(foreign.error(), (403, "forbidden".to_owned()));
    assert!(!foreign.head.contains("access-control-allow-origin"));
}

/// Also what went wrong: without the header a page sees no more than that something did.
#[tokio::test]
async fn each_answer_may_be_read_by_pages_of_allowed_origins() {
    let mut config = config(&["lobby"]);
    config.limits.burst = 1;
    config.limits.messages_per_second = 1;
    let gateway = TestGateway::start(config);
    let publish = "POST /v1/rooms/lobby/messages";
    let (alice, bob) = (gateway.token("alice"), gateway.token("bob"));
    let ask = async |token: &str, request: &str, body: &str| {
        let headers =
            format!("origin: https://app.example.com\r\nauthorization: Bearer {token}\r\n");
        let answer = gateway.http_with(&headers, request, body).await;
        let allowed = "access-control-allow-origin: https://app.example.com";
        for header in [allowed, "vary: origin"] {
            assert!(answer.head.contains(header), "{request}: {}", answer.head);
        }
        answer.status
    };
    for (token, request, body, status) in [
        (&*alice, publish, r#"{"data":1}"#, 200),
        (&alice, "GET /v1/rooms/lobby/messages", "", 200),
        (&alice, "GET /v1/rooms/lobby/members", "", 200),
        (&alice, "GET /v1/users/alice", "", 200),
        (&alice, "GET /v1/poll?room=lobby&wait=0", "", 200),
        (&alice, "GET /v1/poll", "", 400),
        (&alice, "GET /v1/sse", "", 400),
        (&bob, publish, "no JSON", 400),
        ("none", publish, r#"{"data":1}"#, 401),
        (&alice, "GET /v1/rooms/elsewhere/messages", "", 403),
        (&alice, "GET /v1/nowhere", "", 404),
        (&alice, "PUT /v1/rooms/lobby/messages", "", 405),
    ] {
        assert_eq!(ask(token, request, body).await, status, "{request}");
    }
    // One a second is allowed; how long these take doesn't matter.
    while ask(&alice, publish, r#"{"data":1}"#).await != 429 {}
}

#[tokio::test]
async fn servers_publish_as_anyone_with_an_api_key() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut listener = gateway.connect("bob", "room=lobby").await;
    listener.next_of("joined").await;
    let publish = "POST /v1/rooms/lobby/messages";
    for key in ["wrong", "", &gateway.token("alice")] {
        let refused = gateway.api(key, publish, r#"{"data":1}"#).await;
        assert_eq!(refused.error(), (401, "unauthorized".to_owned()));
    }
    let body = r#"{"data":1,"from":"carol"}"#;
    assert_eq!(gateway.api(API_KEY, publish, body).await.status, 200);
    assert_eq!(listener.next_of("message").await["from"], "carol");
    assert_eq!(
        gateway.api(API_KEY, publish, r#"{"data":2}"#).await.status,
        200
    );
    assert_eq!(listener.next_of("message").await["from"], json!(null));
    assert_eq!(
        gateway.api(API_KEY, "GET /v1/users/bob", "").await.json()["online"],
        true
    );
    let nowhere = gateway
        .api(API_KEY, "POST /v1/rooms/nowhere/messages", body)
        .await;
    assert_eq!(nowhere.error(), (404, "not_found".to_owned()));
    assert_eq!(
        gateway
            .api(API_KEY, "DELETE /v1/rooms/lobby/messages", "")
            .await
            .status,
        204
    );
    assert_eq!(listener.next_of("gap").await["reason"], "deleted");
    assert_eq!(
        gateway
            .http_with(
                &format!("authorization: Bearer {API_KEY}\r\n"),
                publish,
                body
            )
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn the_playground_is_there_where_the_config_says_so() {
    let mut config = config(&["lobby"]);
    config.playground = true;
    let gateway = TestGateway::start(config);
    let page = gateway.http_with("", "GET /", "").await;
    assert_eq!(page.status, 200);
    assert!(
        page.head
            .contains("content-security-policy: default-src 'none'")
    );
    assert!(page.text.contains("<title>Rotunda playground</title>"));
    // Tokens are handed out by `dev` alone.
    assert_eq!(
        gateway
            .http_with("", "GET /dev/token?user=eve", "")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn the_operations_port_tells_what_operators_ask() {
    let gateway = TestGateway::start(config(&["lobby", "hall"]));
    let mut alice = gateway.connect("alice", "room=lobby").await;
    alice.next_of("joined").await;
    alice
        .ask(json!({ "type": "publish", "room": "lobby", "data": 1 }))
        .await;
    assert_eq!(gateway.ops("/livez").await.status, 200);
    assert_eq!(gateway.ops("/readyz").await.status, 200);
    assert!(
        gateway
            .ops("/metrics")
            .await
            .text
            .contains("rotunda_connections{transport=\"websocket\"} 1")
    );
    let stats = gateway.ops("/stats").await.json();
    assert_eq!(
        stats,
        json!({
            "version": env!("CARGO_PKG_VERSION"), "state": "serving", "revision": "", "configError": null,
            "connections": 1, "activeRooms": 1,
            "rooms": [
                { "namespace": "demo", "name": "lobby", "generation": 3, "activeRooms": 1, "members": 1,
                  "messagesPublished": 1, "policyError": null },
                { "namespace": "demo", "name": "hall", "generation": 3, "activeRooms": 0, "members": 0,
                  "messagesPublished": 0, "policyError": null },
            ],
        })
    );
}
