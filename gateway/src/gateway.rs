//! What the ports share: the settings in force, the hub, the open connections, and whether the gateway is on its way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Identity;
use crate::broker::{Broker, Leave};
use crate::config::Settings;
use crate::connection::age::move_on;
use crate::connection::backlog::{Backlog, shed};
use crate::connection::registry::Registry;
use crate::connection::{Connection, Transport};
use crate::control::{self, Control};
use crate::dialect::{CloseReason, ErrorCode, Failure, event};
use crate::handshakes::Handshakes;
use crate::http::limits::UserLimits;
use crate::hub::{Hub, Rooms};
use crate::ids::UserId;
use crate::memory;
use crate::metrics::Metrics;
use crate::overload::{Overload, watch_memory};
use crate::policy::PublishCounters;
use crate::presence::Call;
use crate::shutdown;

/// How long the broker may take to hear of departures when everything stops.
const CLOSE_BROKER_TIMEOUT: Duration = Duration::from_secs(3);

/// What waits for clients may take this part of the memory.
const BACKLOG_SHARE: u64 = 4;

/// One gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Written by a reload, read for each command: held only to clone or swap a pointer.
    settings: RwLock<Arc<Settings>>,
    pub hub: Arc<Hub>,
    pub registry: Arc<Registry>,
    /// What waits for all clients.
    pub backlog: Arc<Backlog>,
    pub metrics: Arc<Metrics>,
    pub counters: PublishCounters,
    /// Who is let in.
    pub overload: Arc<Overload>,
    /// Rates of what users ask for over HTTP.
    pub user_limits: UserLimits,
    /// Rates of requests for a connection.
    pub handshakes: Handshakes,
    /// Every task of a connection, and everything done on behalf of one.
    pub tracker: TaskTracker,
    stopping: CancellationToken,
    draining: AtomicBool,
    config_error: Mutex<Option<String>>,
    pub(crate) control: Control,
}

impl Gateway {
    /// Starts a gateway on a broker, which `broker` makes from the sink for its events.
    pub fn start(
        settings: Settings,
        counters: PublishCounters,
        metrics: Arc<Metrics>,
        broker: impl FnOnce(Arc<Rooms>) -> Arc<dyn Broker>,
    ) -> Arc<Self> {
        let tracker = TaskTracker::new();
        let stopping = CancellationToken::new();
        let backlog = Backlog::new(metrics.outbox_bytes.clone());
        let (rooms, todo) = Rooms::new(Arc::clone(&metrics), Arc::clone(&backlog));
        let broker = broker(Arc::clone(&rooms));
        let hub = Hub::start(
            rooms,
            todo,
            broker,
            Arc::clone(&metrics),
            tracker.clone(),
            stopping.clone(),
        );
        settings.authenticator.start(&tracker, &stopping, &metrics);
        let registry = Arc::new(Registry::default());
        let memory_limit = memory::limit();
        if let Some(limit) = memory_limit {
            backlog.set_cap(limit / BACKLOG_SHARE);
        }
        let (queues, connections) = (Arc::clone(&backlog), Arc::clone(&registry));
        tracker.spawn(
            stopping
                .clone()
                .run_until_cancelled_owned(async move { shed(&queues, &connections).await }),
        );
        let gateway = Arc::new(Self {
            settings: RwLock::new(Arc::new(settings)),
            hub,
            registry,
            backlog,
            metrics,
            counters,
            overload: Overload::new(memory_limit),
            user_limits: UserLimits::default(),
            handshakes: Handshakes::default(),
            tracker,
            stopping,
            draining: AtomicBool::new(false),
            config_error: Mutex::new(None),
            control: Control::default(),
        });
        gateway.keep_up(control::follow(Arc::clone(&gateway)));
        gateway.keep_up(watch_memory(Arc::clone(&gateway)));
        gateway.keep_up(move_on(Arc::clone(&gateway)));
        gateway
    }

    /// Has something go on until the gateway stops.
    fn keep_up(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tracker.spawn(stopping.run_until_cancelled_owned(work));
    }

    /// `Ok` when clients can be served; otherwise a sentence for `/readyz`.
    pub fn ready(&self) -> Result<(), String> {
        self.hub.broker().ready()?;
        self.control.ready()
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read())
    }

    /// Swaps in new settings whole; connections stay, memberships are looked at again.
    pub async fn reload(&self, mut settings: Settings) {
        let authenticator = &mut settings.authenticator;
        authenticator.take_over(&self.settings().authenticator);
        authenticator.start(&self.tracker, &self.stopping, &self.metrics);
        let settings = Arc::new(settings);
        *self.settings.write() = Arc::clone(&settings);
        self.hub.broker().set_presence_ttl(settings.presence_ttl());
        *self.config_error.lock() = None;
        self.metrics.reload(true);
        self.hub.apply_policies(&settings.policies).await;
    }

    /// Notes that a config was found which can't be used; the one before stays.
    pub fn refuse_config(&self, error: &(dyn std::error::Error + 'static)) {
        tracing::error!(
            error,
            "the new config can't be used, the old one stays in force"
        );
        *self.config_error.lock() = Some(error.to_string());
        self.metrics.reload(false);
    }

    /// What was wrong with the newest config, if it isn't in force.
    pub fn config_error(&self) -> Option<String> {
        self.config_error.lock().clone()
    }

    /// Ends when the gateway stops.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on late arrivals are told to go elsewhere.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Counts an answer with what waits for all clients, until it has been written.
    pub fn hold_answer(&self, body: Bytes) -> Result<Bytes, Failure> {
        self.backlog.hold_bytes(body).ok_or_else(|| Failure {
            retry_after: Some(Duration::from_secs(1)),
            ..Failure::new(
                ErrorCode::Unavailable,
                "too much waits for clients that read slowly; try again",
            )
        })
    }

    /// Takes a new connection in.
    pub fn connected(
        self: &Arc<Self>,
        identity: Identity,
        transport: Transport,
    ) -> Result<Arc<Connection>, CloseReason> {
        let settings = self.settings();
        let limits = &settings.config.limits;
        let connection = Connection::new(
            identity,
            transport,
            limits.send_queue_bytes as usize,
            Arc::clone(&self.backlog),
        );
        // Before anyone else can find the connection: nothing comes ahead of the welcome. A poll has none, there would be one in each answer.
        if transport != Transport::Poll {
            let welcome = event::welcome(connection.id, &connection.user, &settings.config);
            connection.outbox.push(welcome).ok();
        }
        if self.is_draining() {
            let reconnect = event::reconnect(shutdown::jitter());
            connection.outbox.push(reconnect).ok();
        }
        self.registry
            .insert(&connection, limits.connections_per_user as usize)
            .map_err(|_| CloseReason::TooManyConnections)?;
        let metrics = self.metrics.of(transport);
        metrics.connections.inc();
        metrics.connections_opened.inc();
        self.settle_online(&connection.user);
        Ok(connection)
    }

    /// Lets a connection go: its rooms, its user's presence.
    pub fn disconnected(self: &Arc<Self>, connection: &Connection, reason: CloseReason) {
        self.registry.remove(connection);
        for room in connection.take_rooms() {
            self.hub.leave(connection, &room, reason.leave());
        }
        if connection.transport == Transport::Poll && reason.leave() == Leave::Linger {
            self.settle_online_later(&connection.user);
        } else {
            self.settle_online(&connection.user);
        }
        self.metrics.of(connection.transport).connections.dec();
        self.metrics.closed(connection.transport, reason);
    }

    /// As [`settle_online`](Self::settle_online) after the time within which a poll is followed by the next: in between the user is still there.
    fn settle_online_later(self: &Arc<Self>, user: &UserId) {
        let ttl = Duration::from_secs(u64::from(self.settings().config.presence.ttl_seconds));
        let (gateway, user) = (Arc::clone(self), user.clone());
        let settling = async move {
            tokio::time::sleep(ttl).await;
            gateway.settle_online(&user);
        };
        let stopping = self.stopping.clone();
        self.tracker
            .spawn(stopping.run_until_cancelled_owned(settling));
    }

    /// Ends all of a user's connections, and what is left of earlier ones: it is gone at once, however it was connected.
    pub(crate) fn disconnect(self: &Arc<Self>, user: &UserId) {
        let connections = self.registry.of_user(user);
        tracing::debug!(count = connections.len(), "a user is disconnected");
        for connection in connections {
            connection.outbox.close(CloseReason::Forbidden);
        }
        self.hub.end_lingers(user);
        // Between two polls it still counts as online.
        self.settle_online(user);
    }

    /// Tells the broker whether a user is online, in its own time. Calls of one user never overtake each other.
    fn settle_online(self: &Arc<Self>, user: &UserId) {
        let Some(mut call) = self.registry.next_call(user) else {
            return;
        };
        let (gateway, user) = (Arc::clone(self), user.clone());
        self.tracker.spawn(async move {
            loop {
                let online = call == Call::Join;
                // A failure only makes "last seen" less exact; the lease of the gateway covers the rest.
                let told = gateway.hub.broker().user_online(&user, online).await;
                gateway.registry.call_done(&user, online);
                if told.is_err() {
                    return;
                }
                match gateway.registry.next_call(&user) {
                    Some(next) => call = next,
                    None => return,
                }
            }
        });
    }

    /// Ends every connection for this reason, waits a little for them, then lets go of the broker.
    pub async fn stop(&self, reason: CloseReason, patience: Duration) {
        for connection in self.registry.all() {
            connection.outbox.close(reason);
        }
        self.tracker.close();
        // Clients that don't answer the close are cut off by the end of the process.
        let finished = tokio::time::timeout(patience, async {
            while self.registry.count() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        finished.await.ok();
        self.stopping.cancel();
        tokio::time::timeout(patience, self.tracker.wait())
            .await
            .ok();
        tokio::time::timeout(CLOSE_BROKER_TIMEOUT, self.hub.broker().close())
            .await
            .ok();
    }
}
