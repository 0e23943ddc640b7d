//! What the hub's network namespace is made of: interfaces of WireGuard, the hub's address, one route for each device, and a wall.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::interface::{self, order};

/// Largest packet on the way from the hub to itself.
const LOOPBACK_MTU: u16 = u16::MAX;

/// After the table of this machine's own addresses, before any route.
const WALL_PRIORITY: u32 = 1;

/// Makes an interface of the kernel's WireGuard in another namespace. Its datagrams come and go in the namespace of the thread that calls.
pub(super) fn make(name: &str, namespace: RawFd) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::NetNsFd(namespace),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Wireguard)]),
    ];
    order(
        RouteNetlinkMessage::NewLink(link),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

/// Moves an interface to another namespace.
pub(super) fn put_into(name: &str, namespace: RawFd) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = interface::index(name)?;
    link.attributes.push(LinkAttribute::NetNsFd(namespace));
    order(RouteNetlinkMessage::SetLink(link), 0)
}

/// The hub's address is the machine's own here, whatever interface a packet comes through.
pub(super) fn settle(gateway: Ipv4Addr) -> io::Result<()> {
    interface::own("lo", gateway, gateway)?;
    interface::up("lo", LOOPBACK_MTU)
}

/// What comes through the interface and is not for the hub itself goes nowhere, whether the machine forwards packets or not.
pub(super) fn wall(interface: &str) -> io::Result<()> {
    let mut rule = RuleMessage::default();
    rule.header.family = AddressFamily::Inet;
    rule.header.action = RuleAction::Blackhole;
    rule.attributes = vec![
        RuleAttribute::Iifname(interface.to_owned()),
        RuleAttribute::Priority(WALL_PRIORITY),
    ];
    order(
        RouteNetlinkMessage::NewRule(rule),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

/// The device is reached through this interface from now on.
pub(super) fn route(device: Ipv4Addr, interface: &str, gateway: Ipv4Addr) -> io::Result<()> {
    let mut route = to(device);
    route.header.scope = RouteScope::Link;
    route.attributes.extend([
        RouteAttribute::Oif(interface::index(interface)?),
        RouteAttribute::PrefSource(IpAddr::V4(gateway).into()),
    ]);
    order(
        RouteNetlinkMessage::NewRoute(route),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
}

/// The device is not reached any more.
pub(super) fn unroute(device: Ipv4Addr) -> io::Result<()> {
    let mut route = to(device);
    route.header.scope = RouteScope::NoWhere;
    order(RouteNetlinkMessage::DelRoute(route), 0)
}

fn to(device: Ipv4Addr) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet;
    route.header.destination_prefix_length = 32;
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::Static;
    route.header.kind = RouteType::Unicast;
    route
        .attributes
        .push(RouteAttribute::Destination(IpAddr::V4(device).into()));
    route
}
