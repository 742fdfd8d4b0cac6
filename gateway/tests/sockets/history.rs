//! Pages of history, over HTTP and on a WebSocket.

use serde_json::{Value, json};

use crate::gateway::{API_KEY, TestGateway, config, eventually};

async fn filled(count: u32, keep: u32) -> (TestGateway, Vec<String>) {
    let mut config = config(&["lobby"]);
    config.rooms[0].policy.history.max_messages = keep;
    let gateway = TestGateway::start(config);
    let messages: Vec<_> = (1..=count)
        .map(|n| json!({ "room": "lobby", "data": n }))
        .collect();
    let body = json!({ "messages": messages }).to_string();
    let answer = gateway.api(API_KEY, "POST /v1/publish", &body).await.json();
    let results = answer["results"].as_array().unwrap();
    let ids = results
        .iter()
        .map(|result| result["id"].as_str().unwrap().to_owned())
        .collect();
    (gateway, ids)
}

async fn page(gateway: &TestGateway, query: &str) -> Value {
    let answer = gateway
        .http(
            "alice",
            &format!("GET /v1/rooms/lobby/messages?{query}"),
            "",
        )
        .await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    answer.json()
}

fn numbers(page: &Value) -> Vec<u64> {
    let messages = page["messages"].as_array().unwrap();
    messages
        .iter()
        .map(|message| message["data"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn a_client_pages_both_ways_and_in_both_orders() {
    let (gateway, ids) = filled(10, 100).await;
    let id = |n: usize| &ids[n - 1];
    for (query, listed, next) in [
        ("limit=3".to_owned(), vec![8, 9, 10], Some(8)),
        (format!("limit=3&before={}", id(8)), vec![5, 6, 7], Some(5)),
        (format!("limit=3&after={}", id(2)), vec![3, 4, 5], Some(5)),
        ("limit=3&order=asc".to_owned(), vec![1, 2, 3], Some(3)),
        ("limit=3&order=desc".to_owned(), vec![10, 9, 8], Some(8)),
        (
            format!("limit=3&order=desc&before={}", id(3)),
            vec![2, 1],
            None,
        ),
        (
            format!("order=desc&after={}&before={}", id(2), id(6)),
            vec![5, 4, 3],
            None,
        ),
        (format!("after={}", id(10)), vec![], None),
        (
            "before=&after=&limit=&order=".to_owned(),
            (1..=10).collect(),
            None,
        ),
    ] {
        let page = page(&gateway, &query).await;
        assert_eq!(numbers(&page), listed, "{query}");
        let expected = next.map_or(Value::Null, |n| json!(id(n)));
        assert_eq!(page["next"], expected, "{query}");
        assert_eq!(page.get("gap"), None, "{query}");
    }
    let mut alice = gateway.connect("alice", "").await;
    let frame = alice
        .ask(json!({ "type": "history", "room": "lobby", "order": "desc", "limit": 2, "before": id(5) }))
        .await;
    assert_eq!(
        (numbers(&frame), &frame["next"]),
        (vec![4, 3], &json!(id(3)))
    );
}

#[tokio::test]
async fn what_was_trimmed_expired_or_never_was_is_told_with_the_page() {
    let (gateway, ids) = filled(10, 4).await;
    let trimmed = page(&gateway, &format!("after={}", ids[1])).await;
    assert_eq!(
        numbers(&trimmed),
        [7, 8, 9, 10],
        "exactly as many as the room keeps"
    );
    assert_eq!(
        trimmed["gap"],
        json!({ "after": ids[1], "next": ids[5], "reason": "trimmed" })
    );
    let (epoch, _) = ids[0].split_once('-').unwrap();
    let ahead = page(&gateway, &format!("after={epoch}-99")).await;
    assert_eq!(
        ahead["gap"],
        json!({ "after": format!("{epoch}-99"), "next": ids[9], "reason": "failover" })
    );
    let older = page(&gateway, "after=7-3").await;
    assert_eq!(
        (numbers(&older), &older["gap"]["reason"]),
        (vec![7, 8, 9, 10], &json!("failover"))
    );
    assert_eq!(
        numbers(&page(&gateway, "before=7-3").await),
        Vec::<u64>::new()
    );
    assert_eq!(
        numbers(&page(&gateway, &format!("before={epoch}-99&limit=2")).await),
        [9, 10]
    );
}

#[tokio::test]
async fn what_is_no_page_is_refused_with_what_to_write() {
    let (gateway, _) = filled(1, 4).await;
    for (query, code, part) in [
        ("before=x", "invalid_id", "`before`"),
        ("after=1", "invalid_id", "`after`"),
        ("after=01-1", "invalid_id", "`after`"),
        ("limit=0", "bad_request", "1 to 1000"),
        ("limit=1001", "bad_request", "1 to 1000"),
        ("limit=-1", "bad_request", "whole number"),
        ("order=newest", "bad_request", "`asc`"),
    ] {
        let answer = gateway
            .http(
                "alice",
                &format!("GET /v1/rooms/lobby/messages?{query}"),
                "",
            )
            .await;
        assert_eq!(answer.error(), (400, code.to_owned()), "{query}");
        assert!(answer.text.contains(part), "{query}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_page_of_large_messages_is_shorter_and_says_where_to_go_on() {
    let mut config = config(&["lobby"]);
    config.limits.messages_per_second = 0;
    let gateway = TestGateway::start(config);
    let text = "x".repeat(60_000);
    for n in 0..20 {
        gateway
            .publish("bob", "lobby", &format!("[{n},\"{text}\"]"))
            .await;
    }
    let mut alice = gateway.connect("alice", "").await;
    let (mut told, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        // By turns over HTTP and on the WebSocket, where a page has to fit the queue.
        let page = if pages % 2 == 0 {
            let after = after.as_deref().unwrap_or_default();
            page(&gateway, &format!("order=asc&limit=1000&after={after}")).await
        } else {
            let ask = json!({ "type": "history", "room": "lobby", "order": "asc", "limit": 1000, "after": after });
            alice.ask(ask).await
        };
        pages += 1;
        let messages = page["messages"].as_array().unwrap();
        assert!((1..=4).contains(&messages.len()), "{}", messages.len());
        told.extend(messages.iter().map(|message| message["data"][0].clone()));
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(told, (0..20).map(|n| json!(n)).collect::<Vec<_>>());
}

#[tokio::test]
async fn answers_that_would_be_too_much_together_are_refused_for_a_moment() {
    let mut config = config(&["lobby"]);
    config.limits.messages_per_second = 0;
    let gateway = TestGateway::start(config);
    let text = "x".repeat(60_000);
    for _ in 0..4 {
        gateway
            .publish("bob", "lobby", &format!("\"{text}\""))
            .await;
    }
    let history = "GET /v1/rooms/lobby/messages";
    let poll = "GET /v1/poll?room=lobby&wait=0&last_seen_id=1-1";
    // A quarter of it is less than the page.
    gateway.gateway.backlog.set_cap(400_000);
    for request in [history, poll] {
        let refused = gateway.http("alice", request, "").await;
        assert_eq!(refused.error(), (503, "unavailable".to_owned()));
        assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    }
    gateway.gateway.backlog.set_cap(4_000_000);
    for request in [history, poll] {
        let answer = gateway.http("alice", request, "").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    eventually(async || gateway.gateway.backlog.held() == 0).await;
}
