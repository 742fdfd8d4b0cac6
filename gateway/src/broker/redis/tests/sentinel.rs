//! A primary that Sentinels watch: found through them, and followed when another takes over.

use std::sync::OnceLock;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::server::{ENCODED_PASSWORD, Server, standalone, wait_until};
use super::{gateway, some_prefix, start};
use crate::broker::contract::{
    Gateway, RETENTION, broker_contract, eventually, publication, some_room,
};
use crate::broker::{Broker, BrokerError, Range};
use crate::ids::Position;

/// A primary, its replica, and three Sentinels.
struct Watched {
    primary: Server,
    replica: Server,
    sentinels: Vec<Server>,
}

impl Watched {
    fn start() -> Self {
        let primary = Server::start(&[]);
        let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", primary.port)]);
        wait_until("the replica is in sync", || {
            replica
                .text(&["INFO", "replication"])
                .contains("master_link_status:up")
        });
        let sentinels: Vec<_> = (0..3)
            .map(|_| Server::start_sentinel(primary.port, 2, true))
            .collect();
        wait_until("the Sentinels know each other and the replica", || {
            sentinels.iter().all(|sentinel| {
                let known = sentinel.text(&["INFO", "sentinel"]);
                known.contains("status=ok") && known.contains("slaves=1,sentinels=3")
            })
        });
        Self {
            primary,
            replica,
            sentinels,
        }
    }

    fn url(&self) -> String {
        let hosts: Vec<String> = self
            .sentinels
            .iter()
            .map(|sentinel| format!("127.0.0.1:{}", sentinel.port))
            .collect();
        format!(
            "redis+sentinel://:{ENCODED_PASSWORD}@{}/main",
            hosts.join(",")
        )
    }
}

/// One Sentinel that wants no password, and a primary that does.
fn shared_url() -> String {
    static SENTINEL: OnceLock<Server> = OnceLock::new();
    let sentinel = SENTINEL.get_or_init(|| Server::start_sentinel(standalone().port, 1, false));
    format!(
        "redis+sentinel://:{ENCODED_PASSWORD}@127.0.0.1:{}/main",
        sentinel.port
    )
}

mod contract_behind_a_sentinel {
    use super::*;
    broker_contract!(tokio::test, gateway(&shared_url(), &some_prefix()));
}

/// Publishes until told to stop, one after the other, and gives what was acknowledged.
async fn publish_on(
    gateway: &Gateway,
    room: &rotunda_crds::RoomName,
    stop: &CancellationToken,
) -> Vec<(Position, String)> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.is_cancelled() {
            break;
        }
        let body = number.to_string();
        match gateway.broker.publish(room, publication(&body)).await {
            Ok(published) => acknowledged.push((published.position, body)),
            Err(BrokerError::Unavailable(_) | BrokerError::OutcomeUnknown) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    acknowledged
}

/// Goes on through a failover: in order, with no position used twice, and none lost but at the end of the old epoch.
async fn goes_on_after(watched: &mut Watched, fail_over: impl FnOnce(&mut Watched)) {
    let url = watched.url();
    let prefix = some_prefix();
    let (a, b) = (gateway(&url, &prefix).await, gateway(&url, &prefix).await);
    let room = some_room();
    b.broker.subscribe(&room).await.expect("subscribes");
    let stop = CancellationToken::new();
    let failing_over = async {
        eventually("some are delivered", || b.events.messages(&room).len() > 20).await;
        fail_over(watched);
        eventually("the room is told to read", || {
            b.events.interruptions(&room) > 0
        })
        .await;
        let before = b.events.messages(&room).len();
        eventually("pushes are back", || {
            b.events.messages(&room).len() > before + 20
        })
        .await;
        stop.cancel();
    };
    let (acknowledged, ()) = tokio::join!(publish_on(&a, &room, &stop), failing_over);
    assert!(
        acknowledged.is_sorted_by(|one, other| one.0 < other.0),
        "positions rise"
    );
    let chunk = b
        .broker
        .read(&room, Range::Latest, 1000, RETENTION)
        .await
        .expect("reads");
    let end = chunk
        .state
        .previous
        .expect("it is known how far the old one went")
        .end;
    assert!(chunk.state.top.epoch > end.epoch);
    let oldest = chunk.messages[0].position;
    for (position, body) in acknowledged {
        let lost = position.epoch == end.epoch && position > end;
        let found = chunk
            .messages
            .iter()
            .find(|message| message.position == position);
        if position >= oldest && !lost {
            let found = found.unwrap_or_else(|| panic!("{position} is gone"));
            assert_eq!(found.body, body.as_bytes());
        } else {
            assert!(found.is_none(), "{position} is another one now");
        }
    }
    let pushed = b.events.messages(&room);
    assert!(
        pushed.is_sorted_by(|one, other| one.position < other.position),
        "no message comes twice or out of order"
    );
}

#[tokio::test]
async fn traffic_goes_on_when_the_primary_is_killed() {
    let mut watched = Watched::start();
    goes_on_after(&mut watched, |watched| watched.primary.kill()).await;
}

#[tokio::test]
async fn traffic_goes_on_when_another_is_made_primary() {
    let mut watched = Watched::start();
    goes_on_after(&mut watched, |watched| {
        watched.sentinels[0].run(&["SENTINEL", "FAILOVER", "main"]);
    })
    .await;
    // The old one serves as a replica now.
    wait_until("the old primary follows", || {
        watched
            .primary
            .text(&["INFO", "replication"])
            .contains("role:slave")
    });
    assert!(
        watched
            .replica
            .text(&["INFO", "replication"])
            .contains("role:master")
    );
}

#[tokio::test]
async fn a_name_that_no_sentinel_knows_is_told() {
    let (broker, _, _) = start(&shared_url().replace("/main", "/other"), &some_prefix());
    eventually("it says why", || {
        broker
            .ready()
            .is_err_and(|why| why.contains("knows no primary named other"))
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_no_sentinel_is_told() {
    let url = standalone().url().replace("redis://", "redis+sentinel://") + "/main";
    let (broker, _, _) = start(&url, &some_prefix());
    eventually("it says why", || {
        broker.ready().is_err_and(|why| why.contains("no Sentinel"))
    })
    .await;
}
