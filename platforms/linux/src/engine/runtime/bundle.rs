//! What the shim is told: a container with nothing left to look up.

use std::path::PathBuf;

use lightship_spec::container::{ContainerSpec, Health};
use serde::{Deserialize, Serialize};

use super::network::Plan;

/// One container, ready to run. Written by the daemon, read by the shim of the same version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bundle {
    /// The instance's id: names its cgroup.
    pub(crate) id: String,
    /// What that cgroup is below.
    pub(crate) cgroup_parent: String,
    /// The component's name.
    pub(crate) name: String,
    /// The instance's digest, as text.
    pub(crate) digest: String,
    /// Holds what lasts until the device restarts: state, sockets, the mount point of the root.
    pub(crate) folder: PathBuf,
    /// Layers, lowest first.
    pub(crate) layers: Vec<PathBuf>,
    /// Where the container's changes go.
    pub(crate) instance: PathBuf,
    /// Where the application's volumes are.
    pub(crate) volumes: PathBuf,
    /// Where the log is kept.
    pub(crate) log: PathBuf,
    /// What to run.
    pub(crate) arguments: Vec<String>,
    /// `NAME=value`.
    pub(crate) environment: Vec<(String, String)>,
    /// `user[:group]`.
    pub(crate) user: String,
    /// Absolute path.
    pub(crate) working_dir: String,
    /// Host name.
    pub(crate) hostname: String,
    /// Number of the signal that asks it to stop.
    pub(crate) stop_signal: i32,
    /// The health check, image's and spec's considered.
    pub(crate) health: Option<Health>,
    /// Files to write into it.
    pub(crate) files: Vec<File>,
    /// How it is connected.
    pub(crate) network: Plan,
    /// Host paths whose use the device's configuration adds (local API, D-Bus): source, target, read-only.
    pub(crate) extra: Vec<(PathBuf, String, bool)>,
    /// The rest, as the publisher wrote it.
    pub(crate) spec: ContainerSpec,
}

/// A file to write into a container.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) target: String,
    pub(crate) content: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

impl std::fmt::Debug for File {
    /// Leaves the content out: it may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Bundle {
    /// Where the root is mounted, in the container's own mount namespace.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }
}
