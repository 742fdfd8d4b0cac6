//! Names of keys and channels, and the hash slots they fall into.
//!
//! The braces around a room's name are literal: all of a room's keys and its channel share one slot of a Redis Cluster
//! (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>), so that one script may touch them all.

use std::sync::Arc;

use rotunda_crds::RoomName;

use crate::ids::UserId;

/// How many slots a Redis Cluster has.
pub(super) const SLOTS: u16 = 16384;

/// Makes the names that belong to one RealtimeCluster.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: Arc<str>,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// The stream of messages.
    pub(super) fn log(&self, room: &RoomName) -> String {
        self.of_room(room, ":log")
    }

    /// The hash with epoch, replication id and the end of the previous epoch.
    pub(super) fn top(&self, room: &RoomName) -> String {
        self.of_room(room, ":top")
    }

    /// The hash with answers to publishes that had an idempotency key.
    pub(super) fn answers(&self, room: &RoomName) -> String {
        self.of_room(room, ":keys")
    }

    /// The hash of members.
    pub(super) fn here(&self, room: &RoomName) -> String {
        self.of_room(room, ":here")
    }

    /// The sharded channel.
    pub(super) fn channel(&self, room: &RoomName) -> String {
        self.of_room(room, "")
    }

    /// The sorted set of gateways and when their leases expire.
    pub(super) fn gateways(&self) -> String {
        format!("{}:gw", self.prefix)
    }

    /// The hash of a user's gateways and when it was last seen.
    pub(super) fn user(&self, user: &UserId) -> String {
        format!("{}:user:{{{user}}}", self.prefix)
    }

    /// Which room a channel belongs to.
    pub(super) fn room_of_channel<'a>(&self, channel: &'a str) -> Option<&'a str> {
        channel
            .strip_prefix(&*self.prefix)?
            .strip_prefix(":{")?
            .strip_suffix('}')
    }

    /// The slot of a room's keys and channel.
    pub(super) fn slot(&self, room: &RoomName) -> u16 {
        slot(&self.channel(room))
    }

    fn of_room(&self, room: &RoomName, suffix: &str) -> String {
        format!("{}:{{{room}}}{suffix}", self.prefix)
    }
}

/// The hash slot of a key: CRC16 (XMODEM) of what stands between the first `{` and the next `}`, or of all of it if that is empty.
pub(super) fn slot(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty());
    crc16(tag.unwrap_or(key).as_bytes()) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12182);
        assert_eq!(slot("{user1000}.following"), slot("user1000"));
        assert_eq!(slot("foo{bar}{zap}"), slot("bar"));
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
        assert_eq!(slot("foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot("foo{bar"), crc16(b"foo{bar") % SLOTS);
    }

    #[test]
    fn all_that_a_script_touches_shares_a_slot() {
        let keys = Keys::new("demo.chat");
        let room = RoomName::parse("team:red@1%20").expect("a fine name");
        let expected = keys.slot(&room);
        for key in [
            keys.log(&room),
            keys.top(&room),
            keys.answers(&room),
            keys.here(&room),
            keys.channel(&room),
        ] {
            assert_eq!(slot(&key), expected, "{key}");
        }
        assert_eq!(keys.log(&room), "demo.chat:{team:red@1%20}:log");
        assert_eq!(
            keys.room_of_channel(&keys.channel(&room)),
            Some(room.as_str())
        );
        assert_eq!(keys.room_of_channel("other:{team}"), None);
    }
}
