//! Deletes what is stored of a room once its Room is gone (`deletionPolicy: Delete`).
//!
//! That is the log, its top and the idempotency answers, in one command a room, so that no gateway meets half of it. A room
//! that is used again opens a new epoch; epochs are times, so that it is above the deleted one, and a client that comes back
//! with an older position is told of the gap. Who is present is the gateways' own affair: the hash of members expires
//! once the last one has left, as those do whom the deleted Room had let in.

use std::collections::{BTreeSet, HashSet};

use redis::{aio::MultiplexedConnection, cmd, pipe};

use super::{
    link::{Error, Login},
    nodes::{self, Nodes},
    topology::{Address, Reach},
    url::RedisUrl,
};
use crate::cluster::{build::names, model::RedisTarget};

/// Port of a managed Redis.
const MANAGED_PORT: u16 = 6379;
/// Keys looked at in one `SCAN`: a fraction of a millisecond of Redis's time.
const BATCH: usize = 500;
/// Kinds of keys that go.
const KINDS: [&str; 3] = ["log", "top", "keys"];

/// Deletes what is stored of every room whose name `matches`, and tells how many keys that were.
pub async fn delete_rooms(
    target: &RedisTarget,
    cluster_name: &str,
    namespace: &str,
    key_prefix: &str,
    matches: &(dyn Fn(&str) -> bool + Sync),
) -> Result<u64, Error> {
    let url = match target {
        RedisTarget::External { url } => RedisUrl::parse(&url.0)?,
        RedisTarget::Managed(managed) => RedisUrl {
            cluster: true,
            hosts: vec![Login {
                host: format!("{}.{namespace}.svc", names::redis(cluster_name)),
                port: MANAGED_PORT,
                username: None,
                password: Some(managed.password.clone()),
                database: 0,
            }],
        },
    };
    delete_at(&url, key_prefix, matches).await
}

/// The same, at the Redis of `url`.
pub(super) async fn delete_at(
    url: &RedisUrl,
    key_prefix: &str,
    matches: &(dyn Fn(&str) -> bool + Sync),
) -> Result<u64, Error> {
    let mut deleted = 0;
    for primary in primaries(url).await? {
        deleted += delete_on(&primary, key_prefix, matches).await?;
    }
    Ok(deleted)
}

/// Every node that holds keys of its own.
async fn primaries(url: &RedisUrl) -> Result<Vec<Login>, Error> {
    if !url.cluster {
        return Ok(url.hosts.clone());
    }
    let mut last = None;
    for seed in &url.hosts {
        match read_nodes(seed).await {
            Ok(nodes) => return Ok(serving(seed, &nodes)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or(Error::Url(super::url::UrlError::Host)))
}

async fn read_nodes(seed: &Login) -> Result<Nodes, Error> {
    let mut connection = connect(seed).await?;
    let text: String = cmd("CLUSTER")
        .arg("NODES")
        .query_async(&mut connection)
        .await
        .map_err(|source| Error::of(&seed.host, "CLUSTER NODES", source))?;
    nodes::parse(&text).map_err(|source| Error::Unreadable {
        pod: seed.host.clone(),
        source,
    })
}

fn serving(seed: &Login, nodes: &Nodes) -> Vec<Login> {
    let peers = nodes
        .peers
        .values()
        .filter(|peer| !peer.slots.is_empty() && peer.reach != Reach::Failed);
    // A set: during a failover two entries may share an address.
    let addresses: BTreeSet<Address> = peers.filter_map(|peer| peer.at).collect();
    let at = |at: Address| Login {
        host: at.client.ip().to_string(),
        port: at.client.port(),
        ..seed.clone()
    };
    let myself = (!nodes.slots.is_empty()).then(|| seed.clone());
    myself
        .into_iter()
        .chain(addresses.into_iter().map(at))
        .collect()
}

async fn delete_on(
    node: &Login,
    key_prefix: &str,
    matches: &(dyn Fn(&str) -> bool + Sync),
) -> Result<u64, Error> {
    let mut connection = connect(node).await?;
    let pattern = format!("{}:{{*}}:*", escape_glob(key_prefix));
    let (mut cursor, mut deleted) = (0_u64, 0);
    // Its keys come one by one, and a later one may be of a room that has begun anew: each is dealt with once.
    let mut done = HashSet::new();
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg(&pattern)
            .arg("COUNT")
            .arg(BATCH);
        let (next, keys): (u64, Vec<Vec<u8>>) = scan
            .query_async(&mut connection)
            .await
            .map_err(|source| Error::of(&node.host, "SCAN", source))?;
        // One room a command: rooms live in different slots.
        let mut unlink = pipe();
        for key in keys {
            let room = std::str::from_utf8(&key)
                .ok()
                .and_then(|key| room_of(key, key_prefix));
            if let Some(room) = room.filter(|room| matches(room))
                && done.insert(room.to_owned())
            {
                let command = unlink.cmd("UNLINK");
                for kind in KINDS {
                    command.arg(format!("{key_prefix}:{{{room}}}:{kind}"));
                }
            }
        }
        if !unlink.is_empty() {
            let removed: Vec<u64> = unlink
                .query_async(&mut connection)
                .await
                .map_err(|source| Error::of(&node.host, "UNLINK", source))?;
            deleted += removed.iter().sum::<u64>();
        }
        if next == 0 {
            return Ok(deleted);
        }
        cursor = next;
    }
}

async fn connect(node: &Login) -> Result<MultiplexedConnection, Error> {
    node.connect().await.map_err(|source| Error::Unreachable {
        pod: node.host.clone(),
        source,
    })
}

/// The room of a key `P:{room}:kind`, if it is of a kind that goes.
fn room_of<'a>(key: &'a str, key_prefix: &str) -> Option<&'a str> {
    let (room, kind) = key
        .strip_prefix(key_prefix)?
        .strip_prefix(":{")?
        .split_once("}:")?;
    KINDS.contains(&kind).then_some(room)
}

fn escape_glob(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_of_a_room_goes_and_nothing_else() {
        assert_eq!(
            room_of("ns.chat:{team:red}:log", "ns.chat"),
            Some("team:red")
        );
        assert_eq!(room_of("ns.chat:{lobby}:keys", "ns.chat"), Some("lobby"));
        assert_eq!(room_of("ns.chat:{lobby}:top", "ns.chat"), Some("lobby"));
        for kept in [
            "ns.chat:{lobby}:here",
            "ns.chat:{ctl}",
            "ns.chat:user:x",
            "other:{lobby}:log",
        ] {
            assert_eq!(room_of(kept, "ns.chat"), None, "{kept}");
        }
    }

    #[test]
    fn a_prefix_with_wildcards_means_itself() {
        assert_eq!(escape_glob("a*[b]?\\"), "a\\*\\[b\\]\\?\\\\");
    }
}
