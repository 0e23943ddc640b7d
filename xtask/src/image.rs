//! The slot image of a board's firmware: laid flat, given its header, signed.
//!
//! The board's manifest says which program it is and where it runs, in `package.metadata.lightship`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ed25519_dalek::SigningKey;
use lightship_image::builder::{self, Recipe};
use lightship_image::{Entry, Version, elf};
use serde_json::Value;

use crate::device;

/// What a person says about an image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wish<'a> {
    key: &'a str,
    version: Version,
    security_version: u32,
    device_type: &'a str,
    out: &'a str,
}

impl<'a> Wish<'a> {
    /// Reads `--name value` pairs.
    pub(crate) fn from_words(words: &'a [String]) -> Result<Self> {
        let value = |name: &str| {
            let at = words.iter().position(|word| word == name);
            let value = at.and_then(|at| words.get(at + 1));
            value.with_context(|| format!("`{name}` and its value are missing"))
        };
        if words.len() != 10 {
            bail!("an image takes five options with their values");
        }
        Ok(Self {
            key: value("--key")?,
            version: value("--version")?.parse().map_err(anyhow::Error::new)?,
            security_version: value("--security-version")?.parse()?,
            device_type: value("--device-type")?,
            out: value("--out")?,
        })
    }
}

/// Builds the firmware of `board` and writes its signed image.
pub(crate) fn make(root: &Path, folder: &str, board: &str, wish: &Wish<'_>) -> Result<()> {
    let (_, load, kind) = firmware_of(&root.join(folder))?;
    let body = body(root, folder)?;
    let recipe = Recipe {
        board,
        device_type: wish.device_type,
        version: wish.version,
        security_version: wish.security_version,
        load,
        entry: load,
        kind,
    };
    let key = signing_key(wish.key)?;
    let image = builder::build(&recipe, &body, |message| builder::sign(&key, message))?;
    std::fs::write(wish.out, &image)
        .with_context(|| format!("`{}` cannot be written", wish.out))?;
    println!("{} bytes  {}", image.len(), wish.out);
    Ok(())
}

/// Builds the firmware in `folder` and lays it flat.
pub(crate) fn body(root: &Path, folder: &str) -> Result<Vec<u8>> {
    let (program, load, _) = firmware_of(&root.join(folder))?;
    let path = device::build_one(root, folder, &program)?;
    Ok(elf::flatten(&std::fs::read(path)?, Some(load))?.body)
}

/// The program that is the firmware, its first address, and what stands there.
fn firmware_of(folder: &Path) -> Result<(String, u32, Entry)> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(folder)
        .no_deps()
        .exec()?;
    let package = metadata
        .packages
        .first()
        .context("the folder has no package")?;
    let said = &package.metadata["lightship"];
    let program = said["program"]
        .as_str()
        .context("the manifest names no firmware")?;
    let load = said["load"]
        .as_u64()
        .and_then(|load| u32::try_from(load).ok());
    let kind = match &said["entry"] {
        Value::String(kind) if kind == "jump" => Entry::Jump,
        Value::String(kind) if kind == "vector-table" => Entry::VectorTable,
        other => bail!("an entry is `jump` or `vector-table`, not {other}"),
    };
    Ok((
        program.to_owned(),
        load.context("the manifest names no load address")?,
        kind,
    ))
}

/// A release key: a file with the seed of 32 bytes.
fn signing_key(path: &str) -> Result<SigningKey> {
    let bytes = std::fs::read(path).with_context(|| format!("`{path}` cannot be read"))?;
    let seed: [u8; 32] = bytes[..].try_into().context("a key file has 32 bytes")?;
    Ok(SigningKey::from_bytes(&seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn all_options_are_wanted_in_any_order() {
        let said = words("--out o --key k --version 1.2.3 --device-type pump --security-version 4");
        let wish = Wish::from_words(&said).unwrap();
        let version = Version {
            major: 1,
            minor: 2,
            patch: 3,
        };
        let expected = Wish {
            key: "k",
            version,
            security_version: 4,
            device_type: "pump",
            out: "o",
        };
        assert_eq!(wish, expected);
        assert!(Wish::from_words(&said[2..]).is_err());
        assert!(Wish::from_words(&words("a b c d e f g h i j")).is_err());
    }
}
