//! A network interface's address, routes and size, over netlink, in the network namespace of the thread that calls.

pub(crate) mod control;
pub(crate) mod outside;

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkPayload};
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

/// What an interface has dropped, as the kernel counts it.
///
/// WireGuard's counts what came out of a tunnel and was no packet of that peer; it drops what never got so far without a count of any kind (`drivers/net/wireguard/receive.c`). The malformed is counted by [`outside`], the forged and the replayed by nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Dropped {
    /// Not from the peer's own address, or no IP.
    pub(crate) spoofed: u64,
    /// Shorter than they say.
    pub(crate) malformed: u64,
    /// For any other reason, among them want of memory.
    pub(crate) other: u64,
    /// Not sent: no peer, no address of the peer, no room.
    pub(crate) unsent: u64,
    /// Keep-alives of one byte, which no interface understands.
    pub(crate) pings: u64,
}

impl Dropped {
    /// Of what came in.
    pub(crate) fn received(&self) -> u64 {
        self.spoofed + self.malformed + self.other
    }
}

impl std::ops::AddAssign for Dropped {
    fn add_assign(&mut self, more: Self) {
        self.spoofed += more.spoofed;
        self.malformed += more.malformed;
        self.other += more.other;
        self.unsent += more.unsent;
        self.pings += more.pings;
    }
}

/// What the interface has dropped since it was made.
pub(crate) fn dropped(interface: &str) -> io::Result<Dropped> {
    let mut link = LinkMessage::default();
    link.header.index = index(interface)?;
    let asked = RouteNetlinkMessage::GetLink(link);
    let told = netlink_request_rtnl(asked, Some(NLM_F_REQUEST | NLM_F_ACK))?;
    let attributes = told
        .into_iter()
        .filter_map(|message| match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                Some(link.attributes)
            }
            _ => None,
        });
    let counted = attributes.flatten().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(counted) => Some(counted),
        _ => None,
    });
    let counted = counted.ok_or(io::ErrorKind::Unsupported)?;
    let (spoofed, malformed) = (counted.rx_frame_errors, counted.rx_length_errors);
    Ok(Dropped {
        spoofed,
        malformed,
        // The errors include those that have a count of their own.
        other: (counted.rx_errors + counted.rx_dropped).saturating_sub(spoofed + malformed),
        unsent: counted.tx_errors + counted.tx_dropped,
        pings: 0,
    })
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
