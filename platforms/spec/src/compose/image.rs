//! References to images.

/// The repository of a reference, without tag and digest, or nothing when it is no reference.
///
/// As Docker has it: `[host[:port]/]path[:tag][@sha256:...]`; the path is in lower case.
pub(crate) fn repository(reference: &str) -> Option<&str> {
    let name = match reference.split_once('@') {
        Some((name, digest)) if is_digest(digest) => name,
        Some(_) => return None,
        None => reference,
    };
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let name = match name[slash..].rfind(':') {
        Some(colon) if is_tag(&name[slash + colon + 1..]) => &name[..slash + colon],
        Some(_) => return None,
        None => name,
    };
    is_name(name).then_some(name)
}

fn is_name(name: &str) -> bool {
    let mut parts = name.split('/').peekable();
    let first = parts.peek().copied().unwrap_or_default();
    let is_host = name.contains('/') && first.contains(['.', ':']) || first == "localhost";
    if is_host {
        parts.next();
        if !is_host_name(first) || parts.peek().is_none() {
            return false;
        }
    }
    name.len() <= 255 && parts.all(is_component)
}

fn is_component(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.chars().all(allowed)
        && part.starts_with(ends)
        && part.ends_with(ends)
        && !part.contains("..")
}

fn is_host_name(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "80"));
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    !name.is_empty() && name.chars().all(allowed) && port.parse::<u16>().is_ok()
}

fn is_tag(tag: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=128).contains(&tag.len()) && tag.chars().all(allowed) && !tag.starts_with(['.', '-'])
}

fn is_digest(digest: &str) -> bool {
    let lower = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
    let hex = digest.strip_prefix("sha256:");
    hex.is_some_and(|hex| hex.len() == 64 && hex.chars().all(lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_and_digest_are_taken_off_and_the_port_of_the_host_is_kept() {
        let digest = "a".repeat(64);
        assert_eq!(repository("redis"), Some("redis"));
        assert_eq!(repository("redis:7-alpine"), Some("redis"));
        assert_eq!(
            repository("r.example:5000/a/b:1"),
            Some("r.example:5000/a/b")
        );
        assert_eq!(repository(&format!("a/b:1@sha256:{digest}")), Some("a/b"));
        assert_eq!(repository("localhost/a"), Some("localhost/a"));
        for wrong in [
            "",
            "Redis",
            "a:",
            "a b",
            "a//b",
            "r.example/",
            "a@sha256:12",
            "a:b:c/",
            "é",
        ] {
            assert_eq!(repository(wrong), None, "{wrong}");
        }
    }
}
