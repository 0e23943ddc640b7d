//! The packets that a device sends, written into memory that is lent (OASIS MQTT 5.0, section 3).
//!
//! What does not fit is no packet: a draft remembers that, so that only [`finish`](Draft::finish) has to be asked.

use crate::limits::{RECEIVE_MAXIMUM, WILL_DELAY_S};
use lightship_link::limits::SESSION_EXPIRY_S;

/// Bytes that are kept for a fixed header: the kind, and a length of one byte or two (section 2.1).
const HEAD: usize = 3;
/// From here on a length has three bytes (section 1.5.5); no packet of a device is as long.
const LONG: usize = 1 << 14;
/// The length of a draft that did not fit.
const OVERFLOWN: usize = usize::MAX;

/// What a CONNECT says.
pub(super) struct Greeting<'t> {
    /// Client identifier and user name.
    pub(super) name: &'t str,
    pub(super) password: &'t str,
    /// The topic on which the broker is to say that the device is gone.
    pub(super) presence: Option<&'t str>,
    pub(super) keep_alive_s: u16,
    /// Longest packet that the broker may send.
    pub(super) packet_bytes: u32,
}

/// What a PUBLISH says before its payload.
pub(super) struct Heading<'t> {
    pub(super) topic: &'t str,
    /// The packet identifier, for QoS 1; zero for QoS 0.
    pub(super) id: u16,
    pub(super) is_retained: bool,
    /// Where an answer is to go, and the correlation data that it is to repeat.
    pub(super) reply: Option<(&'t str, u32)>,
}

/// A packet that is being written.
pub(super) struct Draft<'b> {
    bytes: &'b mut [u8],
    len: usize,
    kind: u8,
}

impl<'b> Draft<'b> {
    fn new(bytes: &'b mut [u8], kind: u8) -> Self {
        let len = HEAD;
        Self { bytes, len, kind }
    }

    /// CONNECT (section 3.1): no clean start, and a will that waits for [`WILL_DELAY_S`] if there is one.
    pub(super) fn connect(bytes: &'b mut [u8], greeting: &Greeting<'_>) -> Self {
        /// User name and password; a will at QoS 1 that is retained.
        const LOGIN: u8 = 0b1100_0000;
        const WILL: u8 = 0b0010_1100;
        let mut draft = Self::new(bytes, 0x10);
        let flags = greeting.presence.map_or(LOGIN, |_| LOGIN | WILL);
        draft.put(b"\x00\x04MQTT\x05");
        draft.put(&[flags]);
        draft.number(greeting.keep_alive_s);
        // Properties: session expiry interval, receive maximum, maximum packet size.
        draft.put(&[5 + 3 + 5, 0x11]);
        draft.put(&SESSION_EXPIRY_S.to_be_bytes());
        draft.put(&[0x21]);
        draft.number(RECEIVE_MAXIMUM);
        draft.put(&[0x27]);
        draft.put(&greeting.packet_bytes.to_be_bytes());
        draft.text(greeting.name);
        if let Some(topic) = greeting.presence {
            // Its one property is the will delay interval, its payload one zero.
            draft.put(&[5, 0x18]);
            draft.put(&WILL_DELAY_S.to_be_bytes());
            draft.text(topic);
            draft.put(&[0, 1, 0]);
        }
        draft.text(greeting.name);
        draft.text(greeting.password);
        draft
    }

    /// SUBSCRIBE (section 3.8), without its [`filter`](Self::filter)s.
    pub(super) fn subscribe(bytes: &'b mut [u8], id: u16) -> Self {
        let mut draft = Self::new(bytes, 0x82);
        draft.number(id);
        draft.put(&[0]);
        draft
    }

    /// One more topic, at QoS 1 and with what is retained there (section 3.8.3).
    pub(super) fn filter(&mut self, topic: &str) {
        self.text(topic);
        self.put(&[1]);
    }

    /// PUBLISH (section 3.3), without its payload.
    pub(super) fn publish(bytes: &'b mut [u8], heading: &Heading<'_>) -> Self {
        let qos = u8::from(heading.id != 0) << 1;
        let mut draft = Self::new(bytes, 0x30 | qos | u8::from(heading.is_retained));
        draft.text(heading.topic);
        if heading.id != 0 {
            draft.number(heading.id);
        }
        let Some((topic, correlation)) = heading.reply else {
            draft.put(&[0]);
            return draft;
        };
        // Response topic, and correlation data of four bytes.
        match u8::try_from(3 + topic.len() + 3 + 4) {
            Ok(len @ ..0x80) => draft.put(&[len, 0x08]),
            Ok(_) | Err(_) => draft.len = OVERFLOWN,
        }
        draft.text(topic);
        draft.put(&[0x09, 0, 4]);
        draft.put(&correlation.to_be_bytes());
        draft
    }

    /// PUBACK (section 3.4): success, which goes without saying.
    pub(super) fn acknowledge(bytes: &'b mut [u8], id: u16) -> Self {
        let mut draft = Self::new(bytes, 0x40);
        draft.number(id);
        draft
    }

    /// PINGREQ (section 3.12).
    pub(super) fn ping(bytes: &'b mut [u8]) -> Self {
        Self::new(bytes, 0xc0)
    }

    /// Memory for a payload, of which [`grow`](Self::grow) says how much was used.
    pub(super) fn free(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.len..).unwrap_or_default()
    }

    /// So much of [`free`](Self::free) was written; nothing when the payload did not fit.
    pub(super) fn grow(&mut self, len: Option<usize>) {
        self.len = len.map_or(OVERFLOWN, |len| self.len.saturating_add(len));
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        let place = self.free().get_mut(..bytes.len());
        let len = place.map(|place| {
            place.copy_from_slice(bytes);
            bytes.len()
        });
        self.grow(len);
    }

    fn number(&mut self, number: u16) {
        self.put(&number.to_be_bytes());
    }

    /// A string behind its length (section 1.5.4).
    fn text(&mut self, text: &str) {
        match u16::try_from(text.len()) {
            Ok(len) => self.number(len),
            Err(_) => self.len = OVERFLOWN,
        }
        self.put(text.as_bytes());
    }

    /// Writes the fixed header, and says how many bytes the packet has; nothing when it did not fit.
    pub(super) fn finish(self) -> Option<usize> {
        let Self { bytes, len, kind } = self;
        let bytes = bytes.get_mut(..len)?;
        let body = len - HEAD;
        let (low, high) = ((body % 0x80) as u8, (body / 0x80) as u8);
        *bytes.first_mut()? = kind;
        match body {
            ..0x80 => {
                // A length has no more bytes than it needs.
                bytes.copy_within(HEAD.., HEAD - 1);
                bytes[1] = low;
                Some(len - 1)
            }
            0x80..LONG => {
                bytes[1..HEAD].copy_from_slice(&[low | 0x80, high]);
                Some(len)
            }
            LONG.. => None,
        }
    }
}

#[cfg(test)]
mod tests;
