//! Who has which address: networks, instances, names and published ports of all applications.
//!
//! Pure. The engine keeps it in a file that lasts until the device restarts, as the bridges do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use lightship_spec::container::{Network, NetworkMode, Port};
use serde::{Deserialize, Serialize};

use super::Attachment;
use super::nftables::{BRIDGE_PREFIX, Forward, Net};
use crate::store::Digest;

/// Length of every network's prefix.
const PREFIX: u8 = 24;

/// The name of the network of an application that names none.
const DEFAULT: &str = "default";

/// All networks and who is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// `application/network` to its number: the third byte of its addresses.
    networks: BTreeMap<String, u8>,
    /// Instance id to what it has.
    leases: BTreeMap<String, Lease>,
}

/// What one instance has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    application: String,
    name: String,
    /// `application/network` to its place there.
    seats: BTreeMap<String, Seat>,
    ports: Vec<Port>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seat {
    /// The last byte of the address.
    host: u8,
    aliases: BTreeSet<String>,
}

/// Why an instance cannot be connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// No address or network number is left.
    Full,
    /// The host's port belongs to another running service.
    PortTaken { port: u16, by: String },
    /// Only IPv4 addresses of the host are published.
    NotIpv4,
}

impl Ledger {
    /// Gives an instance its addresses. Told again, it has the same.
    pub(crate) fn connect(
        &mut self,
        id: &str,
        application: &str,
        name: &str,
        network: &Network,
        base: Ipv4Addr,
    ) -> Result<Vec<Attachment>, Conflict> {
        let NetworkMode::Bridge(wanted) = &network.mode else {
            return Ok(Vec::new());
        };
        self.check_ports(id, network)?;
        let default = BTreeMap::from([(DEFAULT.to_owned(), BTreeSet::new())]);
        let wanted = if wanted.is_empty() { &default } else { wanted };
        let mut seats = BTreeMap::new();
        for (net, aliases) in wanted {
            let key = format!("{application}/{net}");
            self.number(&key)?;
            let host = self.seat(id, &key)?;
            seats.insert(
                key,
                Seat {
                    host,
                    aliases: aliases.clone(),
                },
            );
        }
        let (application, name, ports) = (
            application.to_owned(),
            name.to_owned(),
            network.ports.clone(),
        );
        self.leases.insert(
            id.to_owned(),
            Lease {
                application,
                name,
                seats,
                ports,
            },
        );
        Ok(self.attachments(id, base))
    }

    /// Takes an instance's addresses back. Its networks stay: a service that is replaced comes back to
    /// them at once, and the kernel takes long to make and unmake bridges.
    pub(crate) fn disconnect(&mut self, id: &str) {
        self.leases.remove(id);
    }

    /// Drops the networks that nobody is in.
    pub(crate) fn prune(&mut self) {
        let seats = self.leases.values().flat_map(|lease| lease.seats.keys());
        let used: BTreeSet<&String> = seats.collect();
        self.networks.retain(|key, _| used.contains(key));
    }

    /// The instances that have something.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &str> {
        self.leases.keys().map(String::as_str)
    }

    /// The networks that there are.
    pub(crate) fn nets(&self, base: Ipv4Addr) -> Vec<Net> {
        let nets = self.networks.iter().map(|(key, number)| Net {
            bridge: bridge(key),
            address: at(base, *number, 1),
            prefix: PREFIX,
        });
        nets.collect()
    }

    /// The published ports.
    pub(crate) fn forwards(&self, base: Ipv4Addr) -> Vec<Forward> {
        let mut forwards = Vec::new();
        for (id, lease) in &self.leases {
            let Some(first) = self.attachments(id, base).into_iter().next() else {
                continue;
            };
            for port in &lease.ports {
                let host_ip = match port.host_ip {
                    Some(std::net::IpAddr::V4(address)) if !address.is_unspecified() => {
                        Some(address)
                    }
                    _ => None,
                };
                forwards.push(Forward {
                    host_ip,
                    host_port: port.host,
                    protocol: port.protocol,
                    address: first.address,
                    port: port.container,
                });
            }
        }
        forwards
    }

    /// The text of an instance's `/etc/hosts`.
    pub(crate) fn hosts(
        &self,
        id: &str,
        hostname: &str,
        extra: &BTreeMap<String, String>,
        base: Ipv4Addr,
    ) -> String {
        let mut text =
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
        let own = self.leases.get(id);
        let gateway = self
            .attachments(id, base)
            .first()
            .map_or(Ipv4Addr::LOCALHOST, |first| first.gateway);
        for (name, address) in extra {
            let address = if address == "host-gateway" {
                gateway.to_string()
            } else {
                address.clone()
            };
            text.push_str(&format!("{address}\t{name}\n"));
        }
        let seats = own.map(|lease| &lease.seats);
        for (key, _) in seats.into_iter().flatten() {
            for (other_id, other) in &self.leases {
                let Some(seat) = other.seats.get(key) else {
                    continue;
                };
                let mut names: Vec<&str> = vec![&other.name];
                names.extend(seat.aliases.iter().map(String::as_str));
                if other_id == id {
                    names.insert(0, hostname);
                    names.dedup();
                }
                let address = at(base, self.networks[key], seat.host);
                text.push_str(&format!("{address}\t{}\n", names.join(" ")));
            }
        }
        if own.is_none() {
            text.push_str(&format!("127.0.1.1\t{hostname}\n"));
        }
        text
    }

    fn attachments(&self, id: &str, base: Ipv4Addr) -> Vec<Attachment> {
        let Some(lease) = self.leases.get(id) else {
            return Vec::new();
        };
        let seats = lease.seats.iter().enumerate();
        let attachment = |(number, (key, seat)): (usize, (&String, &Seat))| {
            let network = self.networks[key];
            Attachment {
                bridge: bridge(key),
                host_end: format!("lv{}{number}", &id[..id.len().min(11)]),
                interface: format!("eth{number}"),
                address: at(base, network, seat.host),
                gateway: at(base, network, 1),
                prefix: PREFIX,
                hardware_address: None,
            }
        };
        seats.map(attachment).collect()
    }

    fn check_ports(&self, id: &str, network: &Network) -> Result<(), Conflict> {
        for port in &network.ports {
            if matches!(port.host_ip, Some(std::net::IpAddr::V6(address)) if !address.is_unspecified())
            {
                return Err(Conflict::NotIpv4);
            }
            for (other_id, other) in self.leases.iter().filter(|(other_id, _)| *other_id != id) {
                let clash = |theirs: &&Port| {
                    let overlap = theirs.host_ip == port.host_ip
                        || theirs.host_ip.is_none()
                        || port.host_ip.is_none();
                    theirs.host == port.host && theirs.protocol == port.protocol && overlap
                };
                if other.ports.iter().any(|theirs| clash(&theirs)) {
                    let by = format!("{} ({other_id})", other.name);
                    return Err(Conflict::PortTaken {
                        port: port.host,
                        by,
                    });
                }
            }
        }
        Ok(())
    }

    fn number(&mut self, key: &str) -> Result<u8, Conflict> {
        if let Some(number) = self.networks.get(key) {
            return Ok(*number);
        }
        let used: BTreeSet<u8> = self.networks.values().copied().collect();
        let number = (0..=255)
            .find(|number| !used.contains(number))
            .ok_or(Conflict::Full)?;
        self.networks.insert(key.to_owned(), number);
        Ok(number)
    }

    fn seat(&self, id: &str, key: &str) -> Result<u8, Conflict> {
        if let Some(seat) = self.leases.get(id).and_then(|lease| lease.seats.get(key)) {
            return Ok(seat.host);
        }
        let used: BTreeSet<u8> = self
            .leases
            .values()
            .filter_map(|lease| Some(lease.seats.get(key)?.host))
            .collect();
        (2..=254)
            .find(|host| !used.contains(host))
            .ok_or(Conflict::Full)
    }
}

/// An interface's name is 15 bytes at most.
fn bridge(key: &str) -> String {
    format!(
        "{BRIDGE_PREFIX}{}",
        &Digest::of(key.as_bytes()).to_hex()[..10]
    )
}

fn at(base: Ipv4Addr, network: u8, host: u8) -> Ipv4Addr {
    let [first, second, _, _] = base.octets();
    Ipv4Addr::new(first, second, network, host)
}

#[cfg(test)]
mod tests {
    use lightship_spec::container::Protocol;

    use super::*;

    const BASE: Ipv4Addr = Ipv4Addr::new(10, 118, 0, 0);

    fn on(networks: &[(&str, &[&str])]) -> Network {
        let mode = networks.iter().map(|(name, aliases)| {
            (
                name.to_string(),
                aliases.iter().map(ToString::to_string).collect(),
            )
        });
        Network {
            mode: NetworkMode::Bridge(mode.collect()),
            ..Network::default()
        }
    }

    fn publishing(port: u16) -> Network {
        let port = Port {
            host_ip: None,
            host: port,
            container: 80,
            protocol: Protocol::Tcp,
        };
        Network {
            ports: vec![port],
            ..Network::default()
        }
    }

    #[test]
    fn services_of_one_application_know_each_other_and_no_others() {
        let mut ledger = Ledger::default();
        ledger.connect("a1", "shop", "web", &on(&[]), BASE).unwrap();
        ledger
            .connect("a2", "shop", "db", &on(&[("default", &["store"])]), BASE)
            .unwrap();
        ledger.connect("b1", "other", "db", &on(&[]), BASE).unwrap();
        let hosts = ledger.hosts("a1", "web", &BTreeMap::new(), BASE);
        assert!(
            hosts.contains("10.118.0.2\tweb\n") && hosts.contains("10.118.0.3\tdb store\n"),
            "{hosts}"
        );
        assert!(!hosts.contains("10.118.1."), "{hosts}");
        assert_eq!(ledger.nets(BASE).len(), 2);
    }

    #[test]
    fn the_same_instance_keeps_its_address_and_a_left_one_is_given_again() {
        let mut ledger = Ledger::default();
        let first = ledger.connect("a1", "shop", "web", &on(&[]), BASE).unwrap();
        assert_eq!(
            ledger.connect("a1", "shop", "web", &on(&[]), BASE).unwrap(),
            first
        );
        ledger.disconnect("a1");
        assert_eq!(ledger.nets(BASE).len(), 1);
        assert_eq!(
            ledger.connect("a2", "shop", "web", &on(&[]), BASE).unwrap()[0].address,
            first[0].address
        );
        ledger.disconnect("a2");
        ledger.prune();
        assert_eq!(ledger, Ledger::default());
    }

    #[test]
    fn a_port_belongs_to_one_service() {
        let mut ledger = Ledger::default();
        ledger
            .connect("a1", "shop", "web", &publishing(80), BASE)
            .unwrap();
        let taken = ledger
            .connect("a2", "shop", "web2", &publishing(80), BASE)
            .unwrap_err();
        assert_eq!(
            taken,
            Conflict::PortTaken {
                port: 80,
                by: "web (a1)".to_owned()
            }
        );
        ledger
            .connect("a1", "shop", "web", &publishing(80), BASE)
            .unwrap();
        ledger
            .connect("a2", "shop", "web2", &publishing(81), BASE)
            .unwrap();
        assert_eq!(ledger.forwards(BASE).len(), 2);
    }

    #[test]
    fn a_full_network_says_so() {
        let mut ledger = Ledger::default();
        for number in 2..=254 {
            ledger
                .connect(&format!("{number}"), "shop", "web", &on(&[]), BASE)
                .unwrap();
        }
        assert_eq!(
            ledger.connect("last", "shop", "web", &on(&[]), BASE),
            Err(Conflict::Full)
        );
    }
}
