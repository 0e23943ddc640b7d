//! The device's configuration file: TOML, every mistake named with file, line and key.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lightship_core::id::{Name, ProvisioningKey};
use lightship_core::trust::{Compact, Root, TrustState};
use serde::Deserialize;

/// What the file says. Unknown keys are errors, so that a misspelt one is not silently ignored.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    device_type: Name,
    product: Name,
    name: Option<Name>,
    server: String,
    /// The fleet's name, for people who read the file.
    #[expect(
        dead_code,
        reason = "which fleet a device joins, its provisioning key says"
    )]
    fleet: Option<Name>,
    /// PEM.
    #[serde(default)]
    authority: String,
    /// A root document, base64.
    root: String,
    provisioning_key: Option<ProvisioningKey>,
    #[serde(default = "default_data")]
    data: PathBuf,
    #[serde(default = "default_run")]
    run: PathBuf,
    #[serde(default)]
    engine: EngineKind,
    /// A name of a cgroup; another than the default where two daemons share a kernel.
    #[serde(default = "default_cgroup_parent")]
    cgroup_parent: Name,
    rotation_days: Option<u16>,
    /// Registries without TLS, as `host:port`.
    #[serde(default)]
    plain_registries: Vec<String>,
    /// Folders of the host that components may mount.
    #[serde(default)]
    allowed_binds: Vec<PathBuf>,
    #[serde(default)]
    allow_privileged: bool,
}

fn default_data() -> PathBuf {
    PathBuf::from("/var/lib/lightship")
}

fn default_run() -> PathBuf {
    PathBuf::from("/run/lightship")
}

fn default_cgroup_parent() -> Name {
    Name::new("lightship").expect("nine letters are a name")
}

/// What runs containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// The built-in engine: no other service is needed.
    #[default]
    Builtin,
    /// None: the device only registers and reports, as a gateway without containers does.
    None,
}

/// A configuration that was read and checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it was read from; the provisioning key is erased there.
    pub path: PathBuf,
    /// What the device is.
    pub device_type: Name,
    /// What it is meant to run.
    pub product: Name,
    /// What it would like to be called.
    pub name: Option<Name>,
    /// Base URL of the fleet.
    pub server: String,
    /// Certificates of the fleet's authority, PEM.
    pub authorities: Vec<u8>,
    /// The first trusted root.
    pub root: Root,
    /// What lets it in, until it is erased.
    pub provisioning_key: Option<ProvisioningKey>,
    /// For what lasts.
    pub data: PathBuf,
    /// For what lasts until the device restarts.
    pub run: PathBuf,
    /// What runs containers.
    pub engine: EngineKind,
    /// What the containers' cgroups are below.
    pub cgroup_parent: String,
    /// Seconds between rotations of each key.
    pub rotation_period_s: Option<u32>,
    /// Registries without TLS.
    pub plain_registries: Vec<String>,
    /// Folders of the host that components may mount.
    pub allowed_binds: Vec<PathBuf>,
    /// Whether components may be privileged.
    pub allow_privileged: bool,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that it needs cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something in the file is wrong. The message names line and key.
    #[error("{path}: {message}")]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// The root document is not one that its own keys signed.
    #[error(
        "{path}: root: not a trusted root document: {offence:?}; copy it again from `lightship config`"
    )]
    Root {
        /// Which file.
        path: PathBuf,
        /// Why it was refused.
        offence: lightship_core::trust::Offence,
    },
}

impl Config {
    /// Reads and checks a configuration file, as `lightship config` writes it.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that says where and what would be right.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let text = String::from_utf8_lossy(&text);
        let file: File = toml::from_str(&text).map_err(|error| ConfigError::Wrong {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        let wrong = |message: &str| ConfigError::Wrong {
            path: path.to_owned(),
            message: message.to_owned(),
        };
        let document = STANDARD.decode(file.root.trim());
        let document = document
            .map_err(|_| wrong("root: not base64; copy it again from `lightship config`"))?;
        let root =
            TrustState::first_root(&Compact, &document).map_err(|offence| ConfigError::Root {
                path: path.to_owned(),
                offence,
            })?;
        Ok(Self {
            path: path.to_owned(),
            device_type: file.device_type,
            product: file.product,
            name: file.name,
            server: file.server,
            authorities: file.authority.into_bytes(),
            root,
            provisioning_key: file.provisioning_key,
            data: file.data,
            run: file.run,
            engine: file.engine,
            cgroup_parent: file.cgroup_parent.to_string(),
            rotation_period_s: file.rotation_days.map(|days| u32::from(days) * 24 * 3600),
            plain_registries: file.plain_registries,
            allowed_binds: file.allowed_binds,
            allow_privileged: file.allow_privileged,
        })
    }

    /// The file's text without the provisioning key; all else stays as it was written.
    pub(super) fn without_provisioning_key(text: &str) -> String {
        let is_key = |line: &&str| line.trim_start().starts_with("provisioning_key");
        let lines = text.split_inclusive('\n').filter(|line| !is_key(line));
        lines.collect()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.toml");
        fs::write(&path, text).unwrap();
        let error = Config::load(&path).unwrap_err().to_string();
        error.replace(&folder.path().display().to_string(), "")
    }

    #[test]
    fn mistakes_are_named_with_file_line_and_key() {
        let error = wrong("device_type = \"pi4\"\nproduct = \"Kiosk!\"\n");
        assert!(error.starts_with("/device.toml: "), "{error}");
        assert!(error.contains("line 2"), "{error}");
        let error = wrong("device_type = \"pi4\"\nprodukt = \"kiosk\"\n");
        assert!(
            error.contains("line 2") && error.contains("produkt"),
            "{error}"
        );
        let error = wrong("device_type = \"pi4\"\n");
        assert!(error.contains("missing field"), "{error}");
    }

    #[test]
    fn erasing_the_provisioning_key_leaves_all_else() {
        let text = "# mine\nname = \"x\"\nprovisioning_key = \"00\"\nserver = \"s\"";
        let erased = Config::without_provisioning_key(text);
        assert_eq!(erased, "# mine\nname = \"x\"\nserver = \"s\"");
    }
}
