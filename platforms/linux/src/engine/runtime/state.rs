//! What a shim tells the daemon, in files that last until the device restarts.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::supervisor::{Exit, Phase};

/// A state is no larger.
const MAX_STATE_BYTES: usize = 16 * 1024;

/// Where a container stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The component's name.
    pub name: String,
    /// The instance's digest, as text.
    pub instance: String,
    /// The shim's process.
    pub shim: i32,
    /// The container's first process, as the host numbers it.
    pub process: Option<i32>,
    /// Whether it runs to its end once.
    pub is_job: bool,
    /// Where it stands.
    pub phase: Phase,
    /// How often it was started.
    pub starts: u32,
    /// How it ended last.
    pub last_exit: Option<Exit>,
    /// Limits that this kernel does not enforce.
    pub warnings: Vec<String>,
    /// Whether it is in groups of its own; a daemon that may make none runs it without.
    #[serde(default = "grouped")]
    pub has_groups: bool,
}

/// Shims did not say so once, and had groups.
const fn grouped() -> bool {
    true
}

impl State {
    /// That of a shim that has done nothing yet.
    pub(super) fn begun(name: &str, instance: &str) -> Self {
        Self {
            name: name.to_owned(),
            instance: instance.to_owned(),
            shim: std::process::id() as i32,
            process: None,
            is_job: false,
            phase: Phase::Waiting,
            starts: 0,
            last_exit: None,
            warnings: Vec::new(),
            has_groups: true,
        }
    }

    /// Puts the state in its place, in one step.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let draft = folder.join("state.new");
        let bytes = serde_json::to_vec(self).expect("a state has no map");
        fs::File::create(&draft)?.write_all(&bytes)?;
        fs::rename(draft, folder.join("state"))
    }

    /// Reads the state in a folder.
    pub(crate) fn read(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read(folder.join("state")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => {
                let bytes = bytes?;
                if bytes.len() > MAX_STATE_BYTES {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok(serde_json::from_slice(&bytes).ok())
            }
        }
    }
}

/// Takes the lock that stands for a shim's life: as standard input, the shim is born with it, so that there
/// is no moment in which a shim is on its way and not known. The kernel lets go of it whatever happens.
pub(crate) fn give_life(folder: &Path) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(lock(folder))?;
    rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Whether the shim of a folder lives.
pub(crate) fn is_alive(folder: &Path) -> bool {
    let Ok(file) = fs::File::open(lock(folder)) else {
        return false;
    };
    match rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockShared) {
        Ok(()) => false,
        Err(error) => error == rustix::io::Errno::WOULDBLOCK,
    }
}

fn lock(folder: &Path) -> PathBuf {
    folder.join("alive")
}
