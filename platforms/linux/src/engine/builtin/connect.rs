//! Networks of applications: addresses given and taken back, bridges, ports, names.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use lightship_spec::container::{ContainerSpec, NetworkMode, Protocol, mac_address};
use rustix::fs::FlockOperation;
use tokio::sync::OwnedMutexGuard;

use super::{Builtin, Error};
use crate::engine::blocking;
use crate::engine::error::Doing;
use crate::engine::runtime::ledger::{Conflict, Ledger};
use crate::engine::runtime::link::Links;
use crate::engine::runtime::nftables::{self, Forward, Net};
use crate::engine::runtime::{Bundle, Plan, State, is_alive};
use crate::store::InstanceId;

impl Builtin {
    /// Gives an instance its place in the networks that its spec names.
    pub(super) async fn connect(
        &self,
        id: InstanceId,
        name: &str,
        spec: &ContainerSpec,
    ) -> Result<Plan, Error> {
        match &spec.network.mode {
            NetworkMode::Host => return Ok(Plan::Host),
            NetworkMode::None => return Ok(Plan::Own(Vec::new())),
            NetworkMode::Service(other) => {
                return self.folder_of(other, &spec.application).map(Plan::Join);
            }
            NetworkMode::Bridge(_) => {}
        }
        let turn = self.ledger.clone().lock_owned().await;
        let mut ledger = self.read_ledger()?;
        let attachments = ledger.connect(
            &id.to_string(),
            &spec.application,
            name,
            &spec.network,
            self.options.addresses,
        );
        let mut attachments = attachments.map_err(refusal)?;
        if let (Some(text), Some(first)) = (&spec.network.mac_address, attachments.first_mut()) {
            first.hardware_address = mac_address(text);
        }
        self.put(turn, ledger).await?;
        Ok(Plan::Own(attachments))
    }

    /// Takes an instance's place back.
    pub(super) async fn disconnect(&self, id: InstanceId) -> Result<(), Error> {
        let turn = self.ledger.clone().lock_owned().await;
        let mut ledger = self.read_ledger()?;
        let id = id.to_string();
        if !ledger.instances().any(|other| other == id) {
            return Ok(());
        }
        ledger.disconnect(&id);
        self.put(turn, ledger).await
    }

    /// Removes the networks that nobody is in.
    pub(super) async fn prune_networks(&self) -> Result<(), Error> {
        let turn = self.ledger.clone().lock_owned().await;
        let before = self.read_ledger()?;
        let mut ledger = before.clone();
        ledger.prune();
        if ledger == before {
            Ok(())
        } else {
            self.put(turn, ledger).await
        }
    }

    /// The turn ends with the change, even if nobody waits for that any more.
    async fn put(&self, turn: OwnedMutexGuard<()>, ledger: Ledger) -> Result<(), Error> {
        let before = self.read_ledger()?;
        let (run, base) = (self.options.run.clone(), self.options.addresses);
        blocking(move || {
            let settled = settle(&run, base, &before, &ledger);
            drop(turn);
            settled
        })
        .await
    }

    /// Takes back what containers held that ended while there was no daemon, and makes the host's network
    /// what the ledger says, whatever a daemon that was killed left half-done.
    pub(super) fn recover(&self) -> Result<(), Error> {
        let (run, base) = (&self.options.run, self.options.addresses);
        if !run.join("ledger").exists() {
            return Ok(());
        }
        let _turn = turn(run)?;
        let before = self.read_ledger()?;
        let mut ledger = before.clone();
        let ids: Vec<String> = before.instances().map(str::to_owned).collect();
        for id in ids.iter().filter(|id| !is_alive(&run.join(id))) {
            ledger.disconnect(id);
        }
        ledger.prune();
        let mut links = Links::open().doing("opening the host's network")?;
        bridge(&mut links, &ledger.nets(base))?;
        publish(&ledger, base)?;
        keep(run, &ledger)?;
        unbridge(&mut links, &before.nets(base), &ledger.nets(base))?;
        tell_names(run, &ledger, base)
    }

    /// The TCP ports that are published on all addresses of this device, and who answers there.
    pub(super) fn published_ports(&self) -> Result<Vec<(u16, SocketAddr)>, Error> {
        let forwards = self.read_ledger()?.forwards(self.options.addresses);
        let open = forwards
            .into_iter()
            .filter(|forward| forward.host_ip.is_none() && forward.protocol == Protocol::Tcp);
        let way = |forward: Forward| {
            let to = SocketAddr::from((forward.address, forward.port));
            (forward.host_port, to)
        };
        Ok(open.map(way).collect())
    }

    fn read_ledger(&self) -> Result<Ledger, Error> {
        read(&self.options.run)
    }

    /// The run folder of the service of an application that runs now.
    fn folder_of(&self, service: &str, application: &str) -> Result<PathBuf, Error> {
        for record in self.store.records().doing("listing instances")? {
            let folder = self.folder(record.id());
            if record.name == service
                && is_alive(&folder)
                && State::read(&folder).doing("reading a state")?.is_some()
            {
                return Ok(folder);
            }
        }
        Err(Error::Start(format!(
            "the service {service} of {application}, whose network it shares, does not run"
        )))
    }

    /// Writes the files with which a container finds names.
    pub(super) fn write_names(&self, bundle: &Bundle) -> Result<(), Error> {
        let ledger = self.read_ledger()?;
        let network = &bundle.spec.network;
        let hosts = ledger.hosts(
            &bundle.id,
            &bundle.hostname,
            &network.extra_hosts,
            self.options.addresses,
        );
        let write = |name: &str, text: &str| {
            fs::write(bundle.folder.join(name), text).doing("writing the container's names")
        };
        write("hosts", &hosts)?;
        write("hostname", &format!("{}\n", bundle.hostname))?;
        write("resolv.conf", &resolver(bundle))
    }
}

/// Makes the host's network what the ledger says, keeps the ledger, and tells the names to all.
///
/// A bridge is made before the ledger names it and removed after: if the daemon is killed in between, one
/// too many is left, never one too few.
///
/// It is done by one process at a time, and not at all if the ledger is no longer what it was when the change
/// was thought of.
fn settle(run: &Path, base: Ipv4Addr, before: &Ledger, ledger: &Ledger) -> Result<(), Error> {
    let _turn = turn(run)?;
    if read(run)? != *before {
        return Err(Error::Start(
            "the networks were changed meanwhile; it is tried again".to_owned(),
        ));
    }
    let mut links = Links::open().doing("opening the host's network")?;
    let (old, new) = (before.nets(base), ledger.nets(base));
    let made: Vec<Net> = new
        .iter()
        .filter(|net| !old.contains(net))
        .cloned()
        .collect();
    bridge(&mut links, &made)?;
    if (&old, before.forwards(base)) != (&new, ledger.forwards(base)) {
        publish(ledger, base)?;
    }
    keep(run, ledger)?;
    unbridge(&mut links, &old, &new)?;
    tell_names(run, ledger, base)
}

/// The right to change the host's networks, until it is dropped.
fn turn(run: &Path) -> Result<File, Error> {
    let lock = File::create(run.join("ledger.lock")).doing("opening the ledger's lock")?;
    let taken = rustix::fs::flock(&lock, FlockOperation::LockExclusive);
    taken
        .map_err(std::io::Error::from)
        .doing("waiting for the ledger")?;
    Ok(lock)
}

fn read(run: &Path) -> Result<Ledger, Error> {
    match fs::read(run.join("ledger")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Ledger::default()),
        bytes => {
            let bytes = bytes.doing("reading the ledger")?;
            serde_json::from_slice(&bytes)
                .map_err(std::io::Error::other)
                .doing("reading the ledger")
        }
    }
}

fn bridge(links: &mut Links, nets: &[Net]) -> Result<(), Error> {
    for net in nets {
        links
            .bridge(&net.bridge, net.address, net.prefix)
            .doing("making a bridge")?;
        // Lets the host's own loopback reach published ports. Kernels without it lack only that.
        let path = format!("/proc/sys/net/ipv4/conf/{}/route_localnet", net.bridge);
        let _ = fs::write(path, "1");
    }
    if !nets.is_empty() {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").doing("switching forwarding on")?;
    }
    Ok(())
}

fn publish(ledger: &Ledger, base: Ipv4Addr) -> Result<(), Error> {
    let (nets, forwards) = (ledger.nets(base), ledger.forwards(base));
    nftables::apply(&nets, &forwards).doing("setting up NAT with nftables")
}

fn unbridge(links: &mut Links, old: &[Net], new: &[Net]) -> Result<(), Error> {
    for net in old.iter().filter(|net| !new.contains(net)) {
        links.remove(&net.bridge).doing("removing a bridge")?;
    }
    Ok(())
}

fn keep(run: &Path, ledger: &Ledger) -> Result<(), Error> {
    let path = run.join("ledger");
    let draft = path.with_extension("new");
    let bytes = serde_json::to_vec(ledger)
        .map_err(std::io::Error::other)
        .doing("writing the ledger")?;
    fs::write(&draft, bytes).doing("writing the ledger")?;
    fs::rename(&draft, &path).doing("writing the ledger")
}

/// Writes anew the names that running containers know, into the files that they have mounted.
fn tell_names(run: &Path, ledger: &Ledger, base: Ipv4Addr) -> Result<(), Error> {
    for id in ledger.instances() {
        let folder = run.join(id);
        let Ok(bytes) = fs::read(folder.join("bundle")) else {
            continue;
        };
        let Ok(bundle) = serde_json::from_slice::<Bundle>(&bytes) else {
            continue;
        };
        let hosts = ledger.hosts(id, &bundle.hostname, &bundle.spec.network.extra_hosts, base);
        fs::write(folder.join("hosts"), hosts).doing("writing the container's names")?;
    }
    Ok(())
}

/// The host's name servers, but for those on its own loopback, which a container cannot reach.
fn resolver(bundle: &Bundle) -> String {
    let network = &bundle.spec.network;
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let shares_host = bundle.network == Plan::Host;
    let mut lines: Vec<String> = network
        .dns
        .iter()
        .map(|address| format!("nameserver {address}"))
        .collect();
    if !network.dns_search.is_empty() {
        lines.push(format!("search {}", network.dns_search.join(" ")));
    }
    if !network.dns_options.is_empty() {
        lines.push(format!("options {}", network.dns_options.join(" ")));
    }
    let loopback = |line: &str| line.contains("nameserver 127.") || line.contains("nameserver ::1");
    // systemd-resolved keeps the real servers elsewhere.
    let host = if host.lines().any(loopback) && !shares_host {
        fs::read_to_string("/run/systemd/resolve/resolv.conf").unwrap_or(host)
    } else {
        host
    };
    for line in host.lines() {
        let replaced = line.starts_with("nameserver") && !network.dns.is_empty()
            || line.starts_with("search") && !network.dns_search.is_empty()
            || line.starts_with("options") && !network.dns_options.is_empty();
        if !replaced && (shares_host || !loopback(line)) {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n") + "\n"
}

fn refusal(conflict: Conflict) -> Error {
    match conflict {
        Conflict::Full => Error::refused("network.mode", "no address is left for it"),
        Conflict::PortTaken { port, by } => {
            Error::refused("network.ports", format!("port {port} belongs to {by}"))
        }
        Conflict::NotIpv4 => Error::refused(
            "network.ports",
            "only IPv4 addresses of the host are published",
        ),
    }
}
