//! Mounts that nothing but a story sees.

use std::path::Path;
use std::process::Command;

/// Gives this thread, and whatever it starts from now on, mounts of its own.
pub(crate) fn own_mounts() {
    #[expect(
        deprecated,
        reason = "its file-table flag, which is what makes it unsafe, is not given"
    )]
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS).unwrap();
    mount(&["--make-rprivate", "/"]);
}

pub(crate) fn mount(words: &[&str]) {
    let ended = Command::new("mount").args(words).status().unwrap();
    assert!(ended.success(), "mount {words:?}");
}

pub(crate) fn unmount(path: &Path) {
    let _ = Command::new("umount").arg("--lazy").arg(path).status();
}
