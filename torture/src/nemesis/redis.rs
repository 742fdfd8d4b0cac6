//! Harm to Redis.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Nemesis;
use super::consequences::is_settled;
use super::schedule::{Lane, RedisFault};
use crate::arena::name_of;
use crate::history::{Millis, RoomIndex, Window};
use crate::redis::shards::{Shard, Shards};
use crate::redis::{GENEROUS_PUBSUB_LIMIT, PASSWORD, SERVERS, TINY_PUBSUB_LIMIT, eventually};

/// How long the cluster may take to recover from a fault.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(90);

/// How long a replica may take to become a primary. After that the old one comes back, whoever it is then.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(20);

impl Nemesis {
    /// One fault after the other, each on a cluster that has recovered, until told to stop.
    pub async fn harm_redis(
        &self,
        lane: Lane<RedisFault>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut last: Option<(RedisFault, Shards, Millis)> = None;
        for (pause, fault) in lane {
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                break;
            }
            let recovery = self.cluster.wait_until_healthy(RECOVERY_PATIENCE);
            let Some(shards) = stop.run_until_cancelled(recovery).await else {
                break;
            };
            let (shards, from) = (shards?, self.now());
            if let Some((fault, before, since)) = last.take()
                && !is_settled(fault, &before, &shards)
            {
                self.note_unsettled(since, from);
            }
            self.harm_server(fault, &shards)
                .await
                .with_context(|| format!("the nemesis couldn't do {fault:?}"))?;
            self.note(from, fault.kind(), format!("{fault:?}"));
            self.note_planned(fault, from);
            last = Some((fault, shards, from));
        }
        if let Some((_, _, since)) = last {
            self.note_unsettled(since, Millis::MAX);
        }
        Ok(())
    }

    async fn harm_server(&self, fault: RedisFault, shards: &Shards) -> anyhow::Result<()> {
        let cluster = &self.cluster;
        let shard = |index: usize| &shards.0[index % shards.0.len()];
        match fault {
            RedisFault::KillPrimary { shard: index, down } => {
                let Shard {
                    primary, replica, ..
                } = *shard(index);
                self.kill_primary(shard(index)).await?;
                self.taken_over(replica).await;
                sleep(down).await;
                cluster.start_server(primary).await
            }
            RedisFault::RestartPrimary { shard: index } => {
                let from = self.now();
                let primary = shard(index).primary;
                self.kill_primary(shard(index)).await?;
                cluster.start_server(primary).await?;
                // What it had not written to its file yet is gone, and its replica copies what is there now.
                self.until_healthy(from).await
            }
            RedisFault::KillReplica { shard: index, down } => {
                let replica = shard(index).replica;
                cluster.kill(replica).await?;
                sleep(down).await;
                cluster.start_server(replica).await
            }
            RedisFault::Failover { shard: index } => {
                let replica = shard(index).replica;
                cluster.run(replica, &["CLUSTER", "FAILOVER"]).await?;
                self.taken_over(replica).await;
                Ok(())
            }
            RedisFault::FreezePrimary { shard: index, time } => {
                self.freeze(shard(index).primary, time).await
            }
            RedisFault::FreezeReplica { shard: index, time } => {
                self.freeze(shard(index).replica, time).await
            }
            RedisFault::PauseClients {
                shard: index,
                time,
                writes_only,
            } => {
                let primary = shard(index).primary;
                let millis = time.as_millis().to_string();
                let what = if writes_only { "WRITE" } else { "ALL" };
                cluster
                    .run(primary, &["CLIENT", "PAUSE", &millis, what])
                    .await?;
                sleep(time).await;
                Ok(())
            }
            RedisFault::CutSubscribers => self.cut(&["pubsub"]).await,
            RedisFault::CutEveryone => self.cut(&["pubsub", "normal"]).await,
            RedisFault::TinyBuffers { time } => {
                self.limit_buffers(TINY_PUBSUB_LIMIT).await?;
                sleep(time).await;
                self.limit_buffers(GENEROUS_PUBSUB_LIMIT).await
            }
            RedisFault::MoveSlot { room, onward } => self.move_slot(shards, room, onward).await,
            RedisFault::LoseWrites { shard: index, time } => {
                self.lose_writes(shard(index), time).await
            }
            RedisFault::RestartAll { down } => self.restart_all(shards, down).await,
        }
    }

    /// Waits until a replica is the primary, or for long enough.
    async fn taken_over(&self, replica: usize) {
        let taken = async {
            loop {
                let info = self.cluster.text(replica, &["INFO", "replication"]).await;
                if info.is_ok_and(|info| info.contains("role:master")) {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(TAKEOVER_PATIENCE, taken).await.ok();
    }

    async fn until_healthy(&self, from: u64) -> anyhow::Result<()> {
        let recovered = self.cluster.wait_until_healthy(RECOVERY_PATIENCE).await;
        let window = Window {
            from,
            until: self.now(),
        };
        self.double_losses.lock().push(window);
        recovered.map(drop)
    }

    async fn freeze(&self, server: usize, time: Duration) -> anyhow::Result<()> {
        self.cluster.freeze(server).await;
        sleep(time).await;
        self.cluster.thaw(server).await;
        Ok(())
    }

    async fn cut(&self, types: &[&str]) -> anyhow::Result<()> {
        for server in 0..SERVERS {
            for kind in types {
                self.cluster
                    .run(server, &["CLIENT", "KILL", "TYPE", kind])
                    .await?;
            }
        }
        Ok(())
    }

    async fn limit_buffers(&self, limit: &str) -> anyhow::Result<()> {
        for server in 0..SERVERS {
            let command = ["CONFIG", "SET", "client-output-buffer-limit", limit];
            self.cluster.run(server, &command).await?;
        }
        Ok(())
    }

    /// Moves the slot of a room to another shard, one key at a time, while it is used.
    async fn move_slot(
        &self,
        shards: &Shards,
        room: RoomIndex,
        onward: usize,
    ) -> anyhow::Result<()> {
        let cluster = &self.cluster;
        let slot = cluster.slot_of(name_of(room)).await?;
        let source = shards.owner(slot).context("a slot without an owner")?;
        let place = shards.0.iter().position(|shard| shard == source);
        let target = &shards.0[(place.unwrap_or(0) + onward) % shards.0.len()];
        ensure!(
            source.primary != target.primary,
            "it would stay where it is"
        );
        let slot = slot.to_string();
        let port = cluster.port(target.primary).to_string();
        cluster
            .run(
                target.primary,
                &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source.id],
            )
            .await?;
        cluster
            .run(
                source.primary,
                &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target.id],
            )
            .await?;
        eventually("all keys of a slot have moved", || async {
            let keys = cluster
                .run(source.primary, &["CLUSTER", "GETKEYSINSLOT", &slot, "1"])
                .await?;
            let keys: Vec<String> = redis::from_redis_value(keys)?;
            let Some(key) = keys.first() else {
                return Ok(());
            };
            // The key goes to the other, and with it a reader that came too early.
            let migrate = [
                "MIGRATE",
                "127.0.0.1",
                &port,
                "",
                "0",
                "2000",
                "REPLACE",
                "AUTH",
                PASSWORD,
                "KEYS",
                key,
            ];
            cluster.run(source.primary, &migrate).await?;
            anyhow::bail!("there may be more")
        })
        .await?;
        // The new owner first, so that the slot is never without one; then all others, who would hear of it in time.
        let others = shards.0.iter().map(|shard| shard.primary);
        let others = others.filter(|primary| *primary != target.primary);
        for primary in std::iter::once(target.primary).chain(others) {
            cluster
                .run(primary, &["CLUSTER", "SETSLOT", &slot, "NODE", &target.id])
                .await?;
        }
        self.replicated(target).await
    }

    /// Waits until a replica has all that its primary has now: what came in by MIGRATE isn't waited for by anyone else.
    async fn replicated(&self, shard: &Shard) -> anyhow::Result<()> {
        let wanted = self.offset(shard.primary, "master_repl_offset:").await?;
        eventually("a replica has what has moved", || async {
            let has = self.offset(shard.replica, "slave_repl_offset:").await?;
            ensure!(has >= wanted, "it has {has} of {wanted}");
            Ok(())
        })
        .await
    }

    async fn offset(&self, server: usize, field: &str) -> anyhow::Result<u64> {
        let info = self.cluster.text(server, &["INFO", "replication"]).await?;
        let value = info.lines().find_map(|line| line.strip_prefix(field));
        Ok(value
            .with_context(|| format!("no {field}"))?
            .trim()
            .parse()?)
    }

    /// A replica that is cut off takes over: what was acknowledged meanwhile is lost.
    async fn lose_writes(&self, shard: &Shard, time: Duration) -> anyhow::Result<()> {
        let cluster = &self.cluster;
        let password = |password| ["CONFIG", "SET", "masterauth", password];
        cluster.run(shard.replica, &password("wrong")).await?;
        cluster
            .run(shard.replica, &["CLIENT", "KILL", "TYPE", "master"])
            .await?;
        sleep(time).await;
        self.kill_primary(shard).await?;
        self.taken_over(shard.replica).await;
        cluster.run(shard.replica, &password(PASSWORD)).await?;
        cluster.start_server(shard.primary).await
    }

    async fn restart_all(&self, shards: &Shards, down: Duration) -> anyhow::Result<()> {
        let from = self.now();
        let turn = self.gateways_turn.lock().await;
        for which in 0..self.arena.gateways.count() {
            self.arena.gateways.kill(which).await?;
        }
        for shard in &shards.0 {
            self.kill_primary(shard).await?;
            self.cluster.kill(shard.replica).await?;
        }
        sleep(down).await;
        for which in 0..self.arena.gateways.count() {
            self.arena.gateways.start_one(which).await?;
        }
        drop(turn);
        for server in 0..SERVERS {
            self.cluster.start_server(server).await?;
        }
        self.until_healthy(from).await
    }
}
