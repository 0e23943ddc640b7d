//! What a device is told before it ever ran: one block in a partition of its flash.
//!
//! ```text
//!  0  magic     "lightship-device"
//! 16  version   u16, 1
//! 18  reserved  u16, zero
//! 20  length    u32, bytes of the body
//! 24  CRC-32    over bytes 0 to 23 and the body
//! 28  body      postcard of [`Config`], by the core's [`codec`](lightship_core::codec)
//! ```
//!
//! Numbers are little-endian.
//! `lightship config` writes it; once the device is registered it is erased, because it holds the provisioning key, and what is still needed of it is kept among the records.

use lightship_core::codec::{Decode, Encode, Reader, Writer, fields};
use lightship_core::id::{Endpoint, Name, ProvisioningKey, PublicKey};

/// Largest block: it fits the smallest common erase unit.
pub const BLOCK_BYTES: usize = 4096;

/// Longest trust root in a block, in bytes: eight keys and as many signatures, with room to grow.
pub const ROOT_BYTES: usize = 2048;

/// Most bytes of what is kept of a configuration before its root: three names and a number.
#[cfg(feature = "agent")]
pub(crate) const BRIEF_BYTES: usize = 3 * (lightship_core::limits::NAME_BYTES + 2) + 6;

const MAGIC: [u8; 16] = *b"lightship-device";
const VERSION: u16 = 1;
const HEAD: usize = 28;
const CRC: crc::Crc<u32, crc::NoTable> = crc::Crc::<u32, crc::NoTable>::new(&crc::CRC_32_ISO_HDLC);

/// What a device is told about itself and its fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config<'a> {
    /// What it is; releases for anything else are refused.
    pub device_type: Name,
    /// What it is meant to run; releases of anything else are refused.
    pub product: Name,
    /// What it would like to be called.
    pub name: Option<Name>,
    /// What lets it in, and where; `None` once the device is registered.
    pub entrance: Option<Entrance>,
    /// Seconds between rotations of each key; `None` to rotate on command alone.
    pub rotation_period_s: Option<u32>,
    /// The trust root document.
    pub root: Root<'a>,
}

/// A document in its envelope, as it was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root<'a>(pub &'a [u8]);

/// How a device that is not registered reaches its fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// What lets it in; also what the enrolment tunnel's pre-shared key is made of.
    pub provisioning_key: ProvisioningKey,
    /// The hub's public key for this provisioning key.
    pub hub: PublicKey,
    /// Where the hub lets devices enrol.
    pub endpoint: Endpoint,
}

fields!(Config<'a> {
    device_type,
    product,
    name,
    entrance,
    rotation_period_s,
    root,
});
fields!(Entrance {
    provisioning_key,
    hub,
    endpoint
});

/// Why bytes are no configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The flash is erased: nobody has configured the device.
    Blank,
    /// It is something else, torn or damaged.
    Damaged,
    /// It was written for a newer agent.
    Newer,
}

/// The configuration does not fit [`BLOCK_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Malformed {
    /// What is wrong, and what to do.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Blank => {
                "there is no device configuration; write the file of `lightship config --format firmware` into its partition"
            }
            Self::Damaged => "the device configuration is damaged; write it again",
            Self::Newer => "the device configuration is of a newer format than this firmware knows",
        }
    }
}

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for Malformed {}

impl core::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the device configuration is larger than its block: the trust root has too many keys or signatures")
    }
}

impl core::error::Error for TooLarge {}

impl<'a> Config<'a> {
    /// Writes the block and returns its length.
    ///
    /// # Errors
    ///
    /// [`TooLarge`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, TooLarge> {
        let end = out.len().min(BLOCK_BYTES);
        let (head, body) = out[..end].split_at_mut_checked(HEAD).ok_or(TooLarge)?;
        if self.root.0.len() > ROOT_BYTES {
            return Err(TooLarge);
        }
        let mut to = Writer::new(body);
        Encode::encode(self, &mut to);
        let len = to.end().ok_or(TooLarge)?;
        let body = &body[..len];
        head[..16].copy_from_slice(&MAGIC);
        head[16..18].copy_from_slice(&VERSION.to_le_bytes());
        head[18..20].fill(0);
        head[20..24].copy_from_slice(&(body.len() as u32).to_le_bytes());
        let sum = checksum(&head[..24], body);
        head[24..].copy_from_slice(&sum.to_le_bytes());
        Ok(HEAD + body.len())
    }

    /// Reads a block; what follows it is not looked at.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (head, rest) = bytes
            .split_first_chunk::<HEAD>()
            .ok_or(Malformed::Damaged)?;
        if head.iter().all(|byte| *byte == 0xFF) {
            return Err(Malformed::Blank);
        }
        if head[..16] != MAGIC {
            return Err(Malformed::Damaged);
        }
        if head[16..18] != VERSION.to_le_bytes() {
            return Err(Malformed::Newer);
        }
        let length = u32::from_le_bytes([head[20], head[21], head[22], head[23]]);
        let body = usize::try_from(length)
            .ok()
            .and_then(|length| rest.get(..length))
            .ok_or(Malformed::Damaged)?;
        let sum = u32::from_le_bytes([head[24], head[25], head[26], head[27]]);
        if checksum(&head[..24], body) != sum {
            return Err(Malformed::Damaged);
        }
        let mut from = Reader::new(body);
        let config = Decode::decode(&mut from);
        match from.end() {
            Some([]) => Ok(config),
            Some(_) | None => Err(Malformed::Damaged),
        }
    }
}

/// What is kept of a configuration among the records: all but the entrance, and the root last and as it is, so that nothing has to be put together in memory.
#[cfg(feature = "agent")]
impl<'a> Config<'a> {
    /// What comes before the root.
    pub(crate) fn brief<'b>(&self, out: &'b mut [u8; BRIEF_BYTES]) -> &'b [u8] {
        let mut to = Writer::new(out);
        self.device_type.encode(&mut to);
        self.product.encode(&mut to);
        self.name.encode(&mut to);
        self.rotation_period_s.encode(&mut to);
        let len = to.end().expect("three names and a number fit");
        &out[..len]
    }

    /// Reads what was kept.
    pub(crate) fn from_kept(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        let kept = Self {
            device_type: Decode::decode(&mut from),
            product: Decode::decode(&mut from),
            name: Decode::decode(&mut from),
            entrance: None,
            rotation_period_s: Decode::decode(&mut from),
            root: Root(&[]),
        };
        let root = Root(from.end().ok_or(Malformed::Damaged)?);
        Ok(Self { root, ..kept })
    }
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(head);
    digest.update(body);
    digest.finalize()
}

impl Encode for Root<'_> {
    fn encode(&self, to: &mut Writer<'_>) {
        to.run(self.0);
    }
}

impl<'a> Decode<'a> for Root<'a> {
    fn decode(from: &mut Reader<'a>) -> Self {
        Self(from.run())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config<'static> {
        Config {
            device_type: Name::new("pump").unwrap(),
            product: Name::new("harbour").unwrap(),
            name: Some(Name::new("north").unwrap()),
            entrance: Some(Entrance {
                provisioning_key: ProvisioningKey([7; 32]),
                hub: PublicKey([8; 32]),
                endpoint: Endpoint::new("fleet.example:51821").unwrap(),
            }),
            rotation_period_s: Some(86_400),
            root: Root(&[9; 300]),
        }
    }

    #[test]
    fn a_block_is_read_as_it_was_written_whatever_follows_it() {
        let mut flash = [0xFF; BLOCK_BYTES];
        config().encode(&mut flash).unwrap();
        assert_eq!(Config::decode(&flash), Ok(config()));
    }

    /// What was written by any version before, byte by byte.
    #[test]
    fn the_body_is_postcard() {
        let mut flash = [0xFF; BLOCK_BYTES];
        let length = config().encode(&mut flash).unwrap();
        let mut body = std::vec::Vec::from(*b"\x04pump\x07harbour\x01\x05north\x01");
        body.push(32);
        body.extend([7; 32]);
        body.push(32);
        body.extend([8; 32]);
        body.extend(b"\x13fleet.example:51821\x01\x80\xa3\x05\xac\x02");
        body.extend([9; 300]);
        assert_eq!(flash[HEAD..length], body);
    }

    #[test]
    fn a_block_with_any_byte_changed_is_refused() {
        let mut flash = [0xFF; BLOCK_BYTES];
        let length = config().encode(&mut flash).unwrap();
        for at in 0..length {
            let mut torn = flash;
            torn[at] ^= 0x20;
            assert!(Config::decode(&torn).is_err(), "byte {at}");
        }
        assert_eq!(Config::decode(&[0xFF; 64]), Err(Malformed::Blank));
        assert_eq!(
            Config::decode(&flash[..length - 1]),
            Err(Malformed::Damaged)
        );
        flash[16] = 2;
        assert_eq!(Config::decode(&flash), Err(Malformed::Newer));
    }

    #[cfg(feature = "agent")]
    #[test]
    fn all_but_the_entrance_is_kept() {
        let longest = Name::new("a-name-of-thirty-two-characters-").unwrap();
        let config = Config {
            device_type: longest.clone(),
            product: longest.clone(),
            name: Some(longest),
            rotation_period_s: Some(u32::MAX),
            ..config()
        };
        let mut brief = [0; BRIEF_BYTES];
        let mut kept = std::vec::Vec::from(config.brief(&mut brief));
        kept.extend(config.root.0);
        let entrance = None;
        assert_eq!(Config::from_kept(&kept), Ok(Config { entrance, ..config }));
        assert_eq!(Config::from_kept(&kept[..9]), Err(Malformed::Damaged));
    }

    #[test]
    fn a_root_that_does_not_fit_is_refused() {
        let root = Root(&[0; ROOT_BYTES + 1]);
        let config = Config { root, ..config() };
        assert_eq!(config.encode(&mut [0; BLOCK_BYTES]), Err(TooLarge));
        assert_eq!(config.encode(&mut [0; 8]), Err(TooLarge));
    }
}
