//! What the factory does: a blank flash with a bootloader, an image and a configuration in it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use lightship_core::trust::{Compact, TrustState};
use lightship_mcu::config::Config;

use crate::layout::{BOOTLOADER, CONFIG, FLASH_LEN, SLOT_LEN, SLOTS};

/// What a new device gets.
#[derive(Clone, Copy, Debug)]
pub struct Factory<'a> {
    /// The image in slot A.
    pub image: &'a [u8],
    /// The block that `lightship config --format firmware` writes.
    pub config: &'a [u8],
}

/// Writes the flash of a new device; what was there is gone.
///
/// The bootloader of a real board has the release keys compiled in; this one takes them from the trust root in the configuration, once and for all.
///
/// # Errors
///
/// When the configuration is none, the image too large, or the file cannot be written.
pub fn install(flash: &Path, factory: &Factory<'_>) -> Result<()> {
    if factory.image.len() > SLOT_LEN as usize {
        bail!("the image is larger than a slot of {SLOT_LEN} bytes");
    }
    let config = Config::decode(factory.config).context("the configuration")?;
    let root = TrustState::first_root(&Compact, config.root.0);
    let root = root
        .ok()
        .context("the trust root in the configuration is not one that its own keys signed")?;
    let members = (0..root.keys.len()).filter(|at| root.release.members & (1 << at) != 0);
    let keys: Vec<[u8; 32]> = members.map(|at| root.keys[at].0).collect();
    let mut bytes = vec![0xFF; FLASH_LEN as usize];
    put(
        &mut bytes,
        BOOTLOADER.0,
        &Bootloader {
            device_type: config.device_type.to_string(),
            keys,
        }
        .encode(),
    );
    put(&mut bytes, SLOTS[0].0, factory.image);
    put(&mut bytes, CONFIG.0, factory.config);
    let draft = flash.with_extension("draft");
    fs::write(&draft, bytes).with_context(|| format!("{} cannot be written", draft.display()))?;
    fs::rename(&draft, flash).with_context(|| format!("{} cannot be written", flash.display()))
}

fn put(flash: &mut [u8], at: u32, bytes: &[u8]) {
    flash[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
}

/// What is compiled into the bootloader of a real board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bootloader {
    pub(crate) device_type: String,
    pub(crate) keys: Vec<[u8; 32]>,
}

impl Bootloader {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.device_type.len() as u8];
        out.extend(self.device_type.bytes());
        out.push(self.keys.len() as u8);
        out.extend(self.keys.iter().flatten());
        out
    }

    /// What the factory wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first()?;
        let (device_type, rest) = rest.split_at_checked(usize::from(*len))?;
        let (count, rest) = rest.split_first()?;
        let keys = rest.get(..32 * usize::from(*count))?;
        Some(Self {
            device_type: String::from_utf8(device_type.to_vec()).ok()?,
            keys: keys.as_chunks().0.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bootloader_is_read_as_it_was_written() {
        let bootloader = Bootloader {
            device_type: "pump".to_owned(),
            keys: vec![[1; 32], [2; 32]],
        };
        let mut bytes = bootloader.encode();
        bytes.resize(4096, 0xFF);
        assert_eq!(Bootloader::decode(&bytes), Some(bootloader));
        assert_eq!(Bootloader::decode(&[0xFF; 16]), None);
    }
}
