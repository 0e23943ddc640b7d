//! Names, tags and digests, and what a path means.

use lightship_api::Name;

/// The most bytes of a repository's name.
const NAME_BYTES: usize = 255;

/// A repository: its name, and the fleet that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repository {
    pub(super) name: String,
    pub(super) fleet: Name,
}

/// What in a repository a path means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tags,
    Referrers(String),
    Uploads,
    Upload(String),
    Blob(String),
    Manifest(String),
}

impl Repository {
    /// A name of the specification's grammar, whose first component is a fleet's name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        if name.len() > NAME_BYTES || !name.split('/').all(is_component) {
            return None;
        }
        let fleet = name.split('/').next()?.parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            fleet,
        })
    }
}

fn is_component(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let inner = bytes
        .iter()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
    inner && edge(bytes.first()) && edge(bytes.last())
}

/// Whether this is a tag.
pub(super) fn is_tag(text: &str) -> bool {
    let inner = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    inner && (1..=128).contains(&text.len()) && !text.starts_with(['.', '-'])
}

/// Whether this is a digest that can be checked here.
pub(super) fn is_digest(text: &str) -> bool {
    let lower = |hex: &str| {
        hex.bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    match text.split_once(':') {
        Some(("sha256", hex)) => hex.len() == 64 && lower(hex),
        Some(("sha512", hex)) => hex.len() == 128 && lower(hex),
        _ => false,
    }
}

/// Takes a path below `/v2/` apart.
pub(super) fn place(path: &str) -> Option<(Repository, Place)> {
    let (name, place) = if let Some(name) = path.strip_suffix("/tags/list") {
        (name, Place::Tags)
    } else if let Some((name, digest)) = path.rsplit_once("/referrers/") {
        (name, Place::Referrers(digest.to_owned()))
    } else if let Some(name) = path
        .strip_suffix("/blobs/uploads/")
        .or(path.strip_suffix("/blobs/uploads"))
    {
        (name, Place::Uploads)
    } else if let Some((name, id)) = path.rsplit_once("/blobs/uploads/") {
        (name, Place::Upload(id.to_owned()))
    } else if let Some((name, digest)) = path.rsplit_once("/blobs/") {
        (name, Place::Blob(digest.to_owned()))
    } else if let Some((name, reference)) = path.rsplit_once("/manifests/") {
        (name, Place::Manifest(reference.to_owned()))
    } else {
        return None;
    };
    Some((Repository::parse(name)?, place))
}

/// The parameters of a query, decoded.
pub(super) fn query(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).take(32);
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = if *first == b'%' {
            tail.first_chunk::<2>()
        } else {
            None
        };
        let byte =
            escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (byte, first) {
            (Some(byte), _) => {
                out.push(byte);
                rest = &tail[2..];
            }
            (None, b'+') => {
                out.push(b' ');
                rest = tail;
            }
            (None, other) => {
                out.push(*other);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_means_one_thing_whatever_the_repository_is_called() {
        let means = |path: &str| place(path).map(|(repository, place)| (repository.name, place));
        assert_eq!(
            means("harbour/web/tags/list"),
            Some(("harbour/web".to_owned(), Place::Tags))
        );
        assert_eq!(
            means("harbour/blobs/uploads/"),
            Some(("harbour".to_owned(), Place::Uploads))
        );
        let digest = Place::Blob("sha256:ab".to_owned());
        assert_eq!(
            means("harbour/blobs/blobs/sha256:ab"),
            Some(("harbour/blobs".to_owned(), digest))
        );
        for bad in [
            "",
            "harbour",
            "../x/tags/list",
            "Harbour/tags/list",
            "a..b/tags/list/x",
            "harbour//web/tags/list",
        ] {
            assert_eq!(means(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_query_is_decoded_once() {
        assert_eq!(
            query("digest=sha256%3Aab&x=a+b&y=%2525&z=%zz"),
            [
                ("digest".to_owned(), "sha256:ab".to_owned()),
                ("x".to_owned(), "a b".to_owned()),
                ("y".to_owned(), "%25".to_owned()),
                ("z".to_owned(), "%zz".to_owned()),
            ]
        );
    }
}
