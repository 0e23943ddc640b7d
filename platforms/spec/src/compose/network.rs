//! How a service is connected.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lightship_core::target::Condition;

use super::field::{Field, Fields};
use super::order::Dependency;
use super::project::Shared;
use super::{environment, ports, process};
use crate::container::{ContainerSpec, NetworkMode, mac_address};
use crate::problem::Collector;

pub(crate) fn read(
    fields: &mut Fields<'_>,
    shared: &Shared,
    spec: &mut ContainerSpec,
    dependencies: &mut BTreeMap<String, Dependency>,
    problems: &mut Collector<'_>,
) {
    let mode = fields.take("network_mode");
    let networks = fields.take("networks");
    if let (Some(mode), Some(_)) = (&mode, &networks) {
        mode.wrong(problems, "excludes networks", "keep one of them");
    }
    if let Some(networks) = networks {
        spec.network.mode = NetworkMode::Bridge(bridges(&networks, shared, problems));
    }
    if let Some(field) = mode {
        let expected = "bridge, host, none or service:NAME";
        spec.network.mode = field
            .parsed(problems, expected, read_mode)
            .unwrap_or_default();
        if let NetworkMode::Service(name) = &spec.network.mode {
            let place = field.place();
            let path = field.path.clone();
            let dependency = Dependency {
                place,
                path,
                condition: Condition::Started,
                required: true,
            };
            dependencies.entry(name.clone()).or_insert(dependency);
        }
    }
    if let Some(field) = fields.take("ports") {
        spec.network.ports = ports::read(&field, problems);
        if !matches!(spec.network.mode, NetworkMode::Bridge(_)) && !spec.network.ports.is_empty() {
            field.wrong(
                problems,
                "has no effect with this network_mode",
                "remove ports or network_mode",
            );
        }
    }
    if let Some(field) = fields.take("mac_address") {
        let expected = "an address such as 02:42:ac:11:00:02, whose first byte is even";
        let is_one = |text: &&str| mac_address(text).is_some();
        let address = field.parsed(problems, expected, |text| Some(text).filter(is_one));
        spec.network.mac_address = address.map(str::to_owned);
        if !matches!(spec.network.mode, NetworkMode::Bridge(_)) {
            field.wrong(
                problems,
                "has no effect with this network_mode",
                "remove mac_address or network_mode",
            );
        }
    }
    if let Some(field) = fields.take("expose") {
        ports::check_expose(&field, problems);
    }
    if let Some(field) = fields.take("dns") {
        let servers = field.one_or_more(problems);
        let address =
            |f: &Field<'_>| f.parsed(problems, "an IP address", |t| t.parse::<IpAddr>().ok());
        spec.network.dns = servers.iter().filter_map(address).collect();
    }
    if let Some(field) = fields.take("dns_search") {
        let domains = field.one_or_more(problems);
        let domain = |f: &Field<'_>| {
            f.parsed(problems, "a domain", |t| {
                process::is_host_name(t).then(|| t.to_owned())
            })
        };
        spec.network.dns_search = domains.iter().filter_map(domain).collect();
    }
    if let Some(field) = fields.take("dns_opt") {
        let options = field.items(problems);
        let option = |f: &Field<'_>| {
            f.parsed(problems, "an option such as ndots:2", |t| {
                is_resolver_option(t).then(|| t.to_owned())
            })
        };
        spec.network.dns_options = options.iter().filter_map(option).collect();
    }
    if let Some(field) = fields.take("extra_hosts") {
        spec.network.extra_hosts = hosts(&field, problems);
    }
}

/// One word of resolv.conf(5): a name, and a number behind a colon.
fn is_resolver_option(text: &str) -> bool {
    let (name, number) = text.split_once(':').unwrap_or((text, "0"));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    !name.is_empty() && name.chars().all(plain) && number.parse::<u32>().is_ok()
}

fn read_mode(text: &str) -> Option<NetworkMode> {
    Some(match text {
        "bridge" | "default" => NetworkMode::default(),
        "host" => NetworkMode::Host,
        "none" => NetworkMode::None,
        other => NetworkMode::Service(other.strip_prefix("service:")?.to_owned()),
    })
}

fn bridges(
    field: &Field<'_>,
    shared: &Shared,
    problems: &mut Collector<'_>,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut bridges = BTreeMap::new();
    let mut join = |at: &Field<'_>, name: &str, aliases, problems: &mut Collector<'_>| {
        if !shared.networks.contains(name) {
            let what = format!("there is no network {name:?}");
            at.wrong(problems, what, "name it under the top-level networks");
        }
        bridges.insert(name.to_owned(), aliases);
    };
    if field.is_sequence() {
        for item in field.items(problems) {
            if let Some(name) = item.text(problems) {
                join(&item, name, BTreeSet::new(), problems);
            }
        }
        return bridges;
    }
    for (key, entry) in field.entries(problems) {
        let aliases = aliases(&entry, problems);
        join(&entry, &key.name, aliases, problems);
    }
    bridges
}

fn aliases(entry: &Field<'_>, problems: &mut Collector<'_>) -> BTreeSet<String> {
    let Some(mut fields) = entry.fields(problems) else {
        return BTreeSet::new();
    };
    let names = fields
        .take("aliases")
        .map(|f| f.items(problems))
        .unwrap_or_default();
    let name = |f: &Field<'_>| {
        f.parsed(problems, "a host name", |t| {
            process::is_host_name(t).then(|| t.to_owned())
        })
    };
    let names = names.iter().filter_map(name).collect();
    let assigned = "remove it; the engine assigns addresses";
    let unsupported = [
        ("driver_opts", "remove it"),
        ("gw_priority", "remove it"),
        ("interface_name", "remove it"),
        ("ipv4_address", assigned),
        ("ipv6_address", assigned),
        ("link_local_ips", assigned),
        ("mac_address", assigned),
        ("priority", "remove it"),
    ];
    fields.finish(&unsupported, problems);
    names
}

/// `name:address`, `name=address` or a mapping; an address of IPv6 may stand in brackets.
fn hosts(field: &Field<'_>, problems: &mut Collector<'_>) -> BTreeMap<String, String> {
    let pairs: Vec<(String, String)> = if field.is_sequence() {
        let items = field.items(problems);
        let split = |item: &Field<'_>| {
            item.parsed(problems, "name=address", |t| {
                let (name, address) = t.split_once('=').or_else(|| t.split_once(':'))?;
                Some((name.to_owned(), address.to_owned()))
            })
        };
        items.iter().filter_map(split).collect()
    } else {
        let pairs = environment::pairs(field, problems).into_iter();
        pairs
            .map(|pair| (pair.name, pair.value.unwrap_or_default()))
            .collect()
    };
    let mut hosts = BTreeMap::new();
    for (name, address) in pairs {
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        let known = bare == "host-gateway" || bare.parse::<IpAddr>().is_ok();
        if !known || !process::is_host_name(&name) {
            let what = format!("{name:?} with {address:?} is not a host and its address");
            field.wrong(problems, what, "write name=192.0.2.1 or name=host-gateway");
        }
        hosts.insert(name, bare.to_owned());
    }
    hosts
}
