//! Who is whose replica and owns which slots, as `CLUSTER NODES` tells it
//! (<https://redis.io/docs/latest/commands/cluster-nodes/>).

use anyhow::Context;

/// One primary and its replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    pub id: String,
    /// Servers by their place in the cluster.
    pub primary: usize,
    pub replica: usize,
    /// First and last of each range.
    pub slots: Vec<(u16, u16)>,
}

/// All of them, in the order of their primaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shards(pub Vec<Shard>);

impl Shards {
    /// Reads it; a primary that no replica names, or a server that is marked as failing, is left out.
    pub fn parse(nodes: &str, index_of: impl Fn(u16) -> Option<usize>) -> anyhow::Result<Self> {
        let lines = nodes
            .lines()
            .map(|line| Line::parse(line).with_context(|| format!("a strange line: {line}")))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let sound =
            |line: &&Line<'_>| !line.flags.contains("fail") && !line.flags.contains("handshake");
        let mut shards = Vec::new();
        for primary in lines.iter().filter(sound) {
            let replica = lines
                .iter()
                .filter(sound)
                .find(|line| line.primary == primary.id);
            let (Some(replica), Some(index)) = (replica, index_of(primary.port)) else {
                continue;
            };
            let Some(replica) = index_of(replica.port) else {
                continue;
            };
            shards.push(Shard {
                id: primary.id.to_owned(),
                primary: index,
                replica,
                slots: primary.slots.clone(),
            });
        }
        shards.sort_by_key(|shard| shard.primary);
        Ok(Self(shards))
    }

    /// Whether each pair is there and no slot is on its way.
    pub fn is_whole(&self) -> bool {
        self.0.len() == super::PRIMARIES && self.0.iter().all(|shard| !shard.slots.is_empty())
    }

    /// The shard that owns a slot.
    pub fn owner(&self, slot: u16) -> Option<&Shard> {
        self.0.iter().find(|shard| shard.owns(slot))
    }
}

impl Shard {
    pub fn owns(&self, slot: u16) -> bool {
        let mut ranges = self.slots.iter();
        ranges.any(|(first, last)| (*first..=*last).contains(&slot))
    }
}

struct Line<'a> {
    id: &'a str,
    port: u16,
    flags: &'a str,
    primary: &'a str,
    slots: Vec<(u16, u16)>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [id, address, flags, primary, _, _, _, _, slots @ ..] = &*words else {
            return None;
        };
        let (_, rest) = address.split_once(':')?;
        let port = rest.split(['@', ',']).next()?.parse().ok()?;
        let slots = slots
            .iter()
            // In brackets: one that is on its way.
            .filter(|range| !range.starts_with('['))
            .filter_map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                Some((first.parse().ok()?, last.parse().ok()?))
            })
            .collect();
        Some(Self {
            id,
            port,
            flags,
            primary,
            slots,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_read_from_what_a_server_says() {
        let nodes = "\
            aa 127.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-5460 [77->-bb]\n\
            bb 127.0.0.1:7002@17002,host master - 0 0 2 connected 5461 5463-16383\n\
            cc 127.0.0.1:7003@17003 slave aa 0 0 1 connected\n\
            dd 127.0.0.1:7004@17004 slave,fail bb 0 0 1 connected\n";
        let shards = Shards::parse(nodes, |port| Some(usize::from(port - 7001))).unwrap();
        let expected = Shard {
            id: "aa".to_owned(),
            primary: 0,
            replica: 2,
            slots: vec![(0, 5460)],
        };
        assert_eq!(shards.0, [expected]);
        assert!(shards.owner(5460).is_some() && shards.owner(5461).is_none());
        assert!(!shards.is_whole());
    }
}
