//! The command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use lightship_image::builder;

use crate::factory::{Factory, install};
use crate::life::{Options, run};
use crate::payload::{Behaviour, Image};

const USAGE: &str = "usage:
  lightship-board-host image --device-type TYPE --version 1.2.3 --key FILE --out FILE
                             [--security-version N] [--size BYTES] [--behaviour healthy|ill|hangs|crashes]
  lightship-board-host install --flash FILE --image FILE --config FILE
  lightship-board-host run --flash FILE [--json] [--http] [--prefer-again MS]";

/// Does what the words ask for.
pub fn main(words: &[String]) -> ExitCode {
    match command(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command(words: &[String]) -> Result<()> {
    let (verb, rest) = words.split_first().context(USAGE)?;
    let mut flags = Flags(rest.to_vec());
    match verb.as_str() {
        "image" => make(flags),
        "install" => {
            let (flash, image, config) = (
                flags.path("--flash")?,
                flags.path("--image")?,
                flags.path("--config")?,
            );
            flags.end()?;
            let (image, config) = (read(&image)?, read(&config)?);
            install(
                &flash,
                &Factory {
                    image: &image,
                    config: &config,
                },
            )
        }
        "run" => {
            let again = flags
                .value("--prefer-again")?
                .unwrap_or_else(|| "60000".to_owned());
            let options = Options {
                flash: flags.path("--flash")?,
                json: flags.is_set("--json"),
                mqtt: !flags.is_set("--http"),
                prefer_again: Duration::from_millis(
                    again.parse().context("--prefer-again is in milliseconds")?,
                ),
            };
            flags.end()?;
            run(&options)
        }
        _ => bail!(USAGE),
    }
}

fn make(mut flags: Flags) -> Result<()> {
    let device_type = flags.needed("--device-type")?;
    let version = flags.needed("--version")?;
    let version = version
        .parse()
        .ok()
        .context("a version is three numbers with dots between them")?;
    let number = |text: Option<String>, or: u32| text.map_or(Ok(or), |text| text.parse());
    let security_version =
        number(flags.value("--security-version")?, 1).context("--security-version")?;
    let size = number(flags.value("--size")?, 64 * 1024).context("--size")? as usize;
    let behaviour = flags
        .value("--behaviour")?
        .unwrap_or_else(|| "healthy".to_owned());
    let behaviour =
        Behaviour::named(&behaviour).context("--behaviour is healthy, ill, hangs or crashes")?;
    let (key, out) = (flags.path("--key")?, flags.path("--out")?);
    flags.end()?;
    let key = signing_key(&key)?;
    let image = Image {
        device_type: &device_type,
        version,
        security_version,
        size,
        behaviour,
    };
    let bytes = image.build(|message| builder::sign(&key, message))?;
    fs::write(&out, bytes).with_context(|| format!("{} cannot be written", out.display()))
}

/// A release key: a key file of `lightship keys` without a passphrase, or the seed of 32 bytes.
fn signing_key(path: &Path) -> Result<SigningKey> {
    let bytes = read(path)?;
    if let Ok(seed) = <[u8; 32]>::try_from(&bytes[..]) {
        return Ok(SigningKey::from_bytes(&seed));
    }
    let text = String::from_utf8(bytes).unwrap_or_default();
    let key = SigningKey::from_pkcs8_pem(text.trim());
    key.ok()
        .with_context(|| format!("{} is no Ed25519 key without a passphrase", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// Words that are left.
struct Flags(Vec<String>);

impl Flags {
    fn is_set(&mut self, name: &str) -> bool {
        let at = self.0.iter().position(|word| word == name);
        at.map(|at| self.0.remove(at)).is_some()
    }

    fn value(&mut self, name: &str) -> Result<Option<String>> {
        let Some(at) = self.0.iter().position(|word| word == name) else {
            return Ok(None);
        };
        if at + 1 == self.0.len() {
            bail!("{name} needs a value\n{USAGE}");
        }
        self.0.remove(at);
        Ok(Some(self.0.remove(at)))
    }

    fn needed(&mut self, name: &str) -> Result<String> {
        let value = self.value(name)?;
        value.with_context(|| format!("{name} is missing\n{USAGE}"))
    }

    fn path(&mut self, name: &str) -> Result<PathBuf> {
        self.needed(name).map(PathBuf::from)
    }

    fn end(self) -> Result<()> {
        match self.0.first() {
            Some(word) => bail!("`{word}` is not understood\n{USAGE}"),
            None => Ok(()),
        }
    }
}
