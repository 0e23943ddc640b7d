//! How a container is connected.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// How a container is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Which network it sees.
    #[serde(default)]
    pub mode: NetworkMode,
    /// Ports published on the host; only in bridge mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Name servers in place of the host's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// Search domains in place of the host's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// Options of the resolver in place of the host's, as resolv.conf(5) has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_options: Vec<String>,
    /// Lines of `/etc/hosts`: name to address. `host-gateway` stands for the host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_hosts: BTreeMap<String, String>,
    /// Hardware address on the first of its bridges, as `02:42:ac:11:00:02`; absent means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
}

/// Reads a hardware address that an interface may have: six bytes, and not that of a group.
pub fn mac_address(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = part
            .bytes()
            .all(|c| c.is_ascii_hexdigit())
            .then(|| u8::from_str_radix(part, 16).ok())??;
    }
    let is_whole = parts.next().is_none();
    (is_whole && bytes[0] & 1 == 0 && bytes != [0; 6]).then_some(bytes)
}

/// Which network a container sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum NetworkMode {
    /// Networks of the application by name, each with the extra names it answers to there.
    /// The service's own name always resolves. Empty means the network `default`.
    Bridge(BTreeMap<String, BTreeSet<String>>),
    /// The host's.
    Host,
    /// Loopback alone.
    None,
    /// The network of another service of the same application.
    Service(String),
}

impl Default for NetworkMode {
    fn default() -> Self {
        Self::Bridge(BTreeMap::new())
    }
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Address of the host; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// Port of the host.
    pub host: u16,
    /// Port of the container.
    pub container: u16,
    /// Transport protocol.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}
