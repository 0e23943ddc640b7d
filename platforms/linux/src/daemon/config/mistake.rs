//! Says of a mistake in the configuration where it is and what would be right: `FILE:LINE: KEY ...; expected ...`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, Error};

use super::{ConfigError, File};

/// Every key, and what is right for it.
pub(super) const KEYS: &[(&str, &str)] = &[
    (
        "device_type",
        "a name of the fleet's device types, such as \"raspberrypi4-64\" (1 to 32 of a-z, 0-9, - and _)",
    ),
    (
        "product",
        "the name of the fleet's product (1 to 32 of a-z, 0-9, - and _)",
    ),
    (
        "name",
        "a name for this device (1 to 32 of a-z, 0-9, - and _)",
    ),
    (
        "server",
        "the fleet's address, such as \"https://fleet.example.com\"",
    ),
    ("fleet", "the fleet's name (1 to 32 of a-z, 0-9, - and _)"),
    (
        "authority",
        "the certificate of the server's authority in PEM, as `lightship config` writes it",
    ),
    (
        "root",
        "the fleet's root document in base64; copy it again from `lightship config`",
    ),
    (
        "provisioning_key",
        "a key from `lightship config`: 64 hexadecimal digits",
    ),
    ("data", "an absolute path, such as \"/var/lib/lightship\""),
    ("run", "an absolute path, such as \"/run/lightship\""),
    ("engine", "\"builtin\", \"docker\" or \"none\""),
    (
        "engine_socket",
        "an absolute path, such as \"/run/docker.sock\" or \"/run/podman/podman.sock\"",
    ),
    (
        "cgroup_parent",
        "a name for the cgroup above all containers (1 to 32 of a-z, 0-9, - and _)",
    ),
    (
        "tunnel",
        "\"auto\", \"kernel\", \"tun\", \"in-process\" or \"off\"",
    ),
    (
        "transports",
        "a list of \"mqtt\" and \"https\", the preferred first, each once at most",
    ),
    ("prefer_again_s", "a number of seconds from 1 to 86400"),
    (
        "tunnel_ports",
        "a list of at most 16 port numbers from 1 to 65535, such as [22]",
    ),
    ("rotation_days", "a number of days from 1 to 3650"),
    (
        "plain_registries",
        "a list of hosts, such as [\"registry.lan:5000\"]",
    ),
    (
        "allowed_binds",
        "a list of absolute paths, such as [\"/srv/data\"]",
    ),
    ("allow_privileged", "true or false"),
    (
        "local_api",
        "an address of this device and a port, such as \"169.254.77.1:48484\", or \"none\"",
    ),
];

/// The file's text, and where its keys are.
pub(super) struct Source<'a> {
    path: &'a Path,
    text: &'a str,
    /// Line and place of each key at the top level.
    places: BTreeMap<String, (usize, Range<usize>)>,
}

impl<'a> Source<'a> {
    /// Looks for the keys; that it is TOML at all is known from here on.
    pub(super) fn new(path: &'a Path, bytes: &'a [u8]) -> Result<Self, ConfigError> {
        let mut source = Self {
            path,
            text: "",
            places: BTreeMap::new(),
        };
        source.text = std::str::from_utf8(bytes).map_err(|error| {
            let line = 1 + bytes[..error.valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            source.at(line, "is not text in UTF-8; save the file as UTF-8")
        })?;
        let table = DeTable::parse(source.text).map_err(|error| source.syntax(&error))?;
        for (key, value) in table.into_inner() {
            let line = source.line(key.span().start);
            let whole = key.span().start..value.span().end;
            source
                .places
                .insert(key.get_ref().to_string(), (line, whole));
        }
        Ok(source)
    }

    /// Reads the fields: their names and types are right after this.
    pub(super) fn parse(&self) -> Result<File, ConfigError> {
        for (key, (line, _)) in &self.places {
            if expected(key).is_none() {
                return Err(self.at(
                    *line,
                    &format!("{key} is no key of this file; {}", meant(key)),
                ));
            }
        }
        toml::from_str(self.text).map_err(|error| self.type_of_field(&error))
    }

    /// A value that is of the right type and wrong all the same.
    pub(super) fn wrong(&self, key: &str, what: &str) -> ConfigError {
        let expected = expected(key).unwrap_or("another value");
        let what = format!("{key} {what}; expected {expected}");
        match self.places.get(key) {
            Some((line, _)) => self.at(*line, &what),
            None => self.somewhere(&what),
        }
    }

    /// Checks what types do not say.
    pub(super) fn check(&self, file: &File) -> Result<(), ConfigError> {
        if !is_server(&file.server) {
            return Err(self.wrong("server", &format!("is {:?}", file.server)));
        }
        let has_authority = !file.authority.trim().is_empty();
        if has_authority && !is_pem(&file.authority) {
            return Err(self.wrong("authority", "holds no certificate"));
        }
        for (key, path) in [
            ("data", &file.data),
            ("run", &file.run),
            ("engine_socket", &file.engine_socket),
        ] {
            if !path.is_absolute() {
                return Err(self.wrong(key, &format!("is {path:?}")));
            }
        }
        if let Some(path) = file.allowed_binds.iter().find(|path| !path.is_absolute()) {
            return Err(self.wrong("allowed_binds", &format!("holds {path:?}")));
        }
        if let Some(host) = file.plain_registries.iter().find(|host| !is_host(host)) {
            return Err(self.wrong("plain_registries", &format!("holds {host:?}")));
        }
        let mut transports = file.transports.iter().enumerate();
        if transports.any(|(at, one)| file.transports[..at].contains(one)) {
            return Err(self.wrong("transports", "names one twice"));
        }
        if !(1..=86_400).contains(&file.prefer_again_s) {
            return Err(self.wrong("prefer_again_s", &format!("is {}", file.prefer_again_s)));
        }
        let local_api = &file.local_api;
        if local_api != "none" && !is_own_address(local_api) {
            return Err(self.wrong("local_api", &format!("is {local_api:?}")));
        }
        if file.tunnel_ports.len() > 16 || file.tunnel_ports.contains(&0) {
            return Err(self.wrong("tunnel_ports", "holds too many or 0"));
        }
        if let Some(days) = file.rotation_days.filter(|days| !(1..=3650).contains(days)) {
            return Err(self.wrong("rotation_days", &format!("is {days}")));
        }
        Ok(())
    }

    fn type_of_field(&self, error: &Error) -> ConfigError {
        let message = error.message();
        let at = error.span().map(|span| span.start);
        let holds = |(_, (_, place)): &(&String, &(usize, Range<usize>))| {
            at.is_some_and(|at| place.contains(&at))
        };
        if let Some(name) = message.strip_prefix("missing field ") {
            return self.wrong(name.trim_matches('`'), "is missing");
        }
        match self.places.iter().find(holds) {
            Some((key, _)) => self.wrong(key, &format!("is wrong: {message}")),
            None => self.somewhere(message),
        }
    }

    fn syntax(&self, error: &Error) -> ConfigError {
        let line = error.span().map_or(1, |span| self.line(span.start));
        let found = self.text.lines().nth(line - 1).unwrap_or_default().trim();
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        self.at(line, &format!("{found:?} is not TOML: {message}"))
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text[..at.min(self.text.len())].matches('\n').count()
    }

    fn at(&self, line: usize, what: &str) -> ConfigError {
        self.somewhere(&format!("{line}: {what}")).without_blank()
    }

    fn somewhere(&self, what: &str) -> ConfigError {
        ConfigError::Wrong {
            path: self.path.to_owned(),
            message: format!(" {what}"),
        }
    }
}

impl ConfigError {
    /// A line follows the file's name at once; anything else after a blank.
    fn without_blank(self) -> Self {
        match self {
            Self::Wrong { path, message } => Self::Wrong {
                path,
                message: message.trim_start().to_owned(),
            },
            Self::Read { .. } => self,
        }
    }
}

fn expected(key: &str) -> Option<&'static str> {
    let known = KEYS.iter().find(|(name, _)| *name == key);
    known.map(|(_, expected)| *expected)
}

/// What may have been meant by an unknown key.
fn meant(key: &str) -> String {
    let nearest = KEYS
        .iter()
        .map(|(name, _)| (distance(key, name), *name))
        .min();
    match nearest {
        Some((far, name)) if far <= 1 + key.len() / 4 => format!("did you mean {name}?"),
        _ => {
            let names: Vec<_> = KEYS.iter().map(|(name, _)| *name).collect();
            format!("its keys are {}", names.join(", "))
        }
    }
}

/// Edits between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// One address, not all of them: the local API is not for other hosts.
fn is_own_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok_and(|address| {
        address.port() > 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()
    })
}

fn is_server(url: &str) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| is_host(rest.strip_suffix('/').unwrap_or(rest)))
}

/// A name or an address, with a port or without.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let good_host = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(plain),
    };
    good_host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_pem(text: &str) -> bool {
    reqwest::Certificate::from_pem_bundle(text.as_bytes()).is_ok_and(|found| !found.is_empty())
}

#[cfg(test)]
mod tests;
