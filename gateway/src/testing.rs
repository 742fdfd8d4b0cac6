//! For unit tests: a broker that does what it's told, and connections without sockets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::noop_waker_ref;
use rotunda_crds::config::{RoomConfig, RoomMatch, RoomPolicy};
use rotunda_crds::{GatewayConfig, RoomName};
use serde_json::Value;

use crate::auth::Identity;
use crate::broker::NoBrokerMetrics;
use crate::broker::contract::eventually;
use crate::broker::redis::{RedisBroker, RedisOptions, RedisUrl};
use crate::config::{Files, Settings};
use crate::connection::{Connection, Transport};
use crate::dialect::CloseReason;
use crate::gateway::Gateway;
use crate::ids::{Position, UserId};
use crate::metrics::Metrics;
use crate::policy::PublishCounters;

mod diagram;
mod fake_broker;
mod stoppable;

pub(crate) use diagram::diagram;
pub(crate) use fake_broker::{End, FakeBroker, Faults};
pub(crate) use stoppable::Stoppable;

pub(crate) fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

pub(crate) fn at(epoch: u64, offset: u64) -> Position {
    Position::new(epoch, offset)
}

/// A config with one open room for each name or pattern.
pub(crate) fn config(rooms: &[&str]) -> GatewayConfig {
    let rooms = rooms.iter().map(|matches| RoomConfig {
        namespace: "demo".to_owned(),
        name: matches.replace([':', '*'], "-"),
        generation: 1,
        creation_timestamp: None,
        matches: if matches.contains('*') {
            RoomMatch::Pattern((*matches).to_owned())
        } else {
            RoomMatch::Name((*matches).to_owned())
        },
        policy: RoomPolicy::default(),
    });
    GatewayConfig {
        rooms: rooms.collect(),
        ..GatewayConfig::default()
    }
}

/// A gateway on a [`FakeBroker`].
pub(crate) fn gateway(config: GatewayConfig) -> (Arc<Gateway>, Arc<FakeBroker>) {
    let counters = PublishCounters::default();
    let settings = Settings::build(config, &Files::new(), &counters).unwrap();
    let mut made = None;
    let gateway = Gateway::start(settings, counters, Arc::new(Metrics::new()), |rooms| {
        let broker = FakeBroker::new(rooms);
        made = Some(Arc::clone(&broker));
        broker
    });
    (gateway, made.unwrap())
}

/// A gateway without sockets on a real Redis, once it is ready.
pub(crate) async fn gateway_on_redis(
    config: GatewayConfig,
    url: &str,
    key_prefix: &str,
) -> Arc<Gateway> {
    let counters = PublishCounters::default();
    let settings = Settings::build(config, &Files::new(), &counters).unwrap();
    let options = RedisOptions {
        url: RedisUrl::parse(url).unwrap(),
        key_prefix: key_prefix.into(),
        presence_ttl: settings.presence_ttl(),
    };
    let gateway = Gateway::start(settings, counters, Arc::new(Metrics::new()), |rooms| {
        RedisBroker::start(options, rooms, Arc::new(NoBrokerMetrics))
    });
    eventually("the gateway is ready", || gateway.ready().is_ok()).await;
    gateway
}

/// A connection whose frames are read from its outbox.
pub(crate) struct Client {
    pub(crate) connection: Arc<Connection>,
    frames: VecDeque<Value>,
}

impl Client {
    pub(crate) fn connect(gateway: &Arc<Gateway>, name: &str) -> Self {
        let identity = Identity {
            user: user(name),
            claims: "{}".into(),
            anonymous: false,
            ..Identity::anonymous()
        };
        let mut client = Self {
            connection: gateway.connected(identity, Transport::WebSocket).unwrap(),
            frames: VecDeque::new(),
        };
        client.drain();
        assert_eq!(client.frames.pop_front().unwrap()["type"], "welcome");
        client
    }

    /// All frames that wait, written at once.
    pub(crate) fn drain(&mut self) -> Option<CloseReason> {
        let mut queued = VecDeque::new();
        let state = self
            .connection
            .outbox
            .poll_take(&mut Context::from_waker(noop_waker_ref()), &mut queued);
        let bytes = queued.iter().map(|queued| queued.frame.len()).sum();
        self.frames.extend(
            queued
                .iter()
                .map(|queued| serde_json::from_slice::<Value>(queued.frame.json()).unwrap()),
        );
        self.connection.outbox.written(queued.len(), bytes);
        match state {
            Poll::Ready(reason) => Some(reason),
            Poll::Pending => None,
        }
    }

    /// The next frame; waits for it.
    pub(crate) async fn next(&mut self) -> Value {
        let waiting = async {
            loop {
                self.drain();
                match self.frames.pop_front() {
                    Some(frame) => return frame,
                    None => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_mins(1), waiting)
            .await
            .expect("no frame came")
    }

    /// The next frame of a type; others before it are thrown away.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// What came so far, as `type id` where there is an id, `gap after next reason` for gaps. Presence is left out.
    pub(crate) async fn story(&mut self, length: usize) -> Vec<String> {
        let mut story = Vec::new();
        while story.len() < length {
            let frame = self.next().await;
            let text = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
            match text("type").as_str() {
                "presence" => {}
                "gap" => story.push(format!(
                    "gap {} {} {}",
                    text("after"),
                    text("next"),
                    text("reason")
                )),
                "joined" => story.push(format!(
                    "joined {} recovered={} replayed={}",
                    text("id"),
                    frame["recovered"],
                    frame["replayed"]
                )),
                "message" => story.push(format!("message {}", text("id"))),
                kind => story.push(kind.to_owned()),
            }
        }
        story
    }

    /// The frames of a type that came so far; others stay.
    pub(crate) fn take_all(&mut self, kind: &str) -> Vec<Value> {
        self.drain();
        let (taken, rest) = std::mem::take(&mut self.frames)
            .into_iter()
            .partition(|frame| frame["type"] == kind);
        self.frames = rest;
        Vec::from(taken)
    }

    /// Puts it into a room.
    pub(crate) async fn join(&mut self, gateway: &Arc<Gateway>, name: &str) -> Value {
        crate::actions::join(gateway, &self.connection, &room(name), None, &None)
            .await
            .unwrap();
        self.next_of("joined").await
    }

    /// All frames that came since the last time.
    pub(crate) fn take(&mut self) -> Vec<Value> {
        self.drain();
        self.frames.drain(..).collect()
    }

    /// Whether a frame of that type came and wasn't taken.
    pub(crate) fn has(&self, kind: &str) -> bool {
        self.frames.iter().any(|frame| frame["type"] == kind)
    }

    /// Whether the message at that position came and wasn't taken.
    pub(crate) fn has_id(&self, position: Position) -> bool {
        let id = position.to_string();
        self.frames.iter().any(|frame| frame["id"] == id)
    }

    /// Nothing but presence waits, however long one waits.
    pub(crate) async fn hears_nothing_more(&mut self) {
        tokio::time::sleep(Duration::from_secs(30)).await;
        self.drain();
        self.frames.retain(|frame| frame["type"] != "presence");
        assert_eq!(self.frames, Vec::<Value>::new());
    }
}
