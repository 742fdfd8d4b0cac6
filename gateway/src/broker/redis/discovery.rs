//! Keeps knowing which server to ask: reads a cluster's slot map, or asks the Sentinels, now and then and at every hint.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::Value;

use super::backoff::Backoff;
use super::link::describe;
use super::node::Node;
use super::pool::Pool;
use super::sentinel::Sentinels;
use super::topology::SlotMap;
use super::trouble::Trouble;
use super::url::Mode;

/// How often the slot map is read while nothing hints at a change.
const CLUSTER_INTERVAL: Duration = Duration::from_secs(5);

/// How often the Sentinels are asked. The old primary may well not notice that there is another.
const SENTINEL_INTERVAL: Duration = Duration::from_secs(1);

/// The least time between two readings: redirections come in swarms.
const PAUSE: Duration = Duration::from_millis(100);

impl Pool {
    pub(super) async fn keep_topology(self: Arc<Self>) {
        let mut sentinels = match &self.url.mode {
            Mode::Sentinel { master, .. } => Some(Sentinels::new(&self.url, master, &self.tasks)),
            Mode::Standalone { .. } | Mode::Cluster => None,
        };
        let interval = match sentinels {
            Some(_) => SENTINEL_INTERVAL,
            None => CLUSTER_INTERVAL,
        };
        let (mut backoff, mut trouble) = (Backoff::default(), Trouble::default());
        loop {
            let found = match &mut sentinels {
                Some(sentinels) => sentinels.primary().await.map(SlotMap::single),
                None => self.read_slots().await,
            };
            match found {
                Ok(slots) => {
                    backoff.reset();
                    trouble.over();
                    self.adopt(slots);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(why) => {
                    if trouble.is_news(&why) {
                        tracing::warn!(why, "can't find out which Redis server to use");
                    }
                    self.note_trouble(why);
                    backoff.pause().await;
                }
            }
            tokio::select! {
                () = self.topology_wanted() => {}
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    /// Asks all servers known, and the seeds if none of those answers. What most of them say is believed: a primary that was cut off from
    /// its cluster goes on telling the past.
    async fn read_slots(&self) -> Result<SlotMap, String> {
        let mut why = "no server to ask".to_owned();
        let nodes = self.nodes();
        let mut views: Vec<(SlotMap, usize)> = Vec::new();
        for answer in futures::future::join_all(nodes.iter().map(|node| read_slot_map(node))).await
        {
            match answer {
                Ok(slots) => match views.iter_mut().find(|(view, _)| *view == slots) {
                    Some((_, votes)) => *votes += 1,
                    None => views.push((slots, 1)),
                },
                Err(error) => why = error,
            }
        }
        let best = views
            .into_iter()
            .max_by_key(|(view, votes)| (*votes, view.covered()));
        if let Some((slots, _)) = best {
            return Ok(slots);
        }
        // All at once: one that is gone takes long to say nothing.
        let mut seeds: FuturesUnordered<_> = self
            .url
            .addresses
            .iter()
            .map(async |seed| {
                read_slot_map(&Node::connect(seed, &self.url, &self.tasks).await?).await
            })
            .collect();
        while let Some(answer) = seeds.next().await {
            match answer {
                Ok(slots) => return Ok(slots),
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}

/// What a server says of who owns which slot.
pub(super) async fn read_slot_map(node: &Node) -> Result<SlotMap, String> {
    let answer = node
        .send(redis::cmd("CLUSTER").arg("SLOTS"))
        .await
        .and_then(Value::extract_error);
    let answer = answer.map_err(|error| match error.detail() {
        Some(detail) if detail.contains("cluster support disabled") => {
            format!(
                "{}: it doesn't run in cluster mode, use a redis:// URL",
                node.address
            )
        }
        _ => format!("{}: {}", node.address, describe(&error)),
    })?;
    SlotMap::from_cluster_slots(answer, &node.address)
        .map_err(|error| format!("{}: {error}", node.address))
}
