//! The cap over all outboxes: who gives way, and that it holds.

use proptest::prelude::*;

use super::*;
use crate::auth::Identity;
use crate::broker::Message;
use crate::connection::Transport;
use crate::dialect::{Frame, event};
use crate::testing::{at, room};

/// A frame with at least so many bytes that nobody else holds.
fn frame(bytes: usize) -> Frame {
    let message = Message {
        position: at(1, 1),
        time_ms: 0,
        body: vec![b'x'; bytes].into(),
    };
    event::message(&room("lobby"), &message)
}

fn capped(cap: u64) -> Arc<Backlog> {
    let backlog = Backlog::new(Gauge::default());
    backlog.set_cap(cap);
    backlog
}

fn connect(backlog: &Arc<Backlog>, registry: &Registry) -> Arc<Connection> {
    let connection = Connection::new(
        Identity::anonymous(),
        Transport::Poll,
        usize::MAX,
        Arc::clone(backlog),
    );
    registry.insert(&connection, 0).unwrap();
    connection
}

#[tokio::test(start_paused = true)]
async fn the_largest_give_way_first_and_the_others_stay() {
    let (backlog, registry) = (capped(100_000), Arc::new(Registry::default()));
    let connections: Vec<_> = (0..10).map(|_| connect(&backlog, &registry)).collect();
    let shedding = {
        let (backlog, registry) = (Arc::clone(&backlog), Arc::clone(&registry));
        tokio::spawn(async move { shed(&backlog, &registry).await })
    };
    for (index, connection) in connections.iter().enumerate() {
        for _ in 0..=index {
            connection.outbox.push(frame(1500)).unwrap();
        }
    }
    assert!(backlog.held() < 100_000);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(
        connections
            .iter()
            .all(|connection| connection.outbox.closing().is_none())
    );
    connections[0].outbox.push(frame(20_000)).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let gone: Vec<_> = connections
        .iter()
        .map(|connection| connection.outbox.closing() == Some(CloseReason::SlowConsumer))
        .collect();
    assert!(gone[0], "it had the most");
    assert!(gone[1..].iter().all(|gone| !gone), "{gone:?}");
    assert!(backlog.held() <= 100_000 - 100_000 / 8);
    shedding.abort();
}

#[test]
fn a_frame_for_everyone_counts_once() {
    let (backlog, registry) = (capped(1_000_000), Registry::default());
    let connections: Vec<_> = (0..1000).map(|_| connect(&backlog, &registry)).collect();
    let message = frame(50_000);
    for connection in &connections {
        connection.outbox.push(message.clone()).unwrap();
    }
    assert!(backlog.held() < 100_000, "{}", backlog.held());
    for connection in &connections {
        registry.remove(connection);
    }
    drop((connections, message));
    assert_eq!(backlog.held(), 0);
}

#[test]
fn when_all_is_full_who_has_next_to_nothing_in_line_still_gets_a_frame() {
    let (backlog, registry) = (capped(100_000), Registry::default());
    let (greedy, modest) = (connect(&backlog, &registry), connect(&backlog, &registry));
    while greedy.outbox.push(frame(1000)).is_ok() {}
    assert_eq!(greedy.outbox.closing(), Some(CloseReason::SlowConsumer));
    // A frame that somebody still holds fills it again.
    let held = frame(115_000);
    held.count_in(backlog.held_gauge());
    assert_eq!(modest.outbox.push(frame(100)), Ok(()));
    assert!(modest.outbox.push(frame(10_000)).is_err());
}

proptest! {
    /// Without anyone shedding, whatever is pushed wherever.
    #[test]
    fn the_cap_and_a_quarter_is_never_passed(
        pushes in proptest::collection::vec((0usize..40, 0usize..3000, any::<bool>()), 1..600)
    ) {
        let (backlog, registry) = (capped(100_000), Registry::default());
        let connections: Vec<_> = (0..40).map(|_| connect(&backlog, &registry)).collect();
        for (index, bytes, reads) in pushes {
            let outbox = &connections[index].outbox;
            if reads {
                let mut taken = std::collections::VecDeque::new();
                outbox.take_rest(&mut taken);
                let bytes = taken.iter().map(|queued| queued.frame.len()).sum();
                outbox.written(taken.len(), bytes);
            }
            outbox.push(frame(bytes)).ok();
            prop_assert!(backlog.held() <= 125_000, "{}", backlog.held());
        }
        drop(connections);
        for connection in registry.all() {
            registry.remove(&connection);
        }
        prop_assert_eq!(backlog.held(), 0);
    }
}

#[test]
fn what_waits_elsewhere_counts_and_is_refused_past_its_part() {
    let backlog = capped(100_000);
    let one = backlog.hold(20_000).unwrap();
    let answer = backlog.hold_bytes(vec![b'x'; 5_000].into()).unwrap();
    assert_eq!(backlog.held(), 25_000);
    assert!(backlog.hold(1).is_none(), "a quarter is the most");
    let part = answer.slice(..10);
    drop((one, answer));
    assert_eq!(backlog.held(), 5_000, "somebody still reads it");
    drop(part);
    assert_eq!(backlog.held(), 0);
    assert!(backlog.hold(25_000).is_some());
    assert_eq!(backlog.held(), 0);
}

#[test]
fn what_waits_elsewhere_has_no_place_where_outboxes_are_full() {
    let (backlog, registry) = (capped(100_000), Registry::default());
    let connection = connect(&backlog, &registry);
    connection.outbox.push(frame(95_000)).unwrap();
    assert!(backlog.hold(10_000).is_none());
    assert!(backlog.hold(1_000).is_some());
    assert!(backlog.held() > 95_000 && backlog.held() < 96_000);
}
