//! The phases of a room on a connection are those that the protocol's page shows.

use std::collections::BTreeSet;
use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;

use crate::auth::Identity;
use crate::broker::Leave;
use crate::connection::{Backlog, Connection, Flusher, Transport};
use crate::dialect::Frame;
use crate::dialect::event::{self, Joined};
use crate::room::state::Phase;
use crate::room::{Room, Switch};
use crate::testing::{at, config, diagram, gateway, room};

/// What can happen to a member, as the hub does it.
#[derive(Clone, Copy, Debug)]
enum Act {
    Enter,
    /// It wants nothing of the past, or has seen all.
    GoLive,
    Resume,
    BeginReplay,
    EndReplay,
    Exit,
}
use Act::{BeginReplay, EndReplay, Enter, Exit, GoLive, Resume};

const LIVES: [&[Act]; 7] = [
    &[Enter, Exit],
    &[Enter, GoLive, Exit],
    &[Enter, Resume, Exit],
    &[Enter, BeginReplay, Exit],
    &[Enter, BeginReplay, EndReplay, Exit],
    &[Enter, GoLive, Enter, Exit],
    &[Enter, BeginReplay, Enter, Exit],
];

/// A phase that isn't named here doesn't compile.
fn phase(room: &Room, connection: &Connection) -> String {
    let state = room.state.lock();
    let subscriber = state.subscribers.get(&connection.id);
    let name = match subscriber.map(|subscriber| subscriber.phase) {
        None => "[*]",
        Some(Phase::Joining) => "Joining",
        Some(Phase::Replaying) => "Replaying",
        Some(Phase::Live { .. }) => "Live",
    };
    name.to_owned()
}

fn joined(name: &str) -> Frame {
    let joined = Joined {
        id: at(1, 0),
        recovered: None,
        replayed: 0,
        members: None,
    };
    event::joined(&None, &room(name), &joined)
}

#[tokio::test]
async fn the_diagram_of_the_protocol_shows_the_phases_and_how_one_follows_the_other() {
    let (gateway, _) = gateway(config(&["lobby"]));
    let settings = gateway.settings();
    let policy = settings.policies.of(&room("lobby")).unwrap();
    let mut follows = BTreeSet::new();
    for life in LIVES {
        let backlog = Backlog::new(Gauge::default());
        let flusher = Flusher::new(Arc::clone(&backlog), Arc::clone(&gateway.metrics));
        let lobby = Room::new(room("lobby"), Arc::clone(policy), flusher);
        lobby.begin_activation();
        lobby.activated(at(1, 0));
        let connection =
            Connection::new(Identity::anonymous(), Transport::WebSocket, 1000, backlog);
        let mut ticket = 0;
        for act in life {
            let before = phase(&lobby, &connection);
            let frame = joined("lobby");
            let switched = match act {
                Enter => {
                    ticket = lobby.enter(&connection).unwrap();
                    Switch::Live
                }
                GoLive => lobby.go_live(connection.id, ticket, |_| frame),
                Resume => lobby.resume(connection.id, ticket, at(1, 0), frame),
                BeginReplay => lobby.begin_replay(connection.id, ticket, frame),
                EndReplay => lobby.end_replay(connection.id, ticket, at(1, 0)),
                Exit => {
                    assert!(lobby.exit(connection.id, Leave::Now).is_some());
                    Switch::Live
                }
            };
            assert_eq!(switched, Switch::Live, "{act:?} of {life:?}");
            follows.insert((before, phase(&lobby, &connection)));
        }
    }
    assert_eq!(diagram("A room on a connection"), follows);
}
