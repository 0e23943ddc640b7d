//! A network interface's address, routes and size, over netlink, in the network namespace of the thread that calls.

pub(crate) mod control;

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_request::netlink_request_rtnl;

/// Brings the interface up as one end of a wire whose other end is the hub: the kernel derives the only route, to the hub, from that, and drops it with the interface.
pub(crate) fn raise(interface: &str, address: Ipv4Addr, hub: Ipv4Addr, mtu: u16) -> io::Result<()> {
    own(interface, address, hub)?;
    up(interface, mtu)
}

/// Gives the interface an address, and the one at the other end of its wire; the same where it has no wire.
pub(crate) fn own(interface: &str, address: Ipv4Addr, other: Ipv4Addr) -> io::Result<()> {
    let mut wire = AddressMessage::default();
    wire.header.family = AddressFamily::Inet;
    wire.header.prefix_len = 32;
    wire.header.index = index(interface)?;
    wire.attributes
        .push(AddressAttribute::Local(IpAddr::V4(address)));
    wire.attributes
        .push(AddressAttribute::Address(IpAddr::V4(other)));
    order(
        RouteNetlinkMessage::NewAddress(wire),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
}

/// Brings the interface up; packets of so many bytes pass.
pub(crate) fn up(interface: &str, mtu: u16) -> io::Result<()> {
    let mut up = LinkMessage::default();
    up.header.index = index(interface)?;
    up.header.flags = LinkFlags::Up;
    up.header.change_mask = LinkFlags::Up;
    up.attributes.push(LinkAttribute::Mtu(u32::from(mtu)));
    order(RouteNetlinkMessage::SetLink(up), 0)
}

/// Deletes the interface, and with it its address and its routes.
pub(crate) fn delete(interface: &str) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = index(interface)?;
    order(RouteNetlinkMessage::DelLink(link), 0)
}

/// The number of the interface with this name.
pub(crate) fn index(interface: &str) -> io::Result<u32> {
    // Any socket will do, and this one needs no interface that is up.
    let any = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    Ok(rustix::net::netdevice::name_to_index(any, interface)?)
}

/// Asks the kernel to do something, and waits until it has.
pub(crate) fn order(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    netlink_request_rtnl(message, Some(NLM_F_REQUEST | NLM_F_ACK | flags)).map(drop)
}
