//! Keep-alives that carry nothing.
//!
//! A NAT keeps a mapping open for whatever passes through it, so holding it open needs no handshake, no session and no tag: one byte does.
//! These datagrams are not authenticated, and nothing is believed because of them: at most a device does a handshake again, or waits longer or shorter before its next ping.
//! None is larger than the one that asked for it. A hub that is not Lightship's drops them, as WireGuard must.

/// One of the datagrams that is not WireGuard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ping {
    /// Device to hub: holds the mapping open.
    Hold,
    /// Device to hub: send me an [`Ping::Echo`] after so many seconds, in which I send nothing.
    Probe {
        /// Seconds of silence.
        after_s: u16,
        /// Comes back in the echo.
        nonce: u32,
    },
    /// Hub to device: what was asked for.
    Echo {
        /// Of the probe.
        nonce: u32,
    },
    /// Hub to device: nobody is known at the place you sent from; do a handshake.
    Unknown,
}

/// The bytes of a ping.
pub(crate) struct Bytes {
    bytes: [u8; 7],
    length: usize,
}

impl core::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Ping {
    pub(crate) fn encode(self) -> Bytes {
        let mut bytes = [0; 7];
        let length = match self {
            Self::Hold => 1,
            Self::Probe { after_s, nonce } => {
                bytes[1..3].copy_from_slice(&after_s.to_be_bytes());
                bytes[3..7].copy_from_slice(&nonce.to_be_bytes());
                7
            }
            Self::Echo { nonce } => {
                bytes[0] = 0xfe;
                bytes[1..5].copy_from_slice(&nonce.to_be_bytes());
                5
            }
            Self::Unknown => {
                bytes[0] = 0xff;
                1
            }
        };
        Bytes { bytes, length }
    }

    pub(crate) fn decode(datagram: &[u8]) -> Option<Self> {
        match *datagram {
            [0] => Some(Self::Hold),
            [0, s1, s0, n3, n2, n1, n0] => Some(Self::Probe {
                after_s: u16::from_be_bytes([s1, s0]),
                nonce: u32::from_be_bytes([n3, n2, n1, n0]),
            }),
            [0xfe, n3, n2, n1, n0] => Some(Self::Echo {
                nonce: u32::from_be_bytes([n3, n2, n1, n0]),
            }),
            [0xff] => Some(Self::Unknown),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let nonce = 0x1234_5678;
        for ping in [
            Ping::Hold,
            Ping::Probe {
                after_s: 280,
                nonce,
            },
            Ping::Echo { nonce },
            Ping::Unknown,
        ] {
            assert_eq!(Ping::decode(&ping.encode()), Some(ping));
        }
    }

    #[test]
    fn no_answer_is_larger_than_its_question() {
        assert!(
            Ping::Echo { nonce: 0 }.encode().len()
                < Ping::Probe {
                    after_s: 0,
                    nonce: 0
                }
                .encode()
                .len()
        );
        assert_eq!(Ping::Unknown.encode().len(), Ping::Hold.encode().len());
    }

    #[test]
    fn nothing_else_is_a_ping() {
        for other in [&[][..], &[1], &[0, 0], &[0xff, 0], &[4; 32], &[0; 148]] {
            assert_eq!(Ping::decode(other), None);
        }
    }
}
