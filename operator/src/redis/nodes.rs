//! Reads the text of `CLUSTER NODES` (Redis documentation, "CLUSTER NODES": serialization format). Pure; whatever it
//! can't read is an error that shows the line, never a guess.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::{
    slots::{SLOT_COUNT, SlotSet},
    topology::{Address, NodeId, Peer, Reach},
};

/// The text of `CLUSTER NODES`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// The id of the node that answered.
    pub myself: NodeId,
    /// The primary it copies, where it is a replica.
    pub replica_of: Option<NodeId>,
    /// Slots it owns.
    pub slots: SlotSet,
    /// Every other node in its table.
    pub peers: BTreeMap<NodeId, Peer>,
}

/// `CLUSTER NODES` answered something else than its documentation says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A line isn't a node.
    #[error("not a line of CLUSTER NODES: {0:?}")]
    Line(String),
    /// No line is flagged as the answering node.
    #[error("CLUSTER NODES shows no line flagged `myself`")]
    NoMyself,
}

/// Reads the answer of `CLUSTER NODES`.
pub fn parse(text: &str) -> Result<Nodes, ParseError> {
    let mut myself = None;
    let mut peers = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (id, is_myself, peer) =
            parse_line(line).ok_or_else(|| ParseError::Line(line.to_owned()))?;
        if is_myself {
            myself = Some((id, peer));
        } else {
            peers.insert(id, peer);
        }
    }
    let (myself, me) = myself.ok_or(ParseError::NoMyself)?;
    Ok(Nodes {
        myself,
        replica_of: me.replica_of,
        slots: me.slots,
        peers,
    })
}

fn parse_line(line: &str) -> Option<(NodeId, bool, Peer)> {
    let mut fields = line.split_ascii_whitespace();
    let id = NodeId(fields.next()?.to_owned());
    let address = fields.next()?;
    let flags: Vec<&str> = fields.next()?.split(',').collect();
    let primary = fields.next()?;
    let link = fields.nth(3)?;
    let has = |flag: &str| flags.contains(&flag);

    let reach = if has("handshake") {
        Reach::Handshake
    } else if has("fail") {
        Reach::Failed
    } else if has("fail?") || has("noaddr") || link != "connected" {
        Reach::Suspected
    } else {
        Reach::Connected
    };
    let mut slots = SlotSet::default();
    // `[slot->-node]` and `[slot-<-node]` tell of a slot on the move: it counts for the owner named by the plain entry.
    for slot in fields.filter(|slot| !slot.starts_with('[')) {
        let (first, last) = slot.split_once('-').unwrap_or((slot, slot));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= SLOT_COUNT {
            return None;
        }
        slots.insert(first, last);
    }
    let (ip, port, bus_port) = split_address(address)?;
    let at = if has("noaddr") || ip.is_empty() {
        None
    } else {
        let ip: IpAddr = ip.parse().ok()?;
        Some(Address {
            client: SocketAddr::new(ip, port),
            bus_port,
        })
    };
    let replica_of = (primary != "-").then(|| NodeId(primary.to_owned()));
    Some((
        id,
        has("myself"),
        Peer {
            at,
            reach,
            replica_of,
            slots,
        },
    ))
}

/// IP, port and bus port of `ip:port@bus[,hostname[,…]]`. The IP is empty while a node doesn't know its own, and an IPv6 one
/// has no brackets.
fn split_address(text: &str) -> Option<(&str, u16, u16)> {
    let (client, bus) = text.split(',').next()?.split_once('@')?;
    let (ip, port) = client.rsplit_once(':')?;
    Some((ip, port.parse().ok()?, bus.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
07c37dfeb235213a872192d90877d0cd55635b91 10.0.0.4:6379@16379,,tls-port=0,shard-id=ab slave e7d1 0 1426238317239 4 connected
67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 10.0.0.2:6379@16379 master - 0 1426238316232 2 connected 5461-10922
292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f fd00::3:6379@16379,host-3 master,fail - 0 1426238318243 3 disconnected 10923-16383
e7d1 10.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-5460 5461 [93-<-292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f]
aaaa :0@0 slave,noaddr 67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 0 0 4 disconnected
bbbb 10.0.0.9:6379@16379 handshake - 1426238318243 0 0 disconnected
";

    #[test]
    fn roles_slots_and_addresses_are_read() {
        let nodes = parse(TEXT).expect("the text is as documented");
        assert_eq!(nodes.myself, NodeId("e7d1".to_owned()));
        assert_eq!(nodes.slots.ranges(), [(0, 5461)]);
        let of = |id: &str| &nodes.peers[&NodeId(id.to_owned())];
        assert_eq!(
            of("07c37dfeb235213a872192d90877d0cd55635b91").replica_of,
            Some(nodes.myself.clone())
        );
        let failed = of("292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f");
        assert_eq!(failed.reach, Reach::Failed);
        assert_eq!(
            failed.at.map(|at| at.client.to_string()).as_deref(),
            Some("[fd00::3]:6379")
        );
        assert_eq!((of("aaaa").at, of("aaaa").reach), (None, Reach::Suspected));
        assert_eq!(of("bbbb").reach, Reach::Handshake);
    }

    #[test]
    fn a_node_that_does_not_know_its_own_ip_is_read() {
        let nodes = parse("abcd :6379@16379 myself,master - 0 0 0 connected\n")
            .expect("a new node says this");
        assert!(nodes.peers.is_empty() && nodes.slots.is_empty());
    }

    #[test]
    fn what_is_no_node_is_refused_with_its_line() {
        assert_eq!(
            parse("abcd what"),
            Err(ParseError::Line("abcd what".to_owned()))
        );
        assert_eq!(parse(""), Err(ParseError::NoMyself));
        let past_the_end = "abcd :1@2 myself,master - 0 0 0 connected 0-16384";
        assert!(matches!(parse(past_the_end), Err(ParseError::Line(_))));
    }
}
