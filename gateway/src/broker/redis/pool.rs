//! Keeps a command connection to every primary, and the map of slots that says which primary to ask.
//!
//! One task for each primary connects, asks for the replication history each second, and connects again when that fails. Another one keeps
//! the slot map (see `discovery`). Whatever changes moves [`Pool::changes`].

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::BrokerMetrics;
use super::backoff::Backoff;
use super::node::Node;
use super::topology::SlotMap;
use super::trouble::Trouble;
use super::url::{Address, Mode, RedisUrl};

/// How often each server is asked for its replication history.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a server that owns no slot stays connected: one that takes slots over is asked before it owns them.
const GUEST_STAY: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Pool {
    pub(super) url: RedisUrl,
    pub(super) metrics: Arc<dyn BrokerMetrics>,
    pub(super) tasks: TaskTracker,
    pub(super) closed: CancellationToken,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    topology_wanted: Notify,
    /// A task has ended that mustn't.
    broken: Arc<AtomicBool>,
}

struct State {
    slots: Arc<SlotMap>,
    servers: HashMap<Address, Server>,
    guests: HashMap<Address, Instant>,
    /// Why there is no slot map.
    trouble: Option<String>,
}

/// A server that one task keeps connected.
struct Server {
    connection: Result<Arc<Node>, String>,
    stop: CancellationToken,
}

impl Pool {
    pub(super) fn start(url: RedisUrl, metrics: Arc<dyn BrokerMetrics>) -> Arc<Self> {
        let pool = Arc::new(Self {
            state: Mutex::new(State {
                slots: Arc::new(SlotMap::empty()),
                servers: HashMap::new(),
                guests: HashMap::new(),
                trouble: Some("not connected yet".into()),
            }),
            url,
            metrics,
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
            changes: watch::Sender::new(0),
            topology_wanted: Notify::new(),
            broken: Arc::default(),
        });
        match &pool.url.mode {
            Mode::Standalone { .. } => pool.adopt(SlotMap::single(pool.url.addresses[0].clone())),
            Mode::Sentinel { .. } | Mode::Cluster => pool.spawn(Arc::clone(&pool).keep_topology()),
        }
        pool
    }

    /// Runs a task until the pool is closed. One that ends before leaves the engine broken, and `ready` says so.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closed = self.closed.clone();
        let end = TaskEnd {
            closed: closed.clone(),
            broken: Arc::clone(&self.broken),
        };
        self.tasks.spawn(async move {
            let _end = end;
            tokio::select! {
                () = closed.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Ends all tasks and lets go of all connections.
    pub(super) async fn close(&self) {
        self.closed.cancel();
        self.tasks.close();
        // Each connection's task ends with the last who holds the connection.
        self.state.lock().servers.clear();
        self.tasks.wait().await;
    }

    /// Moves whenever the slot map or a connection changed.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn slots(&self) -> Arc<SlotMap> {
        Arc::clone(&self.state.lock().slots)
    }

    /// The connection to the owner of a slot, or what is wrong with it.
    pub(super) fn node_of(&self, slot: u16) -> Result<Arc<Node>, String> {
        let state = self.state.lock();
        match state.slots.owner(slot) {
            Some(address) => state.node(address),
            None => Err(state
                .trouble
                .clone()
                .unwrap_or_else(|| "no server owns this part of the key space".into())),
        }
    }

    /// The connection to a server; one not known yet is connected to.
    pub(super) fn node_at(self: &Arc<Self>, address: &Address) -> Result<Arc<Node>, String> {
        let known = self.state.lock().servers.contains_key(address);
        if !known {
            self.state
                .lock()
                .guests
                .insert(address.clone(), Instant::now());
            self.adopt(SlotMap::clone(&self.slots()));
        }
        self.state.lock().node(address)
    }

    /// All connections that work.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        let state = self.state.lock();
        state
            .servers
            .values()
            .filter_map(|server| server.connection.as_ref().ok().cloned())
            .collect()
    }

    /// Every primary is connected.
    pub(super) fn ready(&self) -> Result<(), String> {
        if self.closed.is_cancelled() {
            return Err("it is closed".into());
        }
        if self.broken.load(Ordering::Relaxed) {
            return Err(
                "a task of the engine has failed, only a restart of the gateway mends it".into(),
            );
        }
        let state = self.state.lock();
        if let Some(trouble) = &state.trouble {
            return Err(trouble.clone());
        }
        let mut primaries = state.slots.primaries().peekable();
        if primaries.peek().is_none() {
            return Err("no server owns any part of the key space".into());
        }
        primaries.try_for_each(|address| state.node(address).map(drop))
    }

    /// Notes a redirection and has the slot map read.
    pub(super) fn moved(self: &Arc<Self>, slot: u16, to: &Address) {
        let mut slots = SlotMap::clone(&self.slots());
        slots.moved(slot, to);
        self.adopt(slots);
        self.want_topology();
    }

    /// Has the slot map read soon.
    pub(super) fn want_topology(&self) {
        self.topology_wanted.notify_one();
    }

    /// Ends when somebody wants the slot map read.
    pub(super) async fn topology_wanted(&self) {
        self.topology_wanted.notified().await;
    }

    /// Keeps why there is no slot map, as long as there is none.
    pub(super) fn note_trouble(&self, why: String) {
        {
            let mut state = self.state.lock();
            if state.slots.primaries().next().is_none() {
                state.trouble = Some(why);
            }
        }
        self.announce();
    }

    /// Ends when the connection to the server, lost or about to be, is back.
    pub(super) async fn reconnected(&self, address: &Address) {
        let mut changes = self.changes();
        for connected in [false, true] {
            while self.state.lock().node(address).is_ok() != connected {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        }
    }

    /// Tells those who watch [`changes`](Self::changes).
    pub(super) fn announce(&self) {
        self.changes.send_modify(|generation| *generation += 1);
    }

    /// Takes a slot map for true: connects to its primaries, lets go of servers that have no part in it.
    pub(super) fn adopt(self: &Arc<Self>, slots: SlotMap) {
        let mut new = Vec::new();
        {
            let mut state = self.state.lock();
            state.guests.retain(|_, since| since.elapsed() < GUEST_STAY);
            let wanted: HashSet<Address> = slots
                .primaries()
                .chain(state.guests.keys())
                .cloned()
                .collect();
            state.servers.retain(|address, server| {
                let keep = wanted.contains(address);
                if !keep {
                    server.stop.cancel();
                }
                keep
            });
            for address in wanted {
                if let Entry::Vacant(vacant) = state.servers.entry(address) {
                    let (address, stop) = (vacant.key().clone(), self.closed.child_token());
                    vacant.insert(Server {
                        connection: Err(format!("{address}: not connected yet")),
                        stop: stop.clone(),
                    });
                    new.push((address, stop));
                }
            }
            if slots.primaries().next().is_some() {
                state.trouble = None;
            }
            if *state.slots != slots {
                state.slots = Arc::new(slots);
            }
        }
        for (address, stop) in new {
            let keep = Arc::clone(self).keep_connected(address);
            self.tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = keep => {}
                }
            });
        }
        self.announce();
    }

    async fn keep_connected(self: Arc<Self>, address: Address) {
        let (mut backoff, mut trouble) = (Backoff::default(), Trouble::default());
        let mut again = false;
        loop {
            let why = match Node::connect(&address, &self.url, &self.tasks).await {
                Ok(node) if !self.may_serve(&node) => Err(format!("{address}: it is a replica")),
                Ok(node) => {
                    if again {
                        self.metrics.reconnected();
                    }
                    again = true;
                    tracing::info!(server = %address, "connected to Redis");
                    let node = Arc::new(node);
                    self.set_connection(&address, Ok(Arc::clone(&node)));
                    backoff.reset();
                    trouble.over();
                    let why = self.watch(&node).await;
                    node.give_up();
                    tracing::warn!(server = %address, why, "lost the connection to Redis");
                    Ok(format!("{address}: {why}"))
                }
                Err(why) => Err(why),
            };
            let why = why.unwrap_or_else(|why| {
                if trouble.is_news(&why) {
                    tracing::warn!(why, "can't connect to Redis");
                }
                why
            });
            self.set_connection(&address, Err(why));
            self.want_topology();
            backoff.pause().await;
        }
    }

    /// In a cluster the slot map says who is primary; a lone server has to be one.
    fn may_serve(&self, node: &Node) -> bool {
        self.url.mode == Mode::Cluster || node.replication().primary
    }

    /// Checks a connection until it fails, and says why it did.
    async fn watch(&self, node: &Node) -> String {
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut known = node.replication();
        loop {
            tokio::select! {
                () = node.lost() => return "the connection broke".into(),
                _ = ticks.tick() => {}
            }
            match node.check().await {
                Err(why) => return why,
                Ok(_) if !self.may_serve(node) => return "it has become a replica".into(),
                Ok(found) if found != known => {
                    tracing::info!(server = %node.address, primary = found.primary, "Redis has a new replication history");
                    known = found;
                    self.want_topology();
                    self.announce();
                }
                Ok(_) => {}
            }
        }
    }

    fn set_connection(&self, address: &Address, connection: Result<Arc<Node>, String>) {
        if let Some(server) = self.state.lock().servers.get_mut(address) {
            server.connection = connection;
        }
        self.announce();
    }
}

/// Notices when a task ends, by a panic too.
struct TaskEnd {
    closed: CancellationToken,
    broken: Arc<AtomicBool>,
}

impl Drop for TaskEnd {
    fn drop(&mut self) {
        if !self.closed.is_cancelled() {
            self.broken.store(true, Ordering::Relaxed);
            tracing::error!("a task of the Redis engine has ended");
        }
    }
}

impl State {
    fn node(&self, address: &Address) -> Result<Arc<Node>, String> {
        match self.servers.get(address) {
            Some(server) => match &server.connection {
                Ok(node) if node.is_lost() => Err(format!("{address}: the connection broke")),
                Ok(node) => Ok(Arc::clone(node)),
                Err(why) => Err(why.clone()),
            },
            None => Err(format!("{address}: not connected yet")),
        }
    }
}
