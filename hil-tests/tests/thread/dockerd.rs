//! Docker's daemon, with folders of its own.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::device::children;

/// A Docker of its own; everything that it started ends with it.
pub(crate) struct Docker {
    folder: TempDir,
    process: Child,
}

impl Docker {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let log = fs::File::create(path("log")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["dockerd", "--storage-driver", "vfs"]);
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec")]);
        let host = format!("unix://{}", path("sock"));
        command.args(["--pidfile", &path("pid"), "--host", &host]);
        let process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { folder, process }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// All its processes, those of its containers too.
    #[allow(dead_code, reason = "a benchmark weighs them")]
    pub(crate) fn processes(&self) -> Vec<u32> {
        children(self.process.id())
    }

    /// Waits until it answers.
    pub(crate) async fn answers(&self) {
        for _ in 0..600 {
            if UnixStream::connect(self.socket()).is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!(
            "no Docker: {}",
            fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
        );
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Why there is no Docker here.
pub(crate) fn missing() -> Option<&'static str> {
    let works = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !works("dockerd", &["--version"]) {
        return Some("docker.io is not installed");
    }
    let namespaces = ["--mount", "--pid", "--fork", "true"];
    (!works("unshare", &namespaces)).then_some("namespaces cannot be made here")
}
