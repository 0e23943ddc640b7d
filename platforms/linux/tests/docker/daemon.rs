//! An engine on folders of its own; it ends with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Docker,
    Podman,
}

impl Kind {
    /// Why it cannot be tried here.
    pub(crate) fn missing(self) -> Option<String> {
        let id = Command::new("id").arg("-u").output().ok()?;
        if id.stdout.trim_ascii() != b"0" {
            return Some("root is needed to run a container engine".to_owned());
        }
        let needed = match self {
            Self::Docker => ["dockerd", "runc", "busybox", "unshare", "ip"],
            Self::Podman => ["podman", "runc", "busybox", "unshare", "ip"],
        };
        if let Some(tool) = needed.into_iter().find(|tool| find(tool).is_none()) {
            return Some(format!("{tool} is not installed"));
        }
        let namespace = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "true"])
            .status();
        if !namespace.is_ok_and(|status| status.success()) {
            return Some("namespaces cannot be made here".to_owned());
        }
        None
    }
}

pub(crate) fn find(tool: &str) -> Option<PathBuf> {
    let folders = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];
    let paths = folders.iter().map(|folder| Path::new(folder).join(tool));
    paths.into_iter().find(|path| path.is_file())
}

/// A running engine.
pub(crate) struct Daemon {
    pub(crate) folder: TempDir,
    process: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what the engine said last:\n{}", self.log());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Daemon {
    /// On the driver that works on every file system.
    pub(crate) fn start(kind: Kind) -> Self {
        Self::start_on(kind, "vfs")
    }

    pub(crate) fn start_on(kind: Kind, driver: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let host = format!("unix://{}", path("sock"));
        let mut command = match kind {
            Kind::Docker => {
                let mut command = Command::new(find("dockerd").unwrap());
                command.args(["--data-root", &path("data"), "--exec-root", &path("exec")]);
                command.args([
                    "--pidfile",
                    &path("pid"),
                    "--host",
                    &host,
                    "--storage-driver",
                    driver,
                ]);
                command
            }
            Kind::Podman => {
                let registries = "unqualified-search-registries=[]\n[[registry]]\nlocation=\"127.0.0.1:5000\"\ninsecure=true\n";
                fs::write(path("registries.conf"), registries).unwrap();
                fs::write(
                    path("policy.json"),
                    r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
                )
                .unwrap();
                let networks = format!(
                    "[network]\nnetwork_backend=\"netavark\"\nnetwork_config_dir=\"{}\"\n[engine]\nevents_logger=\"file\"\ntmp_dir=\"{}\"\nvolume_path=\"{}\"\n",
                    path("networks"),
                    path("libpod"),
                    path("volumes")
                );
                fs::write(path("containers.conf"), networks).unwrap();
                let mut command = Command::new(find("podman").unwrap());
                command.args([
                    "--root",
                    &path("data"),
                    "--runroot",
                    &path("exec"),
                    "--storage-driver",
                    driver,
                ]);
                command.args([
                    "--cgroup-manager",
                    "cgroupfs",
                    "--runtime",
                    &find("runc").unwrap().display().to_string(),
                ]);
                command.args(["system", "service", "--time=0", &host]);
                command.env("CONTAINERS_REGISTRIES_CONF", path("registries.conf"));
                command.env("CONTAINERS_CONF", path("containers.conf"));
                command
            }
        };
        let error = log.try_clone().unwrap();
        let process = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(error)
            .spawn()
            .unwrap();
        let mut daemon = Self { folder, process };
        daemon.wait();
        daemon
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(40).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn wait(&mut self) {
        let end = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            let ended = self.process.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < end,
                "no engine:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
