//! `durability: Replicated`: what is acknowledged survives the loss of the primary.

use std::time::{Duration, Instant};

use super::server::Cluster;
use super::{gateway, some_prefix};
use crate::broker::contract::{Gateway, RETENTION, eventually, publication, some_room};
use crate::broker::{BrokerError, Durability, Publication, Range};
use crate::ids::Position;
use rotunda_crds::RoomName;

async fn publish(gateway: &Gateway, room: &RoomName, body: &str) -> Result<Position, BrokerError> {
    let replicated = Publication {
        durability: Durability::Replicated,
        ..publication(body)
    };
    let published = gateway.broker.publish(room, replicated).await;
    published.map(|published| published.position)
}

fn is_retryable(error: &BrokerError) -> bool {
    matches!(
        error,
        BrokerError::Unavailable(_) | BrokerError::OutcomeUnknown
    )
}

#[tokio::test]
async fn what_a_replica_has_survives_the_loss_of_the_primary() {
    let mut cluster = Cluster::start_with_replicas(1);
    let gateway = gateway(&cluster.url(), &some_prefix()).await;
    let room = some_room();
    let acknowledged = parking_lot::Mutex::new(Vec::new());
    let over = tokio_util::sync::CancellationToken::new();
    // Several at a time, so that some are on their way when it ends.
    let publishing = async |name: usize| {
        for number in 0.. {
            if over.is_cancelled() {
                return;
            }
            let body = format!("{name} {number}");
            match publish(&gateway, &room, &body).await {
                Ok(position) => acknowledged.lock().push((position, body)),
                Err(error) => assert!(is_retryable(&error), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let failing_over = async {
        eventually("some are acknowledged", || acknowledged.lock().len() > 100).await;
        cluster.servers[0].kill();
        cluster.servers[1].run(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
        // With the only replica gone from its place nothing more is acknowledged.
        eventually("Redis is connected", || gateway.broker.ready().is_ok()).await;
        over.cancel();
    };
    futures::join!(
        futures::future::join_all((0..4).map(publishing)),
        failing_over
    );
    let chunk = gateway
        .broker
        .read(&room, Range::Latest, 1000, RETENTION)
        .await
        .expect("reads");
    let acknowledged = acknowledged.into_inner();
    assert!(!acknowledged.is_empty() && acknowledged.len() <= 1000);
    for (position, body) in acknowledged {
        let found = chunk
            .messages
            .iter()
            .find(|message| message.position == position);
        let found = found.unwrap_or_else(|| panic!("{position} was acknowledged and is gone"));
        assert_eq!(found.body, body.as_bytes());
    }
}

#[tokio::test]
async fn with_a_replica_that_stands_still_the_outcome_is_unknown() {
    let cluster = Cluster::start_with_replicas(1);
    let gateway = gateway(&cluster.url(), &some_prefix()).await;
    let room = some_room();
    let first = publish(&gateway, &room, "1").await.expect("publishes");
    let stopped = cluster.servers[1].stop();
    let since = Instant::now();
    let second = publish(&gateway, &room, "2").await;
    assert!(
        matches!(second, Err(BrokerError::OutcomeUnknown)),
        "{second:?}"
    );
    assert!(since.elapsed() < Duration::from_secs(2));
    drop(stopped);
    let third = publish(&gateway, &room, "3").await.expect("publishes");
    assert_eq!(
        third,
        first.next().next(),
        "the one that is unknown is there, and comes once"
    );
}

#[tokio::test]
async fn without_its_replica_the_outcome_is_unknown_and_told_in_time() {
    let mut cluster = Cluster::start_with_replicas(1);
    let gateway = gateway(&cluster.url(), &some_prefix()).await;
    let room = some_room();
    let first = publish(&gateway, &room, "1").await.expect("publishes");
    cluster.servers[1].kill();
    let since = Instant::now();
    let second = publish(&gateway, &room, "2").await;
    assert!(
        matches!(second, Err(BrokerError::OutcomeUnknown)),
        "{second:?}"
    );
    assert!(since.elapsed() < Duration::from_secs(2));
    // What asks for no replica goes on.
    let third = gateway.broker.publish(&room, publication("3")).await;
    assert_eq!(third.expect("publishes").position, first.next().next());
}
