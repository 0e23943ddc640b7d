//! The interface's address, route and size, over netlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_request::netlink_request_rtnl;

/// Brings the interface up as one end of a wire whose other end is the hub: the kernel derives the only route, to the hub, from that, and drops it with the interface.
pub(super) fn raise(interface: &str, address: Ipv4Addr, hub: Ipv4Addr, mtu: u16) -> io::Result<()> {
    let index = index(interface)?;
    let mut wire = AddressMessage::default();
    wire.header.family = AddressFamily::Inet;
    wire.header.prefix_len = 32;
    wire.header.index = index;
    wire.attributes
        .push(AddressAttribute::Local(IpAddr::V4(address)));
    wire.attributes
        .push(AddressAttribute::Address(IpAddr::V4(hub)));
    netlink_request_rtnl(
        RouteNetlinkMessage::NewAddress(wire),
        Some(NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE),
    )?;
    let mut up = LinkMessage::default();
    up.header.index = index;
    up.header.flags = LinkFlags::Up;
    up.header.change_mask = LinkFlags::Up;
    up.attributes.push(LinkAttribute::Mtu(u32::from(mtu)));
    netlink_request_rtnl(
        RouteNetlinkMessage::SetLink(up),
        Some(NLM_F_REQUEST | NLM_F_ACK),
    )?;
    Ok(())
}

/// Deletes the interface, and with it its address and its route.
pub(super) fn delete(interface: &str) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = index(interface)?;
    netlink_request_rtnl(
        RouteNetlinkMessage::DelLink(link),
        Some(NLM_F_REQUEST | NLM_F_ACK),
    )?;
    Ok(())
}

/// The number of the interface with this name in this process's network namespace.
pub(super) fn index(interface: &str) -> io::Result<u32> {
    let any = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(rustix::net::netdevice::name_to_index(any, interface)?)
}
