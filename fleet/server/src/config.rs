//! What an operator may choose; every field has a default that works on a desk.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The server's configuration: a TOML file, or [`Config::in_folder`] and changed fields.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where keys, the default database and the default blob store live.
    pub data: PathBuf,
    /// Where people and devices reach this server; `https://` and the first listener by default.
    pub public_url: Option<String>,
    /// The one port for people, devices that register, and images.
    pub https: Https,
    /// The same without TLS, for a reverse proxy on this machine; off by default.
    pub http: Option<SocketAddr>,
    /// Where state is kept.
    pub database: Database,
    /// Where images, artifacts and specs are kept.
    pub blobs: Blobs,
    /// The embedded MQTT broker.
    pub mqtt: Mqtt,
    /// The tunnel hub.
    pub tunnel: Tunnel,
    /// Builds of projects.
    pub builder: Builder,
    /// How long log lines are kept.
    pub logs: Logs,
    /// The first administrator, made when there is no user yet.
    pub admin: Admin,
    /// Bounds on what peers can cause.
    pub limits: Limits,
}

/// The HTTPS listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Https {
    /// Address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Names and addresses in the certificate that the server makes for itself.
    pub names: Vec<String>,
    /// A certificate chain (PEM) to be used instead.
    pub certificate: Option<PathBuf>,
    /// The private key (PEM) of that certificate.
    pub key: Option<PathBuf>,
}

/// Where state is kept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `postgres://...` or `sqlite://...`; a file in the data folder by default.
    pub url: Option<String>,
}

/// Where blobs are kept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Blobs {
    /// In the data folder.
    #[default]
    Folder,
    /// In a bucket of S3 or of a service that speaks its language.
    S3 {
        /// The bucket.
        bucket: String,
        /// The region.
        region: String,
        /// The service's URL, if it is not Amazon's.
        endpoint: Option<String>,
        /// The access key's id.
        access_key_id: String,
        /// A file that holds the secret access key.
        secret_access_key_file: PathBuf,
        /// Whether `http://` endpoints are allowed.
        #[serde(default)]
        allow_http: bool,
    },
}

/// The embedded MQTT broker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mqtt {
    /// Without TLS, for the tunnel and for this machine.
    pub listen: SocketAddr,
    /// With TLS and the server's certificate; off by default.
    pub tls_listen: Option<SocketAddr>,
    /// Connections at once.
    pub max_clients: usize,
}

/// The tunnel hub; without `listen` there is none, and devices stay with HTTPS and MQTT over TLS.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tunnel {
    /// The UDP address for devices that are registered.
    pub listen: Option<SocketAddr>,
    /// The UDP address for devices that enrol: microcontrollers, which have no TLS.
    pub enrolment: Option<SocketAddr>,
    /// Where devices reach `listen` from outside, `host:port`; the address itself by default.
    pub endpoint: Option<String>,
    /// Where devices reach `enrolment` from outside, `host:port`; the address itself by default.
    pub enrolment_endpoint: Option<String>,
    /// Where MQTT out of the tunnels goes, if not straight to this server's broker: something before it that counts or limits connections.
    pub mqtt: Option<SocketAddr>,
    /// A second UDP port, which `backend = "kernel"` needs to change the hub's key: there each key has its own.
    pub second_port: Option<u16>,
    /// Where the tunnels of registered devices end; in the server, which needs no right, by default.
    pub backend: TunnelBackend,
}

/// Where the tunnels of registered devices end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelBackend {
    /// In this process, without root.
    #[default]
    UserSpace,
    /// In the kernel's WireGuard, which needs root and its module; `listen` is a port of every address then.
    Kernel,
    /// In the kernel where that is possible, else in this process.
    Auto,
}

/// Builds of projects on this server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Builder {
    /// The socket of a Docker or podman engine; without it, only Dockerfiles are built that run nothing.
    /// Whoever may push to a fleet has commands run in that engine.
    pub engine: Option<PathBuf>,
    /// Hosts that images are pulled from; with an engine, it decides.
    pub registries: Vec<String>,
    /// Builds at the same time.
    pub at_once: u32,
    /// Builds that wait for others.
    pub waiting: u32,
    /// Seconds that a build may take.
    pub seconds: u32,
    /// Bytes of a project's archive.
    pub archive_bytes: u64,
    /// Bytes that a project may unpack to.
    pub project_bytes: u64,
    /// Bytes that one layer may unpack to.
    pub layer_bytes: u64,
}

/// How long log lines are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    /// Days.
    pub keep_days: u32,
    /// Lines of one device.
    pub keep_lines: u32,
}

/// The first administrator.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// The user's name.
    pub name: String,
    /// The password; made at random and written to `admin-password` in the data folder by default.
    pub password: Option<String>,
}

/// Bounds on what peers can cause.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a JSON request.
    pub body_bytes: usize,
    /// Bytes of one blob.
    pub blob_bytes: u64,
    /// Connections at once over HTTP and HTTPS.
    pub connections: usize,
    /// Of those, and of MQTT over TLS, from one address: as many as `connections` behind a forwarder.
    pub connections_per_address: usize,
    /// Wrong credentials from one address in a minute, after a burst of as many.
    pub failures_per_minute: u32,
    /// Registrations from one address in a minute, after a burst of as many.
    pub registrations_per_minute: u32,
    /// Devices of one fleet.
    pub devices_per_fleet: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self::in_folder(Path::new("lightship-data"))
    }
}

impl Default for Https {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7443)),
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            certificate: None,
            key: None,
        }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7883)),
            tls_listen: None,
            max_clients: 20_000,
        }
    }
}

impl Default for Builder {
    fn default() -> Self {
        let registries = [
            "docker.io",
            "gcr.io",
            "ghcr.io",
            "mcr.microsoft.com",
            "public.ecr.aws",
            "quay.io",
            "registry.k8s.io",
        ];
        Self {
            engine: None,
            registries: registries.map(str::to_owned).to_vec(),
            at_once: 1,
            waiting: 16,
            seconds: 1800,
            archive_bytes: 512 << 20,
            project_bytes: 2 << 30,
            layer_bytes: 8 << 30,
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            keep_days: 14,
            keep_lines: 100_000,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            name: "admin".to_owned(),
            password: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            blob_bytes: 16 << 30,
            connections: 20_000,
            connections_per_address: 10_000,
            failures_per_minute: 60,
            registrations_per_minute: 6_000,
            devices_per_fleet: 1_000_000,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what is expected; the message has line and column.
    #[error("{path}: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
}

impl Config {
    /// The defaults, with everything kept in `data`.
    #[must_use]
    pub fn in_folder(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            public_url: None,
            https: Https::default(),
            http: None,
            database: Database::default(),
            blobs: Blobs::default(),
            mqtt: Mqtt::default(),
            tunnel: Tunnel::default(),
            builder: Builder::default(),
            logs: Logs::default(),
            admin: Admin::default(),
            limits: Limits::default(),
        }
    }

    /// The defaults in `data`, on free ports of the loopback interface: for tests and `demo`.
    #[must_use]
    pub fn on_free_ports(data: &Path) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Self::in_folder(data);
        config.https.listen = free;
        config.mqtt.listen = free;
        config
    }

    /// Reads a TOML file; what it does not mention keeps its default.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something unknown or malformed.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let malformed = |source| ConfigError::Malformed {
            path: path.to_owned(),
            source: Box::new(source),
        };
        toml::from_str(&text).map_err(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tunnel_hub_needs_no_right_unless_it_is_told_to_use_the_kernel() {
        let backend = |text| toml::from_str::<Config>(text).unwrap().tunnel.backend;
        assert_eq!(backend(""), TunnelBackend::UserSpace);
        assert_eq!(
            backend("[tunnel]\nbackend = 'user-space'"),
            TunnelBackend::UserSpace
        );
        assert_eq!(
            backend("[tunnel]\nbackend = 'kernel'"),
            TunnelBackend::Kernel
        );
        assert_eq!(backend("[tunnel]\nbackend = 'auto'"), TunnelBackend::Auto);
    }

    #[test]
    fn what_a_file_does_not_mention_keeps_its_default() {
        let config: Config =
            toml::from_str("[https]\nlisten = '0.0.0.0:443'\n[blobs]\nkind = 'folder'").unwrap();
        assert_eq!(config.https.listen.port(), 443);
        assert_eq!(config.https.names, Https::default().names);
        assert_eq!(config.limits.body_bytes, 1 << 20);
    }

    #[test]
    fn an_unknown_word_is_refused_with_its_line() {
        let error = toml::from_str::<Config>("[https]\nlissen = '0.0.0.0:443'")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("lissen") && error.contains("line 2"),
            "{error}"
        );
    }
}
