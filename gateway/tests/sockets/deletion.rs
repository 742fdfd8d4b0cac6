//! What is stored of a room is deleted behind the gateways' backs: the operator does so when a Room goes whose `deletionPolicy` says so.

use serde_json::{Value, json};

use crate::gateway::{API_KEY, TestGateway, config};
use crate::redis::Redis;

async fn publish(gateway: &TestGateway, data: u32) -> String {
    let body = json!({ "data": data, "key": data.to_string() }).to_string();
    let answer = gateway
        .api(API_KEY, "POST /v1/rooms/lobby/messages", &body)
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_room_whose_keys_are_gone_goes_on_in_a_new_epoch_after_an_honest_gap() {
    let redis = Redis::start();
    let a = redis.gateway(config(&["lobby"])).await;
    let b = redis.gateway(config(&["lobby"])).await;
    let mut alice = a.connect("alice", "room=lobby").await;
    let mut bob = b.connect("bob", "room=lobby").await;
    alice.next_of("joined").await;
    bob.next_of("joined").await;
    let mut last = String::new();
    for data in 1..=3 {
        last = publish(&a, data).await;
    }
    for client in [&mut alice, &mut bob] {
        while client.next_of("message").await["data"] != 3 {}
    }
    let keys = ["log", "top", "keys"].map(|kind| format!("test:{{lobby}}:{kind}"));
    let [log, top, answers] = &keys;
    let deleted: u32 = redis.ask(&["UNLINK", log, top, answers]);
    assert_eq!(deleted, 3);

    // The same key as before: its answer went with the rest, so that this is a new message.
    let next = publish(&b, 3).await;
    let epoch = |id: &str| id.split_once('-').unwrap().0.parse::<u64>().unwrap();
    assert!(epoch(&next) > epoch(&last), "{next} after {last}");
    let gap = json!({
        "type": "gap", "room": "lobby",
        "after": last, "next": format!("{}-0", epoch(&next)), "reason": "failover",
    });
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.next().await, gap);
        let message = client.next().await;
        assert_eq!(
            (&message["type"], &message["id"]),
            (&json!("message"), &json!(next))
        );
    }
    // Whoever comes back with a deleted position is told, too; and nobody lost a membership.
    let mut carol = a
        .connect("carol", &format!("room=lobby&last_seen_id={last}"))
        .await;
    let joined = carol.next_of("joined").await;
    assert_eq!(
        (&joined["recovered"], &joined["members"]),
        (&json!(false), &json!(3))
    );
    assert_eq!(carol.next().await, gap);
    assert_eq!(carol.next().await["id"], json!(next));
    let page = b
        .http(
            "bob",
            &format!("GET /v1/rooms/lobby/messages?after={last}"),
            "",
        )
        .await
        .json();
    assert_eq!(
        (&page["messages"][0]["id"], &page["next"]),
        (&json!(next), &Value::Null)
    );
    assert_eq!(page["gap"]["reason"], "failover");
}
