//! The microcontroller's half: reqwless without TLS over any byte stream, for the inside of a tunnel.
//!
//! One connection waits for what the fleet has to say; a second one carries messages, logs and blobs, one after the other.
//! It is opened when it is first needed; a message does not wait for a blob: the blob is left and gone on with after it.

mod blobs;
mod exchange;
mod line;
mod logs;
mod serve;
mod target;
mod work;

use embassy_futures::select::{Either3, select3};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_time::Duration;
use lightship_core::limits::MESSAGE_BYTES;
use lightship_core::wire::json::TEXT_BYTES;
use lightship_link::chunk::Asked;
use lightship_link::mailbox::{End, Port, Wish};
use lightship_link::{Credentials, Failure, Known};

pub use crate::dial::Dial;
use crate::limits::{HEAD_BYTES, SITE_BYTES};
pub use crate::logs::Kind;
use line::Line;
pub use logs::{Journal, Logs, Offered};

/// Connections that are open at once, at most.
pub const CONNECTIONS: usize = 2;

/// Which fleet it is, at the other end of the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site<'a> {
    host: &'a str,
    base: &'a str,
}

impl<'a> Site<'a> {
    /// A fleet by the value of `Host` (a name or address, with the port if it is not 80) and by what all its paths begin with: nothing, but behind a proxy.
    ///
    /// Nothing when they are longer than [`SITE_BYTES`] together or hold anything that is not printed.
    pub fn new(host: &'a str, base: &'a str) -> Option<Self> {
        let base = base.trim_end_matches('/');
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let is_path = base.is_empty() || base.starts_with('/');
        let is_short = host.len() + base.len() <= SITE_BYTES;
        let is_good = is_short && is_path && !host.is_empty() && is_plain(host) && is_plain(base);
        is_good.then_some(Self { host, base })
    }
}

/// How patient to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long the server is asked to hold a request for the target, in whole seconds.
    pub wait: Duration,
    /// How long an answer may take beyond that, and a connection to come about.
    pub timeout: Duration,
    /// Time between two requests when the server does not hold them.
    pub poll: Duration,
}

impl Patience {
    /// The same as a host's: held for four minutes, below the five after which many routers forget a quiet connection.
    pub const DEFAULT: Self = Self {
        wait: Duration::from_secs(240),
        timeout: Duration::from_secs(30),
        poll: Duration::from_secs(60),
    };
}

/// Memory for requests and answers.
///
/// `N` is the longest message in postcard, as in the mailbox, and `T` the longest in JSON; a longer one is rejected by name.
#[derive(Debug)]
pub struct Memory<const N: usize = MESSAGE_BYTES, const T: usize = TEXT_BYTES> {
    target: target::Memory<N, T>,
    work: work::Memory,
}

impl<const N: usize, const T: usize> Memory<N, T> {
    /// Empty memory.
    pub const fn new() -> Self {
        const {
            assert!(
                T >= HEAD_BYTES,
                "a request for the target is written where its answer comes"
            );
        }
        Self {
            target: target::Memory::new(),
            work: work::Memory::new(),
        }
    }
}

impl<const N: usize, const T: usize> Default for Memory<N, T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Connects when it is told to and carries messages until the connection fails. Poll it beside the agent.
pub struct Runner<'a, D, M: RawMutex, const N: usize = MESSAGE_BYTES, const T: usize = TEXT_BYTES> {
    dial: D,
    site: Site<'a>,
    patience: Patience,
    port: Port<'a, M, N>,
    asked: Asked<'a, M>,
    offered: Offered<'a, M>,
    memory: &'a mut Memory<N, T>,
}

impl<'a, D: Dial, M: RawMutex, const N: usize, const T: usize> Runner<'a, D, M, N, T> {
    /// A runner between the agent's mailbox, its questions for blobs, its logs, and a fleet.
    pub fn new(
        dial: D,
        (site, patience): (Site<'a>, Patience),
        (port, asked, offered): (Port<'a, M, N>, Asked<'a, M>, Offered<'a, M>),
        memory: &'a mut Memory<N, T>,
    ) -> Self {
        Self {
            dial,
            site,
            patience,
            port,
            asked,
            offered,
            memory,
        }
    }

    /// Runs for ever.
    pub async fn run(&mut self) -> ! {
        let mut wish = None;
        loop {
            let (credentials, known) = match wish.take() {
                Some(Wish::Connect(credentials, known)) => (credentials, known),
                Some(Wish::Disconnect) => {
                    self.port.down(Failure::Closed).await;
                    continue;
                }
                None => self.idle().await,
            };
            match self.serve(&credentials, known).await {
                End::Failed(failure) => self.port.down(failure).await,
                End::Ordered(next) => wish = Some(next),
            }
        }
    }

    async fn idle(&mut self) -> (Credentials, Known) {
        let (line, terms) = (Line::new(&self.dial), (self.site, self.patience.timeout));
        let shipping = work::ship(line, terms, &mut self.offered, &mut self.memory.work);
        let wanted = self.port.idle();
        let wanted = match select3(wanted, self.asked.refuse(), shipping).await {
            Either3::First(wanted) => wanted,
            Either3::Second(never) | Either3::Third(never) => never,
        };
        // Logs that were under way are to be offered again.
        self.offered.fail(Failure::Closed);
        wanted
    }
}

impl<D, M: RawMutex, const N: usize, const T: usize> core::fmt::Debug for Runner<'_, D, M, N, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_brings_no_header_of_its_own() {
        assert!(Site::new("10.99.0.1:8080", "/lightship/").is_some());
        for (host, base) in [
            ("", ""),
            ("a b", ""),
            ("a\r\nX: y", ""),
            ("a", "/x y"),
            ("a", "x"),
            ("\u{e4}", ""),
        ] {
            assert_eq!(Site::new(host, base), None, "{host:?} {base:?}");
        }
        let long = core::str::from_utf8(&[b'a'; SITE_BYTES + 1]).unwrap();
        assert_eq!(Site::new(long, ""), None);
    }
}
