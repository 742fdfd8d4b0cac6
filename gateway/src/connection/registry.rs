//! All connections of this gateway, by user: for limits, for the drain, and for who is online.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::Connection;
use crate::broker::Leave;
use crate::ids::UserId;
use crate::presence::{Call, LocalUsers};

const SHARDS: usize = 16;

/// The connections, in shards by user, so that connects of different users rarely meet at a lock.
#[derive(Debug, Default)]
pub struct Registry {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Shard {
    users: HashMap<UserId, Vec<Arc<Connection>>>,
    online: LocalUsers,
}

/// A user has as many connections as allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyConnections;

impl Registry {
    fn shard(&self, user: &UserId) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(user);
        // The remainder is below SHARDS.
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }

    /// Takes a connection in, unless its user has `max` of them (0: no limit).
    pub fn insert(
        &self,
        connection: &Arc<Connection>,
        max: usize,
    ) -> Result<(), TooManyConnections> {
        let mut shard = self.shard(&connection.user).lock();
        let connections = shard.users.entry(connection.user.clone()).or_default();
        if max > 0 && connections.len() >= max {
            return Err(TooManyConnections);
        }
        connections.push(Arc::clone(connection));
        shard.online.add(&connection.user);
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Lets a connection go.
    pub fn remove(&self, connection: &Connection) {
        let mut shard = self.shard(&connection.user).lock();
        let Some(connections) = shard.users.get_mut(&connection.user) else {
            return;
        };
        let Some(index) = connections
            .iter()
            .position(|known| known.id == connection.id)
        else {
            return;
        };
        connections.swap_remove(index);
        if connections.is_empty() {
            shard.users.remove(&connection.user);
        }
        shard.online.remove(&connection.user, Leave::Now);
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// What the broker must be told about whether a user is online.
    pub fn next_call(&self, user: &UserId) -> Option<Call> {
        self.shard(user).lock().online.next_call(user)
    }

    /// Such a call ended.
    pub fn call_done(&self, user: &UserId, online: bool) {
        self.shard(user).lock().online.done(user, online);
    }

    /// Open connections.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// A user's connections.
    pub fn of_user(&self, user: &UserId) -> Vec<Arc<Connection>> {
        self.shard(user)
            .lock()
            .users
            .get(user)
            .cloned()
            .unwrap_or_default()
    }

    /// All connections at this moment.
    pub fn all(&self) -> Vec<Arc<Connection>> {
        let mut all = Vec::with_capacity(self.count());
        for shard in &self.shards {
            all.extend(shard.lock().users.values().flatten().cloned());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::auth::Identity;
    use crate::connection::{Backlog, Transport};

    #[test]
    fn a_user_has_at_most_as_many_connections_as_allowed() {
        let registry = Registry::default();
        let identity = Identity::anonymous();
        let connect = || {
            let backlog = Backlog::new(Gauge::default());
            Connection::new(identity.clone(), Transport::Sse, 1000, backlog)
        };
        let (first, second) = (connect(), connect());
        registry.insert(&first, 1).unwrap();
        assert_eq!(registry.insert(&second, 1), Err(TooManyConnections));
        registry.remove(&second);
        assert_eq!(registry.count(), 1);
        registry.remove(&first);
        registry.insert(&second, 1).unwrap();
        assert_eq!(
            (
                registry.count(),
                registry.all().len(),
                registry.of_user(&identity.user).len()
            ),
            (1, 1, 1)
        );
    }
}
