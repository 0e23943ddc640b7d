//! The daemon with another engine: a real Docker, which pulls, runs and prints, while everything else is as ever.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::device::{self, Device};
use crate::mounts::{mount, own_mounts};
use crate::shore::Shore;
use crate::{tell, until};

/// Where Docker and the daemon agree on authorities; the machine's own is hidden for as long as a story lasts.
const AUTHORITIES: &str = "/etc/docker";

/// A Docker of its own; everything that it started ends with it.
struct Docker {
    folder: TempDir,
    process: Child,
}

impl Docker {
    fn start() -> Self {
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

    fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// Waits until it answers.
    async fn answers(&self) {
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

fn missing() -> Option<&'static str> {
    let works = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !works("dockerd", &["--version"]) {
        return Some("docker.io is not installed");
    }
    if !Path::new(AUTHORITIES).is_dir() {
        return Some("Docker's folder in /etc is not there");
    }
    let namespaces = ["--mount", "--pid", "--fork", "true"];
    (!works("unshare", &namespaces)).then_some("namespaces cannot be made here")
}

/// Whether any process has exactly this command line.
fn runs(line: &str) -> bool {
    device::processes().any(|pid| device::command_line(pid).trim_end() == line)
}

fn script(said: &str, seconds: &str) -> String {
    format!(
        "/bin/busybox echo {said}; [ -S /run/lightship/api/socket ] && /bin/busybox echo a door; exec /bin/busybox sleep {seconds}"
    )
}

#[test]
fn a_release_is_run_updated_and_taken_back_by_a_docker_that_was_there_before() {
    if let Some(why) = missing() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    tell(async |program| {
        own_mounts();
        mount(&["-t", "tmpfs", "tmpfs", AUTHORITIES]);
        let docker = Docker::start();
        let shore = Shore::start().await;
        docker.answers().await;
        let socket = docker.socket();
        let lines = format!(
            "tunnel = \"off\"\nengine = \"docker\"\nengine_socket = \"{}\"",
            socket.display()
        );
        let mut device = Device::new(program, &shore, &lines).await;
        device.start();
        let push = async |version: &str, line: &str| {
            let command = ["/bin/busybox", "sh", "-c", line];
            let more = json!({"features": ["local-api"], "restart": "no", "stop_grace_ms": 300});
            shore.push_with(version, &command, more).await.0
        };
        let first = push("1.0.0", &script("the first", "4001")).await;
        until("the first release", &device, async || {
            shore.shows(&first).await && runs("/bin/busybox sleep 4001")
        })
        .await;
        until("what it printed", &device, async || {
            let lines = shore.lines("web").await;
            let count = |text: &str| lines.iter().filter(|line| *line == text).count();
            count("the first") == 1 && count("a door") == 1
        })
        .await;

        push("2.0.0", "/bin/busybox sleep 1; exit 3").await;
        until("the rejection", &device, async || {
            shore.state().await.contains("rejected")
        })
        .await;
        until("the way back", &device, async || {
            shore.shows(&first).await && runs("/bin/busybox sleep 4001")
        })
        .await;

        // The daemon is killed; its container is not, and the next daemon knows it.
        device.kill();
        assert!(runs("/bin/busybox sleep 4001"));
        device.start();
        let last = push("3.0.0", &script("the last", "4002")).await;
        until("the last release", &device, async || {
            shore.shows(&last).await
                && runs("/bin/busybox sleep 4002")
                && !runs("/bin/busybox sleep 4001")
        })
        .await;
        device.kill();
        drop(docker);
    });
}
