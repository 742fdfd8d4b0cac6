//! Reading what is stored, and how long it is.

use std::time::Duration;

use super::super::{MAX_READ_BYTES, Publication, Range, Retention};
use super::{
    Gateway, RETENTION, bodies, eventually_async, numbers, publication, publish_numbers, some_room,
};
use crate::history::{Order, PageQuery};
use crate::ids::Position;

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

pub(crate) async fn a_read_holds_no_more_than_its_bytes_but_one_message_in_any_case(
    gateway: &Gateway,
) {
    let room = some_room();
    let large = "x".repeat(MAX_READ_BYTES + 1);
    let small = "y".repeat(MAX_READ_BYTES * 2 / 5);
    let mut positions = Vec::new();
    for body in [&small, &small, &small, &large, &small] {
        let published = gateway.broker.publish(&room, publication(body)).await;
        positions.push(published.expect("publishes").position);
    }
    let read = async |range| {
        let chunk = gateway.broker.read(&room, range, 100, RETENTION).await;
        let chunk = chunk.expect("reads");
        let read: Vec<_> = chunk
            .messages
            .iter()
            .map(|message| message.position)
            .collect();
        (read, chunk.more)
    };
    let start = Position::new(positions[0].epoch.0, 0);
    for (range, expected, more) in [
        (Range::After(start), &positions[..2], true),
        (Range::After(positions[1]), &positions[2..3], true),
        (Range::After(positions[2]), &positions[3..4], true),
        (Range::After(positions[3]), &positions[4..], false),
        (Range::Latest, &positions[4..], true),
        (Range::Before(positions[4]), &positions[3..4], true),
        (Range::Before(positions[3]), &positions[1..3], true),
        (Range::Before(positions[1]), &positions[..1], false),
    ] {
        assert_eq!(read(range).await, (expected.to_vec(), more), "{range:?}");
    }
    // A page that was cut says where it goes on.
    let query = PageQuery {
        after: None,
        before: None,
        order: Some(Order::OldestFirst),
        limit: 100,
    };
    let chunk = gateway
        .broker
        .read(&room, query.range(), query.limit, RETENTION);
    let page = query.page(chunk.await.expect("reads"), &RETENTION);
    assert_eq!((page.messages.len(), page.next), (2, Some(positions[1])));
}

pub(crate) async fn many_small_messages_are_read_in_one_go(gateway: &Gateway) {
    let room = some_room();
    let positions = publish_numbers(gateway, &room, 1..=200).await;
    let start = Position::new(positions[0].epoch.0, 0);
    for (range, limit, expected, more) in [
        (Range::After(start), 200, 1..=200, false),
        (Range::After(start), 199, 1..=199, true),
        (Range::After(positions[9]), 64, 11..=74, true),
        (Range::Latest, 150, 51..=200, true),
        (Range::Before(positions[129]), 128, 2..=129, true),
        (Range::Before(positions[129]), 129, 1..=129, false),
    ] {
        let chunk = gateway.broker.read(&room, range, limit, RETENTION).await;
        let chunk = chunk.expect("reads");
        assert_eq!(bodies(&chunk.messages), numbers(expected), "{range:?}");
        assert_eq!(chunk.more, more, "{range:?} {limit}");
    }
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

/// Pages of a room laid side by side, while one message is published between two of them and the oldest are trimmed.
async fn read_through(gateway: &Gateway, order: Order, limit: usize) -> (Vec<u64>, u64, u64) {
    let (room, retention) = (
        some_room(),
        Retention {
            max_messages: 30,
            ..RETENTION
        },
    );
    let publish = async || {
        let publication = Publication {
            retention,
            ..publication("x")
        };
        let published = gateway.broker.publish(&room, publication).await;
        published.expect("publishes").position
    };
    for _ in 0..40 {
        publish().await;
    }
    let (mut asked, mut seen) = (
        PageQuery {
            after: None,
            before: None,
            order: Some(order),
            limit,
        },
        Vec::new(),
    );
    loop {
        let chunk = gateway
            .broker
            .read(&room, asked.range(), limit, retention)
            .await
            .expect("reads");
        let page = asked.page(chunk, &retention);
        assert!(page.messages.len() <= limit);
        seen.extend(
            page.messages
                .iter()
                .map(|message| message.position.offset.0),
        );
        match (page.next, order) {
            (None, _) => break,
            (next, Order::OldestFirst) => asked.after = next,
            (next, Order::NewestFirst) => asked.before = next,
        }
        publish().await;
    }
    let chunk = gateway
        .broker
        .read(&room, Range::Latest, 1, retention)
        .await
        .expect("reads");
    let oldest = chunk.state.oldest.expect("there are messages");
    (seen, oldest.offset.0, chunk.state.top.offset.0)
}

pub(crate) async fn pages_neither_skip_nor_double_while_messages_come_and_go(gateway: &Gateway) {
    for limit in [2, 3, 7, 1000] {
        let (seen, oldest, top) = read_through(gateway, Order::OldestFirst, limit).await;
        assert!(seen.is_sorted_by(|a, b| a < b), "{limit}: {seen:?}");
        assert_eq!(seen.first(), Some(&11), "exactly what the room keeps");
        for offset in oldest..=top {
            assert!(seen.contains(&offset), "{limit}: {offset} in {seen:?}");
        }
        let (seen, oldest, _) = read_through(gateway, Order::NewestFirst, limit).await;
        let expected: Vec<u64> = (oldest..=40).rev().collect();
        assert!(seen.starts_with(&expected), "{limit}: {seen:?} to {oldest}");
        assert!(seen.is_sorted_by(|a, b| a > b), "{limit}: {seen:?}");
    }
}
