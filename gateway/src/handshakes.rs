//! How many handshakes a gateway takes each second, in all and from one source. Pure: it is told the time.
//!
//! Sources come and go, and whoever has many addresses must not fill the memory with them: they are kept in two generations of bounded size, of which the older
//! one is dropped when the younger one is full. Whoever is forgotten begins with a full bucket, which errs on the side of admitting; then the gateway's own rate
//! is what holds.

use std::collections::HashMap;
use std::mem;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rotunda_crds::config::LimitsConfig;

use crate::address::Source;
use crate::limits::Bucket;

/// Sources of one generation.
const MAX_SOURCES: usize = 32_768;

/// Handshakes came too fast; trying again makes sense after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooFast {
    /// From this source.
    Source(Duration),
    /// In all.
    Gateway(Duration),
}

/// The rates of handshakes. One lock, held for a few instructions, and only where a rate is set.
#[derive(Debug, Default)]
pub struct Handshakes(Mutex<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    gateway: Option<Bucket>,
    young: HashMap<Source, Bucket>,
    old: HashMap<Source, Bucket>,
}

impl Handshakes {
    /// Counts one handshake of a client.
    pub fn admit(
        &self,
        client: Option<IpAddr>,
        limits: &LimitsConfig,
        now: Instant,
    ) -> Result<(), TooFast> {
        let (in_all, per_source) = (
            limits.handshakes_per_second,
            limits.handshakes_per_second_per_address,
        );
        if in_all == 0 && per_source == 0 {
            return Ok(());
        }
        let mut buckets = self.0.lock();
        // The source first: what one of them has too much must not cost the others.
        if let Some(client) = client.filter(|_| per_source > 0) {
            take(
                buckets.of(Source::of(client), per_source, now),
                per_source,
                now,
            )
            .map_err(TooFast::Source)?;
        }
        if in_all > 0 {
            let bucket = buckets
                .gateway
                .get_or_insert_with(|| Bucket::full(f64::from(in_all), now));
            take(bucket, in_all, now).map_err(TooFast::Gateway)?;
        }
        Ok(())
    }
}

/// A bucket holds what comes in a second.
fn take(bucket: &mut Bucket, per_second: u32, now: Instant) -> Result<(), Duration> {
    let rate = f64::from(per_second);
    bucket.take(1.0, rate, rate, now)
}

impl Buckets {
    fn of(&mut self, source: Source, per_second: u32, now: Instant) -> &mut Bucket {
        if self.young.len() >= MAX_SOURCES && !self.young.contains_key(&source) {
            self.old = mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(source).or_insert_with(|| {
            old.remove(&source)
                .unwrap_or_else(|| Bucket::full(f64::from(per_second), now))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn limits(in_all: u32, per_source: u32) -> LimitsConfig {
        LimitsConfig {
            handshakes_per_second: in_all,
            handshakes_per_second_per_address: per_source,
            ..LimitsConfig::default()
        }
    }

    fn host(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    #[test]
    fn one_source_has_its_rate_and_others_theirs() {
        let (rates, start, limits) = (Handshakes::default(), Instant::now(), limits(0, 2));
        let admit = |client, at| rates.admit(Some(client), &limits, at);
        assert_eq!(admit(host(1), start), Ok(()));
        assert_eq!(admit(host(1), start), Ok(()));
        let half = Duration::from_millis(500);
        assert_eq!(admit(host(1), start), Err(TooFast::Source(half)));
        assert_eq!(admit(host(2), start), Ok(()));
        assert_eq!(admit(host(1), start + half), Ok(()));
    }

    #[test]
    fn what_one_source_has_too_much_costs_the_others_nothing() {
        let (rates, now, limits) = (Handshakes::default(), Instant::now(), limits(3, 2));
        let admit = |client| rates.admit(Some(client), &limits, now);
        assert!(admit(host(1)).is_ok() && admit(host(1)).is_ok());
        for _ in 0..10 {
            assert!(matches!(admit(host(1)), Err(TooFast::Source(_))));
        }
        assert_eq!(admit(host(2)), Ok(()));
        assert!(matches!(admit(host(3)), Err(TooFast::Gateway(_))));
        let unknown = rates.admit(None, &limits, now);
        assert!(matches!(unknown, Err(TooFast::Gateway(_))));
    }

    #[test]
    fn addresses_of_one_subscriber_of_ipv6_share_a_rate() {
        let (rates, now, limits) = (Handshakes::default(), Instant::now(), limits(0, 3));
        let admitted = (0..1000)
            .filter(|n| {
                let address = Ipv6Addr::from_bits((0x2001_0db8 << 96) | n);
                rates.admit(Some(address.into()), &limits, now).is_ok()
            })
            .count();
        assert_eq!(admitted, 3);
    }

    #[test]
    fn however_many_sources_come_few_are_kept_and_the_latest_are_known() {
        let (rates, now, limits) = (Handshakes::default(), Instant::now(), limits(0, 1));
        for n in 0..4 * MAX_SOURCES {
            let address = Ipv4Addr::from_bits(u32::try_from(n).unwrap()).into();
            rates.admit(Some(address), &limits, now).unwrap();
            assert!(rates.admit(Some(address), &limits, now).is_err());
        }
        let buckets = rates.0.lock();
        assert!(buckets.young.len() + buckets.old.len() <= 2 * MAX_SOURCES);
    }

    #[test]
    fn without_a_rate_nothing_is_kept() {
        let rates = Handshakes::default();
        for _ in 0..1000 {
            let admitted = rates.admit(Some(host(1)), &limits(0, 0), Instant::now());
            assert_eq!(admitted, Ok(()));
        }
        assert!(rates.0.lock().young.is_empty());
    }
}
