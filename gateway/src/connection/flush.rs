//! A room's message, written for all who listen: by a few tasks for many sockets each, in place of one wake-up for each connection.
//!
//! The room has put the message into every outbox, in order and under its lock; what is left is to write, and that needs no order between
//! connections. Small tasks do, so that a room of thousands keeps neither the thread that reads from the broker nor any other for long.

use std::sync::Arc;

use super::outbox::{Tally, Written};
use super::{Backlog, Connection};
use crate::metrics::Metrics;

/// Connections that one task writes to: some 1 ms of work.
const TOGETHER: usize = 128;

/// Fewer than this are woken up: their tasks are cheaper than one more.
const WORTH_IT: usize = 4;

/// Starts the tasks.
#[derive(Clone, Debug)]
pub struct Flusher {
    backlog: Arc<Backlog>,
    metrics: Arc<Metrics>,
}

impl Flusher {
    /// `backlog` is the one of all connections.
    pub fn new(backlog: Arc<Backlog>, metrics: Arc<Metrics>) -> Self {
        Self { backlog, metrics }
    }

    /// Where all that waits for connections is counted.
    pub fn backlog(&self) -> &Arc<Backlog> {
        &self.backlog
    }

    /// Begins a round, in which one frame goes to many.
    pub fn round(&self) -> Round<'_> {
        Round {
            flusher: self,
            connections: Vec::new(),
        }
    }

    fn flush(&self, connections: &[Arc<Connection>]) {
        let mut tally = Tally::default();
        for connection in connections {
            connection.outbox.flush(&mut tally);
        }
        tally.settle(&self.backlog, &self.metrics);
    }

    /// On no tracker: a connection that ends writes what is left itself.
    fn spawn(&self, connections: Vec<Arc<Connection>>) {
        let flusher = self.clone();
        tokio::spawn(async move { flusher.flush(&connections) });
    }
}

/// Connections in whose outboxes something waits that nobody is about to write. Dropping it sees to those that are left.
#[derive(Debug)]
pub struct Round<'a> {
    flusher: &'a Flusher,
    connections: Vec<Arc<Connection>>,
}

impl Round<'_> {
    /// Notes what came of putting the frame into a connection's outbox.
    pub fn note(&mut self, connection: &Arc<Connection>, written: Written) {
        if written == Written::ByFlush {
            if self.connections.capacity() == 0 {
                self.connections.reserve_exact(TOGETHER);
            }
            self.connections.push(Arc::clone(connection));
            if self.connections.len() == TOGETHER {
                self.flusher.spawn(std::mem::take(&mut self.connections));
            }
        }
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        let connections = std::mem::take(&mut self.connections);
        if connections.len() < WORTH_IT {
            for connection in &connections {
                connection.outbox.wake();
            }
        } else {
            self.flusher.spawn(connections);
        }
    }
}
