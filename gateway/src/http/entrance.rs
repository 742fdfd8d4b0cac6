//! What comes before HTTP on the public port, as the settings in force say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::gateway::Gateway;
use crate::server::{Entrance, Refusal, Rules};

/// How often at most the log tells of refusals: what is wrong is likely to be wrong with all connections.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// The entrance of the public port.
pub struct PublicEntrance {
    gateway: Arc<Gateway>,
    told: Mutex<Option<Instant>>,
}

impl PublicEntrance {
    pub fn new(gateway: &Arc<Gateway>) -> Arc<Self> {
        Arc::new(Self {
            gateway: Arc::clone(gateway),
            told: Mutex::default(),
        })
    }
}

impl Entrance for PublicEntrance {
    fn rules(&self) -> Rules {
        let settings = self.gateway.settings();
        Rules {
            proxy_protocol: settings.config.proxy_protocol,
        }
    }

    fn refused(&self, refusal: Refusal) {
        self.gateway.metrics.refused(refusal.reason());
        let mut told = self.told.lock();
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            match refusal {
                Refusal::ProxyHeader => tracing::warn!(
                    "a connection without a PROXY protocol header was refused: spec.proxyProtocol is true, so whatever connects to the gateways has to send one"
                ),
            }
        }
    }
}
