//! The device's configuration file: TOML, every mistake named with file, line and key.

mod erase;
mod mistake;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lightship_core::id::{Name, ProvisioningKey};
use lightship_core::trust::{Compact, Root, TrustState};
use serde::Deserialize;

pub(super) use erase::erase_provisioning_key;
use mistake::Source;

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
    /// Of Docker, balenaEngine or podman.
    #[serde(default = "default_engine_socket")]
    engine_socket: PathBuf,
    /// A name of a cgroup; another than the default where two daemons share a kernel.
    #[serde(default = "default_cgroup_parent")]
    cgroup_parent: Name,
    #[serde(default)]
    tunnel: TunnelKind,
    #[serde(default = "default_transports")]
    transports: Vec<Transport>,
    #[serde(default = "default_prefer_again_s")]
    prefer_again_s: u32,
    #[serde(default = "default_tunnel_ports")]
    tunnel_ports: Vec<u16>,
    rotation_days: Option<u16>,
    /// Registries without TLS, as `host:port`.
    #[serde(default)]
    plain_registries: Vec<String>,
    /// Folders of the host that components may mount.
    #[serde(default)]
    allowed_binds: Vec<PathBuf>,
    #[serde(default)]
    allow_privileged: bool,
    /// An address, or "none".
    #[serde(default = "default_local_api")]
    local_api: String,
}

fn default_data() -> PathBuf {
    PathBuf::from("/var/lib/lightship")
}

fn default_engine_socket() -> PathBuf {
    PathBuf::from("/run/docker.sock")
}

fn default_run() -> PathBuf {
    PathBuf::from("/run/lightship")
}

fn default_local_api() -> String {
    "169.254.77.1:48484".to_owned()
}

fn default_cgroup_parent() -> Name {
    Name::new("lightship").expect("nine letters are a name")
}

fn default_transports() -> Vec<Transport> {
    vec![Transport::Mqtt, Transport::Https]
}

fn default_tunnel_ports() -> Vec<u16> {
    vec![22]
}

const fn default_prefer_again_s() -> u32 {
    600
}

/// What carries the tunnel to the fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelKind {
    /// The best that this machine can do: the kernel, a TUN device, this process.
    #[default]
    Auto,
    /// The kernel's WireGuard.
    Kernel,
    /// A TUN device.
    Tun,
    /// This process: no rights are needed, and nothing else on the machine sees it.
    InProcess,
    /// No tunnel: everything goes over HTTPS.
    Off,
}

/// What carries messages inside the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// MQTT 5.
    Mqtt,
    /// HTTP.
    Https,
}

/// What runs containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// The built-in engine: no other service is needed.
    #[default]
    Builtin,
    /// Docker, balenaEngine or podman, which are there already.
    Docker,
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
    /// Where another engine than the built-in one answers.
    pub engine_socket: PathBuf,
    /// What the containers' cgroups are below.
    pub cgroup_parent: String,
    /// What carries the tunnel.
    pub tunnel: TunnelKind,
    /// What carries messages inside the tunnel, the preferred first. HTTPS outside comes last in any case.
    pub transports: Vec<Transport>,
    /// Seconds after which a preferred way to the fleet is tried again while another is used.
    pub prefer_again_s: u32,
    /// Ports of this device itself that the fleet reaches through a tunnel inside this process, beside those that services publish.
    pub tunnel_ports: Vec<u16>,
    /// Seconds between rotations of each key.
    pub rotation_period_s: Option<u32>,
    /// Registries without TLS.
    pub plain_registries: Vec<String>,
    /// Folders of the host that components may mount.
    pub allowed_binds: Vec<PathBuf>,
    /// Whether components may be privileged.
    pub allow_privileged: bool,
    /// Where services that ask for it reach the local API beside their socket.
    pub local_api: Option<SocketAddr>,
}

/// Why a configuration cannot be used: one mistake, where it is, and what would be right.
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
    #[error("{path}:{message}")]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// The line, the key, what is wrong with it, and what would be right.
        message: String,
    },
}

impl Config {
    /// Reads and checks a configuration file, as `lightship config` writes it.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that says where and what would be right.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = read(path)?;
        let source = Source::new(path, &bytes)?;
        let file: File = source.parse()?;
        source.check(&file)?;
        let document = STANDARD.decode(file.root.split_whitespace().collect::<String>());
        let document = document.map_err(|_| source.wrong("root", "is not base64"))?;
        let root = TrustState::first_root(&Compact, &document).map_err(|offence| {
            let what = format!("is not a root document that its own keys signed ({offence:?})");
            source.wrong("root", &what)
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
            engine_socket: file.engine_socket,
            cgroup_parent: file.cgroup_parent.to_string(),
            tunnel: file.tunnel,
            transports: file.transports,
            prefer_again_s: file.prefer_again_s,
            tunnel_ports: file.tunnel_ports,
            rotation_period_s: file.rotation_days.map(|days| u32::from(days) * 24 * 3600),
            plain_registries: file.plain_registries,
            allowed_binds: file.allowed_binds,
            allow_privileged: file.allow_privileged,
            // What is no address was refused before.
            local_api: file.local_api.parse().ok(),
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}
