//! Members over gateways that share a real Redis, as clients see them, while things break.

use std::collections::BTreeSet;
use std::time::Instant;

use rotunda_crds::GatewayConfig;
use rotunda_crds::room::PresenceMode;
use serde_json::Value;

use super::*;
use crate::actions::{self, Actor};
use crate::broker::contract::{eventually, eventually_async};
use crate::broker::redis::tests::pair::Pair;
use crate::broker::redis::tests::proxy::Proxy;
use crate::broker::redis::tests::server::{Server, standalone};
use crate::broker::redis::tests::some_prefix;
use crate::gateway::Gateway;
use crate::testing::{self, Client, Stoppable, gateway_on_redis, room};

mod pauses;

const LOBBY: &str = "lobby";

const TTL: Duration = Duration::from_secs(2);

fn config() -> GatewayConfig {
    let mut config = testing::config(&[LOBBY]);
    config.presence.ttl_seconds = 2;
    config
}

/// Someone in the lobby who keeps book of who is there, as the protocol says.
struct Watcher {
    client: Client,
    present: BTreeSet<String>,
    count: u64,
    /// All that came.
    frames: Vec<Value>,
}

impl Watcher {
    async fn enter(gateway: &Arc<Gateway>, name: &str) -> Self {
        let mut client = Client::connect(gateway, name);
        client.join(gateway, LOBBY).await;
        let members = members(gateway).await;
        Self {
            client,
            count: members.len() as u64,
            present: members,
            frames: Vec::new(),
        }
    }

    fn look(&mut self) -> &BTreeSet<String> {
        let names = |list: &Value| -> Vec<String> {
            let list = list.as_array().expect("a list");
            let name = |entry: &Value| entry["user"].as_str().expect("a name").to_owned();
            list.iter().map(name).collect()
        };
        for frame in self.client.take_all("presence") {
            if frame["members"].is_array() {
                self.present = names(&frame["members"]).into_iter().collect();
            } else if frame["joined"].is_array() {
                self.present.extend(names(&frame["joined"]));
                for name in names(&frame["left"]) {
                    self.present.remove(&name);
                }
            }
            self.count = frame["count"].as_u64().expect("a count");
            self.frames.push(frame);
        }
        &self.present
    }

    async fn sees(&mut self, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        let what = format!("{} sees {expected:?}", self.client.connection.user);
        eventually(&what, || {
            *self.look() == expected && self.count == expected.len() as u64
        })
        .await;
    }

    /// How often someone was told to have come, and to have gone.
    fn told_of(&mut self, name: &str) -> (usize, usize) {
        self.look();
        let count = |kind: &str| {
            let changes = self
                .frames
                .iter()
                .filter_map(|frame| frame[kind].as_array());
            changes
                .flatten()
                .filter(|entry| entry["user"] == name)
                .count()
        };
        (count("joined"), count("left"))
    }
}

async fn members(gateway: &Gateway) -> BTreeSet<String> {
    let actor = Actor::Server {
        key: "test",
        from: None,
    };
    let members = actions::members(gateway, actor, &room(LOBBY))
        .await
        .unwrap();
    let names = members.members.into_iter();
    names
        .map(|member| member.user.as_str().to_owned())
        .collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn who_came_and_went_while_a_gateway_was_cut_off_is_made_up_for() {
    let prefix = some_prefix();
    let server = standalone();
    let proxy = Proxy::to(server.port).await;
    let cut = gateway_on_redis(config(), &proxy.url(), &prefix).await;
    let other = gateway_on_redis(config(), &server.url(), &prefix).await;
    let mut alice = Watcher::enter(&cut, "alice").await;
    let mut bob = Watcher::enter(&other, "bob").await;
    alice.sees(&["alice", "bob"]).await;
    // Nobody listens at port 1.
    proxy.lead_to(1);
    eventually("it is cut off", || cut.ready().is_err()).await;
    let mut carol = Watcher::enter(&other, "carol").await;
    actions::leave(&other, &bob.client.connection, &room(LOBBY)).unwrap();
    carol.sees(&["alice", "carol"]).await;
    assert_eq!(alice.look(), &names(&["alice", "bob"]));
    proxy.lead_to(server.port);
    alice.sees(&["alice", "carol"]).await;
    bob.look();
}

#[tokio::test]
async fn after_a_failover_that_lost_joins_and_leaves_all_see_who_is_there() {
    let pair = Pair::start().await;
    let prefix = some_prefix();
    let a = gateway_on_redis(config(), &pair.proxy.url(), &prefix).await;
    let b = gateway_on_redis(config(), &pair.proxy.url(), &prefix).await;
    let mut alice = Watcher::enter(&a, "alice").await;
    let mut bob = Watcher::enter(&b, "bob").await;
    let dave = Watcher::enter(&b, "dave").await;
    alice.sees(&["alice", "bob", "dave"]).await;
    let here = format!("{prefix}:{{{LOBBY}}}:here");
    pair.wait_until_in_sync("HLEN", &here).await;
    pair.part();
    let mut carol = Watcher::enter(&a, "carol").await;
    actions::leave(&b, &dave.client.connection, &room(LOBBY)).unwrap();
    bob.sees(&["alice", "bob", "carol"]).await;
    assert_eq!(pair.replica.number(&["HLEN", &here]), 4, "it lacks both");
    pair.fail_over();
    eventually_async("Redis has the right members", async || {
        a.ready().is_ok() && members(&a).await == names(&["alice", "bob", "carol"])
    })
    .await;
    for watcher in [&mut alice, &mut bob, &mut carol] {
        watcher.sees(&["alice", "bob", "carol"]).await;
    }
    let erin = Watcher::enter(&b, "erin").await;
    for watcher in [&mut alice, &mut bob, &mut carol] {
        watcher.sees(&["alice", "bob", "carol", "erin"]).await;
    }
    drop(erin);
}

#[tokio::test]
async fn after_redis_stood_still_for_longer_than_the_ttl_nobody_has_left() {
    let server = Server::start(&[]);
    let prefix = some_prefix();
    let a = gateway_on_redis(config(), &server.url(), &prefix).await;
    let b = gateway_on_redis(config(), &server.url(), &prefix).await;
    let mut alice = Watcher::enter(&a, "alice").await;
    let mut bob = Watcher::enter(&b, "bob").await;
    alice.sees(&["alice", "bob"]).await;
    // Until both might sweep.
    tokio::time::sleep(TTL).await;
    let stopped = server.stop();
    tokio::time::sleep(TTL + Duration::from_secs(2)).await;
    drop(stopped);
    eventually("both are back", || a.ready().is_ok() && b.ready().is_ok()).await;
    // Until both might sweep again, and have.
    tokio::time::sleep(TTL + Duration::from_secs(2)).await;
    let mut carol = Watcher::enter(&b, "carol").await;
    for watcher in [&mut alice, &mut bob, &mut carol] {
        watcher.sees(&["alice", "bob", "carol"]).await;
        for name in ["alice", "bob", "carol"] {
            assert_eq!(watcher.told_of(name).1, 0, "{name} is told to have left");
        }
    }
}

#[tokio::test]
async fn a_gateway_that_stood_still_is_swept_and_its_members_are_back_when_it_goes_on() {
    let prefix = some_prefix();
    let url = standalone().url();
    let a = gateway_on_redis(config(), &url, &prefix).await;
    let b = Stoppable::start(config(), url, prefix).await;
    let mut alice = Watcher::enter(&a, "alice").await;
    let mut bob = Watcher::enter(&b.gateway, "bob").await;
    let dave = Watcher::enter(&a, "dave").await;
    bob.sees(&["alice", "bob", "dave"]).await;
    // Nobody sweeps before its lease has held for a TTL.
    tokio::time::sleep(TTL).await;
    b.stop(TTL + Duration::from_secs(8));
    let stopped = Instant::now();
    alice.sees(&["alice", "dave"]).await;
    assert!(stopped.elapsed() < TTL + Duration::from_secs(5));
    let mut carol = Watcher::enter(&a, "carol").await;
    actions::leave(&a, &dave.client.connection, &room(LOBBY)).unwrap();
    carol.sees(&["alice", "carol"]).await;
    for watcher in [&mut alice, &mut carol, &mut bob] {
        watcher.sees(&["alice", "bob", "carol"]).await;
    }
    assert_eq!(members(&a).await, names(&["alice", "bob", "carol"]));
}

#[tokio::test]
async fn who_comes_back_elsewhere_within_the_ttl_of_a_crash_was_never_away() {
    let prefix = some_prefix();
    let url = standalone().url();
    let a = gateway_on_redis(config(), &url, &prefix).await;
    let b = gateway_on_redis(config(), &url, &prefix).await;
    let c = gateway_on_redis(config(), &url, &prefix).await;
    let mut alice = Watcher::enter(&a, "alice").await;
    drop(Watcher::enter(&b, "bob").await);
    drop(Watcher::enter(&b, "dave").await);
    alice.sees(&["alice", "bob", "dave"]).await;
    tokio::time::sleep(TTL).await;
    b.hub.broker().close().await;
    let bob = Watcher::enter(&c, "bob").await;
    alice.sees(&["alice", "bob"]).await;
    // Beyond the sweep that took dave out.
    tokio::time::sleep(TTL).await;
    assert_eq!(alice.told_of("dave"), (1, 1));
    assert_eq!(alice.told_of("bob"), (1, 0));
    drop(bob);
}

/// What a crowd costs each of those who watch.
async fn frames_about_a_crowd(mode: PresenceMode) -> Vec<Vec<Value>> {
    let mut config = testing::config(&[LOBBY]);
    config.rooms[0].policy.presence.mode = mode;
    let (gateway, broker) = testing::gateway(config);
    let mut watchers = Vec::new();
    for number in 0..20 {
        let mut watcher = Client::connect(&gateway, &format!("watcher{number}"));
        watcher.join(&gateway, LOBBY).await;
        watchers.push(watcher);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for watcher in &mut watchers {
        watcher.take_all("presence");
    }
    // Ten thousand in ten seconds.
    for number in 0..10_000 {
        broker.join_elsewhere(LOBBY, &format!("user{number}"));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let frames = watchers
        .iter_mut()
        .map(|watcher| watcher.take_all("presence"));
    frames.collect()
}

#[tokio::test(start_paused = true)]
async fn a_crowd_costs_each_member_one_frame_per_interval() {
    for mode in [PresenceMode::Batched, PresenceMode::Count] {
        for frames in frames_about_a_crowd(mode).await {
            assert!(
                (8..=12).contains(&frames.len()),
                "{mode:?}: {}",
                frames.len()
            );
            assert!(frames.iter().all(|frame| frame["joined"].is_null()));
            assert_eq!(frames.last().unwrap()["count"], 10_020);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_in_a_room_without_presence_costs_nothing() {
    for frames in frames_about_a_crowd(PresenceMode::Off).await {
        assert_eq!(frames, Vec::<Value>::new());
    }
}

async fn one_watcher(
    mode: PresenceMode,
    batch: u32,
) -> (Arc<Gateway>, Arc<testing::FakeBroker>, Client) {
    let mut config = testing::config(&[LOBBY]);
    config.rooms[0].policy.presence.mode = mode;
    config.rooms[0].policy.presence.batch_milliseconds = batch;
    let (gateway, broker) = testing::gateway(config);
    let mut watcher = Client::connect(&gateway, "watcher");
    watcher.join(&gateway, LOBBY).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    watcher.take_all("presence");
    (gateway, broker, watcher)
}

#[tokio::test(start_paused = true)]
async fn full_tells_at_once_unless_it_is_to_gather() {
    let (_gateway, broker, mut watcher) = one_watcher(PresenceMode::Full, 0).await;
    broker.join_elsewhere(LOBBY, "alice");
    broker.join_elsewhere(LOBBY, "bob");
    assert_eq!(watcher.take_all("presence").len(), 2);
    let (_gateway, broker, mut watcher) = one_watcher(PresenceMode::Full, 500).await;
    broker.join_elsewhere(LOBBY, "alice");
    tokio::time::sleep(Duration::from_millis(400)).await;
    broker.join_elsewhere(LOBBY, "bob");
    assert_eq!(watcher.take_all("presence"), Vec::<Value>::new());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let frames = watcher.take_all("presence");
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0]["joined"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_made_up_for_with_all_names_or_only_the_count() {
    for (mode, names) in [
        (PresenceMode::Full, true),
        (PresenceMode::Batched, true),
        (PresenceMode::Count, false),
    ] {
        let (_gateway, broker, mut watcher) = one_watcher(mode, 0).await;
        broker.slip_in(LOBBY, "alice");
        assert_eq!(watcher.take_all("presence"), Vec::<Value>::new());
        broker.faults.lock().fail_members = 2;
        broker.miss_presence(LOBBY);
        broker.miss_presence(LOBBY);
        let frame = watcher.next_of("presence").await;
        let everyone = serde_json::json!([{ "user": "alice" }, { "user": "watcher" }]);
        assert_eq!(frame["count"], 2);
        assert_eq!(frame["members"] == everyone, names, "{mode:?}: {frame}");
        assert_eq!(frame["members"].is_null(), !names, "{mode:?}: {frame}");
    }
    let (_gateway, broker, mut watcher) = one_watcher(PresenceMode::Off, 0).await;
    broker.miss_presence(LOBBY);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(watcher.take_all("presence"), Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn a_list_of_too_many_is_told_as_a_count() {
    let (_gateway, broker, mut watcher) = one_watcher(PresenceMode::Full, 0).await;
    for number in 0..2000 {
        broker.slip_in(LOBBY, &format!("user{number}"));
    }
    broker.miss_presence(LOBBY);
    let frame = watcher.next_of("presence").await;
    assert_eq!(
        (&frame["count"], &frame["members"]),
        (&2001.into(), &Value::Null)
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_the_ttl_of_the_broker() {
    let (gateway, broker) = testing::gateway(testing::config(&[LOBBY]));
    let mut config = testing::config(&[LOBBY]);
    config.presence.ttl_seconds = 7;
    let settings =
        crate::config::Settings::build(config, &crate::config::Files::new(), &gateway.counters);
    gateway.reload(settings.unwrap()).await;
    assert_eq!(broker.calls(&["ttl"]), ["ttl 7s"]);
}
