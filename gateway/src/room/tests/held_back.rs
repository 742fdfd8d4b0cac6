//! What rooms hold back while they read something counts over all of them.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;

use crate::broker::{Event, Message};
use crate::connection::{Backlog, Flusher};
use crate::gateway::Gateway;
use crate::room::{Caught, Room};
use crate::testing::{at, config, gateway, room};

const BODY: usize = 10_000;

fn waiting(gateway: &Gateway, backlog: &Arc<Backlog>) -> Room {
    let flusher = Flusher::new(Arc::clone(backlog), Arc::clone(&gateway.metrics));
    let settings = gateway.settings();
    let policy = settings.policies.of(&room("lobby")).unwrap();
    let waiting = Room::new(room("lobby"), Arc::clone(policy), flusher);
    waiting.begin_activation();
    waiting
}

fn say(room: &Room, gateway: &Gateway, offset: u64) {
    let message = Message {
        position: at(1, offset),
        time_ms: 0,
        body: vec![b'x'; BODY].into(),
    };
    room.deliver(Event::Message(message), &gateway.metrics);
}

#[tokio::test]
async fn what_all_rooms_hold_back_is_bounded_and_the_rest_is_read_again() {
    let (gateway, _) = gateway(config(&["lobby"]));
    let backlog = Backlog::new(Gauge::default());
    // A quarter of it takes five of these messages.
    backlog.set_cap(220_000);
    let (one, other) = (waiting(&gateway, &backlog), waiting(&gateway, &backlog));
    for offset in 1..=4 {
        say(&one, &gateway, offset);
    }
    for offset in 1..=3 {
        say(&other, &gateway, offset);
    }
    let held = backlog.held();
    assert!((40_000..55_000).contains(&held), "{held}");
    // The first has all that came and goes on with it; the other lets go of what it had, and reads.
    assert_eq!(one.activated(at(1, 0)), Caught::Up);
    assert!(matches!(other.activated(at(1, 0)), Caught::More { .. }));
    assert_eq!(backlog.held(), 0);
}
