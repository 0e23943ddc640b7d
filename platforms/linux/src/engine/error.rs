//! Why an engine could not do what it was told.
//!
//! [`Error`] is for people; [`Reason`] is the closed, small set that decisions and reports are made of.

use std::io;

use thiserror::Error;

use crate::store::Digest;

/// A failure of an engine.
#[derive(Debug, Error)]
pub enum Error {
    /// The disk is too full.
    #[error("{}", no_space(*needed_bytes, *free_bytes))]
    NoSpace {
        /// Bytes that were asked for; 0 when a write found out.
        needed_bytes: u64,
        /// Bytes that may be written, the reserve taken off.
        free_bytes: u64,
    },
    /// The file system does not let itself be written.
    #[error("the file system is read-only")]
    ReadOnly,
    /// The registry could not be reached, broke off or was too slow. Worth trying again.
    #[error("{host}: {why}")]
    Network {
        /// The registry.
        host: String,
        /// What happened.
        why: String,
        /// What the registry asked for, in seconds.
        retry_after_s: Option<u32>,
    },
    /// The registry does not let this device in.
    #[error("{host} refuses access to {repository}")]
    Unauthorised {
        /// The registry.
        host: String,
        /// The repository.
        repository: String,
    },
    /// The registry does not have it.
    #[error("{host} does not have {digest} in {repository}")]
    NotFound {
        /// The registry.
        host: String,
        /// The repository.
        repository: String,
        /// The blob or manifest.
        digest: Digest,
    },
    /// What came is not what its digest or length names: the registry lies, or something in between does.
    #[error("{wanted} was asked for, {found} came")]
    DigestMismatch {
        /// What was asked for.
        wanted: Digest,
        /// What came.
        found: String,
    },
    /// The image is not made for this device.
    #[error("the image is for {found}; this device is {wanted}")]
    WrongArchitecture {
        /// This device.
        wanted: String,
        /// The image.
        found: String,
    },
    /// The image breaks the rules of its format, or ours for safety.
    #[error("the image is refused: {0}")]
    BadImage(String),
    /// The spec or the settings ask for something that this device does not do.
    #[error("the spec is refused: {field}: {why}")]
    Refused {
        /// The field, in the spec's own names.
        field: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// The instance was not fetched or staged, or is gone.
    #[error("{0} is not here")]
    Absent(String),
    /// The container could not be started.
    #[error("could not start: {0}")]
    Start(String),
    /// The system failed in a way that the engine cannot name better.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

fn no_space(needed_bytes: u64, free_bytes: u64) -> String {
    match needed_bytes {
        // What a write found out may be that there is no room for one more file, however small.
        0 => "the disk is full: it has no room for more bytes or for more files".to_owned(),
        _ => format!("{needed_bytes} bytes are needed, {free_bytes} are free"),
    }
}

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// [`Error::NoSpace`].
    NoSpace,
    /// [`Error::ReadOnly`].
    ReadOnly,
    /// [`Error::Network`].
    Network,
    /// [`Error::Unauthorised`].
    Unauthorised,
    /// [`Error::NotFound`].
    NotFound,
    /// [`Error::DigestMismatch`].
    DigestMismatch,
    /// [`Error::WrongArchitecture`].
    WrongArchitecture,
    /// [`Error::BadImage`].
    BadImage,
    /// [`Error::Refused`].
    Refused,
    /// [`Error::Absent`].
    Absent,
    /// [`Error::Start`].
    Start,
    /// [`Error::System`].
    System,
}

impl Error {
    /// The kind of this failure.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoSpace { .. } => Reason::NoSpace,
            Self::ReadOnly => Reason::ReadOnly,
            Self::Network { .. } => Reason::Network,
            Self::Unauthorised { .. } => Reason::Unauthorised,
            Self::NotFound { .. } => Reason::NotFound,
            Self::DigestMismatch { .. } => Reason::DigestMismatch,
            Self::WrongArchitecture { .. } => Reason::WrongArchitecture,
            Self::BadImage(_) => Reason::BadImage,
            Self::Refused { .. } => Reason::Refused,
            Self::Absent(_) => Reason::Absent,
            Self::Start(_) => Reason::Start,
            Self::System { .. } => Reason::System,
        }
    }

    /// A spec's field that this device does not do.
    pub fn refused(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Refused {
            field: field.into(),
            why: why.into(),
        }
    }

    /// Puts a system error in the right kind.
    pub fn system(doing: impl Into<String>, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace {
                needed_bytes: 0,
                free_bytes: 0,
            },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::System {
                doing: doing.into(),
                source,
            },
        }
    }
}

/// Says what was being done when a system call failed.
pub(crate) trait Doing<T> {
    /// Turns the error into an engine's.
    fn doing(self, what: impl Into<String>) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Into<String>) -> Result<T, Error> {
        self.map_err(|source| Error::system(what, source.into()))
    }
}
