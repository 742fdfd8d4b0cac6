//! In the rooms: messages, replays, presence, refreshed tokens.

use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::{TestGateway, config, eventually};

#[tokio::test]
async fn two_clients_exchange_messages_and_signals() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut alice = gateway.connect("alice", "room=lobby").await;
    let mut bob = gateway.connect("bob", "room=lobby").await;
    alice.next_of("joined").await;
    bob.next_of("joined").await;
    alice.send(json!({ "type": "publish", "room": "lobby", "ref": "m1", "data": { "text": "hä?\u{1F600}" } })).await;
    let ack = alice.next_of("ack").await;
    let message = bob.next_of("message").await;
    assert_eq!(message["id"], ack["id"]);
    assert_eq!(
        (&message["from"], &message["data"]["text"]),
        (&json!("alice"), &json!("hä?\u{1F600}"))
    );
    bob.send(json!({ "type": "signal", "room": "lobby", "name": "typing", "data": [1] }))
        .await;
    let signal = alice.next_of("signal").await;
    assert_eq!(
        signal,
        json!({ "type": "signal", "room": "lobby", "from": "bob", "name": "typing", "data": [1] })
    );
}

#[tokio::test]
async fn who_was_cut_off_replays_what_it_missed() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut alice = gateway.connect("alice", "room=lobby").await;
    alice.next_of("joined").await;
    let mut bob = gateway.connect("bob", "room=lobby").await;
    bob.next_of("joined").await;
    alice
        .send(json!({ "type": "publish", "room": "lobby", "data": 0 }))
        .await;
    let seen = bob.next_of("message").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    drop(bob);
    for number in 1..=30 {
        alice
            .send(json!({ "type": "publish", "room": "lobby", "data": number }))
            .await;
        alice.next_of("ack").await;
    }
    let mut bob = gateway
        .connect("bob", &format!("room=lobby&last_seen_id={seen}"))
        .await;
    let joined = bob.next().await;
    assert_eq!(
        (&joined["recovered"], &joined["replayed"], &joined["id"]),
        (&json!(true), &json!(30), &json!(seen))
    );
    for number in 1..=30 {
        assert_eq!(bob.next().await["data"], number);
    }
    alice
        .send(json!({ "type": "publish", "room": "lobby", "data": "live" }))
        .await;
    assert_eq!(bob.next().await["data"], "live");
}

#[tokio::test]
async fn what_was_trimmed_or_never_was_is_told_by_a_gap() {
    let mut config = config(&["lobby"]);
    config.rooms[0].policy.history.max_messages = 3;
    let gateway = TestGateway::start(config);
    let mut alice = gateway.connect("alice", "room=lobby").await;
    let start = alice.next_of("joined").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for number in 1..=8 {
        alice
            .send(json!({ "type": "publish", "room": "lobby", "data": number }))
            .await;
        alice.next_of("ack").await;
    }
    let mut bob = gateway
        .connect("bob", &format!("room=lobby&last_seen_id={start}"))
        .await;
    let joined = bob.next().await;
    assert_eq!(
        (&joined["recovered"], &joined["replayed"]),
        (&json!(false), &json!(3))
    );
    let gap = bob.next().await;
    assert_eq!(
        (&gap["type"], &gap["reason"], &gap["after"]),
        (&json!("gap"), &json!("trimmed"), &json!(start))
    );
    assert_eq!(gap["next"], joined["id"]);
    assert_eq!(bob.next().await["data"], 6);
    // An id of another history: the broker's epoch is younger.
    let mut carol = gateway
        .connect("carol", "room=lobby&last_seen_id=1-1")
        .await;
    assert_eq!(carol.next().await["recovered"], false);
    assert_eq!(carol.next().await["reason"], "failover");
}

#[tokio::test]
async fn a_key_makes_a_publish_idempotent_within_its_user() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut alice = gateway.connect("alice", "").await;
    let mut bob = gateway.connect("bob", "").await;
    let publish = json!({ "type": "publish", "room": "lobby", "data": 1, "key": "k" });
    let first = alice.ask(publish.clone()).await;
    assert_eq!(alice.ask(publish.clone()).await["id"], first["id"]);
    assert_ne!(bob.ask(publish).await["id"], first["id"]);
}

#[tokio::test]
async fn presence_tells_who_came_and_who_left() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut alice = gateway.connect("alice", "room=lobby").await;
    alice.next_of("joined").await;
    let bob = gateway.connect("bob", "room=lobby").await;
    let came = loop {
        let frame = alice.next_of("presence").await;
        if frame["joined"] == json!([{ "user": "bob" }]) {
            break frame;
        }
    };
    assert_eq!(came["count"], 2);
    bob.close().await;
    let went = alice.next_of("presence").await;
    assert_eq!(
        (&went["left"][0]["user"], &went["count"]),
        (&json!("bob"), &json!(1))
    );
    assert!(went["left"][0]["last_seen"].is_u64());
}

#[tokio::test]
async fn a_refreshed_token_keeps_the_connection_and_only_ones_own_is_taken() {
    let gateway = TestGateway::start(config(&["lobby"]));
    // Five more seconds are the leeway.
    let short = gateway.token_for("alice", Duration::ZERO);
    let mut alice = gateway
        .try_connect(&format!("token={short}"), &[])
        .await
        .unwrap();
    alice.next().await;
    let others = json!({ "type": "refresh", "ref": 1, "token": gateway.token("bob") });
    assert_eq!(alice.ask(others).await["code"], "unauthorized");
    let own = json!({ "type": "refresh", "ref": 2, "token": gateway.token("alice") });
    assert_eq!(
        alice.ask(own).await,
        json!({ "type": "refreshed", "ref": 2 })
    );
    let other = gateway
        .try_connect(&format!("token={short}"), &[])
        .await
        .unwrap();
    assert_eq!(u16::from(other.closed().await.code), 4401);
    assert_eq!(
        alice.ask(json!({ "type": "leave", "room": "lobby" })).await["code"],
        "not_joined"
    );
}

#[tokio::test]
async fn a_crowd_in_one_room_gets_everything_in_order() {
    let gateway = TestGateway::start(config(&["lobby"]));
    let mut crowd = Vec::new();
    for number in 0..40 {
        let mut client = gateway
            .connect(&format!("user{number}"), "room=lobby")
            .await;
        client.next_of("joined").await;
        crowd.push(client);
    }
    let speakers: Vec<_> = crowd.drain(..4).collect();
    let speaking = speakers.into_iter().map(|mut speaker| {
        tokio::spawn(async move {
            for number in 0..25 {
                speaker
                    .send(json!({ "type": "publish", "room": "lobby", "data": number }))
                    .await;
                speaker.next_of("ack").await;
            }
            speaker
        })
    });
    let speaking: Vec<_> = speaking.collect();
    let mut first: Option<Vec<Value>> = None;
    for client in &mut crowd {
        let mut heard = Vec::new();
        while heard.len() < 100 {
            heard.push(client.next_of("message").await["id"].clone());
        }
        assert_eq!(first.get_or_insert_with(|| heard.clone()), &heard);
    }
    for speaker in speaking {
        speaker.await.unwrap();
    }
    let latencies = gateway.gateway.metrics.render();
    assert!(latencies.contains("rotunda_delivery_latency_seconds_count"));
    drop(crowd);
    eventually(async || gateway.gateway.registry.count() == 0).await;
    eventually(async || gateway.gateway.hub.rooms().is_empty()).await;
    assert_eq!(gateway.gateway.metrics.outbox_bytes.get(), 0);
}

#[tokio::test]
async fn a_refreshed_token_that_opens_less_takes_memberships_away() {
    let mut config = config(&["team:*", "lobby"]);
    "room.segments[1] in user.claims.teams".clone_into(&mut config.rooms[0].policy.access.join);
    let gateway = TestGateway::start(config);
    let token = gateway.token_with("alice", json!({ "teams": ["red", "blue"] }));
    let query = format!("token={token}&room=team:red&room=team:blue&room=lobby");
    let mut alice = gateway.try_connect(&query, &[]).await.unwrap();
    for kind in ["welcome", "joined", "joined", "joined"] {
        assert_eq!(alice.next().await["type"], kind);
    }
    let fewer = gateway.token_with("alice", json!({ "teams": ["blue"] }));
    let left = alice
        .ask(json!({ "type": "refresh", "token": fewer }))
        .await;
    assert_eq!(
        (&left["type"], &left["room"], &left["reason"]),
        (&json!("left"), &json!("team:red"), &json!("forbidden"))
    );
    assert_eq!(alice.next().await["type"], "refreshed");
    let narrowed = json!({ "teams": ["blue"], "capabilities": ["rooms:publish"] });
    let narrowed = gateway.token_with("alice", narrowed);
    alice
        .send(json!({ "type": "refresh", "token": narrowed }))
        .await;
    let mut gone = [alice.next().await, alice.next().await].map(|left| left["room"].clone());
    gone.sort_by_key(ToString::to_string);
    assert_eq!(gone, ["lobby", "team:blue"]);
    assert_eq!(alice.next().await["type"], "refreshed");
    let joined = alice.ask(json!({ "type": "join", "room": "lobby" })).await;
    assert_eq!(
        joined["message"],
        "you may not join the room lobby: the token's `capabilities` don't hold `rooms:join`"
    );
    let published = alice
        .ask(json!({ "type": "publish", "room": "lobby", "data": 1 }))
        .await;
    assert_eq!(published["type"], "ack");
}
