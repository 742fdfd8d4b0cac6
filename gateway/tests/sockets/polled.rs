//! A client that polls, and what its answers hold.

use serde_json::Value;

use crate::gateway::TestGateway;

/// Polls once; the answer.
pub(crate) async fn poll(gateway: &TestGateway, user: &str, query: &str) -> Value {
    let answer = gateway
        .http(user, &format!("GET /v1/poll?{query}"), "")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
    answer.json()
}

/// Where the client stands after an answer.
pub(crate) fn id(answer: &Value) -> &str {
    answer["id"].as_str().unwrap()
}

/// What the messages of an answer hold, in order.
pub(crate) fn data(answer: &Value) -> Vec<Value> {
    let events = answer["events"].as_array().unwrap();
    let messages = events.iter().filter(|event| event["type"] == "message");
    messages.map(|message| message["data"].clone()).collect()
}

/// The types of its events, in order.
pub(crate) fn kinds(answer: &Value) -> Vec<&str> {
    let events = answer["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}
