//! `ports` and `expose`.

use std::net::IpAddr;

use super::field::Field;
use crate::container::{Port, Protocol};
use crate::problem::Collector;

/// A range of ports longer than this is refused: each port is a rule on the device.
const MAX_RANGE: u16 = 1024;

const EXPECTED: &str = "a port such as 80, 8080:80, 127.0.0.1:8080:80/udp or 5000-5010:5000-5010";

pub(crate) fn read(field: &Field<'_>, problems: &mut Collector<'_>) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    for item in field.items(problems) {
        let found = if item.is_mapping() {
            long(&item, problems)
        } else {
            item.parsed(problems, EXPECTED, short)
        };
        for port in found.unwrap_or_default() {
            let taken = |other: &Port| {
                let same_ip = other.host_ip == port.host_ip
                    || other.host_ip.is_none()
                    || port.host_ip.is_none();
                same_ip
                    && other.host == port.host
                    && other.protocol == port.protocol
                    && *other != port
            };
            if ports.iter().any(taken) {
                item.wrong(
                    problems,
                    format!("port {} of the device is published twice", port.host),
                    "",
                );
            }
            ports.push(port);
        }
    }
    ports
}

/// Checks `expose`; containers of one network reach each other's ports without it.
pub(crate) fn check_expose(field: &Field<'_>, problems: &mut Collector<'_>) {
    for item in field.items(problems) {
        item.parsed(problems, "a port such as 80, 80/udp or 3000-3005", |text| {
            let (ports, _) = protocol(text)?;
            range(ports)
        });
    }
}

/// `[[ip:]host:]container[/protocol]`; without a host port it is the container's, as on balena.
fn short(text: &str) -> Option<Vec<Port>> {
    let (text, protocol) = protocol(text)?;
    let (rest, container) = match text.rsplit_once(':') {
        Some((rest, container)) => (Some(rest), container),
        None => (None, text),
    };
    let (host_ip, host) = match rest {
        None => (None, container),
        Some(rest) => match rest.rsplit_once(':') {
            None => (None, rest),
            Some((ip, host)) => (Some(address(ip)?), host),
        },
    };
    let host = if host.is_empty() { container } else { host };
    pairs(host_ip, range(host)?, range(container)?, protocol)
}

fn protocol(text: &str) -> Option<(&str, Protocol)> {
    match text.split_once('/') {
        None => Some((text, Protocol::Tcp)),
        Some((ports, "tcp")) => Some((ports, Protocol::Tcp)),
        Some((ports, "udp")) => Some((ports, Protocol::Udp)),
        Some(_) => None,
    }
}

fn address(text: &str) -> Option<IpAddr> {
    let inside = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    inside.unwrap_or(text).parse().ok()
}

/// First and last port.
fn range(text: &str) -> Option<(u16, u16)> {
    let port = |t: &str| t.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    (first <= last && last - first < MAX_RANGE).then_some((first, last))
}

fn pairs(
    host_ip: Option<IpAddr>,
    host: (u16, u16),
    container: (u16, u16),
    protocol: Protocol,
) -> Option<Vec<Port>> {
    if host.1 - host.0 != container.1 - container.0 {
        return None;
    }
    let ports = (host.0..=host.1).zip(container.0..=container.1);
    let port = |(host, container)| Port {
        host_ip,
        host,
        container,
        protocol,
    };
    Some(ports.map(port).collect())
}

fn long(item: &Field<'_>, problems: &mut Collector<'_>) -> Option<Vec<Port>> {
    let mut fields = item.fields(problems)?;
    let container = fields.demand("target", problems);
    let published = fields.take("published");
    let host_ip = fields.take("host_ip");
    let protocol = fields.take("protocol");
    for note in ["name", "app_protocol"] {
        fields.take(note).and_then(|field| field.text(problems));
    }
    if let Some(mode) = fields.take("mode") {
        mode.parsed(problems, "host or ingress", |t| {
            matches!(t, "host" | "ingress").then_some(())
        });
    }
    fields.finish(&[], problems);
    let expected = "a port from 1 to 65535";
    let container = container?.parsed(problems, expected, range)?;
    let host = match published {
        Some(field) => field.parsed(problems, expected, range)?,
        None => container,
    };
    let host_ip = match host_ip {
        Some(field) => Some(field.parsed(problems, "an IP address", |t| t.parse().ok())?),
        None => None,
    };
    let protocol = match protocol {
        Some(field) => field.parsed(problems, "tcp or udp", |t| match t {
            "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            _ => None,
        })?,
        None => Protocol::Tcp,
    };
    let ports = pairs(host_ip, host, container, protocol);
    if ports.is_none() {
        item.wrong(
            problems,
            "target and published are ranges of different length",
            "",
        );
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_forms_of_compose_are_understood() {
        let shown = |text: &str| {
            let ports = short(text)?;
            let one = |p: &Port| {
                let ip = p.host_ip.map(|ip| format!("{ip} ")).unwrap_or_default();
                format!("{ip}{}>{} {:?}", p.host, p.container, p.protocol)
            };
            Some(ports.iter().map(one).collect::<Vec<_>>().join(", "))
        };
        let cases = [
            ("80", "80>80 Tcp"),
            ("8080:80", "8080>80 Tcp"),
            ("127.0.0.1:8080:80/udp", "127.0.0.1 8080>80 Udp"),
            ("[::1]:8080:80", "::1 8080>80 Tcp"),
            ("127.0.0.1::80", "127.0.0.1 80>80 Tcp"),
            ("5000-5001:6000-6001", "5000>6000 Tcp, 5001>6001 Tcp"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
        for wrong in [
            "", "0", "65536", "80/sctp", "1-2:3", "a:80", "9-8", "1-65535", "1:2:3",
        ] {
            assert_eq!(short(wrong), None, "{wrong}");
        }
    }
}
