use super::*;
use crate::broker::contract::{
    Gateway, PRESENCE_TTL, RETENTION, Recorder, broker_contract, keyed, publish_numbers, some_room,
    user,
};

fn gateway() -> Gateway {
    let events = Arc::new(Recorder::default());
    Gateway {
        broker: MemoryBroker::start(PRESENCE_TTL, events.clone()),
        events,
    }
}

broker_contract!(
    tokio::test(start_paused = true),
    std::future::ready(gateway())
);

#[tokio::test(start_paused = true)]
async fn a_room_that_nobody_needs_is_dropped_and_comes_back_with_a_higher_epoch() {
    let broker = MemoryBroker::start(PRESENCE_TTL, Arc::new(Recorder::default()));
    let room = some_room();
    let first = broker
        .read(&room, Range::Latest, 1, RETENTION)
        .await
        .expect("reads")
        .state
        .top;
    tokio::time::sleep(
        RETENTION
            .max_age
            .checked_sub(Duration::from_secs(1))
            .expect("an hour"),
    )
    .await;
    assert_eq!(
        broker.rooms.lock().len(),
        1,
        "a position was given out and has to hold for as long as messages live"
    );
    tokio::time::sleep(JANITOR_INTERVAL * 2).await;
    assert_eq!(broker.rooms.lock().len(), 0);
    let again = broker
        .read(&room, Range::Latest, 1, RETENTION)
        .await
        .expect("reads")
        .state
        .top;
    assert!(again.epoch > first.epoch);
    broker.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_room_in_use_stays() {
    let gateway = gateway();
    let (subscribed, inhabited) = (some_room(), some_room());
    gateway
        .broker
        .subscribe(&subscribed)
        .await
        .expect("subscribes");
    gateway
        .broker
        .join(&inhabited, &user("alice"))
        .await
        .expect("joins");
    publish_numbers(&gateway, &subscribed, 1..=1).await;
    tokio::time::sleep(RETENTION.max_age * 2).await;
    assert_eq!(
        publish_numbers(&gateway, &subscribed, 2..=2).await[0]
            .offset
            .0,
        2
    );
    assert_eq!(
        gateway
            .broker
            .members(&inhabited, 1)
            .await
            .expect("lists")
            .count,
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_counts_for_five_minutes() {
    let gateway = gateway();
    let room = some_room();
    let publish = async || {
        gateway
            .broker
            .publish(&room, keyed("u:alice", "k", "x"))
            .await
            .expect("publishes")
    };
    assert!(!publish().await.duplicate);
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert!(publish().await.duplicate);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!publish().await.duplicate);
}

#[tokio::test]
async fn epochs_of_rooms_made_in_the_same_instant_differ() {
    let broker = MemoryBroker::start(PRESENCE_TTL, Arc::new(Recorder::default()));
    let epochs: std::collections::BTreeSet<u64> = (0..100).map(|_| broker.next_epoch()).collect();
    assert_eq!(epochs.len(), 100);
    broker.close().await;
}
