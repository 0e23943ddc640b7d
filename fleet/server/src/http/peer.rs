//! Where a request comes from, and how often something may come from there.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;
use std::time::Instant;

use axum::extract::ConnectInfo;
use axum::http::Extensions;
use axum::http::request::Parts;

use super::failure::{Answer, Failure};

/// Peers remembered at once; beyond it the fullest buckets are forgotten.
const PEERS: usize = 100_000;

/// The other end: an IPv4 address, or the /64 that an IPv6 host has to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer(IpAddr);

impl Peer {
    /// The peer of this request; one without a connection is this machine.
    pub(crate) fn of(parts: &Parts) -> Self {
        Self::of_extensions(&parts.extensions)
    }

    /// The same, where only the extensions are at hand.
    pub(crate) fn of_extensions(extensions: &Extensions) -> Self {
        let info = extensions.get::<ConnectInfo<Self>>();
        info.map_or(Self(IpAddr::V4(Ipv4Addr::LOCALHOST)), |info| info.0)
    }
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(IpAddr::V4(address)),
            IpAddr::V6(address) => {
                Self(IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)))
            }
        }
    }
}

/// A bucket for each peer: so many at once, refilled in a minute.
pub(crate) struct Rate {
    per_minute: f64,
    buckets: Mutex<HashMap<Peer, Bucket>>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Rate {
    /// `per_minute` at once, and as many each minute.
    pub(crate) fn new(per_minute: u32) -> Self {
        Self {
            per_minute: f64::from(per_minute.max(1)),
            buckets: Mutex::default(),
        }
    }

    /// Refuses a peer whose bucket is empty.
    pub(crate) fn check(&self, peer: &Peer) -> Answer<()> {
        let left = self.with(peer, |bucket| bucket.left);
        if left >= 1.0 {
            Ok(())
        } else {
            Err(Failure::too_often(self.wait_s(left)))
        }
    }

    /// Takes one out of the peer's bucket.
    pub(crate) fn count(&self, peer: &Peer) {
        self.with(peer, |bucket| bucket.left = (bucket.left - 1.0).max(0.0));
    }

    /// Takes one out, or refuses.
    pub(crate) fn take(&self, peer: &Peer) -> Answer<()> {
        self.check(peer)?;
        self.count(peer);
        Ok(())
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 60"
    )]
    fn wait_s(&self, left: f64) -> u32 {
        ((1.0 - left) * 60.0 / self.per_minute)
            .ceil()
            .clamp(1.0, 60.0) as u32
    }

    fn with<T>(&self, peer: &Peer, use_it: impl FnOnce(&mut Bucket) -> T) -> T {
        let now = Instant::now();
        let mut buckets = self
            .buckets
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if buckets.len() >= PEERS {
            // Whoever has not been here for a minute has a full bucket: nothing is lost.
            buckets.retain(|_, bucket| now.duration_since(bucket.at).as_secs() < 60);
        }
        let bucket = buckets.entry(*peer).or_insert(Bucket {
            left: self.per_minute,
            at: now,
        });
        let refill = now.duration_since(bucket.at).as_secs_f64() / 60.0 * self.per_minute;
        bucket.left = (bucket.left + refill).min(self.per_minute);
        bucket.at = now;
        use_it(bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_runs_empty_for_one_peer_and_not_for_another() {
        let rate = Rate::new(2);
        let (one, other) = (
            Peer::from(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Peer::from(IpAddr::V4(Ipv4Addr::BROADCAST)),
        );
        for _ in 0..2 {
            assert!(rate.check(&one).is_ok());
            rate.count(&one);
        }
        assert_eq!(rate.check(&one).unwrap_err().status(), 429);
        assert!(rate.check(&other).is_ok());
    }

    #[test]
    fn the_addresses_of_one_ipv6_host_are_one_peer() {
        let peer = |text: &str| Peer::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
    }
}
