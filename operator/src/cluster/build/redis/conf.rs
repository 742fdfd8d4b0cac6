//! `redis.conf` of a managed Redis.

use rotunda_crds::realtime_cluster::ManagedRedis as Spec;

use super::DEFAULT_RESOURCES;
use crate::cluster::build::{pod, quantity};

/// Clients' and replicas' data that doesn't count towards `maxmemory` needs room too, and so does a rewrite of the AOF.
const MAX_MEMORY_PERCENT: u64 = 70;
/// A gateway's pub/sub buffer may take this part of the memory limit before Redis drops the gateway.
const PUBSUB_BUFFER_SHARE: u64 = 8;
const MEBIBYTE: u64 = 1 << 20;

/// The memory limit of a Redis container in bytes; `None` where the spec sets none.
pub(super) fn memory_limit(spec: &Spec) -> Option<u64> {
    let limits = pod::resources(&spec.resources, DEFAULT_RESOURCES).limits?;
    quantity::bytes(limits.get("memory")?)
}

/// The file for a container with this memory limit.
pub(super) fn render(memory_limit: Option<u64>) -> String {
    let max_memory = memory_limit.map_or(0, |limit| limit / 100 * MAX_MEMORY_PERCENT);
    let pubsub_hard = memory_limit.map_or(256 * MEBIBYTE, |limit| {
        (limit / PUBSUB_BUFFER_SHARE).max(32 * MEBIBYTE)
    });
    let pubsub_soft = pubsub_hard / 2;
    format!(
        "\
# Written by the Rotunda operator, which overwrites changes.

# The password, from the Secret; written by start.sh.
include /run/redis/auth.conf

port 6379
bind * -::*
# Every connection needs the password.
protected-mode no
tcp-backlog 511
tcp-keepalive 60

# Cluster mode at every size, so that shards can be added.
cluster-enabled yes
cluster-config-file nodes.conf
cluster-node-timeout 5000
# A lost shard doesn't stop the others.
cluster-require-full-coverage no
cluster-allow-replica-migration no
# An old copy beats none: clients are told of the gap.
cluster-replica-validity-factor 0

dir /data
appendonly yes
appendfsync everysec
save \"\"
shutdown-timeout 10

maxmemory {max_memory}
# Better to refuse a message than to drop another one silently.
maxmemory-policy noeviction
# One entry in a fresh stream takes 1.7 KB so, 4.7 KB with the default.
stream-node-max-bytes 1024
# A gateway that is slow for a moment catches up faster than it would reconnect.
client-output-buffer-limit pubsub {pubsub_hard} {pubsub_soft} 60
repl-backlog-size 16mb
repl-diskless-sync-delay 0
lazyfree-lazy-expire yes
lazyfree-lazy-server-del yes
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_keeps_to_seventy_percent_of_its_memory_limit() {
        let conf = render(Some(1000 * MEBIBYTE));
        assert!(
            conf.contains(&format!("maxmemory {}\n", 10 * MEBIBYTE * 70)),
            "{conf}"
        );
        assert!(render(None).contains("maxmemory 0\n"));
    }
}
