//! Key files: PKCS#8 (RFC 5958) in PEM, encrypted with a passphrase stretched by scrypt (PBES2, RFC 8018 and RFC 7914).
//!
//! `NAME.key` is for its owner alone (mode 0600); `NAME.pub` holds the public key in hexadecimal and is for everybody.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use lightship_api::sign::Signer;
use lightship_core::id::PublicKey;
use zeroize::Zeroizing;

use crate::failure::{Code, Failure};
use crate::place::{Place, write_private};

/// The beginning of an encrypted file.
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// Where a passphrase comes from: `LIGHTSHIP_PASSPHRASE`, a file, or the terminal.
#[derive(Clone, Debug, Args)]
pub(crate) struct Passphrase {
    /// Read the passphrase from the first line of this file.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Store the key without one: whoever reads the file has the key.
    #[arg(long, conflicts_with = "passphrase_file")]
    no_passphrase: bool,
}

impl Passphrase {
    fn text(&self, prompt: &str) -> Result<Zeroizing<String>, Failure> {
        if let Some(path) = &self.passphrase_file {
            let text =
                std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
            return Ok(Zeroizing::new(
                text.lines().next().unwrap_or_default().to_owned(),
            ));
        }
        if let Some(text) = std::env::var_os("LIGHTSHIP_PASSPHRASE") {
            return Ok(Zeroizing::new(text.to_string_lossy().into_owned()));
        }
        let asked = rpassword::prompt_password(prompt).map(Zeroizing::new);
        asked.map_err(|error| {
            Failure::new(
                Code::Signature,
                format!("cannot ask for the passphrase: {error}"),
            )
            .help("set LIGHTSHIP_PASSPHRASE, or pass --passphrase-file")
        })
    }
}

/// Makes a key pair and writes both files.
pub(crate) fn create(
    place: &Place,
    name: &str,
    passphrase: &Passphrase,
) -> Result<PublicKey, Failure> {
    if name.is_empty()
        || !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    {
        return Err(
            Failure::new(Code::Usage, format!("{name:?} is no name for a key"))
                .help("use letters, digits, hyphens and underscores"),
        );
    }
    let mut seed = Zeroizing::new([0; 32]);
    let random = rustls::crypto::ring::default_provider().secure_random;
    random
        .fill(seed.as_mut())
        .map_err(|_| Failure::new(Code::Failed, "the system has no random numbers"))?;
    let key = SigningKey::from_bytes(&seed);
    let pem = encode(&key, name, passphrase)?;
    let public = PublicKey(key.verifying_key().to_bytes());
    let path = place.keys().join(format!("{name}.key"));
    write_private(&path, pem.as_bytes(), false)?;
    write_private(
        &path.with_extension("pub"),
        format!("{public}\n").as_bytes(),
        true,
    )?;
    Ok(public)
}

fn encode(
    key: &SigningKey,
    name: &str,
    passphrase: &Passphrase,
) -> Result<Zeroizing<String>, Failure> {
    let failed =
        |error: pkcs8::Error| Failure::new(Code::Failed, format!("cannot write the key: {error}"));
    if passphrase.no_passphrase {
        return key.to_pkcs8_pem(pkcs8::LineEnding::LF).map_err(failed);
    }
    let text = passphrase.text(&format!("New passphrase of key {name}: "))?;
    if text.is_empty() {
        return Err(Failure::new(Code::Usage, "the passphrase is empty")
            .help("choose one, or pass --no-passphrase"));
    }
    key.to_pkcs8_encrypted_pem(text.as_bytes(), pkcs8::LineEnding::LF)
        .map_err(failed)
}

/// Reads a private key, by its name in the folder of keys or by its file.
pub(crate) fn read(place: &Place, key: &str, passphrase: &Passphrase) -> Result<Signer, Failure> {
    let path = path(place, key, "key");
    let pem = std::fs::read_to_string(&path)
        .map(Zeroizing::new)
        .map_err(|error| missing(&path, &error))?;
    let mode = std::fs::metadata(&path)
        .map_err(|error| Failure::file(&path, &error))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        let failure = Failure::new(
            Code::Signature,
            format!("{} can be read by others", path.display()),
        );
        return Err(failure.help(format!(
            "run `chmod 600 {}`, and think about who may have read it",
            path.display()
        )));
    }
    let wrong = |_| {
        Failure::new(
            Code::Signature,
            format!(
                "{}: the passphrase is wrong, or this is no Ed25519 key",
                path.display()
            ),
        )
    };
    let key = if pem.trim_start().starts_with(ENCRYPTED) {
        let text = passphrase.text(&format!("Passphrase of {}: ", path.display()))?;
        SigningKey::from_pkcs8_encrypted_pem(pem.trim(), text.as_bytes()).map_err(wrong)?
    } else {
        SigningKey::from_pkcs8_pem(pem.trim()).map_err(wrong)?
    };
    Ok(Signer::from_seed(&Zeroizing::new(key.to_bytes())))
}

/// Reads a public key: 64 hexadecimal digits, a name in the folder of keys, or a file.
pub(crate) fn read_public(place: &Place, key: &str) -> Result<PublicKey, Failure> {
    if let Ok(public) = key.parse() {
        return Ok(public);
    }
    let path = path(place, key, "pub");
    let text = std::fs::read_to_string(&path).map_err(|error| missing(&path, &error))?;
    text.trim().parse().map_err(|_| {
        Failure::new(
            Code::Signature,
            format!("{} holds no public key", path.display()),
        )
    })
}

fn path(place: &Place, key: &str, extension: &str) -> PathBuf {
    if key.contains('/') || Path::new(key).extension().is_some() {
        PathBuf::from(key)
    } else {
        place.keys().join(key).with_extension(extension)
    }
}

fn missing(path: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure {
        code: Code::Signature,
        ..Failure::file(path, error)
    };
    failure.help("`lightship keys list` lists the keys of this machine; a key elsewhere is named by its file")
}

/// The keys in the folder of keys.
pub(crate) fn list(place: &Place) -> Result<Vec<(String, PublicKey)>, Failure> {
    let folder = place.keys();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::file(&folder, &error)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|error| Failure::file(&folder, &error))?
            .path();
        if path.extension().is_some_and(|extension| extension == "pub") {
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            all.push((name, read_public(place, &path.to_string_lossy())?));
        }
    }
    all.sort();
    Ok(all)
}
