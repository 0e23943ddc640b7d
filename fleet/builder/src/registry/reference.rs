//! Where an image is: host, repository, and a tag or digest.

/// A reference in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) host: String,
    pub(super) repository: String,
    /// A tag, or a digest with `sha256:`.
    pub(super) target: String,
}

impl Reference {
    /// Names without a host are Docker Hub's, as everywhere.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let slash = name.rfind('/').map_or(0, |at| at + 1);
        let (path, tag) = match name[slash..].find(':') {
            Some(colon) => (&name[..slash + colon], &name[slash + colon + 1..]),
            None => (name, "latest"),
        };
        let (host, repository) = match path.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
                (host, rest.to_owned())
            }
            Some(_) => (HUB, path.to_owned()),
            None => (HUB, format!("library/{path}")),
        };
        let host = Self::host(host);
        let target = digest.unwrap_or(tag);
        let plain = |text: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
            !text.is_empty() && text.chars().all(allowed) && !text.contains("..")
        };
        let fits = !path.is_empty()
            && plain(host)
            && plain(&repository)
            && plain(target)
            && !target.contains('/');
        fits.then(|| Self {
            host: host.to_owned(),
            repository,
            target: target.to_owned(),
        })
    }

    /// The host that is really asked.
    pub(super) fn host(name: &str) -> &str {
        if name == "docker.io" { HUB } else { name }
    }

    /// Plain HTTP is spoken with this machine alone, as Docker does.
    pub(super) fn url(&self) -> String {
        let name = match self.host.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() => name,
            Some(_) | None => self.host.as_str(),
        };
        let is_loopback = |address: std::net::Ipv4Addr| address.is_loopback();
        let is_here = name == "localhost" || name.parse().is_ok_and(is_loopback);
        let scheme = if is_here { "http" } else { "https" };
        format!("{scheme}://{}", self.host)
    }
}

const HUB: &str = "registry-1.docker.io";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_completed_as_docker_does() {
        let shown = |text: &str| {
            let reference = Reference::read(text)?;
            Some(format!(
                "{}/v2/{} {}",
                reference.url(),
                reference.repository,
                reference.target
            ))
        };
        let cases = [
            (
                "redis",
                "https://registry-1.docker.io/v2/library/redis latest",
            ),
            ("team/app:1", "https://registry-1.docker.io/v2/team/app 1"),
            (
                "docker.io/team/app",
                "https://registry-1.docker.io/v2/team/app latest",
            ),
            (
                "r.example:5000/a/b:1@sha256:ab",
                "https://r.example:5000/v2/a/b sha256:ab",
            ),
            ("localhost:5000/a", "http://localhost:5000/v2/a latest"),
            ("127.0.0.1:5000/a:x", "http://127.0.0.1:5000/v2/a x"),
            ("127.example.com/a", "https://127.example.com/v2/a latest"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
        for wrong in ["", "a b", "r.example/../x", "a:?x", "a@b/c"] {
            assert_eq!(shown(wrong), None, "{wrong}");
        }
    }
}
