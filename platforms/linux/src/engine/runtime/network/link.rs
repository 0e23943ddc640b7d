//! Interfaces, addresses and routes (rtnetlink(7)).

use std::io;
use std::net::Ipv4Addr;

use super::netlink::{ACKNOWLEDGE, CREATE, EXCLUSIVE, Messages, Socket};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;

/// The interfaces of the network that the caller is in when it opens this.
#[derive(Debug)]
pub(crate) struct Links(Socket);

impl Links {
    pub(crate) fn open() -> io::Result<Self> {
        Socket::open(None).map(Self)
    }

    /// Makes a bridge with the host's address on it. One that is there already is fine.
    pub(crate) fn bridge(&mut self, name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut messages = Messages::default();
        messages.start(NEW_LINK, ACKNOWLEDGE | CREATE | EXCLUSIVE, &interface(0, 0));
        messages.text(IFLA_IFNAME, name);
        messages.nest(IFLA_LINKINFO, |info| {
            info.attribute(IFLA_INFO_KIND, b"bridge")
        });
        there_is_fine(self.0.call(messages))?;
        there_is_fine(self.address(name, address, prefix))?;
        self.up(name)
    }

    /// Lays a cable: one end here on a bridge, the other in the network of process `pid`.
    pub(crate) fn cable(
        &mut self,
        here: &str,
        there: &str,
        pid: u32,
        bridge: &str,
    ) -> io::Result<()> {
        let bridge = self.index(bridge)?;
        let mut messages = Messages::default();
        messages.start(
            NEW_LINK,
            ACKNOWLEDGE | CREATE | EXCLUSIVE,
            &interface(0, IFF_UP),
        );
        messages.text(IFLA_IFNAME, here);
        messages.attribute(IFLA_MASTER, &bridge.to_ne_bytes());
        messages.nest(IFLA_LINKINFO, |info| {
            info.attribute(IFLA_INFO_KIND, b"veth");
            info.nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.raw(&interface(0, 0));
                    peer.text(IFLA_IFNAME, there);
                    peer.attribute(IFLA_NET_NS_PID, &pid.to_ne_bytes());
                });
            });
        });
        self.0.call(messages)
    }

    /// Gives an interface an address.
    pub(crate) fn address(&mut self, name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let index = self.index(name)?;
        let mut fixed = vec![AF_INET, prefix, 0, 0];
        fixed.extend_from_slice(&index.to_ne_bytes());
        let mut messages = Messages::default();
        messages.start(NEW_ADDRESS, ACKNOWLEDGE | CREATE | EXCLUSIVE, &fixed);
        messages.attribute(IFA_LOCAL, &address.octets());
        messages.attribute(IFA_ADDRESS, &address.octets());
        let hosts = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        messages.attribute(IFA_BROADCAST, &(u32::from(address) | hosts).to_be_bytes());
        self.0.call(messages)
    }

    /// Gives an interface that is off another hardware address.
    pub(crate) fn hardware_address(&mut self, name: &str, address: [u8; 6]) -> io::Result<()> {
        let index = self.index(name)?;
        let mut messages = Messages::default();
        messages.start(NEW_LINK, ACKNOWLEDGE, &interface(index, 0));
        messages.attribute(IFLA_ADDRESS, &address);
        self.0.call(messages)
    }

    /// Switches an interface on.
    pub(crate) fn up(&mut self, name: &str) -> io::Result<()> {
        let index = self.index(name)?;
        let mut messages = Messages::default();
        messages.start(NEW_LINK, ACKNOWLEDGE, &interface(index, IFF_UP));
        self.0.call(messages)
    }

    /// The way to everything that is not on a cable.
    pub(crate) fn default_route(&mut self, gateway: Ipv4Addr) -> io::Result<()> {
        // Family, no destination, main table, set at boot, whole universe, unicast.
        let fixed = [AF_INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        let mut messages = Messages::default();
        messages.start(NEW_ROUTE, ACKNOWLEDGE | CREATE | EXCLUSIVE, &fixed);
        messages.attribute(RTA_GATEWAY, &gateway.octets());
        self.0.call(messages)
    }

    /// Removes an interface. One that is gone already is fine.
    pub(crate) fn remove(&mut self, name: &str) -> io::Result<()> {
        let Ok(index) = self.index(name) else {
            return Ok(());
        };
        let mut messages = Messages::default();
        messages.start(DELETE_LINK, ACKNOWLEDGE, &interface(index, 0));
        self.0.call(messages)
    }

    fn index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(self.0.fd(), name)?)
    }
}

/// `struct ifinfomsg`.
fn interface(index: u32, up: u32) -> Vec<u8> {
    let mut fixed = vec![0; 4];
    for number in [index, up, up] {
        fixed.extend_from_slice(&number.to_ne_bytes());
    }
    fixed
}

fn there_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}
