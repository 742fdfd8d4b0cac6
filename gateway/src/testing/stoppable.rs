//! A gateway in a thread of its own, where all of it can be made to stand still, as by `SIGSTOP`.

use std::sync::Arc;
use std::time::Duration;

use rotunda_crds::GatewayConfig;
use tokio::sync::{mpsc, oneshot};

use super::gateway_on_redis;
use crate::gateway::Gateway;

pub(crate) struct Stoppable {
    pub(crate) gateway: Arc<Gateway>,
    stops: mpsc::UnboundedSender<Duration>,
}

impl Stoppable {
    /// Starts one on Redis. It ends with this handle.
    pub(crate) async fn start(config: GatewayConfig, url: String, key_prefix: String) -> Self {
        let (started, gateway) = oneshot::channel();
        let (stops, mut stopping) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let gateway = gateway_on_redis(config, &url, &key_prefix).await;
                drop(started.send(gateway));
                while let Some(time) = stopping.recv().await {
                    // All that runs here runs on this thread.
                    std::thread::sleep(time);
                }
            });
        });
        Self {
            gateway: gateway.await.unwrap(),
            stops,
        }
    }

    /// From now on nothing of it moves for this time.
    pub(crate) fn stop(&self, time: Duration) {
        self.stops.send(time).unwrap();
    }
}
