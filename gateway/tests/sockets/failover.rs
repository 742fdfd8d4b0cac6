//! A cluster of three primaries with a replica each, one of which takes over: clients of two gateways go on.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use rotunda_gateway::ids::Position;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::gateway::{API_KEY, Client, TestGateway, config, eventually};
use crate::redis::server::Cluster;
use crate::redis::start_gateway;

/// A room of each primary, the first one first.
fn rooms(cluster: &Cluster) -> [String; 3] {
    [0, 1, 2].map(|owner| {
        let room_of_it = |room: &String| {
            let slot = cluster.servers[0].number(&["CLUSTER", "KEYSLOT", room]);
            slot / 5462 == owner
        };
        let mut names = (0..).map(|number| format!("room:{number}"));
        names.find(room_of_it).unwrap()
    })
}

/// Someone who stays connected and keeps all frames.
struct Listener {
    frames: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl Listener {
    async fn enter(gateway: &TestGateway, user: &str, rooms: &[String]) -> Self {
        let query: Vec<String> = rooms.iter().map(|room| format!("room={room}")).collect();
        let mut client = gateway.connect(user, &query.join("&")).await;
        for _ in rooms {
            client.next_of("joined").await;
        }
        let frames: Arc<Mutex<Vec<Value>>> = Arc::default();
        let task = tokio::spawn(keep(client, Arc::clone(&frames)));
        Self { frames, task }
    }

    fn of(&self, kind: &str, room: &str) -> Vec<Value> {
        let frames = self.frames.lock();
        let fits = |frame: &&Value| frame["type"] == kind && frame["room"] == room;
        frames.iter().filter(fits).cloned().collect()
    }

    fn messages(&self, room: &str) -> Vec<Position> {
        let messages = self.of("message", room);
        messages
            .iter()
            .map(|frame| position(&frame["id"]))
            .collect()
    }

    /// Every message once, in order, and none of those missing but where a gap says so.
    fn has_all(&self, room: &str, acknowledged: &[Position]) {
        assert!(!self.task.is_finished(), "it is still connected");
        let messages = self.messages(room);
        assert!(
            messages.is_sorted_by(|one, other| one < other),
            "once and in order: {messages:?}"
        );
        let gaps: Vec<_> = self
            .of("gap", room)
            .iter()
            .map(|gap| (position(&gap["after"]), position(&gap["next"])))
            .collect();
        let seen: BTreeSet<_> = messages.into_iter().collect();
        for id in acknowledged {
            let told = gaps.iter().any(|(after, next)| after < id && id <= next);
            assert!(
                seen.contains(id) || told,
                "{id} was acknowledged, and neither came nor is told to be lost: {gaps:?}"
            );
        }
    }
}

async fn keep(mut client: Client, frames: Arc<Mutex<Vec<Value>>>) {
    loop {
        let frame = client.next().await;
        frames.lock().push(frame);
    }
}

fn position(id: &Value) -> Position {
    id.as_str().unwrap().parse().unwrap()
}

/// What publishing one after the other came to.
#[derive(Default)]
struct Published {
    acknowledged: Vec<Position>,
    failed: Vec<String>,
}

/// Publishes to a room, through one gateway and the other, until told to stop.
async fn publish_on(
    gateways: [&TestGateway; 2],
    room: &str,
    published: &Mutex<Published>,
    stop: &CancellationToken,
) {
    let request = format!("POST /v1/rooms/{room}/messages");
    for gateway in gateways.into_iter().cycle() {
        if stop.is_cancelled() {
            return;
        }
        let answer = gateway.api(API_KEY, &request, r#"{"data":1}"#).await;
        if answer.status == 200 {
            let id = position(&answer.json()["id"]);
            published.lock().acknowledged.push(id);
        } else {
            let (status, code) = answer.error();
            assert!(
                matches!(
                    (status, code.as_str()),
                    (503, "unavailable") | (504, "outcome_unknown")
                ),
                "{answer:?}"
            );
            published.lock().failed.push(code);
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// What was seen of a change of the first primary, in a room of it and one of another.
struct Seen {
    listeners: [Listener; 2],
    rooms: [String; 3],
    published: [Published; 2],
}

async fn publish_through(mut cluster: Cluster, change: impl FnOnce(&mut Cluster)) -> Seen {
    for server in &cluster.servers {
        // Long enough for a busy machine, and what has no owner doesn't stop the rest.
        server.run(&["CONFIG", "SET", "cluster-node-timeout", "2000"]);
        server.run(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let rooms = rooms(&cluster);
    let gateways = [(); 2].map(|()| start_gateway(&cluster.url(), config(&["room:*"])));
    for gateway in &gateways {
        eventually(async || gateway.ops("/readyz").await.status == 200).await;
    }
    let [a, b] = &gateways;
    let listeners = [
        Listener::enter(a, "alice", &rooms).await,
        Listener::enter(b, "bob", &rooms).await,
    ];
    let (moved, other) = (Mutex::default(), Mutex::default());
    let acknowledged = |published: &Mutex<Published>| published.lock().acknowledged.len();
    let stop = CancellationToken::new();
    let changing = async {
        eventually(async || acknowledged(&moved) >= 20 && acknowledged(&other) >= 20).await;
        change(&mut cluster);
        let replica = &cluster.servers[3];
        eventually(async || {
            let role = replica.text(&["INFO", "replication"]);
            role.contains("role:master")
        })
        .await;
        let epoch = moved.lock().acknowledged[0].epoch;
        eventually(async || {
            let published = moved.lock();
            let new = |id: &&Position| id.epoch > epoch;
            published.acknowledged.iter().filter(new).count() >= 20
        })
        .await;
        stop.cancel();
    };
    tokio::join!(
        publish_on([a, b], &rooms[0], &moved, &stop),
        publish_on([b, a], &rooms[1], &other, &stop),
        changing
    );
    let published = [moved.into_inner(), other.into_inner()];
    for listener in &listeners {
        for (room, published) in rooms.iter().zip(&published) {
            let last = published.acknowledged.last();
            eventually(async || listener.messages(room).last() >= last).await;
            listener.has_all(room, &published.acknowledged);
        }
    }
    for gateway in &gateways {
        assert_eq!(gateway.ops("/readyz").await.status, 200);
    }
    Seen {
        listeners,
        rooms,
        published,
    }
}

#[tokio::test]
async fn clients_of_two_gateways_go_on_after_a_killed_primary_was_replaced_by_vote() {
    let cluster = Cluster::start_with_replicas(3);
    let seen = publish_through(cluster, |cluster| cluster.servers[0].kill()).await;
    let [moved, other] = &seen.published;
    assert!(
        moved.failed.iter().any(|code| code == "unavailable"),
        "nobody can publish in the meantime: {:?}",
        moved.failed
    );
    assert_eq!(other.failed, [""; 0], "others notice nothing");
    for listener in &seen.listeners {
        // Nobody can know what the one that died had acknowledged last.
        let told = listener.of("gap", &seen.rooms[0]);
        assert!(
            told.len() == 1 && told[0]["reason"] == "failover",
            "{told:?}"
        );
        assert_eq!(listener.of("gap", &seen.rooms[1]), [Value::Null; 0]);
        assert_eq!(listener.messages(&seen.rooms[1]), other.acknowledged);
    }
}

#[tokio::test]
async fn a_planned_failover_costs_clients_of_two_gateways_nothing() {
    let cluster = Cluster::start_with_replicas(3);
    let seen = publish_through(cluster, |cluster| {
        cluster.servers[3].run(&["CLUSTER", "FAILOVER"]);
    })
    .await;
    for listener in &seen.listeners {
        for (room, published) in seen.rooms.iter().zip(&seen.published) {
            assert_eq!(listener.of("gap", room), [Value::Null; 0]);
            // And perhaps one whose outcome is unknown.
            let messages: BTreeSet<_> = listener.messages(room).into_iter().collect();
            assert!(
                published
                    .acknowledged
                    .iter()
                    .all(|id| messages.contains(id))
            );
        }
    }
}
