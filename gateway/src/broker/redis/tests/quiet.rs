//! What quiet rooms cost, counted by the servers themselves; and that it is well spent.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};

use super::server::{Cluster, Server};
use super::{gateway, some_prefix};
use crate::broker::contract::{
    Gateway, RETENTION, bodies, eventually, numbers, publish_numbers, some_room,
};
use crate::broker::redis::keys::slot;
use crate::broker::{Range, Retention};
use rotunda_crds::RoomName;

const ROOMS: usize = 2000;

/// How long tests take to look at all rooms once, and in how many shares.
const INTERVAL: Duration = Duration::from_secs(1);
const SHARES: u64 = 10;

/// What a server has done so far.
#[derive(Clone, Copy, Debug)]
struct Work {
    /// How often it found something to read on a client's connection: once for a pipeline that isn't longer than 16 KiB, and once for the
    /// end of the connection.
    reads: u64,
    connections: u64,
    /// `XREAD` commands.
    looks: u64,
    /// All other commands.
    others: u64,
}

impl Work {
    fn of(server: &Server) -> Self {
        let info = server.text(&["INFO", "everything"]);
        let mut work = Self {
            reads: 0,
            connections: 0,
            looks: 0,
            others: 0,
        };
        for line in info.lines() {
            if let Some(reads) = line.strip_prefix("total_reads_processed:") {
                work.reads = reads.trim().parse().expect("a number");
            }
            if let Some(connections) = line.strip_prefix("total_connections_received:") {
                work.connections = connections.trim().parse().expect("a number");
            }
            let Some((command, calls)) = line
                .strip_prefix("cmdstat_")
                .and_then(|line| line.split_once(":calls="))
            else {
                continue;
            };
            let calls: u64 = calls
                .split(',')
                .next()
                .and_then(|calls| calls.parse().ok())
                .expect("a number");
            if command == "xread" {
                work.looks += calls;
            } else {
                work.others += calls;
            }
        }
        work
    }

    fn since(self, before: Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            connections: self.connections - before.connections,
            looks: self.looks - before.looks,
            others: self.others - before.others,
        }
    }
}

/// A gateway that listens to [`ROOMS`] rooms, and how many of them each server has.
async fn listening(cluster: &Cluster) -> (String, Gateway, Vec<RoomName>, Vec<u64>) {
    let prefix = some_prefix();
    let gateway = gateway(&cluster.url(), &prefix).await;
    let rooms: Vec<RoomName> = (0..ROOMS).map(|_| some_room()).collect();
    futures::stream::iter(&rooms)
        .map(|room| gateway.broker.subscribe(room))
        .buffer_unordered(200)
        .try_collect::<Vec<()>>()
        .await
        .expect("subscribes");
    let share = 16384_usize.div_ceil(cluster.servers.len());
    let mut at = vec![0; cluster.servers.len()];
    for room in &rooms {
        at[usize::from(slot(&format!("{prefix}:{{{room}}}"))) / share] += 1;
    }
    (prefix, gateway, rooms, at)
}

#[tokio::test]
async fn quiet_rooms_cost_one_look_each_and_one_pipeline_for_each_server_and_share() {
    let cluster = Cluster::start(3);
    let (prefix, gateway, rooms, at) = listening(&cluster).await;
    let before: Vec<Work> = cluster.servers.iter().map(Work::of).collect();
    let since = Instant::now();
    let done = || -> Vec<Work> {
        let now = cluster.servers.iter().map(Work::of);
        now.zip(&before)
            .map(|(now, before)| now.since(*before))
            .collect()
    };
    let mut work = done();
    eventually("all were looked at three times", || {
        work = done();
        work.iter()
            .zip(&at)
            .all(|(work, rooms)| work.looks >= 3 * rooms)
    })
    .await;
    let elapsed = since.elapsed();
    for (work, rooms) in work.iter().zip(&at) {
        // One more interval has begun, and some shares of it are larger than others.
        let most = u128::from(*rooms) * (elapsed + INTERVAL * 5 / 4).as_millis();
        assert!(
            u128::from(work.looks) * INTERVAL.as_millis() <= most,
            "{work:?} for {rooms} rooms in {elapsed:?}"
        );
        let shares = SHARES * work.looks / rooms + SHARES;
        let pipelines = work.reads.saturating_sub(work.others + work.connections);
        assert!(
            pipelines <= shares,
            "{work:?} for {rooms} rooms: {pipelines} pipelines, at most {shares} are due"
        );
    }
    assert!(
        rooms
            .iter()
            .all(|room| gateway.events.interruptions(room) == 0),
        "there was nothing to find"
    );

    // One is told nothing in some rooms, spread over all servers.
    let silent: Vec<&RoomName> = rooms.iter().step_by(100).collect();
    let mut first = Vec::new();
    for room in &silent {
        first.push(publish_numbers(&gateway, room, 1..=1).await[0]);
    }
    for (room, position) in silent.iter().zip(&first) {
        let (log, id) = (
            format!("{prefix}:{{{room}}}:log"),
            format!("{}-*", position.epoch.0),
        );
        let owner = usize::from(slot(&log)) / 16384_usize.div_ceil(cluster.servers.len());
        cluster.servers[owner].run(&["XADD", &log, &id, "1700000000", "0", "b1", "2"]);
    }
    let since = Instant::now();
    for room in &silent {
        eventually("the room is told to read", || {
            gateway.events.interruptions(room) == 1
        })
        .await;
    }
    // What is found counts as missed a second share later; the rest is for a busy machine.
    assert!(since.elapsed() < 3 * INTERVAL, "{:?}", since.elapsed());
    let ageless = Retention {
        max_age: Duration::from_hours(1_000_000),
        ..RETENTION
    };
    for room in silent {
        let read = gateway.broker.read(room, Range::Latest, 10, ageless);
        assert_eq!(bodies(&read.await.expect("reads").messages), numbers(1..=2));
    }
}
