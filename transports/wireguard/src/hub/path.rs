//! One way a device may come in: one hub key, one device key, one pre-shared key, and the engine for the three.

use crate::engine::{Engine, Ticks, UnusableKey, engine};
use crate::keys::{PresharedKey, PublicKey, SecretKey};

/// Which keys a path is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) hub: PublicKey,
    pub(super) device: PublicKey,
    pub(super) shared: PresharedKey,
}

pub(super) struct Path {
    pub(super) number: u32,
    pub(super) keys: Keys,
    pub(super) engine: Box<Engine>,
    pub(super) sessions: Sessions,
    pub(super) last_handshake: Option<Ticks>,
}

impl Path {
    pub(super) fn new(number: u32, hub: &SecretKey, keys: Keys) -> Result<Self, UnusableKey> {
        let engine = Box::new(engine(hub, &keys.device, &keys.shared)?);
        Ok(Self {
            number,
            keys,
            engine,
            sessions: Sessions::default(),
            last_handshake: None,
        })
    }
}

/// The session numbers under which messages for this engine arrive; the engine's own slots, mirrored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    asked: Option<u32>,
    next: Option<u32>,
    current: Option<u32>,
    previous: Option<u32>,
}

impl Sessions {
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        [self.asked, self.next, self.current, self.previous]
            .into_iter()
            .flatten()
    }

    /// An initiation went out. Returns the number that is free again.
    pub(super) fn initiated(&mut self, number: u32) -> Option<u32> {
        self.asked.replace(number)
    }

    /// A response went out. Returns the number that is free again.
    pub(super) fn responded(&mut self, number: u32) -> Option<u32> {
        self.next.replace(number)
    }

    /// The peer answered our initiation.
    pub(super) fn answered(&mut self) -> Option<u32> {
        let freed = self.previous.take();
        self.previous = self.current.take();
        self.current = self.asked.take();
        freed
    }

    /// A first packet came in the session we responded with; returns the numbers that are free again, or `None` if this one is not that session.
    pub(super) fn confirmed(&mut self, number: u32) -> Option<[Option<u32>; 2]> {
        if self.next != Some(number) {
            return None;
        }
        let freed = [self.previous.take(), self.asked.take()];
        self.previous = self.current.take();
        self.current = self.next.take();
        Some(freed)
    }
}

/// The session number that the sender of a handshake message chose for itself.
pub(super) fn sender(handshake: &[u8]) -> Option<u32> {
    handshake.get(4..8)?.try_into().ok().map(u32::from_le_bytes)
}

/// The session number that a response, cookie or packet is for.
pub(super) fn receiver(datagram: &[u8]) -> Option<u32> {
    let at = match (datagram.first()?, datagram.len()) {
        (2, 92) => 8,
        (3, 64) | (4, 32..) => 4,
        _ => return None,
    };
    datagram
        .get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_number_is_free_once_the_engine_has_dropped_its_session() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.responded(1), None);
        assert_eq!(
            sessions.responded(2),
            Some(1),
            "a repeated handshake replaces the unconfirmed session"
        );
        assert_eq!(sessions.confirmed(2), Some([None, None]));
        assert_eq!(
            sessions.confirmed(2),
            None,
            "only the first packet confirms"
        );
        assert_eq!(sessions.initiated(3), None);
        assert_eq!(sessions.answered(), None);
        assert_eq!(sessions.iter().collect::<Vec<_>>(), [3, 2]);
        sessions.responded(4);
        sessions.initiated(5);
        assert_eq!(sessions.confirmed(4), Some([Some(2), Some(5)]));
        assert_eq!(sessions.iter().collect::<Vec<_>>(), [4, 3]);
    }
}
