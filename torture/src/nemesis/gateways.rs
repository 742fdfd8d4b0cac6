//! Harm to gateways.

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Nemesis;
use super::schedule::{GatewayFault, Lane};

impl Nemesis {
    /// One fault after the other, until told to stop.
    pub async fn harm_gateways(
        &self,
        lane: Lane<GatewayFault>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        for (pause, fault) in lane {
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                break;
            }
            let turn = self.gateways_turn.lock().await;
            let from = self.now();
            self.harm_gateway(fault).await?;
            drop(turn);
            self.note(from, fault.kind(), format!("{fault:?}"));
        }
        Ok(())
    }

    async fn harm_gateway(&self, fault: GatewayFault) -> anyhow::Result<()> {
        let gateways = &self.arena.gateways;
        match fault {
            GatewayFault::Kill { which, down } => {
                gateways.kill(which).await?;
                sleep(down).await;
                gateways.start_one(which).await
            }
            GatewayFault::Drain { which } => {
                gateways.drain(which).await?;
                gateways.start_one(which).await
            }
            GatewayFault::Freeze { which, time } => {
                gateways.freeze(which).await;
                sleep(time).await;
                gateways.thaw(which).await;
                Ok(())
            }
            GatewayFault::KillAll { down } => {
                for which in 0..gateways.count() {
                    gateways.kill(which).await?;
                }
                sleep(down).await;
                for which in 0..gateways.count() {
                    gateways.start_one(which).await?;
                }
                Ok(())
            }
        }
    }
}
