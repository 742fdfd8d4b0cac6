//! A primary and a replica that takes over from it.

use super::proxy::Proxy;
use super::server::Server;
use crate::broker::contract::eventually;

/// A primary and its replica behind one address.
pub(crate) struct Pair {
    pub(crate) primary: Server,
    pub(crate) replica: Server,
    pub(crate) proxy: Proxy,
}

/// Starts a replica, and waits until it has what there is.
pub(crate) async fn replica_of(primary: &Server) -> Server {
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", primary.port)]);
    eventually("the replica is in sync", || {
        replica
            .text(&["INFO", "replication"])
            .contains("master_link_status:up")
    })
    .await;
    replica
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let primary = Server::start(&[]);
        let replica = replica_of(&primary).await;
        let proxy = Proxy::to(primary.port).await;
        Self {
            primary,
            replica,
            proxy,
        }
    }

    /// Waits until the replica has as many entries or fields of a key as the primary.
    pub(crate) async fn wait_until_in_sync(&self, count: &str, key: &str) {
        let length = || {
            (
                self.primary.number(&[count, key]),
                self.replica.number(&[count, key]),
            )
        };
        eventually("the replica has it all", || length().0 == length().1).await;
    }

    /// The replica takes over what it has; the primary goes on for nobody.
    pub(crate) fn part(&self) {
        self.replica.run(&["REPLICAOF", "NO", "ONE"]);
    }

    /// Everyone is led to the replica.
    pub(crate) fn fail_over(&self) {
        self.proxy.lead_to(self.replica.port);
    }
}
