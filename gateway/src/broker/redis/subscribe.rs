//! Which rooms this gateway listens to, where, and how far it has heard.
//!
//! A subscription goes through: placed (its server was sent `SSUBSCRIBE`) → confirmed → based (the top of the room's log was looked up, see
//! `quiet`) and so live. When its server is lost or no longer owns the slot, it is placed again; once it is based anew, its room is told
//! [`Event::Interrupted`]. The redis crate's own tracking isn't used: in a cluster it subscribes again to channels of different
//! slots with one command, which Redis refuses.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rotunda_crds::RoomName;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{BrokerError, Event, Retention, RoomEvents};
use super::Engine;
use super::listener::Order;
use super::topology::SlotMap;
use super::url::Address;
use crate::ids::Position;

/// How long a room without listeners stays subscribed.
const LINGER: Duration = Duration::from_secs(3);

/// How long a subscription may take to become live.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long subscriptions without a server wait before they are placed again.
const PLACE_INTERVAL: Duration = Duration::from_millis(250);

/// All subscriptions of an engine.
pub(super) struct Subscriptions {
    sink: Arc<dyn RoomEvents>,
    rooms: Mutex<HashMap<RoomName, Arc<Subscription>>>,
    listeners: Mutex<HashMap<Address, Listener>>,
    /// Confirmed ones whose base has to be looked up.
    unbased: Mutex<Vec<Arc<Subscription>>>,
    pub(super) base_wanted: Notify,
}

/// The connection of one server that messages come from, as others see it.
struct Listener {
    /// `None` while it isn't connected: on connecting it takes up all subscriptions of its slots by itself.
    orders: Option<mpsc::Sender<Order>>,
    /// Why it isn't.
    trouble: Option<String>,
    stop: CancellationToken,
}

/// One room's subscription.
pub(super) struct Subscription {
    pub(super) room: RoomName,
    pub(super) slot: u16,
    state: Mutex<State>,
    live: watch::Sender<bool>,
}

/// How a subscription stands.
pub(super) struct State {
    /// When nobody wanted it any more.
    unwanted_since: Option<Instant>,
    /// Where it was placed.
    home: Option<Address>,
    confirmed: bool,
    awaits_base: bool,
    /// It was live once: the room has to be told of interruptions.
    pub(super) known: bool,
    /// Everything up to here was delivered or told to be read.
    pub(super) heard: Position,
    /// The version of presence heard last.
    pub(super) announced: u64,
    /// How the room is kept, as far as this gateway knows, and when it last tended it.
    pub(super) retention: Option<Retention>,
    pub(super) tended: Option<Instant>,
}

impl State {
    pub(super) fn is_live(&self) -> bool {
        self.confirmed && self.known && !self.awaits_base
    }

    pub(super) fn home(&self) -> Option<&Address> {
        self.home.as_ref()
    }

    fn lose_home(&mut self) {
        self.home = None;
        self.confirmed = false;
    }
}

impl Subscription {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The server at `by` serves it no more.
    pub(super) fn evict(&self, by: &Address) {
        let mut state = self.state();
        if state.home.as_ref() == Some(by) {
            state.lose_home();
        }
    }
}

impl Subscriptions {
    pub(super) fn new(sink: Arc<dyn RoomEvents>) -> Self {
        Self {
            sink,
            rooms: Mutex::default(),
            listeners: Mutex::default(),
            unbased: Mutex::default(),
            base_wanted: Notify::new(),
        }
    }

    pub(super) fn get(&self, room: &str) -> Option<Arc<Subscription>> {
        self.rooms.lock().get(room).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Subscription>> {
        self.rooms.lock().values().cloned().collect()
    }

    pub(super) fn note_retention(&self, room: &RoomName, retention: Retention) {
        if let Some(subscription) = self.get(room.as_str()) {
            let mut state = subscription.state();
            if state.retention != Some(retention) {
                state.retention = Some(retention);
                state.tended = None;
            }
        }
    }

    /// Hands an event to the room. The lock of the subscription keeps two from doing so at once.
    pub(super) fn deliver(&self, subscription: &Subscription, event: Event) {
        let mut state = subscription.state();
        match &event {
            Event::Message(message) => state.heard = state.heard.max(message.position),
            Event::Deleted { at } => state.heard = state.heard.max(*at),
            Event::Signal(_) | Event::Presence(_) | Event::PresenceMissed | Event::Interrupted => {}
        }
        if state.unwanted_since.is_none() {
            self.sink.deliver(&subscription.room, event);
        }
    }

    /// The subscription is based and live; a room that was live before may have missed something.
    pub(super) fn base(&self, subscription: &Subscription, top: Position, version: u64) {
        let mut state = subscription.state();
        state.awaits_base = false;
        state.heard = state.heard.max(top);
        if !state.known {
            state.known = true;
            state.announced = state.announced.max(version);
            subscription.live.send_replace(true);
            return;
        }
        let missed = std::mem::replace(&mut state.announced, version) != version;
        if state.unwanted_since.is_none() {
            self.sink.deliver(&subscription.room, Event::Interrupted);
            if missed {
                self.sink.deliver(&subscription.room, Event::PresenceMissed);
            }
        }
    }

    /// The server has confirmed the subscription; or something it delivered is missing.
    pub(super) fn want_base(&self, subscription: &Arc<Subscription>) {
        let mut state = subscription.state();
        if !std::mem::replace(&mut state.awaits_base, true) {
            self.unbased.lock().push(Arc::clone(subscription));
            self.base_wanted.notify_one();
        }
    }

    /// The base couldn't be looked up. A room that was live before is told to read all the same.
    pub(super) fn give_up_base(&self, subscription: &Subscription) {
        let mut state = subscription.state();
        state.awaits_base = false;
        // Placed anew, it is confirmed anew.
        state.lose_home();
        if state.known && state.unwanted_since.is_none() {
            self.sink.deliver(&subscription.room, Event::Interrupted);
        }
    }

    pub(super) fn take_unbased(&self) -> Vec<Arc<Subscription>> {
        std::mem::take(&mut *self.unbased.lock())
    }

    pub(super) fn confirm(&self, subscription: &Arc<Subscription>, by: &Address) {
        {
            let mut state = subscription.state();
            if state.home.as_ref() != Some(by) {
                return;
            }
            state.confirmed = true;
        }
        self.want_base(subscription);
    }

    /// A server's listener has connected: gives the rooms it has to subscribe to.
    pub(super) fn settle(
        &self,
        address: &Address,
        orders: mpsc::Sender<Order>,
        slots: &SlotMap,
    ) -> Vec<RoomName> {
        if let Some(listener) = self.listeners.lock().get_mut(address) {
            listener.orders = Some(orders);
            listener.trouble = None;
        }
        let mut rooms = Vec::new();
        for subscription in self.all() {
            if slots.owner(subscription.slot) == Some(address) {
                let mut state = subscription.state();
                state.confirmed = false;
                state.home = Some(address.clone());
                rooms.push(subscription.room.clone());
            }
        }
        rooms
    }

    /// A server's listener has lost its connection.
    pub(super) fn unsettle(&self, address: &Address, why: Option<&str>) {
        if let Some(listener) = self.listeners.lock().get_mut(address) {
            listener.orders = None;
            listener.trouble = why.map(|why| format!("{address}: {why}"));
        }
        for subscription in self.all() {
            subscription.evict(address);
        }
    }

    fn trouble_at(&self, address: &Address) -> Option<String> {
        self.listeners.lock().get(address)?.trouble.clone()
    }

    /// Sends an order to a server's listener, if it is connected and has room for it.
    fn order(&self, address: &Address, order: Order) -> bool {
        let listeners = self.listeners.lock();
        let orders = listeners
            .get(address)
            .and_then(|listener| listener.orders.as_ref());
        orders.is_some_and(|orders| orders.try_send(order).is_ok())
    }

    /// Puts a subscription where its slot is, unless it is there. False if that has to be tried again.
    fn place(&self, subscription: &Subscription, slots: &SlotMap) -> bool {
        let owner = slots.owner(subscription.slot);
        let mut state = subscription.state();
        if state.home.is_some() && state.home.as_ref() == owner {
            return true;
        }
        if let Some(old) = state.home.clone() {
            // A failure leaves a subscription at a server that no longer matters.
            self.order(&old, Order::Unsubscribe(subscription.room.clone()));
            state.lose_home();
        }
        let Some(owner) = owner else { return false };
        if !self.order(owner, Order::Subscribe(subscription.room.clone())) {
            return false;
        }
        state.home = Some(owner.clone());
        true
    }

    /// Takes out subscriptions that nobody has wanted for a while.
    pub(super) fn drop_unwanted(&self) {
        let mut rooms = self.rooms.lock();
        rooms.retain(|room, subscription| {
            let state = subscription.state();
            let keep = state
                .unwanted_since
                .is_none_or(|since| since.elapsed() < LINGER);
            if let (false, Some(home)) = (keep, &state.home) {
                self.order(home, Order::Unsubscribe(room.clone()));
            }
            keep
        });
    }
}

impl Engine {
    pub(super) async fn subscribe(&self, room: &RoomName) -> Result<(), BrokerError> {
        let subscription = {
            let mut rooms = self.subscriptions.rooms.lock();
            let subscription = rooms.entry(room.clone()).or_insert_with(|| {
                Arc::new(Subscription {
                    room: room.clone(),
                    slot: self.keys.slot(room),
                    state: Mutex::new(State {
                        unwanted_since: None,
                        home: None,
                        confirmed: false,
                        awaits_base: false,
                        known: false,
                        heard: Position::default(),
                        announced: 0,
                        retention: None,
                        tended: None,
                    }),
                    live: watch::Sender::new(false),
                })
            });
            subscription.state().unwanted_since = None;
            Arc::clone(subscription)
        };
        let mut live = subscription.live.subscribe();
        if *live.borrow_and_update() {
            return Ok(());
        }
        self.subscriptions.place(&subscription, &self.pool.slots());
        let waited = tokio::select! {
            () = self.pool.closed.cancelled() => return Err(BrokerError::Unavailable("it is closed".into())),
            waited = tokio::time::timeout(PATIENCE, live.wait_for(|live| *live)) => waited,
        };
        if matches!(waited, Ok(Ok(_))) {
            // Another one may have given up waiting just before.
            subscription.state().unwanted_since = None;
            return Ok(());
        }
        // Kept for a while: whoever tries again finds it on its way.
        self.unsubscribe(room);
        let why = self.pool.node_of(subscription.slot).err().or_else(|| {
            self.subscriptions
                .trouble_at(self.pool.slots().owner(subscription.slot)?)
        });
        Err(BrokerError::Unavailable(why.unwrap_or_else(|| {
            "the subscription wasn't confirmed in time".into()
        })))
    }

    pub(super) fn unsubscribe(&self, room: &RoomName) {
        if let Some(subscription) = self.subscriptions.get(room.as_str()) {
            subscription
                .state()
                .unwanted_since
                .get_or_insert_with(Instant::now);
        }
    }

    /// Keeps a listener for each primary and each subscription at its slot's owner.
    pub(super) async fn keep_placed(self: Arc<Self>) {
        let mut changes = self.pool.changes();
        loop {
            changes.mark_unchanged();
            let slots = self.pool.slots();
            self.keep_listeners(&slots);
            let mut all_placed = true;
            for subscription in self.subscriptions.all() {
                all_placed &= self.subscriptions.place(&subscription, &slots);
            }
            // Evictions and lost listeners show up at the next turn; nobody wakes this up for them.
            let pause = if all_placed {
                PLACE_INTERVAL * 2
            } else {
                PLACE_INTERVAL
            };
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn keep_listeners(self: &Arc<Self>, slots: &SlotMap) {
        let mut listeners = self.subscriptions.listeners.lock();
        listeners.retain(|address, listener| {
            let keep = slots.primaries().any(|primary| primary == address);
            if !keep {
                listener.stop.cancel();
            }
            keep
        });
        for address in slots.primaries() {
            if !listeners.contains_key(address) {
                let stop = self.pool.closed.child_token();
                listeners.insert(
                    address.clone(),
                    Listener {
                        orders: None,
                        trouble: None,
                        stop: stop.clone(),
                    },
                );
                self.pool
                    .tasks
                    .spawn(Arc::clone(self).listen(address.clone(), stop));
            }
        }
    }
}
