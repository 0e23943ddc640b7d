//! What an image does when it runs.
//!
//! A process cannot execute an image, so the body says in words what the firmware in it would do.

use anyhow::{Context, Result, bail};
use lightship_image::builder::{self, Recipe};
use lightship_image::{Entry, HEADER_LEN, Version};

use crate::layout::{RAM, SLOT_LEN};

/// What every body starts with.
const MAGIC: &[u8] = b"lightship host firmware\n";
/// The board's name in every image.
pub(crate) const BOARD: &str = "host";

/// What the firmware in an image does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It passes its self-test and runs.
    Healthy,
    /// It runs and fails its self-test.
    Ill,
    /// It stops doing anything soon after its start; the watchdog bites.
    Hangs,
    /// It panics soon after its start.
    Crashes,
}

/// An image to be made.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// The kind of product it is for.
    pub device_type: &'a str,
    /// The version a person gives it.
    pub version: Version,
    /// Compared with the device's version floor.
    pub security_version: u32,
    /// Bytes of the whole image.
    pub size: usize,
    /// What it does.
    pub behaviour: Behaviour,
}

impl Behaviour {
    const ALL: [Self; 4] = [Self::Healthy, Self::Ill, Self::Hangs, Self::Crashes];

    /// How it stands in an image and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Ill => "ill",
            Self::Hangs => "hangs",
            Self::Crashes => "crashes",
        }
    }

    /// The behaviour of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|behaviour| behaviour.as_str() == name)
    }

    /// What the body of an image says.
    pub(crate) fn of_body(start: &[u8]) -> Option<Self> {
        let line = start.strip_prefix(MAGIC)?;
        let end = line.iter().position(|byte| *byte == b'\n')?;
        Self::named(std::str::from_utf8(&line[..end]).ok()?)
    }
}

/// Bytes of a body within which its behaviour stands.
pub(crate) const START: usize = MAGIC.len() + 16;

impl Image<'_> {
    /// The whole image. The rest of its body is noise that depends on the version, so that every version is fetched whole.
    ///
    /// # Errors
    ///
    /// For a size that no slot holds, and what the image's builder refuses.
    pub fn build(&self, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Result<Vec<u8>> {
        let least = HEADER_LEN + START;
        if !(least..=SLOT_LEN as usize).contains(&self.size) {
            bail!("an image of this board has {least} to {SLOT_LEN} bytes");
        }
        let mut body = [MAGIC, self.behaviour.as_str().as_bytes(), b"\n"].concat();
        let mut noise = format!("{}", self.version)
            .bytes()
            .fold(0x9E37_79B9_7F4A_7C15_u64, |noise, byte| {
                (noise ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
            });
        while body.len() < self.size - HEADER_LEN {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            body.push((noise >> 56) as u8);
        }
        let recipe = Recipe {
            board: BOARD,
            device_type: self.device_type,
            version: self.version,
            security_version: self.security_version,
            load: RAM.start,
            entry: RAM.start,
            kind: Entry::Jump,
        };
        builder::build(&recipe, &body, sign).context("the image cannot be made")
    }
}
