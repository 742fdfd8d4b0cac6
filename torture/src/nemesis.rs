//! The nemesis: does harm to gateways and to Redis, in an order that the seed decides.
//!
//! There are two lanes, each one fault after the other: gateways and Redis. A fault of Redis begins only when its cluster has recovered from the
//! one before: only then is it known which losses are excusable.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::arena::Arena;
use crate::history::{Death, Millis, Planned, Window};
use crate::redis::Cluster;

pub mod consequences;
pub mod gateways;
pub mod redis;
pub mod schedule;

/// A fault that was done.
#[derive(Clone, Debug)]
pub struct Done {
    pub window: Window,
    pub kind: &'static str,
    pub what: String,
}

/// Does faults and keeps a record of them.
pub struct Nemesis {
    arena: Arc<Arena>,
    cluster: Arc<Cluster>,
    /// Held by the lane that starts and ends gateways.
    gateways_turn: tokio::sync::Mutex<()>,
    done: Mutex<Vec<Done>>,
    double_losses: Mutex<Vec<Window>>,
    /// Of Redis; gateways come on top.
    unsettled: Mutex<Vec<Window>>,
    planned: Mutex<Vec<Planned>>,
    deaths: Mutex<Vec<Death>>,
}

impl Nemesis {
    pub fn new(arena: &Arc<Arena>, cluster: &Arc<Cluster>) -> Arc<Self> {
        Arc::new(Self {
            arena: Arc::clone(arena),
            cluster: Arc::clone(cluster),
            gateways_turn: tokio::sync::Mutex::default(),
            done: Mutex::default(),
            double_losses: Mutex::default(),
            unsettled: Mutex::default(),
            planned: Mutex::default(),
            deaths: Mutex::default(),
        })
    }

    pub fn done(&self) -> Vec<Done> {
        self.done.lock().clone()
    }

    fn now(&self) -> Millis {
        self.arena.clock.now()
    }

    fn note(&self, from: Millis, kind: &'static str, what: String) {
        let window = Window {
            from,
            until: self.now(),
        };
        self.done.lock().push(Done { window, kind, what });
    }
}
