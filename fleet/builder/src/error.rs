//! Why there is no image.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lightship_spec::problem::{Place, Problems};
use thiserror::Error;

/// Why a build ended without an image.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The Dockerfile or compose file is wrong.
    #[error("{0}")]
    Problems(#[from] Problems),
    /// An instruction needs a container engine and there is none.
    #[error("{file}:{}:{}: {what} needs a Docker or podman engine", place.line, place.column)]
    NeedsEngine {
        /// The Dockerfile.
        file: String,
        /// Where in it.
        place: Place,
        /// What needs it.
        what: String,
    },
    /// A base image is not in the layout.
    #[error("image {0} is not there")]
    MissingImage(String),
    /// A base image cannot be used.
    #[error("image {image}: {what}")]
    BadImage {
        /// The image.
        image: String,
        /// What is wrong with it.
        what: String,
    },
    /// The archive of a project is not taken.
    #[error("the project's archive: {0}")]
    BadArchive(String),
    /// A limit was passed.
    #[error("{0}")]
    Limit(String),
    /// It took longer than it may.
    #[error("the build took longer than {} seconds", .0.as_secs())]
    TooLong(Duration),
    /// It was cancelled.
    #[error("the build was cancelled")]
    Cancelled,
    /// The disk said no.
    #[error("{}: {error}", path.display())]
    Disk {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// A registry could not be reached, broke off or was too slow. Worth trying again.
    #[error("{host}: {why}")]
    Network {
        /// The registry.
        host: String,
        /// What happened.
        why: String,
    },
    /// The engine said no.
    #[error("the engine: {0}")]
    Engine(String),
}

/// Says where it happened.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T, BuildError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, BuildError> {
        self.map_err(|error| BuildError::Disk {
            path: path.to_owned(),
            error,
        })
    }
}
