//! The server API: many rooms in one call, keys and their rotation, users, and errors that say what to do.

use rotunda_crds::config::{ApiKeyConfig, GatewayConfig};
use rotunda_gateway::config::Settings;
use serde_json::{Value, json};

use crate::gateway::{API_KEY, OTHER_API_KEY, TestGateway, config, eventually};

const PUBLISH: &str = "POST /v1/publish";

async fn texts(gateway: &TestGateway, room: &str) -> Vec<Value> {
    let path = format!("GET /v1/rooms/{room}/messages?order=asc");
    let page = gateway.api(API_KEY, &path, "").await.json();
    let messages = page["messages"].as_array().unwrap().clone();
    messages
        .iter()
        .map(|message| message["data"].clone())
        .collect()
}

#[tokio::test]
async fn one_call_publishes_to_many_rooms_and_users() {
    let gateway = TestGateway::start(config(&["team:*"]));
    let mut red = gateway.connect("rita", "room=team:red").await;
    red.next_of("joined").await;
    let mut alice = gateway
        .connect("alice@example.com", "room=user:alice%2540example.com")
        .await;
    alice.next_of("joined").await;
    let body = r#"{"rooms":["team:red","team:blue"],"users":["alice@example.com"],"data":{"n":1},"from":"bob"}"#;
    let answer = gateway.api(API_KEY, PUBLISH, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let rooms: Vec<_> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| &result["room"])
        .collect();
    assert_eq!(rooms, ["team:red", "team:blue", "user:alice%40example.com"]);
    assert_eq!(answer["failed"], 0);
    for (client, index) in [(&mut red, 0), (&mut alice, 2)] {
        let message = client.next_of("message").await;
        assert_eq!(message["id"], answer["results"][index]["id"]);
        assert_eq!(
            (&message["from"], &message["data"]),
            (&json!("bob"), &json!({ "n": 1 }))
        );
    }
    assert_eq!(texts(&gateway, "team:blue").await, [json!({ "n": 1 })]);
}

#[tokio::test]
async fn messages_of_one_call_keep_their_order_within_each_room() {
    let gateway = TestGateway::start(config(&["team:*"]));
    let messages: Vec<_> = (0..200)
        .map(|n| json!({ "room": format!("team:{}", n % 7), "data": n }))
        .collect();
    let body = json!({ "messages": messages }).to_string();
    assert_eq!(gateway.api(API_KEY, PUBLISH, &body).await.status, 200);
    for team in 0..7 {
        let expected: Vec<_> = (0..200)
            .filter(|n| n % 7 == team)
            .map(Value::from)
            .collect();
        let room = format!("team:{team}");
        assert_eq!(texts(&gateway, &room).await, expected[..]);
    }
}

#[tokio::test]
async fn a_partial_failure_is_told_by_room_and_the_same_call_with_a_key_is_a_safe_retry() {
    let mut before = config(&["team:*"]);
    before.rooms[0].policy.limits.message_bytes = Some(30);
    let gateway = TestGateway::start(before);
    let body = r#"{"rooms":["team:red","hall","team:blue"],"data":"hello","key":"k1"}"#;
    let first = gateway.api(API_KEY, PUBLISH, body).await;
    assert_eq!(first.status, 207);
    let first = first.json();
    assert_eq!(first["failed"], 1);
    assert_eq!(first["results"][1]["error"]["code"], "not_found");
    assert_eq!(first["results"][1]["room"], "hall");

    gateway.reload(config(&["team:*", "hall"])).await;
    let second = gateway.api(API_KEY, PUBLISH, body).await;
    assert_eq!(second.status, 200);
    for index in [0, 2] {
        let (first, second) = (&first["results"][index], &second.json()["results"][index]);
        assert_eq!(first, second, "the same message, not a second one");
    }
    for room in ["team:red", "hall", "team:blue"] {
        assert_eq!(texts(&gateway, room).await, ["hello"], "{room}");
    }
    // Another key of the API is another sender.
    gateway.api(OTHER_API_KEY, PUBLISH, body).await;
    assert_eq!(texts(&gateway, "hall").await, ["hello", "hello"]);
}

#[tokio::test]
async fn a_call_that_reaches_no_room_has_the_status_of_its_first_failure() {
    let gateway = TestGateway::start(config(&["team:*"]));
    let nowhere = gateway
        .api(API_KEY, PUBLISH, r#"{"rooms":["a","b"],"data":1}"#)
        .await;
    assert_eq!(nowhere.error(), (404, "not_found".to_owned()));
    let json = nowhere.json();
    assert_eq!(
        (&json["failed"], json["results"].as_array().unwrap().len()),
        (&json!(2), 2)
    );
    gateway.gateway.hub.broker().close().await;
    let away = gateway
        .api(API_KEY, PUBLISH, r#"{"rooms":["team:a"],"data":1}"#)
        .await;
    assert_eq!(away.error(), (503, "unavailable".to_owned()));
    assert!(away.head.contains("retry-after: 1"), "{}", away.head);
    assert_eq!(away.json()["results"][0]["error"]["code"], "unavailable");
}

#[tokio::test]
async fn after_a_failure_the_rest_of_that_room_waits_so_that_a_retry_keeps_the_order() {
    let mut config = config(&["slow", "fast"]);
    config.rooms[0].policy.limits.messages_per_second = 2;
    let gateway = TestGateway::start(config);
    let messages: Vec<_> = (0..5)
        .map(|n| json!({ "room": "slow", "data": n, "key": format!("{n}") }))
        .chain([json!({ "room": "fast", "data": 9, "key": "9" })])
        .collect();
    let body = json!({ "messages": messages }).to_string();
    let mut failures = Vec::new();
    eventually(async || {
        let answer = gateway.api(API_KEY, PUBLISH, &body).await;
        let json = answer.json();
        failures.extend(
            json["results"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|result| result["error"]["code"].as_str().map(str::to_owned)),
        );
        answer.status == 200
    })
    .await;
    assert!(failures.len() > 1 && failures.iter().all(|code| code == "rate_limited"));
    assert_eq!(texts(&gateway, "slow").await, [0, 1, 2, 3, 4]);
    assert_eq!(texts(&gateway, "fast").await, [9]);
}

#[tokio::test]
async fn a_body_that_is_wrong_anywhere_is_refused_whole_and_says_where() {
    let gateway = TestGateway::start(config(&["team:*"]));
    let many =
        json!({ "rooms": (0..1001).map(|n| format!("team:{n}")).collect::<Vec<_>>(), "data": 1 })
            .to_string();
    for (body, code, part) in [
        ("", "bad_request", "not JSON"),
        ("{}", "bad_request", "no destination"),
        (r#"{"rooms":[],"data":1}"#, "bad_request", "no destination"),
        (
            r#"{"rooms":["team:a"]}"#,
            "bad_request",
            "`data` is missing",
        ),
        (
            r#"{"room":"team:a","data":1}"#,
            "bad_request",
            "unknown field `room`, expected one of `rooms`",
        ),
        (
            r#"{"rooms":"team:a","data":1}"#,
            "bad_request",
            "expected a sequence",
        ),
        (
            r#"{"rooms":["team:a","no room"],"data":1}"#,
            "invalid_room",
            "rooms[1]",
        ),
        (
            r#"{"rooms":["user:a@b"],"data":1}"#,
            "invalid_room",
            "user:a%40b",
        ),
        (
            r#"{"rooms":["team:a"],"users":[""],"data":1}"#,
            "bad_request",
            "users[0]",
        ),
        (
            r#"{"rooms":["team:a","team:a"],"data":1}"#,
            "bad_request",
            "twice, at 0 and 1",
        ),
        (
            r#"{"rooms":["user:a"],"users":["a"],"data":1}"#,
            "bad_request",
            "twice",
        ),
        (
            r#"{"rooms":["team:a"],"data":1,"key":""}"#,
            "bad_request",
            "`key`",
        ),
        (
            r#"{"rooms":["team:a"],"data":1,"from":""}"#,
            "bad_request",
            "`from` is \"\"",
        ),
        (
            r#"{"messages":[{"room":"team:a","data":1},{"data":1}]}"#,
            "bad_request",
            "messages[1]: give either",
        ),
        (
            r#"{"messages":[{"room":"a","user":"a","data":1}]}"#,
            "bad_request",
            "messages[0]: give either",
        ),
        (
            r#"{"messages":[{"room":"a","data":1}],"key":"k"}"#,
            "bad_request",
            "`key` stands beside `messages`",
        ),
        (&many, "bad_request", "1001 messages, one call takes 1000"),
    ] {
        let answer = gateway.api(API_KEY, PUBLISH, body).await;
        assert_eq!(answer.error(), (400, code.to_owned()), "{body}");
        let message = answer.json()["error"]["message"].to_string();
        let message = message.replace("\\\"", "\"");
        assert!(message.contains(part), "{body}: {message}");
    }
    assert!(
        texts(&gateway, "team:a").await.is_empty(),
        "nothing was published"
    );
    let key = gateway.token("alice");
    assert_eq!(
        gateway
            .api(&key, PUBLISH, r#"{"rooms":["team:a"],"data":1}"#)
            .await
            .status,
        401
    );
    assert_eq!(
        gateway
            .http("alice", PUBLISH, r#"{"rooms":["team:a"],"data":1}"#)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn errors_of_both_ports_have_one_shape_and_the_headers_that_help() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let publish = "POST /v1/rooms/lobby/messages";
    let gzip = format!(
        "authorization: Bearer {}\r\ncontent-encoding: gzip\r\n",
        gateway.token("alice")
    );
    let answer = gateway.http_with(&gzip, publish, "x").await;
    assert_eq!(answer.error(), (415, "unsupported_media_type".to_owned()));
    let wrong_method = gateway
        .api(API_KEY, "PATCH /v1/rooms/lobby/messages", "")
        .await;
    assert_eq!(wrong_method.error(), (405, "method_not_allowed".to_owned()));
    let allow = wrong_method
        .head
        .lines()
        .find(|line| line.starts_with("allow:"))
        .unwrap()
        .to_owned();
    for method in ["get", "post", "delete"] {
        assert!(allow.contains(method), "{allow}");
    }
    let not_utf8 = gateway.api(API_KEY, "GET /v1/users/%FF", "").await;
    assert_eq!(not_utf8.error(), (400, "bad_request".to_owned()));
    let nameless = gateway.api(API_KEY, "GET /v1/users/a%00b", "").await;
    assert_eq!(nameless.error(), (400, "bad_request".to_owned()));
    let misspelt = gateway
        .http("alice", publish, r#"{"data":1,"keey":"k"}"#)
        .await;
    assert_eq!(misspelt.error(), (400, "bad_request".to_owned()));
    assert!(
        misspelt
            .text
            .contains("unknown field `keey`, expected one of `data`, `key`, `from`")
    );
    let null = gateway.http("alice", publish, r#"{"data":null}"#).await;
    assert_eq!(null.status, 200, "null is data: {null:?}");
    let unauthorized = gateway.api("", publish, r#"{"data":1}"#).await;
    assert_eq!(unauthorized.error(), (401, "unauthorized".to_owned()));
    assert!(unauthorized.head.contains("www-authenticate: bearer"));
    assert!(unauthorized.head.contains("cache-control: no-store"));
}

#[tokio::test]
async fn a_body_is_json_whatever_its_content_type_says() {
    let gateway = TestGateway::start(config(&["lobby"]));
    for kind in [
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
    ] {
        let headers = format!(
            "authorization: Bearer {}\r\ncontent-type: {kind}\r\n",
            gateway.token("alice")
        );
        let answer = gateway
            .http_with(&headers, "POST /v1/rooms/lobby/messages", r#"{"data":1}"#)
            .await;
        assert_eq!(answer.status, 200, "{kind}");
    }
}

#[tokio::test]
async fn api_keys_rotate_without_a_moment_in_which_none_counts() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let ask = async |key: &str| gateway.api(key, "GET /v1/users/bob", "").await.status;
    let key = |name: &str| ApiKeyConfig {
        name: name.to_owned(),
        file: format!("apikey.{name}"),
    };
    let apply = async |keys: Vec<ApiKeyConfig>| {
        let mut config: GatewayConfig = config(&["lobby"]);
        config.auth.api_keys = keys;
        let settings = Settings::build(config, &gateway.files, &gateway.gateway.counters).unwrap();
        gateway.gateway.reload(settings).await;
    };
    apply(vec![key("backend")]).await;
    assert_eq!((ask(API_KEY).await, ask(OTHER_API_KEY).await), (200, 401));
    apply(vec![key("backend"), key("batch")]).await;
    assert_eq!((ask(API_KEY).await, ask(OTHER_API_KEY).await), (200, 200));
    apply(vec![key("batch")]).await;
    assert_eq!((ask(API_KEY).await, ask(OTHER_API_KEY).await), (401, 200));
    apply(vec![]).await;
    assert_eq!((ask(API_KEY).await, ask("").await), (401, 401));
}

#[tokio::test]
async fn a_users_presence_is_for_the_user_for_servers_and_for_tokens_with_the_capability() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let _bob = gateway.connect("bob@example.com", "").await;
    let path = "GET /v1/users/bob%40example.com";
    let of = async |headers: String| gateway.http_with(&headers, path, "").await;
    let bearer = |token: String| format!("authorization: Bearer {token}\r\n");
    assert_eq!(
        gateway.http("alice", path, "").await.error(),
        (403, "forbidden".to_owned())
    );
    assert_eq!(
        gateway.http("bob@example.com", path, "").await.json()["online"],
        true
    );
    assert_eq!(gateway.api(API_KEY, path, "").await.json()["online"], true);
    let may = gateway.token_with("alice", json!({ "capabilities": ["users:read"] }));
    assert_eq!(of(bearer(may)).await.json()["online"], true);
    let may_not = gateway.token_with(
        "alice",
        json!({ "capabilities": ["users:write", "users:*"] }),
    );
    assert_eq!(of(bearer(may_not)).await.status, 403);
}

#[tokio::test]
async fn asking_for_users_counts_against_the_rate() {
    let mut config = config(&["lobby"]);
    config.limits.burst = 2;
    config.limits.messages_per_second = 1;
    config.limits.rooms_per_connection = 1;
    let gateway = TestGateway::start(config);
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(
            gateway
                .http("alice", "GET /v1/users/alice", "")
                .await
                .status,
        );
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}
