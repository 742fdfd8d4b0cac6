//! Where a client is: address ranges, and which hop of `X-Forwarded-For` to believe. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A range of addresses in CIDR notation (RFC 4632, section 3.1; RFC 4291, section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    network: IpAddr,
    prefix: u32,
}

impl Range {
    fn contains(self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Range {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text.split_once('/').ok_or(())?;
        let network: IpAddr = address.parse().map_err(drop)?;
        let prefix: u32 = prefix.parse().map_err(drop)?;
        let bits = if network.is_ipv4() { 32 } else { 128 };
        (prefix <= bits)
            .then_some(Self { network, prefix })
            .ok_or(())
    }
}

/// No range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "spec.trustedProxies holds \"{0}\", which is no range of addresses: write it like 10.0.0.0/8 or 2001:db8::/32"
)]
pub struct NoRange(String);

/// Proxies whose word about where a client is counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Range>);

impl TrustedProxies {
    pub fn new(ranges: &[String]) -> Result<Self, NoRange> {
        let parse = |text: &String| text.parse().map_err(|()| NoRange(text.clone()));
        ranges.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(address))
    }

    /// Where the client is that the peer speaks for. `forwarded` are the values of `X-Forwarded-For`, in order.
    ///
    /// Each proxy appends whom it heard from, so what stands to the right of the last trusted hop is true, and what is left of the first
    /// untrusted one may be made up: the rightmost hop that isn't trusted is the client. Where a hop is no address, the one that named it is
    /// the last that is known.
    pub fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> IpAddr {
        let mut client = peer.to_canonical();
        if self.0.is_empty() {
            return client;
        }
        let mut hops = forwarded.rev().flat_map(|value| value.rsplit(','));
        while self.trusts(client)
            && let Some(hop) = hops.next().and_then(parse_hop)
        {
            client = hop;
        }
        client
    }
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

/// What counts as one source of connections: an IPv4 address, or the /64 that is the least a subscriber of IPv6 gets (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl Source {
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            address @ IpAddr::V4(_) => address,
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(ranges: &[&str]) -> TrustedProxies {
        let ranges: Vec<_> = ranges.iter().map(|&text| text.to_owned()).collect();
        TrustedProxies::new(&ranges).unwrap()
    }

    fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        proxies(trusted)
            .client(peer.parse().unwrap(), forwarded.iter().copied())
            .to_string()
    }

    #[test]
    fn the_rightmost_hop_that_is_not_trusted_is_the_client() {
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48"];
        for (peer, forwarded, expected) in [
            ("10.0.0.1", &["203.0.113.9"][..], "203.0.113.9"),
            // What the client itself has written is to the left of it.
            ("10.0.0.1", &["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
            (
                "10.0.0.1",
                &["1.2.3.4", "203.0.113.9,10.1.1.1"],
                "203.0.113.9",
            ),
            ("10.0.0.1", &["203.0.113.9:5555"], "203.0.113.9"),
            ("2001:db8:1::5", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("2001:db8:1::5", &["[2001:db8::1]"], "2001:db8::1"),
            ("::ffff:10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
            // All of them are proxies: the first one is as far as is known.
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            assert_eq!(client(&trusted, peer, forwarded), expected, "{forwarded:?}");
        }
    }

    #[test]
    fn a_peer_that_is_not_trusted_is_the_client_whatever_it_says() {
        assert_eq!(
            client(&["10.0.0.0/8"], "11.0.0.1", &["1.2.3.4"]),
            "11.0.0.1"
        );
        assert_eq!(client(&[], "10.0.0.1", &["1.2.3.4"]), "10.0.0.1");
    }

    #[test]
    fn ranges_of_every_size_hold_what_they_should() {
        for (range, inside, outside) in [
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("192.0.2.7/32", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.130/25", "192.0.2.255", "192.0.2.127"),
            ("::/0", "2001:db8::", "1.1.1.1"),
            ("2001:db8::1/128", "2001:db8::1", "2001:db8::2"),
            ("fe80::/10", "febf::1", "fec0::1"),
        ] {
            let proxies = proxies(&[range]);
            assert!(proxies.trusts(inside.parse().unwrap()), "{range}");
            assert!(!proxies.trusts(outside.parse().unwrap()), "{range}");
        }
    }

    #[test]
    fn what_is_no_range_is_named() {
        for bad in [
            "10.0.0.0",
            "10.0.0.0/33",
            "::/129",
            "host/8",
            "10.0.0.0/-1",
            "",
        ] {
            let error = TrustedProxies::new(&[bad.to_owned()]).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains(&format!("spec.trustedProxies holds \"{bad}\"")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_source() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    }
}
