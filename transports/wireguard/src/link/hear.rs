//! What is concluded from what comes.

use wireguard_sans_io::Ticks;

use super::{Link, PAUSE_S, Trying};
use crate::keepalive::later;
use crate::ping::Ping;

/// Seconds at least between two handshakes that unauthenticated datagrams cause.
const RENEW_S: u16 = 30;

impl Link {
    pub(super) fn pinged(&mut self, now: Ticks, ping: Ping) {
        match ping {
            Ping::Echo { nonce } => self.learner.echoed(now, nonce),
            Ping::Unknown => {
                let soon = self.renewed.is_some_and(|at| later(at, RENEW_S) > now);
                // Before the first handshake the hub cannot know us.
                if self.works && !soon {
                    self.renewed = Some(now);
                    self.learner.lost(now);
                    self.handshake_at = Some(now);
                }
            }
            Ping::Hold | Ping::Probe { .. } => {}
        }
    }

    /// Something came that only the hub can have sent.
    pub(super) fn hear(&mut self, now: Ticks) {
        self.heard = now;
        self.handshake_at = None;
        self.pause_s = PAUSE_S;
        self.reach(true);
        if core::mem::replace(&mut self.works, true) {
            return;
        }
        self.tried_since = now;
        if self.trying == Trying::Pending
            && let Some(keys) = self.pending.take()
        {
            self.current = keys;
            self.trying = Trying::Current;
            self.note_confirmed = true;
        }
    }

    pub(super) fn reach(&mut self, reachable: bool) {
        if self.reachable != Some(reachable) {
            self.reachable = Some(reachable);
            self.note_reachability = true;
        }
    }
}
