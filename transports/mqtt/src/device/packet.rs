//! The packets that a broker sends, read where they lie (OASIS MQTT 5.0, sections 2 and 3).
//!
//! Whatever a broker sends is a packet or a [`Misconduct`], and never a panic.

use lightship_link::Misconduct;

/// What a broker says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'p> {
    /// CONNACK of success (section 3.2).
    Welcome(Terms),
    /// CONNACK with a reason why not.
    Refusal(u8),
    /// PUBLISH (section 3.3).
    Publish(Publish<'p>),
    /// PUBACK (section 3.4), with its reason.
    Acknowledgement { id: u16, reason: u8 },
    /// SUBACK (section 3.9), with a reason for each filter.
    Subscribed { id: u16, reasons: &'p [u8] },
    /// PINGRESP (section 3.13).
    Alive,
    /// DISCONNECT (section 3.14), with its reason.
    Farewell(u8),
}

/// What a broker allows (section 3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Whether it has kept a session.
    pub(super) is_resumed: bool,
    /// Messages of QoS 1 that it takes before it has acknowledged the first.
    pub(super) receive_maximum: u16,
    /// Longest packet that it takes.
    pub(super) packet_bytes: u32,
    /// The keep-alive that it wants in the place of the device's.
    pub(super) keep_alive_s: Option<u16>,
}

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Publish<'p> {
    pub(super) topic: &'p [u8],
    /// The packet identifier, for QoS 1; zero for QoS 0.
    pub(super) id: u16,
    pub(super) payload: &'p [u8],
}

/// How long the packet is that begins with these bytes, or one more than there are while that is not known (section 2.1.4).
pub(super) fn len(start: &[u8]) -> Result<usize, Misconduct> {
    match varint(start.get(1..).unwrap_or_default()) {
        Varint::Whole { value, size } => Ok(1 + size + value),
        Varint::Begun => Ok(start.len() + 1),
        Varint::Endless => Err(Misconduct::Length),
    }
}

/// Reads one whole packet.
pub(super) fn decode(packet: &[u8]) -> Result<Packet<'_>, Misconduct> {
    if len(packet)? != packet.len() {
        return Err(Misconduct::Length);
    }
    let mut body = Body(packet);
    let read = match body.head() {
        Some(0x20) => body.connack(),
        // At most once, or at least once; whether it is retained or comes again is nobody's business.
        Some(0x30 | 0x31 | 0x38 | 0x39) => body.publish(false),
        Some(0x32 | 0x33 | 0x3a | 0x3b) => body.publish(true),
        // Exactly once, which was not subscribed to.
        Some(0x34 | 0x35 | 0x3c | 0x3d) => return Err(Misconduct::Sequence),
        Some(0x40) => body.puback(),
        Some(0x90) => body.suback(),
        Some(0xd0) => body.end(Packet::Alive),
        Some(0xe0) => body.disconnect(),
        Some(_) | None => None,
    };
    read.ok_or(Misconduct::Garbage)
}

/// A variable byte integer (section 1.5.5).
enum Varint {
    Whole { value: usize, size: usize },
    Begun,
    Endless,
}

fn varint(bytes: &[u8]) -> Varint {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let size = at + 1;
            return Varint::Whole { value, size };
        }
    }
    match bytes.len() {
        ..4 => Varint::Begun,
        4.. => Varint::Endless,
    }
}

/// What is left of a packet.
struct Body<'p>(&'p [u8]);

impl<'p> Body<'p> {
    /// The first byte of a packet; its length is left behind with it.
    fn head(&mut self) -> Option<u8> {
        let head = self.byte();
        self.varint()?;
        head
    }

    fn connack(&mut self) -> Option<Packet<'p>> {
        let flags = self.byte()?;
        match self.byte()? {
            0 => {
                let mut terms = self.properties()?;
                terms.is_resumed = match flags {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                self.end(Packet::Welcome(terms))
            }
            reason => Some(Packet::Refusal(reason)),
        }
    }

    fn publish(&mut self, has_id: bool) -> Option<Packet<'p>> {
        let topic = self.text()?;
        let id = match has_id {
            true => self.id()?,
            false => 0,
        };
        self.properties()?;
        let payload = self.0;
        Some(Packet::Publish(Publish { topic, id, payload }))
    }

    fn puback(&mut self) -> Option<Packet<'p>> {
        let id = self.id()?;
        let reason = self.reason()?;
        self.end(Packet::Acknowledgement { id, reason })
    }

    fn suback(&mut self) -> Option<Packet<'p>> {
        let id = self.id()?;
        self.properties()?;
        let reasons = self.0;
        Some(Packet::Subscribed { id, reasons })
    }

    fn disconnect(&mut self) -> Option<Packet<'p>> {
        let reason = self.reason()?;
        self.end(Packet::Farewell(reason))
    }

    /// A reason with its properties, both of which may be left out when there is nothing to say (sections 3.4.2.1 and 3.14.2.1).
    fn reason(&mut self) -> Option<u8> {
        if self.0.is_empty() {
            return Some(0);
        }
        let reason = self.byte()?;
        if !self.0.is_empty() {
            self.properties()?;
        }
        Some(reason)
    }

    /// Nothing may follow.
    fn end(&self, packet: Packet<'p>) -> Option<Packet<'p>> {
        self.0.is_empty().then_some(packet)
    }

    /// Takes what concerns a device out of the properties, and steps over the others by their types (section 2.2.2.2).
    fn properties(&mut self) -> Option<Terms> {
        let mut terms = Terms {
            is_resumed: false,
            receive_maximum: u16::MAX,
            packet_bytes: u32::MAX,
            keep_alive_s: None,
        };
        let len = self.varint()?;
        let mut list = Body(self.take(len)?);
        while !list.0.is_empty() {
            match list.byte()? {
                0x13 => terms.keep_alive_s = Some(list.number()?),
                0x21 => terms.receive_maximum = list.id()?,
                0x27 => terms.packet_bytes = list.wide().filter(|bytes| *bytes > 0)?,
                // A byte.
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => drop(list.byte()?),
                // Two bytes.
                0x22 | 0x23 => drop(list.number()?),
                // Four bytes.
                0x02 | 0x11 | 0x18 => drop(list.wide()?),
                // A variable byte integer.
                0x0b => drop(list.varint()?),
                // A string, or binary data.
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => drop(list.text()?),
                // Two strings.
                0x26 => drop((list.text()?, list.text()?)),
                _ => return None,
            }
        }
        Some(terms)
    }

    fn take(&mut self, len: usize) -> Option<&'p [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.take(2)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    }

    fn wide(&mut self) -> Option<u32> {
        let bytes = self.take(4)?.first_chunk()?;
        Some(u32::from_be_bytes(*bytes))
    }

    /// A number that is not zero, as every identifier is (section 2.2.1).
    fn id(&mut self) -> Option<u16> {
        self.number().filter(|id| *id != 0)
    }

    fn varint(&mut self) -> Option<usize> {
        match varint(self.0) {
            Varint::Whole { value, size } => {
                self.take(size)?;
                Some(value)
            }
            Varint::Begun | Varint::Endless => None,
        }
    }

    fn text(&mut self) -> Option<&'p [u8]> {
        let len = self.number()?;
        self.take(len.into())
    }
}

#[cfg(test)]
mod tests;
