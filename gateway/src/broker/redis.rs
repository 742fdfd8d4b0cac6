//! The engine for many gateways: Redis, one server (watched by Sentinels or not) or a cluster.
//!
//! ```text
//! publish, read:  call (redirections, outcome) → node (shared connection) → lua/*.lua → stream and sharded channel, in one step
//! events:         listener (one connection per server) → subscribe (who listens, how far) → sink;  quiet finds what was missed
//! presence:       presence (this gateway's members) → lua/*.lua → channel;  lease and upkeep age out what is gone
//! ```
//!
//! `pool` keeps the connections and the slot map, which `discovery` finds (in a cluster, or by Sentinels); `socket` opens them all. `epoch` keeps the
//! epochs, `lineage` knows which of them began with nothing lost; `keys` and `wire` are the layout, `url` where it all is.

mod backoff;
mod call;
mod discovery;
mod epoch;
#[doc(hidden)]
pub mod fuzzing;
mod keys;
mod lease;
mod lineage;
mod link;
mod listener;
mod node;
mod pool;
mod presence;
mod publish;
mod quiet;
mod read;
mod resp;
mod scripts;
mod sentinel;
mod socket;
mod subscribe;
#[cfg(test)]
pub(crate) mod tests;
mod topology;
mod trouble;
mod upkeep;
mod url;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rotunda_crds::RoomName;

use self::epoch::Epochs;
use self::keys::Keys;
use self::lease::Lease;
use self::lineage::Lineage;
use self::pool::Pool;
use self::presence::Presence;
use self::subscribe::Subscriptions;
pub use self::url::{InvalidRedisUrl, RedisUrl};
use super::ttl::PresenceTtl;
use super::{
    Broker, BrokerError, BrokerMetrics, Chunk, Leave, Members, Publication, Published, Range,
    Retention, RoomEvents, UserPresence,
};
use crate::ids::UserId;

/// What a [`RedisBroker`] needs to know.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Where Redis is.
    pub url: RedisUrl,
    /// What every key begins with: `<namespace>.<name>` of the RealtimeCluster, if nothing else is wanted.
    pub key_prefix: String,
    /// How long a member stays without a sign of life.
    pub presence_ttl: Duration,
}

/// See the module.
pub struct RedisBroker {
    engine: Arc<Engine>,
}

/// What all parts work on.
struct Engine {
    pool: Arc<Pool>,
    keys: Keys,
    epochs: Epochs,
    lineage: Lineage,
    subscriptions: Subscriptions,
    presence: Presence,
    lease: Lease,
    ttl: Arc<PresenceTtl>,
}

impl RedisBroker {
    /// Starts the engine within a tokio runtime and returns at once; [`Broker::ready`] says what is wrong until it is connected.
    pub fn start(
        options: RedisOptions,
        sink: Arc<dyn RoomEvents>,
        metrics: Arc<dyn BrokerMetrics>,
    ) -> Arc<Self> {
        let ttl = Arc::new(PresenceTtl::new(options.presence_ttl));
        let engine = Arc::new(Engine {
            pool: Pool::start(options.url, metrics),
            keys: Keys::new(&options.key_prefix),
            epochs: Epochs::default(),
            lineage: Lineage::default(),
            subscriptions: Subscriptions::new(sink),
            presence: Presence::new(Arc::clone(&ttl)),
            lease: Lease::new(Arc::clone(&ttl)),
            ttl,
        });
        let pool = &engine.pool;
        pool.spawn(Arc::clone(&engine).keep_lineage());
        pool.spawn(Arc::clone(&engine).keep_placed());
        pool.spawn(Arc::clone(&engine).keep_based());
        pool.spawn(Arc::clone(&engine).keep_checked());
        pool.spawn(Arc::clone(&engine).keep_lease());
        pool.spawn(Arc::clone(&engine).keep_history());
        pool.spawn(Arc::clone(&engine).keep_registered());
        pool.spawn(Arc::clone(&engine).keep_departures());
        pool.spawn(Arc::clone(&engine).keep_swept());
        Arc::new(Self { engine })
    }
}

impl Drop for RedisBroker {
    fn drop(&mut self) {
        self.engine.pool.closed.cancel();
    }
}

#[async_trait]
impl Broker for RedisBroker {
    async fn publish(
        &self,
        room: &RoomName,
        publication: Publication,
    ) -> Result<Published, BrokerError> {
        self.engine.publish(room, &publication).await
    }

    async fn signal(&self, room: &RoomName, body: Bytes) -> Result<(), BrokerError> {
        self.engine.signal(room, &body).await
    }

    async fn subscribe(&self, room: &RoomName) -> Result<(), BrokerError> {
        self.engine.subscribe(room).await
    }

    async fn unsubscribe(&self, room: &RoomName) {
        self.engine.unsubscribe(room);
    }

    async fn read(
        &self,
        room: &RoomName,
        range: Range,
        limit: usize,
        retention: Retention,
    ) -> Result<Chunk, BrokerError> {
        self.engine.read(room, range, limit, retention).await
    }

    async fn delete_messages(
        &self,
        room: &RoomName,
        retention: Retention,
    ) -> Result<(), BrokerError> {
        self.engine.delete_messages(room, retention).await
    }

    async fn join(&self, room: &RoomName, user: &UserId) -> Result<u64, BrokerError> {
        self.engine.join(room, user).await
    }

    async fn leave(&self, room: &RoomName, user: &UserId, leave: Leave) -> Result<(), BrokerError> {
        self.engine.leave(room, user, leave).await
    }

    async fn end_lingers(&self, user: &UserId) {
        self.engine.end_lingers(user).await;
    }

    fn set_presence_ttl(&self, ttl: Duration) {
        self.engine.ttl.set(ttl);
        // By the lease in force it may take longer to learn of it than a shorter one holds.
        self.engine.lease.due.notify_one();
    }

    async fn members(&self, room: &RoomName, limit: usize) -> Result<Members, BrokerError> {
        self.engine.members(room, limit).await
    }

    async fn user_online(&self, user: &UserId, online: bool) -> Result<(), BrokerError> {
        self.engine.user_online(user, online).await
    }

    async fn user_presence(&self, user: &UserId) -> Result<UserPresence, BrokerError> {
        self.engine.user_presence(user).await
    }

    fn ready(&self) -> Result<(), String> {
        self.engine.pool.ready()
    }

    async fn close(&self) {
        self.engine.pool.close().await;
    }
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBroker")
            .field("url", &self.engine.pool.url)
            .finish_non_exhaustive()
    }
}
