//! A publish with a key that was sent, and whose answer got lost: no later failure may say that nothing was done.

use std::sync::Arc;

use rotunda_crds::RoomName;
use tokio::task::JoinHandle;

use super::proxy::Proxy;
use super::server::{Server, free_port};
use super::{gateway, some_prefix};
use crate::broker::contract::{Gateway, RETENTION, eventually, keyed, publish_numbers, some_room};
use crate::broker::{BrokerError, Published, Range};

/// A gateway whose keyed publish is stored, while its answer is held back.
struct Doubtful {
    server: Server,
    proxy: Proxy,
    gateway: Gateway,
    room: RoomName,
    publishing: JoinHandle<Result<Published, BrokerError>>,
}

impl Doubtful {
    async fn publish() -> Self {
        let server = Server::start(&[]);
        let proxy = Proxy::to(server.port).await;
        let prefix = some_prefix();
        let gateway = gateway(&proxy.url(), &prefix).await;
        let room = some_room();
        // From now on Redis has the script and the room its epoch, so that nothing else is asked.
        let first = gateway.broker.publish(&room, keyed("u:alice", "j", "1"));
        first.await.expect("publishes");
        proxy.freeze(true);
        let (broker, to) = (Arc::clone(&gateway.broker), room.clone());
        let publishing =
            tokio::spawn(async move { broker.publish(&to, keyed("u:alice", "k", "2")).await });
        let log = format!("{prefix}:{{{room}}}:log");
        eventually("it is stored", || server.text(&["XLEN", &log]) == "2").await;
        Self {
            server,
            proxy,
            gateway,
            room,
            publishing,
        }
    }

    /// New connections lead to a server that answers; the answer that was held back never comes.
    fn lose_answer_and_lead_to(&self, port: u16) {
        self.proxy.lead_to(port);
        self.proxy.freeze(false);
    }

    async fn outcome(&mut self) -> Result<Published, BrokerError> {
        (&mut self.publishing).await.expect("it doesn't panic")
    }
}

#[tokio::test]
async fn the_retry_finds_what_was_stored() {
    let mut doubtful = Doubtful::publish().await;
    doubtful.lose_answer_and_lead_to(doubtful.server.port);
    let published = doubtful.outcome().await.expect("a key makes it safe");
    assert!(published.duplicate);
    assert_eq!(published.position.offset.0, 2);
}

#[tokio::test]
async fn a_retry_that_finds_no_redis_leaves_the_outcome_unknown() {
    let mut doubtful = Doubtful::publish().await;
    doubtful.lose_answer_and_lead_to(free_port());
    let outcome = doubtful.outcome().await;
    assert!(
        matches!(outcome, Err(BrokerError::OutcomeUnknown)),
        "{outcome:?}"
    );
    let (broker, room) = (&doubtful.gateway.broker, &doubtful.room);
    // This one was never sent, and a read leaves nothing behind.
    let refused = broker.publish(room, keyed("u:alice", "l", "3")).await;
    assert!(
        matches!(refused, Err(BrokerError::Unavailable(_))),
        "{refused:?}"
    );
    let unread = broker.read(room, Range::Latest, 10, RETENTION).await;
    assert!(
        matches!(unread, Err(BrokerError::Unavailable(_))),
        "{unread:?}"
    );
}

#[tokio::test]
async fn a_retry_that_is_refused_in_another_history_leaves_the_outcome_unknown() {
    let mut doubtful = Doubtful::publish().await;
    let other = Server::start(&["--min-replicas-to-write", "1"]);
    doubtful.lose_answer_and_lead_to(other.port);
    let outcome = doubtful.outcome().await;
    assert!(
        matches!(outcome, Err(BrokerError::OutcomeUnknown)),
        "{outcome:?}"
    );
    let (broker, room) = (&doubtful.gateway.broker, &doubtful.room);
    let refused = broker.publish(room, keyed("u:alice", "l", "3")).await;
    assert!(
        matches!(&refused, Err(BrokerError::Unavailable(why)) if why.contains("NOREPLICAS")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_read_without_an_answer_is_only_unavailable() {
    let server = Server::start(&[]);
    let proxy = Proxy::to(server.port).await;
    let gateway = gateway(&proxy.url(), &some_prefix()).await;
    let room = some_room();
    publish_numbers(&gateway, &room, 1..=1).await;
    proxy.freeze(true);
    let unread = gateway
        .broker
        .read(&room, Range::Latest, 10, RETENTION)
        .await;
    assert!(
        matches!(unread, Err(BrokerError::Unavailable(_))),
        "{unread:?}"
    );
}
