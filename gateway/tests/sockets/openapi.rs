//! The OpenAPI document against a running gateway: every operation is called, on every port that serves it, and with every error that can
//! be caused; what is answered fits what is described.

mod cases;
mod document;

use std::collections::BTreeSet;

use rotunda_crds::config::GatewayConfig;
use rotunda_crds::room::Durability;
use rotunda_gateway::http::Side;

use self::cases::{Caller, Cases};
use self::document::Document;
use crate::gateway::{API_KEY, TestGateway, config, eventually};
use crate::redis::Redis;
use crate::stream::EventSource;

#[tokio::test]
async fn a_gateway_serves_it_to_whoever_reaches_the_server_api() {
    let gateway = TestGateway::start(config(&[]));
    let served = gateway.api("", "GET /v1/openapi.json", "").await;
    assert_eq!(served.json(), Document::read().0);
}

const MESSAGES: [&str; 3] = [
    "GET /v1/rooms/{room}/messages",
    "POST /v1/rooms/{room}/messages",
    "DELETE /v1/rooms/{room}/messages",
];
const USER_MESSAGES: [&str; 3] = [
    "GET /v1/users/{user}/messages",
    "POST /v1/users/{user}/messages",
    "DELETE /v1/users/{user}/messages",
];
const SIGNALS: &str = "POST /v1/rooms/{room}/signals";
const USER_SIGNALS: &str = "POST /v1/users/{user}/signals";
const MEMBERS: &str = "GET /v1/rooms/{room}/members";
const USER: &str = "GET /v1/users/{user}";
const DISCONNECT: &str = "POST /v1/users/{user}/disconnect";
const REMOVE: &str = "POST /v1/rooms/{room}/members/{user}/remove";
const PUBLISH: &str = "POST /v1/publish";
const DESCRIPTION: &str = "GET /v1/openapi.json";
const SOCKET: &str = "GET /v1/ws";
const STREAM: &str = "GET /v1/sse";
const POLL: &str = "GET /v1/poll";

const DATA: &str = r#"{"data":{"text":"hi"},"key":"c0ffee"}"#;
const WAVE: &str = r#"{"name":"wave","data":null}"#;

/// What is asked of a room or of a user, with a body that does.
const OPERATIONS: [(&str, &str); 12] = [
    (MESSAGES[0], ""),
    (MESSAGES[1], DATA),
    (MESSAGES[2], ""),
    (USER_MESSAGES[0], ""),
    (USER_MESSAGES[1], DATA),
    (USER_MESSAGES[2], ""),
    (SIGNALS, WAVE),
    (USER_SIGNALS, WAVE),
    (MEMBERS, ""),
    (USER, ""),
    (DISCONNECT, ""),
    (REMOVE, ""),
];

fn only_of_servers(operation: &str) -> bool {
    operation.starts_with("DELETE") || [DISCONNECT, REMOVE].contains(&operation)
}

fn rooms() -> GatewayConfig {
    let mut config = config(&["lobby", "slow", "small", "closed"]);
    config.rooms[1].policy.limits.messages_per_second = 1;
    config.rooms[2].policy.limits.message_bytes = Some(10);
    "false".clone_into(&mut config.rooms[3].policy.access.join);
    config
}

/// What no test can bring about at will, but a unit test of its own: a body that is too slow, and a bug.
const NOT_CAUSED: [u16; 2] = [408, 500];

#[tokio::test]
async fn every_operation_answers_as_described() {
    let document = Document::read();
    let operations = document.operations();
    let mut cases = Cases {
        document,
        operations,
        seen: BTreeSet::new(),
    };
    let gateway = TestGateway::start(rooms());
    let _here = gateway.connect("alice", "room=lobby&room=user:alice").await;
    let alice = format!("authorization: Bearer {}\r\n", gateway.token("alice"));
    let key = format!("authorization: Bearer {API_KEY}\r\n");
    for (side, headers) in [(Side::Public, &alice), (Side::Server, &key)] {
        let caller = Caller { side, headers };
        good_requests(&mut cases, &gateway, &caller).await;
        bad_requests(&mut cases, &gateway, &caller).await;
    }
    server_requests(&mut cases, &gateway, &key).await;
    handshakes(&mut cases, &gateway, &alice).await;
    streams_and_polls(&mut cases, &gateway, &alice).await;
    let mut tight = rooms();
    tight.limits.messages_per_second = 1;
    tight.limits.burst = 1;
    tight.limits.rooms_per_connection = 1;
    gateway.reload(tight).await;
    floods(&mut cases, &gateway).await;
    gateway.gateway.hub.broker().close().await;
    gateway.reload(rooms()).await;
    for (side, headers) in [(Side::Public, &alice), (Side::Server, &key)] {
        let caller = Caller { side, headers };
        for (operation, body) in OPERATIONS {
            if side == Side::Server || !only_of_servers(operation) {
                let of = if operation.contains("{room}") {
                    "lobby"
                } else {
                    "alice"
                };
                cases
                    .play(&gateway, caller.asks(operation, of, body, 503))
                    .await;
            }
        }
    }
    let caller = Caller {
        side: Side::Server,
        headers: &key,
    };
    let body = r#"{"rooms":["lobby"],"data":1}"#;
    cases
        .play(&gateway, caller.asks(PUBLISH, "", body, 503))
        .await;
    unknown_outcomes(&mut cases).await;
    everything_was_seen(&cases);
}

/// Whether a message reached a replica can't be told where there is none.
async fn unknown_outcomes(cases: &mut Cases) {
    let redis = Redis::start();
    let mut config = config(&["lobby", "user:*"]);
    for room in &mut config.rooms {
        room.policy.history.durability = Durability::Replicated;
    }
    let gateway = redis.gateway(config).await;
    let key = format!("authorization: Bearer {API_KEY}\r\n");
    let caller = Caller {
        side: Side::Server,
        headers: &key,
    };
    for (operation, of, body) in [
        (MESSAGES[1], "lobby", DATA),
        (USER_MESSAGES[1], "alice", DATA),
        (PUBLISH, "", r#"{"rooms":["lobby"],"data":1}"#),
    ] {
        cases
            .play(&gateway, caller.asks(operation, of, body, 504))
            .await;
    }
}

async fn good_requests(cases: &mut Cases, gateway: &TestGateway, caller: &Caller<'_>) {
    for (operation, body) in OPERATIONS {
        if only_of_servers(operation) {
            continue;
        }
        let of = if operation.contains("{room}") {
            "lobby"
        } else {
            "alice"
        };
        let status = if operation.ends_with("signals") {
            204
        } else {
            200
        };
        cases
            .play(gateway, caller.asks(operation, of, body, status))
            .await;
    }
    for query in [
        "limit=1&order=desc",
        "order=asc",
        "after=7-1",
        "before=9-9&after=7-1",
    ] {
        let path = format!("/v1/rooms/lobby/messages?{query}");
        cases
            .play(gateway, caller.asks_at(MESSAGES[0], path, "", 200))
            .await;
    }
    let gone = caller.asks(USER, "someone%40example.com", "", 200);
    if caller.side == Side::Server {
        cases.play(gateway, gone).await;
    }
}

async fn bad_requests(cases: &mut Cases, gateway: &TestGateway, caller: &Caller<'_>) {
    let huge = format!(r#"{{"data":"{}"}}"#, "x".repeat(100_000));
    let huge_signal = format!(r#"{{"name":"x","data":"{}"}}"#, "x".repeat(100_000));
    let nobody = Caller {
        side: caller.side,
        headers: "",
    };
    let compressed = format!("{}content-encoding: br\r\n", caller.headers);
    let compressing = Caller {
        side: caller.side,
        headers: &compressed,
    };
    for (operation, body) in OPERATIONS {
        if caller.side == Side::Public && only_of_servers(operation) {
            continue;
        }
        let of_room = operation.contains("{room}");
        let (of, no_name) = if of_room {
            ("lobby", "no%20room")
        } else {
            ("alice", "a%00b")
        };
        cases
            .play(gateway, caller.asks(operation, no_name, body, 400))
            .await;
        cases
            .play(gateway, nobody.asks(operation, of, body, 401))
            .await;
        if !body.is_empty() {
            let huge = if operation.ends_with("signals") {
                &huge_signal
            } else {
                &huge
            };
            cases
                .play(gateway, caller.asks(operation, of, "[]", 400))
                .await;
            cases
                .play(gateway, caller.asks(operation, of, huge, 413))
                .await;
            cases
                .play(gateway, compressing.asks(operation, of, body, 415))
                .await;
        }
        let elsewhere = if of_room { "nowhere" } else { "bob" };
        match caller.side {
            Side::Public => {
                cases
                    .play(gateway, caller.asks(operation, elsewhere, body, 403))
                    .await;
            }
            Side::Server if of_room && !operation.starts_with("DELETE") => {
                cases
                    .play(gateway, caller.asks(operation, elsewhere, body, 404))
                    .await;
            }
            Side::Server => {}
        }
    }
    let too_large = caller.asks(MESSAGES[1], "small", r#"{"data":"more than ten"}"#, 413);
    cases.play(gateway, too_large).await;
}

async fn server_requests(cases: &mut Cases, gateway: &TestGateway, key: &str) {
    let caller = Caller {
        side: Side::Server,
        headers: key,
    };
    let nobody = Caller {
        side: Side::Server,
        headers: "",
    };
    let compressed = format!("{key}content-encoding: gzip\r\n");
    let compressing = Caller {
        side: Side::Server,
        headers: &compressed,
    };
    for (body, status) in [
        (
            r#"{"rooms":["lobby","closed"],"users":["alice@example.com"],"data":1,"from":"bob","key":"k"}"#,
            200,
        ),
        (
            r#"{"messages":[{"room":"lobby","data":1},{"user":"bob","data":2,"key":"k"}]}"#,
            200,
        ),
        (r#"{"rooms":["lobby","nowhere"],"data":1}"#, 207),
        (r#"{"rooms":[]}"#, 400),
        (r#"{"rooms":["nowhere"],"data":1}"#, 404),
        (r#"{"rooms":["small"],"data":"more than ten"}"#, 413),
    ] {
        cases
            .play(gateway, caller.asks(PUBLISH, "", body, status))
            .await;
    }
    cases
        .play(gateway, nobody.asks(PUBLISH, "", "{}", 401))
        .await;
    cases
        .play(gateway, compressing.asks(PUBLISH, "", "{}", 415))
        .await;
    cases
        .play(gateway, nobody.asks(DESCRIPTION, "", "", 200))
        .await;
    for (operation, of, status) in [
        (MESSAGES[2], "lobby", 204),
        (USER_MESSAGES[2], "alice", 204),
        (DISCONNECT, "eve", 202),
        (REMOVE, "lobby", 202),
    ] {
        cases
            .play(gateway, caller.asks(operation, of, "", status))
            .await;
    }
    // Of servers, rooms alone have a rate.
    eventually(async || {
        let body = r#"{"rooms":["slow"],"data":1}"#;
        gateway.api(API_KEY, PUBLISH, body).await.status == 429
    })
    .await;
}

async fn handshakes(cases: &mut Cases, gateway: &TestGateway, alice: &str) {
    let upgrade = "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let none = Caller {
        side: Side::Public,
        headers: alice,
    };
    cases.play(gateway, none.asks(SOCKET, "", "", 426)).await;
    let foreign = format!("{upgrade}origin: https://evil.example\r\n");
    let foreign = Caller {
        side: Side::Public,
        headers: &foreign,
    };
    cases.play(gateway, foreign.asks(SOCKET, "", "", 403)).await;
    let mut full = rooms();
    full.max_connections = 1;
    // The first one meets a full gateway, the next one is too fast.
    full.limits.handshakes_per_second_per_address = 1;
    gateway.reload(full).await;
    let one_more = format!("{upgrade}connection: upgrade\r\n{alice}");
    let one_more = Caller {
        side: Side::Public,
        headers: &one_more,
    };
    cases
        .play(gateway, one_more.asks(SOCKET, "", "", 503))
        .await;
    cases
        .play(gateway, one_more.asks(SOCKET, "", "", 429))
        .await;
    // A real client shows that it works; what comes then is described elsewhere.
    gateway.reload(rooms()).await;
    gateway
        .connect("bob", "room=lobby&last_seen_id=&heartbeat=1")
        .await;
    cases.seen.insert((SOCKET.to_owned(), Side::Public, 101));
}

/// What a client that listens without a WebSocket asks for, and all that it may be refused for.
async fn streams_and_polls(cases: &mut Cases, gateway: &TestGateway, alice: &str) {
    let with = |headers: &str| format!("{alice}{headers}");
    let foreign = with("origin: https://evil.example\r\n");
    let ended = with("last-event-id: .7-1\r\n");
    let play = async |cases: &mut Cases, operation, headers: &str, query: &str, status| {
        let caller = Caller {
            side: Side::Public,
            headers,
        };
        let (_, path) = str::split_once(operation, ' ').unwrap();
        let path = format!("{path}?{query}");
        cases
            .play(gateway, caller.asks_at(operation, path, "", status))
            .await;
    };
    for operation in [STREAM, POLL] {
        play(cases, operation, alice, "", 400).await;
        play(cases, operation, "", "room=lobby", 401).await;
        play(cases, operation, &foreign, "room=lobby", 403).await;
        let mut tight = rooms();
        tight.limits.connections_per_user = 1;
        gateway.reload(tight).await;
        play(cases, operation, alice, "room=lobby", 429).await;
        let mut full = rooms();
        full.max_connections = 1;
        gateway.reload(full).await;
        play(cases, operation, alice, "room=lobby", 503).await;
        gateway.reload(rooms()).await;
    }
    play(cases, STREAM, &ended, "room=lobby", 204).await;
    play(
        cases,
        POLL,
        alice,
        "room=lobby&wait=0&last_seen_id=7-1",
        200,
    )
    .await;
    // A real client shows that it works; its answer never ends.
    EventSource::open(gateway, "bob", "room=lobby&last_seen_id=").await;
    cases.seen.insert((STREAM.to_owned(), Side::Public, 200));
}

/// Asks as often as it takes until the rate is used up.
async fn floods(cases: &mut Cases, gateway: &TestGateway) {
    for (operation, body) in OPERATIONS {
        if only_of_servers(operation) {
            continue;
        }
        let user = format!("flooder-{}", operation.len());
        let headers = format!("authorization: Bearer {}\r\n", gateway.token(&user));
        let template = operation.split_once(' ').unwrap();
        let path = template
            .1
            .replace("{room}", "lobby")
            .replace("{user}", &user);
        let request = format!("{} {path}", template.0);
        eventually(async || gateway.http_with(&headers, &request, body).await.status == 429).await;
        let caller = Caller {
            side: Side::Public,
            headers: &headers,
        };
        cases
            .play(gateway, caller.asks_at(operation, path, body, 429))
            .await;
    }
    let key = format!("authorization: Bearer {API_KEY}\r\n");
    let caller = Caller {
        side: Side::Server,
        headers: &key,
    };
    let body = r#"{"rooms":["slow"],"data":1}"#;
    eventually(async || gateway.api(API_KEY, PUBLISH, body).await.status == 429).await;
    cases
        .play(gateway, caller.asks(PUBLISH, "", body, 429))
        .await;
}

fn everything_was_seen(cases: &Cases) {
    let statuses = |name: &str, side: Option<Side>| -> BTreeSet<u16> {
        let of_it = cases.seen.iter().filter(|(operation, seen_at, _)| {
            operation == name && side.is_none_or(|side| side == *seen_at)
        });
        of_it.map(|(_, _, status)| *status).collect()
    };
    for (name, operation) in &cases.operations {
        let described = operation["responses"].as_object().unwrap();
        let described: BTreeSet<u16> = described.keys().map(|key| key.parse().unwrap()).collect();
        let mut seen = statuses(name, None);
        let own_room = name.contains("/v1/users/{user}/");
        // Every user has a room, so that servers find it.
        seen.extend(
            described
                .iter()
                .filter(|status| own_room && **status == 404),
        );
        let missing: Vec<_> = described
            .difference(&seen)
            .filter(|status| !NOT_CAUSED.contains(status))
            .collect();
        assert!(missing.is_empty(), "{name} never answered {missing:?}");
        for side in cases.document.sides(operation) {
            let succeeded = statuses(name, Some(side))
                .iter()
                .any(|status| *status < 300);
            assert!(succeeded, "{name} was never asked with success at {side:?}");
        }
    }
}
