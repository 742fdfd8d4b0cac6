//! A Redis that stands still, cuts its subscribers off or forgets to tell them: members see every message once, in order, and nothing else.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::*;
use crate::broker::contract::{RETENTION, eventually};
use crate::broker::redis::tests::proxy::Proxy;
use crate::broker::redis::tests::server::{Server, standalone};
use crate::broker::redis::tests::some_prefix;
use crate::broker::{Published, Range};
use crate::dialect::ErrorCode;
use crate::testing::gateway_on_redis;

const LOBBY: &str = "lobby";

/// Longer than a call waits for its answer, shorter than a subscriber takes silence.
const STALL: Duration = Duration::from_secs(3);

async fn publish(
    gateway: &Gateway,
    data: &str,
    key: Option<&str>,
) -> Result<Published, crate::dialect::Failure> {
    let actor = actions::Actor::Server {
        key: "test",
        from: None,
    };
    let key = key.map(str::to_owned);
    actions::publish(gateway, actor, &room(LOBBY), data.as_bytes(), key).await
}

async fn member(gateway: &Arc<Gateway>, name: &str) -> Client {
    let mut client = Client::connect(gateway, name);
    client.join(gateway, LOBBY).await;
    client
}

/// The next messages, as `(id, data)`. Whatever else a member might be told is a fault.
async fn messages(client: &mut Client, count: usize) -> Vec<(String, String)> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let frame = client.next().await;
        match frame["type"].as_str() {
            Some("presence") => {}
            Some("message") => {
                let id = frame["id"].as_str().expect("an id").to_owned();
                messages.push((id, frame["data"].to_string()));
            }
            _ => panic!("it was told {frame}"),
        }
    }
    messages
}

/// All that is stored of the lobby, as `(id, body)`.
async fn stored(gateway: &Gateway) -> Vec<(String, String)> {
    let (mut stored, mut last) = (Vec::new(), Position::default());
    let (broker, lobby) = (gateway.hub.broker(), room(LOBBY));
    loop {
        let read = broker.read(&lobby, Range::After(last), 1000, RETENTION);
        let chunk = read.await.expect("reads");
        for message in &chunk.messages {
            last = message.position;
            let body = String::from_utf8_lossy(&message.body).into_owned();
            stored.push((last.to_string(), body));
        }
        if !chunk.more {
            return stored;
        }
    }
}

/// The ids of the connections that messages come on.
fn subscribers(server: &Server) -> Vec<String> {
    let list = server.text(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    let id = |line: &str| line.split(' ').next().map(str::to_owned);
    list.lines().filter_map(id).collect()
}

#[tokio::test]
async fn a_burst_past_the_output_buffer_costs_members_nothing() {
    let limit = ["--client-output-buffer-limit", "pubsub", "32kb", "0", "0"];
    let server = Server::start(&limit);
    let prefix = some_prefix();
    let a = gateway_on_redis(config(&[LOBBY]), &server.url(), &prefix).await;
    let b = gateway_on_redis(config(&[LOBBY]), &server.url(), &prefix).await;
    let (mut alice, mut bob) = (member(&a, "alice").await, member(&b, "bob").await);
    let before = subscribers(&server);
    assert_eq!(before.len(), 2);
    // Every tenth one is too much for what a subscriber may leave unread.
    let data: Vec<String> = (0..60)
        .map(|number| {
            format!(
                "\"{}\"",
                "x".repeat(if number % 10 == 5 { 40_000 } else { 9 })
            )
        })
        .collect();
    let published = join_all(data.iter().map(|data| publish(&b, data, None))).await;
    let mut expected: BTreeMap<Position, &String> = BTreeMap::new();
    for (published, data) in published.into_iter().zip(&data) {
        expected.insert(published.expect("publishes").position, data);
    }
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(position, data)| (position.to_string(), data.clone()))
        .collect();
    for client in [&mut alice, &mut bob] {
        assert!(
            messages(client, 60).await == expected,
            "all, once and in order"
        );
    }
    eventually("both listen again", || {
        let now = subscribers(&server);
        now.len() == 2 && now.iter().all(|id| !before.contains(id))
    })
    .await;
    let last = publish(&a, "1", None).await.expect("publishes");
    for client in [&mut alice, &mut bob] {
        let expected = (last.position.to_string(), "1".to_owned());
        assert_eq!(messages(client, 1).await, [expected]);
        assert_eq!(client.drain(), None, "it is still connected");
    }
}

#[tokio::test]
async fn a_gateway_that_reads_too_slowly_is_cut_off_and_its_members_miss_nothing() {
    let limit = ["--client-output-buffer-limit", "pubsub", "32kb", "0", "0"];
    let server = Server::start(&limit);
    let proxy = Proxy::to(server.port).await;
    let prefix = some_prefix();
    // What fits into the buffers on the way comes all at once in the end.
    let mut config = config(&[LOBBY]);
    config.limits.send_queue_bytes = 64 << 20;
    let slow = gateway_on_redis(config, &proxy.url(), &prefix).await;
    let mut alice = member(&slow, "alice").await;
    let listener = subscribers(&server);
    // Not a member: the burst would cut it off, too.
    let other = gateway_on_redis(super::config(&[LOBBY]), &server.url(), &prefix).await;
    publish(&other, "0", None).await.expect("publishes");
    messages(&mut alice, 1).await;
    proxy.freeze(true);
    let data = format!("\"{}\"", "x".repeat(30_000));
    let mut expected = Vec::new();
    while subscribers(&server).iter().any(|id| listener.contains(id)) {
        assert!(expected.len() < 1000, "it is never cut off");
        for published in join_all((0..20).map(|_| publish(&other, &data, None))).await {
            expected.push(published.expect("publishes").position);
        }
    }
    proxy.freeze(false);
    expected.sort_unstable();
    let ids: Vec<_> = messages(&mut alice, expected.len())
        .await
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    let expected: Vec<_> = expected.iter().map(Position::to_string).collect();
    assert!(ids == expected, "all, once and in order");
    let last = publish(&other, "1", None).await.expect("publishes");
    assert_eq!(
        messages(&mut alice, 1).await[0].0,
        last.position.to_string()
    );
}

/// One after the other until told to stop, each once: what was answered, and for what.
async fn publish_on(gateway: &Gateway, stalled: &std::cell::Cell<bool>) -> Vec<(String, Answer)> {
    let (mut answers, mut good_ones_after) = (Vec::new(), 0);
    while good_ones_after < 5 {
        let data = format!("\"once {}\"", answers.len());
        let answer = match publish(gateway, &data, None).await {
            Ok(published) => Answer::Stored(published.position.to_string()),
            Err(failure) if failure.code == ErrorCode::Unavailable => Answer::NotStored,
            Err(failure) if failure.code == ErrorCode::OutcomeUnknown => Answer::Unknown,
            Err(failure) => panic!("{failure:?}"),
        };
        if !stalled.get() && matches!(answer, Answer::Stored(_)) {
            good_ones_after += 1;
        }
        answers.push((data, answer));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    answers
}

/// The same with keys: each again until it is stored.
async fn publish_on_with_keys(
    gateway: &Gateway,
    stalled: &std::cell::Cell<bool>,
) -> Vec<(String, Answer)> {
    let (mut answers, mut good_ones_after) = (Vec::new(), 0);
    while good_ones_after < 5 {
        let data = format!("\"again {}\"", answers.len());
        let key = format!("key {}", answers.len());
        let published = loop {
            match publish(gateway, &data, Some(&key)).await {
                Ok(published) => break published,
                Err(failure) => assert!(
                    matches!(
                        failure.code,
                        ErrorCode::Unavailable | ErrorCode::OutcomeUnknown
                    ),
                    "{failure:?}"
                ),
            }
        };
        good_ones_after += u32::from(!stalled.get());
        answers.push((data, Answer::Stored(published.position.to_string())));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    answers
}

#[derive(Debug)]
enum Answer {
    Stored(String),
    NotStored,
    Unknown,
}

/// Redis stands still for [`STALL`] in some way, while two gateways publish.
async fn nothing_is_lost_or_doubled_while(server: &Server, stall: impl AsyncFnOnce(&Server)) {
    let prefix = some_prefix();
    let a = gateway_on_redis(config(&[LOBBY]), &server.url(), &prefix).await;
    let b = gateway_on_redis(config(&[LOBBY]), &server.url(), &prefix).await;
    let (mut alice, mut bob) = (member(&a, "alice").await, member(&b, "bob").await);
    let stalled = std::cell::Cell::new(true);
    let stalling = async {
        stall(server).await;
        stalled.set(false);
    };
    let (once, again, ()) = tokio::join!(
        publish_on(&a, &stalled),
        publish_on_with_keys(&b, &stalled),
        stalling
    );
    assert!(
        once.iter()
            .any(|(_, answer)| matches!(answer, Answer::Unknown)),
        "one was on its way: {once:?}"
    );
    let stored = stored(&a).await;
    for (data, answer) in once.iter().chain(&again) {
        let body = format!("\"data\":{data}");
        let found: Vec<_> = stored
            .iter()
            .filter(|(_, stored)| stored.ends_with(&body))
            .map(|(id, _)| id)
            .collect();
        match answer {
            Answer::Stored(id) => assert_eq!(found, [id], "{data}"),
            Answer::NotStored => assert!(found.is_empty(), "{data} is {found:?}"),
            Answer::Unknown => assert!(found.len() <= 1, "{data} is {found:?}"),
        }
    }
    let expected: Vec<_> = stored.iter().map(|(id, _)| id).collect();
    for client in [&mut alice, &mut bob] {
        let seen = messages(client, stored.len()).await;
        let seen: Vec<_> = seen.iter().map(|(id, _)| id).collect();
        assert_eq!(seen, expected, "all, once and in order");
        assert_eq!(client.drain(), None, "it is still connected");
    }
}

async fn pause(server: &Server, what: &str) {
    let time = STALL.as_millis().to_string();
    server.run(&["CLIENT", "PAUSE", &time, what]);
    tokio::time::sleep(STALL).await;
}

#[tokio::test]
async fn while_redis_takes_no_writes_nothing_is_lost_or_doubled() {
    nothing_is_lost_or_doubled_while(&Server::start(&[]), async |server| {
        pause(server, "WRITE").await;
    })
    .await;
}

#[tokio::test]
async fn while_redis_answers_nobody_nothing_is_lost_or_doubled() {
    nothing_is_lost_or_doubled_while(&Server::start(&[]), async |server| {
        pause(server, "ALL").await;
    })
    .await;
}

#[tokio::test]
async fn while_redis_stands_still_nothing_is_lost_or_doubled() {
    nothing_is_lost_or_doubled_while(&Server::start(&[]), async |server| {
        let stopped = server.stop();
        tokio::time::sleep(STALL).await;
        drop(stopped);
    })
    .await;
}

#[tokio::test]
async fn what_redis_never_announced_is_found_and_told_in_order() {
    let prefix = some_prefix();
    let server = standalone();
    let gateway = gateway_on_redis(config(&[LOBBY]), &server.url(), &prefix).await;
    let mut alice = member(&gateway, "alice").await;
    let first = publish(&gateway, "1", None).await.expect("publishes");
    let log = format!("{prefix}:{{{LOBBY}}}:log");
    let now = server.text_list(&["TIME"]);
    let store_in_silence = |data: u32| {
        let (id, body) = (
            format!("{}-*", first.position.epoch.0),
            format!("\"from\":null,\"data\":{data}"),
        );
        server.run(&["XADD", &log, &id, &now[0], &now[1], "b1", &body]);
    };
    store_in_silence(2);
    let told = messages(&mut alice, 2).await;
    store_in_silence(3);
    publish(&gateway, "4", None).await.expect("publishes");
    store_in_silence(5);
    let told = [told, messages(&mut alice, 3).await].concat();
    let expected = (1..=5).map(|offset| {
        let id = Position::new(first.position.epoch.0, offset).to_string();
        (id, offset.to_string())
    });
    assert_eq!(told, expected.collect::<Vec<_>>());
}
