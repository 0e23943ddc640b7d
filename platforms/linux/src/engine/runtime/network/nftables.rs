//! NAT, published ports and the walls between applications: one table of nftables' own.
//!
//! The table is written as a whole, in one transaction, from what runs now; so it is never half of two
//! states, and what a daemon that died left behind is gone with the next change.

use std::io;
use std::net::Ipv4Addr;

use lightship_spec::container::Protocol;

use super::netlink::{ACKNOWLEDGE, APPEND, CREATE, Messages, Socket};

const TABLE: Table = Table("lightship");

/// What all bridges' names start with.
pub(crate) const BRIDGE_PREFIX: &str = "ls-";

// linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = (SUBSYSTEM << 8) | 2;
const NEW_CHAIN: u16 = (SUBSYSTEM << 8) | 3;
const NEW_RULE: u16 = (SUBSYSTEM << 8) | 6;
const FAMILY_IPV4: u8 = 2;

const REGISTER_1: u32 = 1;
const REGISTER_2: u32 = 2;
const VERDICT_REGISTER: u32 = 0;
pub(super) const META_INTERFACE_IN: u32 = 6;
pub(super) const META_INTERFACE_OUT: u32 = 7;
pub(super) const META_PROTOCOL: u32 = 16;
const NETWORK_HEADER: u32 = 1;
pub(super) const TRANSPORT_HEADER: u32 = 2;
pub(super) const DROP: u32 = 0;
pub(super) const ACCEPT: u32 = 1;

/// A network of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Net {
    /// Its bridge.
    pub(crate) bridge: String,
    /// Its first address.
    pub(crate) address: Ipv4Addr,
    /// The length of its prefix.
    pub(crate) prefix: u8,
}

/// A port of the host that leads to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) host_ip: Option<Ipv4Addr>,
    pub(crate) host_port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
}

/// Puts the table for these networks and ports in place of the one before.
pub(crate) fn apply(nets: &[Net], forwards: &[Forward]) -> io::Result<()> {
    commit(|batch| {
        TABLE.replace(batch);
        if nets.is_empty() {
            return;
        }
        TABLE.make(batch);
        for (name, kind, hook, priority) in [
            ("prerouting", "nat", 0, -100),
            ("output", "nat", 3, -100),
            ("postrouting", "nat", 4, 100),
            ("forward", "filter", 2, 0),
        ] {
            TABLE.chain(batch, name, kind, hook, priority);
        }
        forwards.iter().for_each(|forward| publish(batch, forward));
        nets.iter().for_each(|net| masquerade(batch, net));
        wall(batch);
    })
}

/// Does all of it, or nothing.
pub(super) fn commit(fill: impl FnOnce(&mut Messages)) -> io::Result<()> {
    let mut batch = Messages::default();
    batch.start(BATCH_BEGIN, 0, &generic(0, SUBSYSTEM));
    fill(&mut batch);
    batch.start(BATCH_END, 0, &generic(0, SUBSYSTEM));
    Socket::open(Some(rustix::net::netlink::NETFILTER))?.call(batch)
}

/// `struct nfgenmsg`.
fn generic(family: u8, resource: u16) -> Vec<u8> {
    let mut fixed = vec![family, 0];
    fixed.extend_from_slice(&resource.to_be_bytes());
    fixed
}

/// A table, by its name.
pub(super) struct Table(pub(super) &'static str);

impl Table {
    /// Takes away what is there of it.
    pub(super) fn replace(&self, batch: &mut Messages) {
        self.make(batch);
        batch.start(DELETE_TABLE, ACKNOWLEDGE, &generic(FAMILY_IPV4, 0));
        batch.text(1, self.0);
    }

    pub(super) fn make(&self, batch: &mut Messages) {
        batch.start(NEW_TABLE, ACKNOWLEDGE | CREATE, &generic(FAMILY_IPV4, 0));
        batch.text(1, self.0);
    }

    pub(super) fn chain(
        &self,
        batch: &mut Messages,
        name: &str,
        kind: &str,
        hook: u32,
        priority: i32,
    ) {
        batch.start(NEW_CHAIN, ACKNOWLEDGE | CREATE, &generic(FAMILY_IPV4, 0));
        batch.text(1, self.0);
        batch.text(3, name);
        batch.nest(4, |place| {
            place.number_be(1, hook);
            place.number_be(2, priority.cast_unsigned());
        });
        batch.number_be(5, ACCEPT);
        batch.text(7, kind);
    }

    pub(super) fn rule(
        &self,
        batch: &mut Messages,
        chain: &str,
        expressions: impl FnOnce(&mut Messages),
    ) {
        batch.start(
            NEW_RULE,
            ACKNOWLEDGE | CREATE | APPEND,
            &generic(FAMILY_IPV4, 0),
        );
        batch.text(1, self.0);
        batch.text(2, chain);
        batch.nest(4, expressions);
    }
}

/// For packets to an address of the host: to the container instead.
fn publish(batch: &mut Messages, forward: &Forward) {
    for chain in ["prerouting", "output"] {
        TABLE.rule(batch, chain, |rule| {
            to_this_host(rule);
            if let Some(address) = forward.host_ip {
                destination(rule, &address.octets());
            }
            let number = match forward.protocol {
                Protocol::Tcp => 6,
                Protocol::Udp => 17,
            };
            meta(rule, META_PROTOCOL);
            compare(rule, 0, &[number]);
            payload(rule, TRANSPORT_HEADER, 2, 2);
            compare(rule, 0, &forward.host_port.to_be_bytes());
            immediate(rule, REGISTER_1, &forward.address.octets());
            immediate(rule, REGISTER_2, &forward.port.to_be_bytes());
            expression(rule, "nat", |nat| {
                nat.number_be(1, 1);
                nat.number_be(2, u32::from(FAMILY_IPV4));
                nat.number_be(3, REGISTER_1);
                nat.number_be(5, REGISTER_2);
            });
        });
    }
}

fn masquerade(batch: &mut Messages, net: &Net) {
    let mask = u32::MAX
        .checked_shl(32 - u32::from(net.prefix))
        .unwrap_or(0);
    let start = (u32::from(net.address) & mask).to_be_bytes();
    // What leaves the network goes out under the host's address.
    TABLE.rule(batch, "postrouting", |rule| {
        source_in(rule, &start, mask);
        meta(rule, META_INTERFACE_OUT);
        compare(rule, 1, &interface_name(&net.bridge));
        expression(rule, "masq", |_| ());
    });
    // What the host's own loopback sends to a published port must find its way back.
    TABLE.rule(batch, "postrouting", |rule| {
        source_in(rule, &[127, 0, 0, 0], 0xff00_0000);
        meta(rule, META_INTERFACE_OUT);
        compare(rule, 0, &interface_name(&net.bridge));
        expression(rule, "masq", |_| ());
    });
    // Within one network everything may talk, also when bridged packets pass through here.
    TABLE.rule(batch, "forward", |rule| {
        meta(rule, META_INTERFACE_IN);
        compare(rule, 0, &interface_name(&net.bridge));
        meta(rule, META_INTERFACE_OUT);
        compare(rule, 0, &interface_name(&net.bridge));
        verdict(rule, ACCEPT);
    });
}

/// From one application's network to another's: nothing.
fn wall(batch: &mut Messages) {
    TABLE.rule(batch, "forward", |rule| {
        meta(rule, META_INTERFACE_IN);
        compare(rule, 0, BRIDGE_PREFIX.as_bytes());
        meta(rule, META_INTERFACE_OUT);
        compare(rule, 0, BRIDGE_PREFIX.as_bytes());
        verdict(rule, DROP);
    });
}

pub(super) fn interface_name(name: &str) -> [u8; 16] {
    let mut padded = [0; 16];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    padded
}

fn expression(rule: &mut Messages, name: &str, data: impl FnOnce(&mut Messages)) {
    rule.nest(1, |element| {
        element.text(1, name);
        element.nest(2, data);
    });
}

pub(super) fn meta(rule: &mut Messages, key: u32) {
    expression(rule, "meta", |data| {
        data.number_be(1, REGISTER_1);
        data.number_be(2, key);
    });
}

/// Equal (0) or not (1).
pub(super) fn compare(rule: &mut Messages, operator: u32, value: &[u8]) {
    expression(rule, "cmp", |data| {
        data.number_be(1, REGISTER_1);
        data.number_be(2, operator);
        data.nest(3, |nested| nested.attribute(1, value));
    });
}

pub(super) fn payload(rule: &mut Messages, base: u32, offset: u32, length: u32) {
    expression(rule, "payload", |data| {
        data.number_be(1, REGISTER_1);
        data.number_be(2, base);
        data.number_be(3, offset);
        data.number_be(4, length);
    });
}

fn destination(rule: &mut Messages, address: &[u8; 4]) {
    payload(rule, NETWORK_HEADER, 16, 4);
    compare(rule, 0, address);
}

fn source_in(rule: &mut Messages, start: &[u8; 4], mask: u32) {
    payload(rule, NETWORK_HEADER, 12, 4);
    keep_bits(rule, mask.to_be_bytes());
    compare(rule, 0, start);
}

/// What is known of the connection has one of these bits.
pub(super) fn conntrack(rule: &mut Messages, key: u32, bits: u32) {
    expression(rule, "ct", |data| {
        data.number_be(1, REGISTER_1);
        data.number_be(2, key);
    });
    keep_bits(rule, bits.to_ne_bytes());
    compare(rule, 1, &[0; 4]);
}

fn keep_bits(rule: &mut Messages, mask: [u8; 4]) {
    expression(rule, "bitwise", |data| {
        data.number_be(1, REGISTER_1);
        data.number_be(2, REGISTER_1);
        data.number_be(3, 4);
        data.nest(4, |nested| nested.attribute(1, &mask));
        data.nest(5, |nested| nested.attribute(1, &[0; 4]));
    });
}

/// The destination is one of the host's own addresses (a fib lookup for RTN_LOCAL).
fn to_this_host(rule: &mut Messages) {
    const BY_DESTINATION: u32 = 2;
    const ADDRESS_TYPE: u32 = 3;
    const LOCAL: u32 = 2;
    expression(rule, "fib", |data| {
        data.number_be(1, REGISTER_1);
        data.number_be(2, ADDRESS_TYPE);
        data.number_be(3, BY_DESTINATION);
    });
    compare(rule, 0, &LOCAL.to_ne_bytes());
}

fn immediate(rule: &mut Messages, register: u32, value: &[u8]) {
    expression(rule, "immediate", |data| {
        data.number_be(1, register);
        data.nest(2, |nested| nested.attribute(1, value));
    });
}

pub(super) fn verdict(rule: &mut Messages, code: u32) {
    expression(rule, "immediate", |data| {
        data.number_be(1, VERDICT_REGISTER);
        data.nest(2, |nested| nested.nest(2, |inner| inner.number_be(1, code)));
    });
}
