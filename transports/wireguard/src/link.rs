//! A device's end of its tunnel to the hub: sans-I/O, `no_std`, no allocator.
//!
//! The platform gives it datagrams, inner packets, the time and randomness, and sends what comes out.
//! It connects by itself, stays reachable with as few packets as the NAT in front allows, and changes keys while it runs.
//!
//! Contract: after each call, call [`Link::poll`] until it says `None`, then wait until [`Link::wake`] or the next input.

mod hear;
mod terms;

use wireguard_sans_io::{Encapsulated, EntropySource, Now, PollOutput, Received, Ticks};

use crate::engine::{Engine, UnusableKey, build};
use crate::keepalive::{Learner, later};
use crate::ping::Ping;

pub use self::terms::{Input, KeepAlive, KeySet, LinkNote, LinkStats, Output};

/// Seconds that one set of keys is tried before the other: three initiations.
const TRIAL_S: u16 = 16;

/// Seconds after the old keys worked before the new ones are tried again.
const RETRY_PENDING_S: u16 = 600;

/// Seconds of the first pause after a minute and a half of unanswered initiations, and of the longest.
const PAUSE_S: u16 = 15;
const LONGEST_PAUSE_S: u16 = 600;

/// Seconds without anything authenticated after which the tunnel is tested with a handshake.
const RECHECK_S: u16 = 3600;

/// The same for a hub that answers no keep-alives: nothing else shows that it has started anew.
const RECHECK_MUTE_S: u16 = 600;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trying {
    Current,
    Pending,
}

/// A device's end of its tunnel.
pub struct Link {
    current: KeySet,
    pending: Option<KeySet>,
    trying: Trying,
    tried_since: Ticks,
    /// None on an idle link, which has no keys.
    engine: Option<Engine>,
    /// The engine's keys have worked.
    works: bool,
    handshake_at: Option<Ticks>,
    pause_s: u16,
    renewed: Option<Ticks>,
    heard: Ticks,
    spoke: Ticks,
    keep_alive: KeepAlive,
    learner: Learner,
    reachable: Option<bool>,
    note_reachability: bool,
    note_confirmed: bool,
    /// What engines before this one counted.
    before: LinkStats,
}

impl Link {
    /// A tunnel that connects as soon as it is polled.
    ///
    /// `pending` is the set of keys that a rotation stored and that has not been used yet: it is tried first, and whichever set works is used.
    ///
    /// # Errors
    /// [`UnusableKey`] if one of the sets can never work.
    pub fn new(
        now: Now,
        current: KeySet,
        pending: Option<KeySet>,
        keep_alive: KeepAlive,
    ) -> Result<Self, UnusableKey> {
        let mut link = Self::idle();
        link.begin(now, current, pending, keep_alive)?;
        Ok(link)
    }

    /// A tunnel that goes nowhere until it [begins](Self::begin): it sends nothing and believes nothing.
    pub const fn idle() -> Self {
        Self {
            current: KeySet::NONE,
            pending: None,
            trying: Trying::Current,
            tried_since: Ticks::ZERO,
            engine: None,
            works: false,
            handshake_at: None,
            pause_s: PAUSE_S,
            renewed: None,
            heard: Ticks::ZERO,
            spoke: Ticks::ZERO,
            keep_alive: KeepAlive::Off,
            learner: Learner::new(Ticks::ZERO),
            reachable: None,
            note_reachability: false,
            note_confirmed: false,
            before: LinkStats::NONE,
        }
    }

    /// Becomes another tunnel where it lies: all of the old one is forgotten. See [`new`](Self::new).
    ///
    /// # Errors
    /// [`UnusableKey`] if one of the sets can never work; without `pending`, nothing has changed then.
    pub fn begin(
        &mut self,
        now: Now,
        current: KeySet,
        pending: Option<KeySet>,
        keep_alive: KeepAlive,
    ) -> Result<(), UnusableKey> {
        build(&mut self.engine, &current)?;
        self.trying = Trying::Current;
        if let Some(pending) = &pending {
            build(&mut self.engine, pending)?;
            self.trying = Trying::Pending;
        }
        (self.current, self.pending) = (current, pending);
        self.start(now.ticks);
        (self.renewed, self.reachable) = (None, None);
        (self.heard, self.spoke) = (now.ticks, now.ticks);
        self.keep_alive = keep_alive;
        self.learner = Learner::new(now.ticks);
        (self.note_reachability, self.note_confirmed) = (false, false);
        self.before = LinkStats::NONE;
        Ok(())
    }

    /// The keys that are in force.
    pub fn keys(&self) -> &KeySet {
        &self.current
    }

    /// The keys that a rotation is changing to.
    pub fn pending(&self) -> Option<&KeySet> {
        self.pending.as_ref()
    }

    /// Changes to other keys, which must be stored as pending and announced to the hub before.
    ///
    /// The old ones are tried again if the new ones do not work; [`LinkNote::KeysConfirmed`] tells when they do.
    pub fn offer(&mut self, now: Now, keys: KeySet) -> Result<(), UnusableKey> {
        let before = self.pending.replace(keys);
        let tried = self.try_keys(now.ticks, Trying::Pending);
        if tried.is_err() {
            self.pending = before;
        }
        tried
    }

    /// The device is in another network: tells the hub, and learns the keep-alive anew.
    pub fn moved(&mut self, now: Now) {
        self.learner.moved(now.ticks);
        self.handshake_at = Some(now.ticks);
        self.pause_s = PAUSE_S;
    }

    /// Encrypts an inner packet into `buffer`, which holds 32 bytes more than the packet padded to 16, and 148 at least.
    pub fn send<'a>(
        &mut self,
        now: Now,
        packet: &[u8],
        buffer: &'a mut [u8],
        chance: &mut dyn EntropySource,
    ) -> Output<'a> {
        let Some(engine) = &mut self.engine else {
            return Output::Wait(None);
        };
        let output = match engine.encapsulate(now, packet, buffer, chance) {
            Ok(Encapsulated::Transport(wire)) => Output::Datagram(wire),
            Ok(Encapsulated::HandshakeInitiation(wire)) => Output::Wait(Some(wire)),
            Err(_) => return Output::Wait(None),
        };
        self.speak(now.ticks);
        output
    }

    /// Takes in a datagram; inner packets and replies are written to `buffer`, which is as long as the datagram and 148 bytes at least.
    pub fn receive<'a>(
        &mut self,
        now: Now,
        datagram: &[u8],
        buffer: &'a mut [u8],
        chance: &mut dyn EntropySource,
    ) -> Input<'a> {
        if let Some(ping) = Ping::decode(datagram) {
            self.pinged(now.ticks, ping);
            return Input::Ignored;
        }
        let Some(engine) = &mut self.engine else {
            return Input::Ignored;
        };
        let input = match engine.decapsulate(now, &[], false, datagram, buffer, chance) {
            Ok(Received::Data(padded)) => {
                let length = wireguard_sans_io::ip_packet_len(padded)
                    .unwrap_or(padded.len())
                    .min(padded.len());
                Input::Packet(&padded[..length])
            }
            Ok(Received::Keepalive) => Input::Alive,
            Ok(Received::HandshakeComplete) => Input::Established,
            Ok(Received::Reply(wire)) => {
                self.speak(now.ticks);
                return Input::Reply(wire);
            }
            Ok(Received::CookieStored) | Err(_) => return Input::Ignored,
        };
        self.hear(now.ticks);
        input
    }

    /// Writes the next datagram that is due to `buffer`, which holds 148 bytes, and returns its length.
    // A function of its own: inlined in a future it would be larger.
    #[inline(never)]
    pub fn poll(
        &mut self,
        now: Now,
        buffer: &mut [u8],
        chance: &mut dyn EntropySource,
    ) -> Option<usize> {
        self.choose_keys(now.ticks);
        let sent = self
            .handshake(now, buffer, chance)
            .or_else(|| self.engine_timers(now, buffer, chance));
        if sent.is_some() {
            self.speak(now.ticks);
            return sent;
        }
        self.keep_alive(now.ticks, buffer, chance)
    }

    /// When [`Self::poll`] has something to do, if nothing comes in before.
    // As `poll`.
    #[inline(never)]
    pub fn wake(&self) -> Ticks {
        // A handshake or a recheck is always due some time.
        let recheck = || later(self.heard, self.recheck_s());
        let mut first = self.handshake_at.unwrap_or_else(recheck);
        let mut no_later = |than: Ticks| first = first.min(than);
        if let Some(at) = self.engine.as_ref().and_then(Engine::next_wake) {
            no_later(at);
        }
        if let Some((at, _)) = self.next_keys() {
            no_later(at);
        }
        let is_learning = self.is_learning();
        if is_learning && let Some(at) = self.learner.wake() {
            no_later(at);
        }
        let is_silent = is_learning && self.learner.is_probing();
        if !is_silent && let Some(interval_s) = self.interval_s() {
            no_later(later(self.spoke, interval_s));
        }
        first
    }

    /// The next thing to report, if any.
    pub fn note(&mut self) -> Option<LinkNote> {
        if core::mem::take(&mut self.note_confirmed) {
            return Some(LinkNote::KeysConfirmed);
        }
        if core::mem::take(&mut self.note_reachability) {
            return Some(if self.reachable == Some(true) {
                LinkNote::Reachable
            } else {
                LinkNote::Unreachable
            });
        }
        None
    }

    /// Numbers for status pages.
    pub fn stats(&self) -> LinkStats {
        let engine = self.engine.as_ref().map(Engine::stats);
        let engine = engine.unwrap_or_default();
        let dropped = engine.auth_failures + engine.mac1_failures + engine.replays_dropped;
        LinkStats {
            last_handshake: engine.last_handshake_at.or(self.before.last_handshake),
            received: self.before.received + engine.rx_bytes,
            sent: self.before.sent + engine.tx_bytes,
            dropped: self.before.dropped + dropped,
            keep_alive_s: self.interval_s().unwrap_or(0),
        }
    }

    /// Puts an engine with these keys in the place of the one that is there, which stays if they are unusable.
    fn try_keys(&mut self, now: Ticks, trying: Trying) -> Result<(), UnusableKey> {
        let keys = match trying {
            Trying::Current => &self.current,
            Trying::Pending => self.pending.as_ref().unwrap_or(&self.current),
        };
        let before = self.stats();
        build(&mut self.engine, keys)?;
        self.before = before;
        self.trying = trying;
        self.start(now);
        Ok(())
    }

    /// The engine is a new one, and has its time from now on.
    fn start(&mut self, now: Ticks) {
        self.tried_since = now;
        self.works = false;
        self.handshake_at = Some(now);
        self.pause_s = PAUSE_S;
    }

    /// Goes on to the other set of keys when this one had its time.
    fn choose_keys(&mut self, now: Ticks) {
        if let Some((at, trying)) = self.next_keys()
            && at <= now
        {
            // Those that are there go on where the others are unusable.
            let _ = self.try_keys(now, trying);
        }
    }

    /// When another set of keys is tried, and which.
    fn next_keys(&self) -> Option<(Ticks, Trying)> {
        self.pending.as_ref()?;
        let (after_s, trying) = match (self.works, self.trying) {
            (false, Trying::Pending) => (TRIAL_S, Trying::Current),
            (false, Trying::Current) => (TRIAL_S, Trying::Pending),
            (true, Trying::Current) => (RETRY_PENDING_S, Trying::Pending),
            (true, Trying::Pending) => return None,
        };
        Some((later(self.tried_since, after_s), trying))
    }

    /// Something was sent that the NAT and the hub have seen.
    fn speak(&mut self, now: Ticks) {
        self.spoke = now;
        self.learner.disturbed(now);
    }

    fn handshake(
        &mut self,
        now: Now,
        buffer: &mut [u8],
        chance: &mut dyn EntropySource,
    ) -> Option<usize> {
        let recheck_s = self.recheck_s();
        let Some(engine) = &mut self.engine else {
            // Nothing to hear.
            self.heard = now.ticks;
            return None;
        };
        if self.handshake_at.is_none() && later(self.heard, recheck_s) <= now.ticks {
            self.heard = now.ticks;
            self.handshake_at = Some(now.ticks);
        }
        if self.handshake_at.is_none_or(|at| at > now.ticks) {
            return None;
        }
        let initiated = engine.initiate_handshake(now, buffer, chance);
        // Too soon after the last one, or no randomness yet.
        let again = initiated.is_err().then(|| later(now.ticks, 1));
        self.handshake_at = again;
        initiated.ok().map(|wire| wire.len())
    }

    fn engine_timers(
        &mut self,
        now: Now,
        buffer: &mut [u8],
        chance: &mut dyn EntropySource,
    ) -> Option<usize> {
        loop {
            match self.engine.as_mut()?.poll(now, buffer, chance).ok()? {
                PollOutput::Send(wire, _) => return Some(wire.len()),
                PollOutput::HandshakeExpired => {
                    self.reach(false);
                    self.handshake_at = Some(later(now.ticks, self.pause_s));
                    self.pause_s = (self.pause_s * 2).min(LONGEST_PAUSE_S);
                }
                PollOutput::SessionsExpired => {}
                PollOutput::Idle => return None,
            }
        }
    }

    fn keep_alive(
        &mut self,
        now: Ticks,
        buffer: &mut [u8],
        chance: &mut dyn EntropySource,
    ) -> Option<usize> {
        let interval_s = self.interval_s()?;
        if self.is_learning() {
            if self.learner.overdue(now) {
                // The mapping is gone, most likely, so the hub has to hear who is at the new one.
                self.handshake_at = Some(now);
                return None;
            }
            if self.learner.is_probing() {
                return None;
            }
            let mut nonce = [0; 4];
            chance.fill(&mut nonce).ok()?;
            if let Some(probe) = self.learner.start(now, u32::from_le_bytes(nonce)) {
                let (after_s, nonce) = (probe.after_s, probe.nonce);
                return self.ping(now, Ping::Probe { after_s, nonce }, buffer);
            }
        }
        if later(self.spoke, interval_s) > now {
            return None;
        }
        self.ping(now, Ping::Hold, buffer)
    }

    fn ping(&mut self, now: Ticks, ping: Ping, buffer: &mut [u8]) -> Option<usize> {
        let bytes = ping.encode();
        buffer.get_mut(..bytes.len())?.copy_from_slice(&bytes);
        self.spoke = now;
        Some(bytes.len())
    }

    fn interval_s(&self) -> Option<u16> {
        match self.keep_alive {
            KeepAlive::Learned => Some(self.learner.interval_s()),
            KeepAlive::Every(seconds) => Some(seconds.max(1)),
            KeepAlive::Off => None,
        }
    }

    /// How long a NAT remembers is found out once the tunnel stands.
    fn is_learning(&self) -> bool {
        self.keep_alive == KeepAlive::Learned && self.works
    }

    fn recheck_s(&self) -> u16 {
        match self.keep_alive {
            KeepAlive::Learned if !self.learner.is_answered() => RECHECK_MUTE_S,
            KeepAlive::Learned | KeepAlive::Every(_) | KeepAlive::Off => RECHECK_S,
        }
    }
}

impl core::fmt::Debug for Link {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match &self.engine {
            Some(engine) => write!(f, "Link({engine:?}, works: {})", self.works),
            None => f.write_str("Link(idle)"),
        }
    }
}
