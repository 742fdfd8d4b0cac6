//! What Redis itself holds of the rooms: their logs at the end, and how far each epoch came, watched as the run goes on.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use redis::{FromRedisValue, Value};
use serde::Deserialize;

use super::Cluster;
use super::shards::Shards;
use crate::history::{Content, Position};

/// Entries in one read.
const PAGE: &str = "1000";

/// What every message of a run says.
#[derive(Debug, Deserialize)]
pub struct Data {
    pub c: u64,
}

#[derive(Deserialize)]
struct Body {
    data: Data,
}

impl Cluster {
    /// All that is stored of a room.
    pub async fn log(
        &self,
        shards: &Shards,
        prefix: &str,
        room: &str,
    ) -> anyhow::Result<BTreeMap<Position, Content>> {
        let owner = self.owner_of(shards, room).await?;
        let key = format!("{prefix}:{{{room}}}:log");
        let mut log = BTreeMap::new();
        let mut from = "-".to_owned();
        loop {
            let page = self
                .run(owner, &["XRANGE", &key, &from, "+", "COUNT", PAGE])
                .await?;
            let page: Vec<(String, BTreeMap<String, String>)> = redis::from_redis_value(page)?;
            let Some((last, _)) = page.last() else {
                return Ok(log);
            };
            from = format!("({last}");
            for (id, fields) in page {
                let body = fields.get("b1").context("an entry without a body")?;
                let body: Body = serde_json::from_str(&format!("{{{body}}}"))
                    .with_context(|| format!("an entry that no publisher wrote: {body}"))?;
                log.insert(id.parse()?, Content(body.data.c));
            }
        }
    }

    /// Notes where the epoch before the present one ended, as the room's owner has it.
    pub async fn note_end(
        &self,
        server: usize,
        prefix: &str,
        room: &str,
        ends: &mut BTreeSet<Position>,
    ) -> anyhow::Result<()> {
        let key = format!("{prefix}:{{{room}}}:top");
        let previous = self.run(server, &["HGET", &key, "previous"]).await?;
        if previous != Value::Nil {
            ends.insert(String::from_redis_value(previous)?.parse()?);
        }
        Ok(())
    }

    /// The primary that owns a room's keys.
    pub async fn owner_of(&self, shards: &Shards, room: &str) -> anyhow::Result<usize> {
        let slot = self.slot_of(room).await?;
        shards
            .owner(slot)
            .map(|shard| shard.primary)
            .context("a slot without an owner")
    }

    pub async fn slot_of(&self, room: &str) -> anyhow::Result<u16> {
        let mut last = None;
        for index in 0..super::SERVERS {
            match self.run(index, &["CLUSTER", "KEYSLOT", room]).await {
                Ok(slot) => return Ok(redis::from_redis_value(slot)?),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("there is a server")?)
    }
}
