//! A connection's place in the gateway, given up whatever happens: by name, or by being dropped when a request's future is.

use std::sync::Arc;

use super::{Connection, Transport};
use crate::auth::Identity;
use crate::dialect::CloseReason;
use crate::gateway::Gateway;

/// Holds a connection in the gateway's registry and in its rooms.
#[derive(Debug)]
pub struct Seat {
    gateway: Arc<Gateway>,
    connection: Arc<Connection>,
    left: bool,
}

impl Seat {
    /// Takes a new connection in, unless its user has as many as allowed.
    pub fn take(
        gateway: &Arc<Gateway>,
        identity: Identity,
        transport: Transport,
    ) -> Result<Self, CloseReason> {
        Ok(Self {
            gateway: Arc::clone(gateway),
            connection: gateway.connected(identity, transport)?,
            left: false,
        })
    }

    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Gives it up for this reason; the first one stands.
    pub fn leave(&mut self, reason: CloseReason) {
        if !self.left {
            self.left = true;
            // Frames pushed from here on would go nowhere.
            self.connection.outbox.close(reason);
            self.gateway.disconnected(&self.connection, reason);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave(CloseReason::Lost);
    }
}
