//! Where an image lies: the registry's host and the repository there.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Where Docker's short names lead.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// A registry and a repository, without tag or digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Host, with its port where it has one.
    pub host: String,
    /// Path of the repository.
    pub repository: String,
}

/// A text that names no repository.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not [host[:port]/]repository in lower-case letters, digits, `.`, `_`, `-` and `/`"
)]
pub struct ReferenceError(String);

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let wrong = || ReferenceError(text.chars().take(80).collect());
        let (host, repository) = match text.split_once('/') {
            Some((host, rest)) if is_host(host) => (host, rest.to_owned()),
            Some(_) => (DOCKER_HUB, text.to_owned()),
            None => (DOCKER_HUB, format!("library/{text}")),
        };
        let host = if host == "docker.io" {
            DOCKER_HUB
        } else {
            host
        };
        if !is_repository(&repository) || text.len() > 255 {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            repository,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)
    }
}

/// As Docker decides it: a first part with a dot or a port, or `localhost`, is a host.
fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte);
    (text == "localhost" || text.contains(['.', ':'])) && text.bytes().all(plain)
}

fn is_repository(text: &str) -> bool {
    text.split('/').all(|part| {
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = part.as_bytes();
        part.bytes().all(plain) && edge(bytes.first()) && edge(bytes.last())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_where_docker_leads_them() {
        for (text, host, repository) in [
            ("redis", DOCKER_HUB, "library/redis"),
            ("acme/web", DOCKER_HUB, "acme/web"),
            ("docker.io/acme/web", DOCKER_HUB, "acme/web"),
            ("localhost/web", "localhost", "web"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000", "a/b"),
            ("registry.example/acme/web", "registry.example", "acme/web"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(
                (reference.host.as_str(), reference.repository.as_str()),
                (host, repository)
            );
        }
    }

    #[test]
    fn names_that_could_lead_astray_are_refused() {
        for text in [
            "",
            "a//b",
            "registry.example/../x",
            "registry.example/A",
            "a b",
            "x/y?z",
            "evil.example#/a",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
