//! How much work strangers may cause.
//!
//! A handshake costs the hub a curve multiplication before it knows who asks.
//! While few handshakes come, each is served at once; when many come, a sender must first prove with a cookie that it receives at its address (whitepaper, section 5.3), and then gets a bounded rate.
//! Packets of tunnels that stand never pass here.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use crate::engine::Ticks;

/// Handshakes a second that are served without a cookie; one core does several thousand.
pub(super) const FREE_PER_SECOND: u32 = 400;

/// Handshakes that one source may start at once under load; many devices share the address of one NAT.
pub(super) const BURST: u64 = 100;

/// Handshakes a second that one source may go on starting under load.
pub(super) const PER_SOURCE_PER_SECOND: u64 = 50;

/// Sources that are remembered; about 32 bytes each.
pub(super) const SOURCES: usize = 16_384;

const SECOND: u64 = 1_000_000_000;
const COST: u64 = SECOND / PER_SOURCE_PER_SECOND;

/// Counts handshakes and says when a cookie is due.
#[derive(Debug)]
pub(super) struct Guard {
    second: u64,
    this_second: u32,
    last_second: u32,
    /// The instant at which each source's bucket is full again.
    sources: HashMap<IpAddr, Ticks>,
    swept: Ticks,
}

impl Guard {
    pub(super) fn new() -> Self {
        Self {
            second: 0,
            this_second: 0,
            last_second: 0,
            sources: HashMap::new(),
            swept: Ticks::ZERO,
        }
    }

    /// An initiation came. `true` means that its sender must show a cookie.
    pub(super) fn arrives(&mut self, now: Ticks) -> bool {
        let second = now.nanos() / SECOND;
        if second != self.second {
            self.last_second = if second == self.second + 1 {
                self.this_second
            } else {
                0
            };
            self.second = second;
            self.this_second = 0;
        }
        self.this_second = self.this_second.saturating_add(1);
        self.this_second.max(self.last_second) > FREE_PER_SECOND
    }

    /// May `source`, which has proved its address, have one more handshake?
    pub(super) fn may(&mut self, now: Ticks, source: IpAddr) -> bool {
        let source = network(source);
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&source) {
            // Looking through all of them is dear, so it is done once a second.
            if now.since(self.swept) >= SECOND {
                self.swept = now;
                self.sources.retain(|_, full| *full > now);
            }
            if self.sources.len() >= SOURCES {
                return false;
            }
        }
        let full = self.sources.entry(source).or_insert(now);
        let owed = full.since(now);
        if owed + COST > BURST * COST {
            return false;
        }
        *full = now.add_nanos(owed + COST);
        true
    }
}

/// One customer of an IPv6 provider has at least a /64.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Ticks {
        Ticks::from_nanos(milliseconds * 1_000_000)
    }

    fn source(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn cookies_are_asked_for_only_while_there_is_a_rush() {
        let mut guard = Guard::new();
        let asked = (0..1000).filter(|_| guard.arrives(at(5_000))).count();
        assert_eq!(asked, 1000 - FREE_PER_SECOND as usize);
        assert!(guard.arrives(at(6_000)), "the rush was a moment ago");
        assert!(!guard.arrives(at(8_000)), "the rush is over");
    }

    #[test]
    fn a_source_gets_its_burst_and_then_its_rate() {
        let mut guard = Guard::new();
        let burst = (0..1000).filter(|_| guard.may(at(0), source(1))).count() as u64;
        assert_eq!(burst, BURST);
        let later = (0..1000)
            .filter(|_| guard.may(at(1_000), source(1)))
            .count() as u64;
        assert_eq!(later, PER_SOURCE_PER_SECOND);
        assert!(
            guard.may(at(0), source(2)),
            "another source is not affected"
        );
    }

    #[test]
    fn a_whole_ipv6_network_is_one_source() {
        let mut guard = Guard::new();
        let addresses = (0..1000u128).map(|n| Ipv6Addr::from_bits(0x2001_0db8_0000_0001 << 64 | n));
        let served = addresses
            .filter(|address| guard.may(at(0), (*address).into()))
            .count() as u64;
        assert_eq!(served, BURST);
    }

    #[test]
    fn the_memory_for_sources_is_bounded_and_is_freed() {
        let mut guard = Guard::new();
        let served = (0..100_000)
            .filter(|n| guard.may(at(0), source(*n)))
            .count();
        assert_eq!(served, SOURCES);
        assert_eq!(guard.sources.len(), SOURCES);
        assert!(guard.may(at(60_000), source(200_000)));
        assert_eq!(guard.sources.len(), 1);
    }
}
