//! Deletes what is stored of a room once its Room is gone (`deletionPolicy: Delete`).
//!
//! That is the log, its top and the idempotency answers, in one command a room, so that no gateway meets half of it. A room
//! that is used again opens a new epoch; epochs are times, so that it is above the deleted one, and a client that comes back
//! with an older position is told of the gap. Who is present is the gateways' own affair: the hash of members expires
//! once the last one has left, as those do whom the deleted Room had let in.

use std::collections::HashSet;

use redis::{aio::MultiplexedConnection, cmd, pipe};
use rotunda_crds::redis_url::{Address, Mode, RedisUrl};

use super::{
    link::{Error, Login},
    primaries,
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
        RedisTarget::External { url } => url.clone(),
        RedisTarget::Managed(managed) => {
            let host = format!("{}.{namespace}.svc", names::redis(cluster_name));
            RedisUrl {
                mode: Mode::Cluster,
                addresses: vec![Address::new(&host, MANAGED_PORT)],
                username: None,
                password: Some(managed.password.0.as_str().into()),
                trust: None,
            }
        }
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
    for primary in primaries::find(url).await? {
        deleted += delete_on(&primary, key_prefix, matches).await?;
    }
    Ok(deleted)
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
