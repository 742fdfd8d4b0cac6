//! Messages: order, storage, reading, deletion; and signals.

use std::time::Duration;

use bytes::Bytes;

use super::super::{BrokerError, Event, Publication, Range, Retention};
use super::{
    Gateway, RETENTION, bodies, eventually, eventually_async, keyed, numbers, publication,
    publish_numbers, some_room,
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

pub(crate) async fn an_unknown_room_opens_an_epoch_to_go_on_from(gateway: &Gateway) {
    let room = some_room();
    let empty = gateway
        .broker
        .read(&room, Range::Latest, 10, RETENTION)
        .await
        .expect("reads");
    assert!(empty.messages.is_empty());
    assert!(!empty.more);
    assert_eq!(empty.state.oldest, None);
    assert_eq!(empty.state.top.offset.0, 0);
    assert!(
        empty.state.top.epoch.0 > 1_700_000_000_000,
        "an epoch is at least the time of its beginning"
    );
    let positions = publish_numbers(gateway, &room, 1..=1).await;
    assert_eq!(positions, [empty.state.top.next()]);
    let after = gateway
        .broker
        .read(&room, Range::After(empty.state.top), 10, RETENTION)
        .await
        .expect("reads");
    assert_eq!(bodies(&after.messages), ["1"]);
    assert_eq!(after.state.top, positions[0]);
    assert_eq!(after.state.oldest, Some(positions[0]));
}

pub(crate) async fn reading_after_a_position_goes_forward_in_pages(gateway: &Gateway) {
    let room = some_room();
    let positions = publish_numbers(gateway, &room, 1..=10).await;
    let first = gateway
        .broker
        .read(&room, Range::After(positions[1]), 5, RETENTION)
        .await
        .expect("reads");
    assert_eq!(bodies(&first.messages), numbers(3..=7));
    assert!(first.more);
    assert_eq!(first.state.top, positions[9]);
    assert_eq!(first.state.oldest, Some(positions[0]));
    let rest = gateway
        .broker
        .read(&room, Range::After(positions[6]), 5, RETENTION)
        .await
        .expect("reads");
    assert_eq!(bodies(&rest.messages), numbers(8..=10));
    assert!(!rest.more);
}

pub(crate) async fn reading_before_a_position_goes_backward_in_pages(gateway: &Gateway) {
    let room = some_room();
    let positions = publish_numbers(gateway, &room, 1..=10).await;
    let latest = gateway
        .broker
        .read(&room, Range::Latest, 4, RETENTION)
        .await
        .expect("reads");
    assert_eq!(bodies(&latest.messages), numbers(7..=10));
    assert!(latest.more);
    let before = gateway
        .broker
        .read(&room, Range::Before(positions[6]), 4, RETENTION)
        .await
        .expect("reads");
    assert_eq!(bodies(&before.messages), numbers(3..=6));
    assert!(before.more);
    let first = gateway
        .broker
        .read(&room, Range::Before(positions[2]), 4, RETENTION)
        .await
        .expect("reads");
    assert_eq!(bodies(&first.messages), numbers(1..=2));
    assert!(!first.more);
}

pub(crate) async fn reading_at_the_edges_is_answered(gateway: &Gateway) {
    let room = some_room();
    let positions = publish_numbers(gateway, &room, 1..=3).await;
    let epoch = positions[0].epoch.0;
    let cases = [
        (Range::After(Position::new(0, 0)), numbers(1..=3)),
        (Range::After(Position::new(0, u64::MAX)), numbers(1..=3)),
        (Range::After(Position::new(epoch, u64::MAX)), vec![]),
        (Range::After(Position::new(u64::MAX, u64::MAX)), vec![]),
        (Range::After(positions[2]), vec![]),
        (Range::Before(Position::new(0, 0)), vec![]),
        (Range::Before(Position::new(epoch, 0)), vec![]),
        (Range::Before(positions[0]), vec![]),
        (
            Range::Before(Position::new(u64::MAX, u64::MAX)),
            numbers(1..=3),
        ),
        (Range::Before(Position::new(epoch + 1, 0)), numbers(1..=3)),
    ];
    for (range, expected) in cases {
        let chunk = gateway
            .broker
            .read(&room, range, 10, RETENTION)
            .await
            .expect("reads");
        assert_eq!(bodies(&chunk.messages), expected, "{range:?}");
        assert!(!chunk.more, "{range:?}");
        assert_eq!(chunk.state.top, positions[2], "{range:?}");
    }
    let least = gateway
        .broker
        .read(&room, Range::Latest, 0, RETENTION)
        .await
        .expect("reads");
    assert_eq!(bodies(&least.messages), ["3"]);
}

pub(crate) async fn a_room_keeps_no_more_than_its_maximum(gateway: &Gateway) {
    let room = some_room();
    let retention = Retention {
        max_messages: 3,
        ..RETENTION
    };
    let mut last = Position::default();
    for number in 1..=20 {
        let publication = Publication {
            retention,
            ..publication(&number.to_string())
        };
        last = gateway
            .broker
            .publish(&room, publication)
            .await
            .expect("publishes")
            .position;
    }
    let chunk = gateway
        .broker
        .read(&room, Range::After(Position::default()), 100, retention)
        .await
        .expect("reads");
    assert_eq!(bodies(&chunk.messages), numbers(18..=20));
    assert_eq!(chunk.state.oldest, Some(Position::new(last.epoch.0, 18)));
    assert_eq!(chunk.state.top, last);
}

pub(crate) async fn aged_messages_are_not_read(gateway: &Gateway) {
    let room = some_room();
    let retention = Retention {
        max_age: Duration::from_millis(700),
        ..RETENTION
    };
    let publish = async |body: &str| {
        let publication = Publication {
            retention,
            ..publication(body)
        };
        gateway
            .broker
            .publish(&room, publication)
            .await
            .expect("publishes")
            .position
    };
    for number in 1..=40 {
        publish(&number.to_string()).await;
    }
    let read = async || {
        gateway
            .broker
            .read(&room, Range::Latest, 100, retention)
            .await
            .expect("reads")
    };
    assert!(!read().await.messages.is_empty());
    tokio::time::sleep(Duration::from_millis(750)).await;
    let young = publish("young").await;
    assert_eq!(young.offset.0, 41, "numbering outlives the messages");
    let chunk = read().await;
    assert_eq!(bodies(&chunk.messages), ["young"]);
    assert_eq!(chunk.state.oldest, Some(young));
    eventually_async("it ages too", async || read().await.messages.is_empty()).await;
    let chunk = read().await;
    assert_eq!((chunk.state.oldest, chunk.state.top), (None, young));
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
    gateway
        .broker
        .delete_messages(&room)
        .await
        .expect("there is nothing to delete");
    gateway.broker.subscribe(&room).await.expect("subscribes");
    let positions = publish_numbers(gateway, &room, 1..=3).await;
    gateway
        .broker
        .delete_messages(&room)
        .await
        .expect("deletes");
    let chunk = gateway
        .broker
        .read(&room, Range::Latest, 10, RETENTION)
        .await
        .expect("reads");
    assert!(chunk.messages.is_empty());
    assert_eq!((chunk.state.top, chunk.state.oldest), (positions[2], None));
    let next = publish_numbers(gateway, &room, 4..=4).await;
    assert_eq!(next, [positions[2].next()]);
    eventually("all is told", || gateway.events.of(&room).len() == 5).await;
    let events = gateway.events.of(&room);
    assert_eq!(
        events[3],
        Event::Deleted {
            through: positions[2]
        }
    );
}
