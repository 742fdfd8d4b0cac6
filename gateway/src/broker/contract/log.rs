//! Messages: order, storage, deletion; and signals.

use std::time::Duration;

use bytes::Bytes;
use rotunda_crds::RoomName;

use super::super::{BrokerError, Event, LogState, Publication, Range, Retention};
use super::{
    Gateway, RETENTION, bodies, eventually, keyed, numbers, publication, publish_numbers, some_room,
};
use crate::ids::Position;

pub(crate) async fn messages_are_numbered_without_holes_and_delivered_in_order(gateway: &Gateway) {
    let room = some_room();
    gateway.broker.subscribe(&room).await.expect("subscribes");
    let positions = publish_numbers(gateway, &room, 1..=50).await;
    let epoch = positions[0].epoch.0;
    let expected: Vec<_> = (1..=50)
        .map(|offset| Position::new(epoch, offset))
        .collect();
    assert_eq!(positions, expected);

    eventually("all are delivered", || {
        gateway.events.messages(&room).len() == 50
    })
    .await;
    let delivered = gateway.events.messages(&room);
    assert_eq!(bodies(&delivered), numbers(1..=50));
    assert_eq!(
        delivered
            .iter()
            .map(|message| message.position)
            .collect::<Vec<_>>(),
        expected
    );
    assert!(delivered.is_sorted_by_key(|message| message.time_ms));
    let stored = gateway
        .broker
        .read(&room, Range::Latest, 50, RETENTION)
        .await
        .expect("reads");
    assert_eq!(stored.messages, delivered);
}

pub(crate) async fn a_body_passes_untouched(gateway: &Gateway) {
    let room = some_room();
    gateway.broker.subscribe(&room).await.expect("subscribes");
    let mut body: Vec<u8> = b"\"from\":\"\xc3\xa4\",\r\n \0\xff\"data\": 1.0".to_vec();
    body.resize(200_000, b'\n');
    let body = Bytes::from(body);
    let publication = Publication {
        body: body.clone(),
        ..publication("")
    };
    gateway
        .broker
        .publish(&room, publication)
        .await
        .expect("publishes");
    eventually("it is delivered", || {
        gateway.events.messages(&room).len() == 1
    })
    .await;
    assert_eq!(gateway.events.messages(&room)[0].body, body);
    let stored = gateway
        .broker
        .read(&room, Range::Latest, 1, RETENTION)
        .await
        .expect("reads");
    assert_eq!(stored.messages[0].body, body);
}

pub(crate) async fn a_publish_with_the_same_key_is_stored_once(gateway: &Gateway) {
    let room = some_room();
    gateway.broker.subscribe(&room).await.expect("subscribes");
    let first = gateway
        .broker
        .publish(&room, keyed("u:alice", "k1", "once"))
        .await
        .expect("publishes");
    publish_numbers(gateway, &room, 1..=3).await;
    let again = gateway
        .broker
        .publish(&room, keyed("u:alice", "k1", "once"))
        .await
        .expect("publishes");
    let other = gateway
        .broker
        .publish(&room, keyed("u:alice", "k2", "other"))
        .await
        .expect("publishes");
    assert!(!first.duplicate);
    assert!(again.duplicate);
    assert_eq!(again.position, first.position);
    assert!(!other.duplicate);
    eventually("the last is delivered", || {
        gateway.events.messages(&room).len() == 5
    })
    .await;
    assert_eq!(
        bodies(&gateway.events.messages(&room)),
        ["once", "1", "2", "3", "other"]
    );
}

pub(crate) async fn keys_of_different_scopes_never_meet(gateway: &Gateway) {
    let (room, elsewhere) = (some_room(), some_room());
    gateway
        .broker
        .publish(&room, keyed("u:a", "bc", "1"))
        .await
        .expect("publishes");
    for (room, scope, key) in [
        (&room, "u:ab", "c"),
        (&room, "k:a", "bc"),
        (&elsewhere, "u:a", "bc"),
    ] {
        let published = gateway
            .broker
            .publish(room, keyed(scope, key, "2"))
            .await
            .expect("publishes");
        assert!(!published.duplicate, "{scope} {key}");
    }
}

pub(crate) async fn the_rate_of_a_room_is_kept(gateway: &Gateway) {
    let room = some_room();
    let limited = || Publication {
        rate_limit: Some(5),
        ..publication("x")
    };
    let mut accepted = 0;
    let retry_after = loop {
        match gateway.broker.publish(&room, limited()).await {
            Ok(_) => accepted += 1,
            Err(BrokerError::RateLimited { retry_after }) => break retry_after,
            Err(error) => panic!("{error}"),
        }
        assert!(accepted < 1000);
    };
    assert!(accepted >= 5);
    assert!(
        retry_after > Duration::ZERO && retry_after <= Duration::from_millis(200),
        "{retry_after:?}"
    );
    tokio::time::sleep(retry_after).await;
    let published = gateway
        .broker
        .publish(&room, limited())
        .await
        .expect("there is room again");
    assert_eq!(
        published.position.offset.0,
        accepted + 1,
        "what was refused is not stored"
    );
}

pub(crate) async fn signals_are_delivered_and_not_stored(gateway: &Gateway) {
    let room = some_room();
    let body = Bytes::from_static(b"\"from\":\"alice\",\"name\":\"typing\"");
    gateway
        .broker
        .signal(&room, body.clone())
        .await
        .expect("nobody hears it");
    gateway.broker.subscribe(&room).await.expect("subscribes");
    gateway
        .broker
        .signal(&room, body.clone())
        .await
        .expect("signals");
    eventually("it is delivered", || !gateway.events.of(&room).is_empty()).await;
    assert_eq!(gateway.events.of(&room), [Event::Signal(body)]);
    let stored = gateway
        .broker
        .read(&room, Range::Latest, 10, RETENTION)
        .await
        .expect("reads");
    assert!(stored.messages.is_empty());
}

pub(crate) async fn events_end_with_the_subscription(gateway: &Gateway) {
    let (room, other) = (some_room(), some_room());
    gateway.broker.subscribe(&room).await.expect("subscribes");
    gateway
        .broker
        .subscribe(&room)
        .await
        .expect("twice is once");
    publish_numbers(gateway, &room, 1..=1).await;
    eventually("the first is delivered", || {
        gateway.events.messages(&room).len() == 1
    })
    .await;
    gateway.broker.unsubscribe(&room).await;
    gateway.broker.unsubscribe(&other).await;
    publish_numbers(gateway, &room, 2..=2).await;
    // What isn't to come can't be waited for.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bodies(&gateway.events.messages(&room)), ["1"]);
    gateway
        .broker
        .subscribe(&room)
        .await
        .expect("subscribes again");
    publish_numbers(gateway, &room, 3..=3).await;
    eventually("the third is delivered", || {
        bodies(&gateway.events.messages(&room)) == ["1", "3"]
    })
    .await;
}

pub(crate) async fn deletion_is_told_and_numbering_goes_on(gateway: &Gateway) {
    let room = some_room();
    let delete = async || {
        let deleted = gateway.broker.delete_messages(&room, RETENTION).await;
        deleted.expect("deletes what there is, or nothing");
    };
    delete().await;
    gateway.broker.subscribe(&room).await.expect("subscribes");
    let positions = publish_numbers(gateway, &room, 1..=3).await;
    delete().await;
    delete().await;
    let at = positions[2].next();
    let chunk = gateway
        .broker
        .read(&room, Range::Latest, 10, RETENTION)
        .await
        .expect("reads");
    assert!(chunk.messages.is_empty() && !chunk.more);
    let LogState {
        top,
        oldest,
        deleted,
        ..
    } = chunk.state;
    assert_eq!((top, oldest, deleted), (at, Some(at), Some(at)));
    let next = publish_numbers(gateway, &room, 4..=4).await;
    assert_eq!(next, [at.next()]);
    eventually("all is told", || gateway.events.of(&room).len() == 5).await;
    let events = gateway.events.of(&room);
    assert_eq!(events[3], Event::Deleted { at });
    delete().await;
    eventually("that is told too", || gateway.events.of(&room).len() == 6).await;
}

pub(crate) async fn a_deletion_is_no_message_and_goes_when_it_is_trimmed(gateway: &Gateway) {
    let room = some_room();
    let old = publish_numbers(gateway, &room, 1..=3).await;
    let deleted = gateway.broker.delete_messages(&room, RETENTION).await;
    deleted.expect("deletes");
    let new = publish_numbers(gateway, &room, 4..=6).await;
    let at = old[2].next();
    let read = async |range, limit, most| {
        let retention = Retention {
            max_messages: most,
            ..RETENTION
        };
        let read = gateway.broker.read(&room, range, limit, retention).await;
        let chunk = read.expect("reads");
        (bodies(&chunk.messages), chunk.more, chunk.state.deleted)
    };
    for (range, limit, expected, more) in [
        (Range::After(old[0]), 10, numbers(4..=6), false),
        (Range::After(old[2]), 1, numbers(4..=4), true),
        (Range::After(at), 3, numbers(4..=6), false),
        (Range::After(new[0]), 2, numbers(5..=6), false),
        (Range::Before(new[1]), 1, numbers(4..=4), false),
        (Range::Before(new[0]), 1, vec![], false),
        (Range::Latest, 3, numbers(4..=6), false),
        (Range::Latest, 2, numbers(5..=6), true),
    ] {
        let answer = read(range, limit, 1000).await;
        assert_eq!(answer, (expected, more, Some(at)), "{range:?} {limit}");
    }
    let (messages, _, deleted) = read(Range::Latest, 10, 4).await;
    assert_eq!((messages, deleted), (numbers(4..=6), Some(at)));
    let (messages, _, deleted) = read(Range::Latest, 10, 3).await;
    assert_eq!((messages, deleted), (numbers(4..=6), None));
}

pub(crate) async fn the_log_of_orders_is_a_room_like_any_other(gateway: &Gateway) {
    let log = RoomName::control();
    gateway.broker.subscribe(&log).await.expect("subscribes");
    let start = gateway
        .broker
        .read(&log, Range::Latest, 1, RETENTION)
        .await
        .expect("reads");
    let positions = publish_numbers(gateway, &log, 1..=3).await;
    eventually("all are delivered", || {
        gateway.events.messages(&log).len() == 3
    })
    .await;
    let read = gateway
        .broker
        .read(&log, Range::After(start.state.top), 10, RETENTION)
        .await
        .expect("reads");
    assert_eq!(bodies(&read.messages), numbers(1..=3));
    assert_eq!(read.state.top, positions[2]);
}
