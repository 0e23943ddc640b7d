//! What the API's failures mean.

use bollard::errors::Error as Api;

use crate::engine::Error;

/// The status code, where the engine answered with one.
pub(crate) fn status(error: &Api) -> Option<u16> {
    match error {
        Api::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What the engine said.
pub(crate) fn words(error: &Api) -> String {
    match error {
        Api::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Api::DockerStreamError { error } => error.trim().to_owned(),
        other => other.to_string(),
    }
}

/// Puts an answer of the API into the engine's own kinds.
pub(crate) trait Answer<T> {
    /// Any failure is one of the system.
    fn answer(self, doing: &str) -> Result<T, Error>;

    /// As [`Self::answer`]; these status codes mean that there was nothing to do.
    fn unless(self, codes: &[u16], doing: &str) -> Result<Option<T>, Error>;
}

impl<T> Answer<T> for Result<T, Api> {
    fn answer(self, doing: &str) -> Result<T, Error> {
        self.map_err(|error| system(doing, &error))
    }

    fn unless(self, codes: &[u16], doing: &str) -> Result<Option<T>, Error> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(error) if status(&error).is_some_and(|code| codes.contains(&code)) => Ok(None),
            Err(error) => Err(system(doing, &error)),
        }
    }
}

pub(crate) fn system(doing: &str, error: &Api) -> Error {
    let words = words(error);
    if is_full(&words) {
        return no_space();
    }
    Error::System {
        doing: doing.to_owned(),
        source: std::io::Error::other(words),
    }
}

/// Why a pull failed: the engine says it in words only.
pub(crate) fn pull(image: &str, words: &str) -> Error {
    let lower = words.to_ascii_lowercase();
    let (repository, digest) = image.split_once('@').unwrap_or((image, ""));
    let host = repository.split('/').next().unwrap_or_default().to_owned();
    let says = |any: &[&str]| any.iter().any(|part| lower.contains(part));
    if is_full(&lower) {
        return no_space();
    }
    if says(&[
        "unauthorized",
        "authentication required",
        "access denied",
        "403 forbidden",
    ]) {
        let repository = repository.to_owned();
        return Error::Unauthorised { host, repository };
    }
    if says(&[
        "manifest unknown",
        "not found",
        "name unknown",
        "no such image",
    ]) && let Ok(digest) = digest.parse()
    {
        let repository = repository.to_owned();
        return Error::NotFound {
            host,
            repository,
            digest,
        };
    }
    if says(&["no matching manifest", "no image found in manifest list"]) {
        return Error::BadImage(words.to_owned());
    }
    if says(&["digest", "unexpected eof in manifest"])
        && says(&["mismatch", "does not match", "verif"])
    {
        return match digest.parse() {
            Ok(wanted) => Error::DigestMismatch {
                wanted,
                found: words.to_owned(),
            },
            Err(_) => Error::BadImage(words.to_owned()),
        };
    }
    Error::Network {
        host,
        why: words.to_owned(),
        retry_after_s: None,
    }
}

fn is_full(words: &str) -> bool {
    words.contains("no space left on device")
}

fn no_space() -> Error {
    Error::NoSpace {
        needed_bytes: 0,
        free_bytes: 0,
    }
}
