//! Docker and podman push to the registry and pull from it.
//!
//! Each runs in a network namespace of its own, on folders of its own; nothing of it outlives the test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::registry::harbour;
use crate::site::{PASSWORD, Site};

/// Set in the process that runs within the namespace.
const INSIDE: &str = "LIGHTSHIP_INSIDE_NAMESPACE";
/// How long Docker may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn docker_pushes_and_pulls() {
    within_a_namespace("image_tools::docker_pushes_and_pulls", "dockerd", docker);
}

#[test]
fn podman_pushes_and_pulls() {
    within_a_namespace("image_tools::podman_pushes_and_pulls", "podman", podman);
}

fn within_a_namespace(test: &str, tool: &str, scenario: impl AsyncFnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        let up = run(Path::new("ip"), &["link", "set", "lo", "up"]);
        assert!(up.is_ok(), "{up:?}");
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(scenario());
        return;
    }
    if let Some(why) = missing(tool) {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let inside = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child"])
        .arg("--mount-proc")
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[inside.stdout, inside.stderr].concat()).into_owned();
    assert!(inside.status.success(), "{said}");
}

fn missing(tool: &str) -> Option<String> {
    let tools: &[&str] = match tool {
        "dockerd" => &["dockerd", "docker", "unshare", "ip"],
        tool => &[tool, "unshare", "ip"],
    };
    if let Some(tool) = tools.iter().find(|tool| find(tool).is_none()) {
        return Some(format!("{tool} is not installed"));
    }
    let try_it = ["--net", "--mount", "--pid", "--fork", "true"];
    match run(Path::new("unshare"), &try_it) {
        Ok(_) => None,
        Err(_) => Some("namespaces cannot be made here: root is needed".to_owned()),
    }
}

fn find(tool: &str) -> Option<PathBuf> {
    let folders = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];
    let mut paths = folders.iter().map(|folder| Path::new(folder).join(tool));
    paths.find(|path| path.is_file())
}

/// What a command says, as an error when it fails.
fn run(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    let out = command.args(arguments).stdin(Stdio::null()).output();
    let out = out.map_err(|error| format!("{}: {error}", program.display()))?;
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    if out.status.success() {
        Ok(said)
    } else {
        Err(said)
    }
}

/// A root file system of one file.
fn archive(folder: &Path) -> String {
    std::fs::write(folder.join("file"), "hello").unwrap();
    let path = folder.join("image.tar").to_str().unwrap().to_owned();
    let from = folder.to_str().unwrap();
    run(Path::new("tar"), &["-C", from, "-cf", &path, "file"]).unwrap();
    path
}

/// Makes an image of an archive, pushes it, removes it, pulls it, and is refused without a password.
async fn push_and_pull(tool: &Path, before: &[&str], flags: &[&str], folder: &Path) {
    let site = Site::start(None).await;
    harbour(&site).await;
    let registry = site.url.trim_start_matches("https://").to_owned();
    let image = format!("{registry}/harbour/web:1");
    let archive = archive(folder);
    let tool = |words: &[&str], flags: &[&str]| {
        let all = [before, &words[..1], flags, &words[1..]].concat();
        tokio::task::block_in_place(|| run(tool, &all))
    };
    let done = |words: &[&str], flags: &[&str]| {
        tool(words, flags).unwrap_or_else(|said| panic!("{words:?}: {said}"))
    };
    done(&["import", &archive, &image], &[]);
    done(&["login", "-u", "admin", "-p", PASSWORD, &registry], flags);
    done(&["push", &image], flags);
    done(&["rmi", &image], &[]);
    done(&["pull", &image], flags);
    let shown = done(&["image", "inspect", &image], &[]);
    assert!(shown.contains("/harbour/web"), "{shown}");
    done(&["rmi", &image], &[]);
    done(&["logout", &registry], &[]);
    let refused = tool(&["pull", &image], flags);
    assert!(refused.is_err(), "pulled without a credential");
    let pushed = site.admin().await;
    let tags = pushed
        .ok(reqwest::Method::GET, "/v2/harbour/web/tags/list", None)
        .await;
    assert_eq!(tags["tags"], serde_json::json!(["1"]));
}

async fn docker() {
    let daemon = Daemon::start();
    let host = format!("unix://{}", daemon.path("sock"));
    let config = daemon.path("config");
    let before = ["--config", &config, "--host", &host];
    push_and_pull(&find("docker").unwrap(), &before, &[], daemon.folder.path()).await;
}

async fn podman() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (data, exec, auth) = (path("data"), path("exec"), path("auth.json"));
    let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
    std::fs::write(path("policy.json"), policy).unwrap();
    let env = format!("REGISTRY_AUTH_FILE={auth}");
    let podman = find("podman").unwrap();
    let podman = podman.to_str().unwrap();
    let before = [
        &env,
        podman,
        "--root",
        &data,
        "--runroot",
        &exec,
        "--storage-driver",
        "vfs",
        "--cgroup-manager",
        "cgroupfs",
    ];
    let flags = ["--tls-verify=false"];
    push_and_pull(Path::new("/usr/bin/env"), &before, &flags, folder.path()).await;
}

/// A Docker on folders of its own.
struct Daemon {
    folder: TempDir,
    process: Child,
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let log = File::create(path("log")).unwrap();
        let host = format!("unix://{}", path("sock"));
        let mut command = Command::new(find("dockerd").unwrap());
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec")]);
        command.args(["--pidfile", &path("pid"), "--host", &host]);
        command.args([
            "--storage-driver",
            "vfs",
            "--bridge",
            "none",
            "--iptables=false",
        ]);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap());
        let process = command.stderr(log).spawn().unwrap();
        let mut daemon = Self { folder, process };
        daemon.wait();
        daemon
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn wait(&mut self) {
        let end = Instant::now() + PATIENCE;
        while std::os::unix::net::UnixStream::connect(self.path("sock")).is_err() {
            let ended = self.process.try_wait().unwrap();
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < end, "no Docker:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
