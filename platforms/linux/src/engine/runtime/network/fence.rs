//! What may come out of a tunnel that is an interface of this machine, and what may go into it.
//!
//! Whoever owns the hub reaches what services publish and the ports that the configuration names, and nothing else:
//! neither what listens here besides, nor, over this device, the network that it stands in. Containers send nothing into the tunnel.

use std::io;

use super::netlink::Messages;
use super::nftables::{
    ACCEPT, DROP, META_INTERFACE_IN, META_INTERFACE_OUT, META_PROTOCOL, TRANSPORT_HEADER, Table,
    commit, compare, conntrack, interface_name, meta, payload, verdict,
};

const TABLE: Table = Table("lightship-tunnel");

// linux/netfilter/nf_conntrack_common.h: bits of a state, and of a status.
const STATE: u32 = 0;
const STATUS: u32 = 2;
const ESTABLISHED_OR_RELATED: u32 = 0b110;
const SENT_ELSEWHERE: u32 = 1 << 5;
const TCP: u8 = 6;
const ICMP: u8 = 1;

/// Lets through what is published, and TCP to these ports of the device itself.
pub(crate) fn raise(interface: &str, ports: &[u16]) -> io::Result<()> {
    commit(|batch| {
        TABLE.replace(batch);
        TABLE.make(batch);
        TABLE.chain(batch, "input", "filter", 1, 0);
        TABLE.chain(batch, "forward", "filter", 2, 0);
        input(batch, interface, ports);
        forward(batch, interface);
    })
}

/// Takes it away again. Absent already is fine.
pub(crate) fn lower() -> io::Result<()> {
    commit(|batch| TABLE.replace(batch))
}

fn input(batch: &mut Messages, interface: &str, ports: &[u16]) {
    let from = |rule: &mut Messages| on(rule, META_INTERFACE_IN, interface);
    TABLE.rule(batch, "input", |rule| {
        from(rule);
        conntrack(rule, STATE, ESTABLISHED_OR_RELATED);
        verdict(rule, ACCEPT);
    });
    TABLE.rule(batch, "input", |rule| {
        from(rule);
        meta(rule, META_PROTOCOL);
        compare(rule, 0, &[ICMP]);
        verdict(rule, ACCEPT);
    });
    for port in ports {
        TABLE.rule(batch, "input", |rule| {
            from(rule);
            meta(rule, META_PROTOCOL);
            compare(rule, 0, &[TCP]);
            payload(rule, TRANSPORT_HEADER, 2, 2);
            compare(rule, 0, &port.to_be_bytes());
            verdict(rule, ACCEPT);
        });
    }
    TABLE.rule(batch, "input", |rule| {
        from(rule);
        verdict(rule, DROP);
    });
}

fn forward(batch: &mut Messages, interface: &str) {
    for side in [META_INTERFACE_IN, META_INTERFACE_OUT] {
        TABLE.rule(batch, "forward", |rule| {
            on(rule, side, interface);
            conntrack(rule, STATE, ESTABLISHED_OR_RELATED);
            verdict(rule, ACCEPT);
        });
    }
    // What was addressed to a published port goes to its container.
    TABLE.rule(batch, "forward", |rule| {
        on(rule, META_INTERFACE_IN, interface);
        conntrack(rule, STATUS, SENT_ELSEWHERE);
        verdict(rule, ACCEPT);
    });
    for side in [META_INTERFACE_IN, META_INTERFACE_OUT] {
        TABLE.rule(batch, "forward", |rule| {
            on(rule, side, interface);
            verdict(rule, DROP);
        });
    }
}

fn on(rule: &mut Messages, side: u32, interface: &str) {
    meta(rule, side);
    compare(rule, 0, &interface_name(interface));
}
