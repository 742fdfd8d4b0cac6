//! Whole connections over a pipe in memory, with paused time: what each frame is answered with, and how each connection ends.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame, coding::CloseCode};

use super::*;
use crate::auth::Identity;
use crate::broker::BrokerError;
use crate::connection::Transport;
use crate::testing::{FakeBroker, config, gateway, user};

const MAX_FRAME: usize = 70_000;

/// A client and the task that serves it.
struct Dialogue {
    client: WebSocketStream<DuplexStream>,
    served: JoinHandle<CloseReason>,
    gateway: Arc<Gateway>,
    broker: Arc<FakeBroker>,
}

fn identity(expires: Option<Duration>) -> Identity {
    Identity {
        user: user("alice"),
        claims: "{}".into(),
        anonymous: false,
        expires_at: expires.map(|after| SystemTime::now() + after),
        ..Identity::anonymous()
    }
}

fn serve_pipe(
    gateway: &Arc<Gateway>,
    identity: Identity,
    wishes: Wishes,
    pipe: usize,
) -> (DuplexStream, JoinHandle<CloseReason>) {
    let (near, far) = tokio::io::duplex(pipe);
    let seat = Seat::take(gateway, identity, Transport::WebSocket).unwrap();
    let served = run(seat, Box::new(Socket::new(near, &[], MAX_FRAME)), wishes);
    (far, tokio::spawn(served))
}

impl Dialogue {
    async fn open_with(
        config: rotunda_crds::GatewayConfig,
        identity: Identity,
        wishes: Wishes,
    ) -> Self {
        let (gateway, broker) = gateway(config);
        let (far, served) = serve_pipe(&gateway, identity, wishes, 1 << 20);
        let client = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        let mut dialogue = Self {
            client,
            served,
            gateway,
            broker,
        };
        assert_eq!(dialogue.next().await["type"], "welcome");
        dialogue
    }

    async fn open() -> Self {
        Self::open_with(config(&["lobby"]), identity(None), Wishes::default()).await
    }

    async fn send(&mut self, command: Value) {
        self.client
            .send(Message::text(command.to_string()))
            .await
            .unwrap();
    }

    /// The next frame but presence.
    async fn next(&mut self) -> Value {
        loop {
            match self
                .client
                .next()
                .await
                .expect("the connection goes on")
                .unwrap()
            {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if frame["type"] != "presence" {
                        return frame;
                    }
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    async fn ask(&mut self, command: Value) -> Value {
        self.send(command).await;
        self.next().await
    }

    /// The close frame that ends it, and the reason on this side.
    async fn end(mut self) -> (u16, CloseReason) {
        loop {
            match self.client.next().await {
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map_or(1005, |frame| frame.code.into());
                    // The other side waits for the end of the stream.
                    let Self {
                        mut client, served, ..
                    } = self;
                    while client.next().await.is_some() {}
                    drop(client);
                    return (code, served.await.unwrap());
                }
                Some(Ok(_)) => {}
                other => panic!("no close frame, but {other:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_frame_of_the_protocol_is_closed_with_4400() {
    let deep = format!(
        r#"{{"type":"publish","room":"lobby","data":{}{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    for bad in [
        Message::text("hello"),
        Message::text("{}"),
        Message::text("[1,2]"),
        Message::text(r#"{"type":"teleport","room":"lobby"}"#),
        Message::text(r#"{"type":"join","room":"lobby","room":"hall"}"#),
        Message::text(deep),
        Message::binary(br#"{"type":"members","room":"lobby"}"#.to_vec()),
    ] {
        let mut dialogue = Dialogue::open().await;
        dialogue.client.send(bad.clone()).await.unwrap();
        let (code, _) = dialogue.end().await;
        assert_eq!(code, 4400, "{bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn frames_past_the_cap_are_closed_with_4413_whole_or_in_fragments() {
    let mut dialogue = Dialogue::open().await;
    dialogue
        .client
        .send(Message::text("x".repeat(MAX_FRAME + 1)))
        .await
        .unwrap();
    assert_eq!(dialogue.end().await.0, 4413);

    let mut dialogue = Dialogue::open().await;
    for (index, opcode) in [Data::Text, Data::Continue, Data::Continue]
        .into_iter()
        .enumerate()
    {
        let fragment = Frame::message("x".repeat(MAX_FRAME / 2), OpCode::Data(opcode), index == 2);
        dialogue
            .client
            .send(Message::Frame(fragment))
            .await
            .unwrap();
    }
    assert_eq!(dialogue.end().await.0, 4413);
}

#[tokio::test(start_paused = true)]
async fn a_broken_websocket_protocol_is_closed_with_its_own_codes() {
    for (bytes, code) in [
        // A text frame with a byte that no UTF-8 has, masked with zeros.
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff][..], 1007),
        // A frame without a mask.
        (&[0x81, 0x01, b'x'][..], 1002),
        // An opcode that nobody has defined.
        (&[0x83, 0x80, 0, 0, 0, 0][..], 1002),
        // Reserved bits.
        (&[0xf1, 0x80, 0, 0, 0, 0][..], 1002),
    ] {
        let (gateway, _broker) = gateway(config(&["lobby"]));
        let (mut far, served) = serve_pipe(&gateway, identity(None), Wishes::default(), 1 << 16);
        far.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).await.unwrap();
        assert_eq!(served.await.unwrap().code(), code);
        let close: Vec<_> = [0x88]
            .into_iter()
            .chain(answer.iter().rev().copied())
            .collect();
        assert!(
            answer.windows(2).any(|pair| pair == u16::to_be_bytes(code)),
            "{close:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn impossible_wishes_are_answered_and_the_connection_goes_on() {
    let mut dialogue = Dialogue::open().await;
    for (command, code) in [
        (json!({ "type": "join", "room": "no room" }), "invalid_room"),
        (json!({ "type": "join", "room": "nowhere" }), "forbidden"),
        (
            json!({ "type": "join", "room": "lobby", "last_seen_id": "soon" }),
            "invalid_id",
        ),
        (json!({ "type": "join", "room": "user:bob" }), "forbidden"),
        (json!({ "type": "leave", "room": "lobby" }), "not_joined"),
        (json!({ "type": "publish", "room": "lobby" }), "bad_request"),
        (
            json!({ "type": "publish", "room": "lobby", "data": "x".repeat(65_536) }),
            "too_large",
        ),
        (json!({ "type": "signal", "room": "lobby" }), "bad_request"),
        (
            json!({ "type": "history", "room": "lobby", "limit": 1001 }),
            "bad_request",
        ),
        (json!({ "type": "refresh", "token": "x" }), "unauthorized"),
    ] {
        let mut command = command;
        command["ref"] = json!("mark");
        let answer = dialogue.ask(command.clone()).await;
        assert_eq!(
            (answer["type"].as_str(), answer["code"].as_str()),
            (Some("error"), Some(code)),
            "{command} gave {answer}"
        );
        assert_eq!(answer["ref"], "mark");
    }
    assert_eq!(
        dialogue
            .ask(json!({ "type": "join", "room": "lobby" }))
            .await["type"],
        "joined"
    );
}

#[tokio::test(start_paused = true)]
async fn every_command_is_answered_with_its_reference() {
    let mut dialogue = Dialogue::open().await;
    let joined = dialogue
        .ask(json!({ "type": "join", "room": "lobby", "ref": 1 }))
        .await;
    assert_eq!(
        joined,
        json!({ "type": "joined", "ref": 1, "room": "lobby", "id": "1-0", "members": 1 })
    );
    dialogue
        .send(json!({ "type": "publish", "room": "lobby", "ref": 2, "data": { "x": 1 } }))
        .await;
    let (first, second) = (dialogue.next().await, dialogue.next().await);
    let message = json!({ "type": "message", "room": "lobby", "id": "1-1", "time": 0, "from": "alice", "data": { "x": 1 } });
    let ack = json!({ "type": "ack", "ref": 2, "id": "1-1" });
    assert!(
        [&first, &second].contains(&&message) && [&first, &second].contains(&&ack),
        "{first} {second}"
    );
    dialogue
        .send(json!({ "type": "signal", "room": "lobby", "ref": 3, "name": "typing" }))
        .await;
    assert_eq!(
        dialogue.next().await,
        json!({ "type": "signal", "room": "lobby", "from": "alice", "name": "typing" })
    );
    assert_eq!(
        dialogue.next().await,
        json!({ "type": "signaled", "ref": 3 })
    );
    let history = dialogue
        .ask(json!({ "type": "history", "room": "lobby", "ref": 4, "limit": 1 }))
        .await;
    assert_eq!(history["messages"][0]["data"], json!({ "x": 1 }));
    assert_eq!(
        (&history["ref"], &history["next"]),
        (&json!(4), &Value::Null)
    );
    let members = dialogue
        .ask(json!({ "type": "members", "room": "lobby", "ref": 5 }))
        .await;
    assert_eq!(
        members,
        json!({ "type": "members", "ref": 5, "room": "lobby", "members": [{ "user": "alice" }], "count": 1 })
    );
    let left = dialogue
        .ask(json!({ "type": "leave", "room": "lobby", "ref": 6 }))
        .await;
    assert_eq!(left, json!({ "type": "left", "ref": 6, "room": "lobby" }));
}

#[tokio::test(start_paused = true)]
async fn pages_of_history_lead_to_the_next_one() {
    let mut dialogue = Dialogue::open().await;
    dialogue.broker.say("lobby", 5);
    let page = dialogue
        .ask(json!({ "type": "history", "room": "lobby", "limit": 2 }))
        .await;
    assert_eq!(
        (page["messages"][0]["id"].as_str(), page["next"].as_str()),
        (Some("1-4"), Some("1-4"))
    );
    let page = dialogue
        .ask(json!({ "type": "history", "room": "lobby", "limit": 2, "before": "1-4" }))
        .await;
    assert_eq!(
        (page["messages"][0]["id"].as_str(), page["next"].as_str()),
        (Some("1-2"), Some("1-2"))
    );
    let page = dialogue
        .ask(json!({ "type": "history", "room": "lobby", "limit": 2, "after": "1-1" }))
        .await;
    assert_eq!(
        (page["messages"][0]["id"].as_str(), page["next"].as_str()),
        (Some("1-2"), Some("1-3"))
    );
    let page = dialogue
        .ask(json!({ "type": "history", "room": "lobby", "limit": 2, "after": "1-3" }))
        .await;
    assert_eq!(
        (page["messages"][1]["id"].as_str(), page["next"].as_str()),
        (Some("1-5"), None)
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_could_not_do_is_told_by_code() {
    let mut dialogue = Dialogue::open().await;
    for (error, code) in [
        (BrokerError::OutcomeUnknown, "outcome_unknown"),
        (
            BrokerError::Unavailable("secret address".to_owned()),
            "unavailable",
        ),
        (
            BrokerError::RateLimited {
                retry_after: Duration::from_millis(400),
            },
            "rate_limited",
        ),
    ] {
        dialogue.broker.faults.lock().publish_error = Some(error);
        let answer = dialogue
            .ask(json!({ "type": "publish", "room": "lobby", "data": 1 }))
            .await;
        assert_eq!(answer["code"], code);
        assert!(!answer.to_string().contains("secret"));
    }
}

#[tokio::test(start_paused = true)]
async fn commands_are_carried_out_in_order_while_others_messages_go_on_coming() {
    let mut dialogue = Dialogue::open().await;
    dialogue
        .ask(json!({ "type": "join", "room": "lobby" }))
        .await;
    dialogue.broker.faults.lock().gate_publishes = true;
    for mark in 1..=3 {
        dialogue
            .send(json!({ "type": "publish", "room": "lobby", "ref": mark, "data": mark }))
            .await;
    }
    dialogue.broker.say("lobby", 1);
    assert_eq!(dialogue.next().await["from"], "bob");
    dialogue.broker.gate.add_permits(3);
    let mut marks = Vec::new();
    while marks.len() < 3 {
        let frame = dialogue.next().await;
        if frame["type"] == "ack" {
            marks.push((
                frame["ref"].as_u64().unwrap(),
                frame["id"].as_str().unwrap().to_owned(),
            ));
        }
    }
    assert_eq!(
        marks,
        [
            (1, "1-2".to_owned()),
            (2, "1-3".to_owned()),
            (3, "1-4".to_owned())
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn silence_is_closed_with_4408() {
    let (gateway, _broker) = gateway(config(&["lobby"]));
    let (mut far, served) = serve_pipe(&gateway, identity(None), Wishes::default(), 1 << 16);
    // Reads and never answers a ping.
    let mut answer = Vec::new();
    let started = Instant::now();
    far.read_to_end(&mut answer).await.unwrap();
    assert_eq!(served.await.unwrap(), CloseReason::HeartbeatTimeout);
    assert!(answer.windows(2).any(|pair| pair == u16::to_be_bytes(4408)));
    assert!(
        started.elapsed() >= Duration::from_secs(22) && started.elapsed() < Duration::from_secs(40)
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_stays_and_is_sent_heartbeats_if_it_asked() {
    let wishes = Wishes {
        heartbeat_frames: true,
        ..Wishes::default()
    };
    let mut dialogue = Dialogue::open_with(config(&["lobby"]), identity(None), wishes).await;
    for _ in 0..5 {
        assert_eq!(dialogue.next().await, json!({ "type": "heartbeat" }));
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_closed_with_4401() {
    let dialogue = Dialogue::open_with(
        config(&["lobby"]),
        identity(Some(Duration::from_secs(7))),
        Wishes::default(),
    )
    .await;
    let started = Instant::now();
    assert_eq!(dialogue.end().await.0, 4401);
    assert!(
        started.elapsed() >= Duration::from_secs(6) && started.elapsed() < Duration::from_secs(8)
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_warned_and_then_closed_with_4429() {
    let mut dialogue = Dialogue::open().await;
    let command = json!({ "type": "publish", "room": "lobby", "data": 1 }).to_string();
    let mut warned = 0;
    let code = loop {
        dialogue
            .client
            .feed(Message::text(command.clone()))
            .await
            .ok();
        dialogue.client.flush().await.ok();
        match dialogue.client.next().await.unwrap().unwrap() {
            Message::Text(text) => {
                warned +=
                    u32::from(text.contains("rate_limited") && text.contains("retry_after_ms"));
            }
            Message::Close(frame) => break u16::from(frame.unwrap().code),
            _ => {}
        }
    };
    assert_eq!(code, 4429);
    assert!(warned >= 40, "{warned}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_consumer_is_closed_with_4430_and_its_queue_is_thrown_away() {
    let mut config = config(&["lobby"]);
    config.limits.send_queue_bytes = 4000;
    let (gateway, broker) = gateway(config);
    let wishes = Wishes {
        rooms: vec![(crate::testing::room("lobby"), None)],
        ..Wishes::default()
    };
    let (mut far, served) = serve_pipe(&gateway, identity(None), wishes, 1000);
    tokio::time::sleep(Duration::from_secs(1)).await;
    broker.say("lobby", 100);
    let mut answer = Vec::new();
    far.read_to_end(&mut answer).await.unwrap();
    assert_eq!(served.await.unwrap(), CloseReason::SlowConsumer);
    assert!(answer.len() < 2500, "{}", answer.len());
    assert!(answer.windows(2).any(|pair| pair == u16::to_be_bytes(4430)));
    assert_eq!(gateway.metrics.outbox_bytes.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_bug_is_closed_with_4500_and_leaves_the_rooms() {
    let mut dialogue = Dialogue::open().await;
    dialogue
        .ask(json!({ "type": "join", "room": "lobby" }))
        .await;
    dialogue.broker.faults.lock().panic = true;
    dialogue
        .send(json!({ "type": "publish", "room": "lobby", "data": 1 }))
        .await;
    let gateway = Arc::clone(&dialogue.gateway);
    assert_eq!(dialogue.end().await.0, 4500);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (gateway.registry.count(), gateway.hub.rooms().len()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_clean_close_is_told_at_once_and_a_lost_connection_lingers() {
    for (code, leave) in [(CloseCode::Normal, "Now"), (CloseCode::Away, "Linger")] {
        let mut dialogue = Dialogue::open().await;
        dialogue
            .ask(json!({ "type": "join", "room": "lobby" }))
            .await;
        let frame = CloseFrame {
            code,
            reason: "".into(),
        };
        dialogue.client.close(Some(frame)).await.unwrap();
        let broker = Arc::clone(&dialogue.broker);
        // The close is answered with the same code.
        assert_eq!(dialogue.end().await.0, u16::from(code));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(
            broker.calls(&["leave"]),
            [format!("leave lobby alice {leave}")]
        );
    }
    let mut dialogue = Dialogue::open().await;
    dialogue
        .ask(json!({ "type": "join", "room": "lobby" }))
        .await;
    let Dialogue {
        client,
        served,
        broker,
        ..
    } = dialogue;
    drop(client);
    assert_eq!(served.await.unwrap(), CloseReason::Lost);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(broker.calls(&["leave"]), ["leave lobby alice Linger"]);
}

#[tokio::test(start_paused = true)]
async fn rooms_of_the_request_are_joined_and_their_mistakes_told() {
    let wishes = Wishes {
        rooms: vec![
            (crate::testing::room("lobby"), None),
            (crate::testing::room("nowhere"), None),
        ],
        failures: vec![Failure::new(ErrorCode::InvalidRoom, "no")],
        ..Wishes::default()
    };
    let mut dialogue = Dialogue::open_with(config(&["lobby"]), identity(None), wishes).await;
    assert_eq!(dialogue.next().await["code"], "invalid_room");
    assert_eq!(dialogue.next().await["type"], "joined");
    let failure = dialogue.next().await;
    assert_eq!(
        (failure["code"].as_str(), failure["room"].as_str()),
        (Some("forbidden"), Some("nowhere"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_in_as_many_rooms_as_allowed() {
    let mut config = config(&["a", "b"]);
    config.limits.rooms_per_connection = 1;
    let mut dialogue = Dialogue::open_with(config, identity(None), Wishes::default()).await;
    dialogue.ask(json!({ "type": "join", "room": "a" })).await;
    assert_eq!(
        dialogue.ask(json!({ "type": "join", "room": "b" })).await["code"],
        "too_many_rooms"
    );
    assert_eq!(
        dialogue.ask(json!({ "type": "join", "room": "a" })).await["type"],
        "joined"
    );
    dialogue.ask(json!({ "type": "leave", "room": "a" })).await;
    assert_eq!(
        dialogue.ask(json!({ "type": "join", "room": "b" })).await["type"],
        "joined"
    );
}
