//! What `lightshipd` costs a device beside dockerd and containerd with the same container: memory, and CPU while nothing happens.
//!
//! `cargo xtask bench linux`. It needs root, busybox-static, a `lightshipd` that `cargo xtask dist` or a release build left in `target`, and Docker for the figures beside.
//! `LIGHTSHIP_BENCH_IDLE_S` sets another idle time than ten minutes; the figure is then a projection, and says so.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails should stop")]
#![allow(
    dead_code,
    reason = "parts of the stories of the whole thread are used"
)]

#[path = "../../tests/thread/device.rs"]
mod device;
#[path = "../../tests/thread/dockerd.rs"]
mod dockerd;
mod process;
#[path = "../../tests/thread/registry.rs"]
mod registry;
#[path = "../../tests/thread/relay.rs"]
mod relay;
#[path = "../../tests/thread/shore.rs"]
mod shore;
#[path = "../../tests/thread/stage.rs"]
mod stage;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use device::Device;
use dockerd::Docker;
use process::Cost;
use shore::Shore;
use stage::{apart, until};

/// Idle time of the budget, in seconds.
const IDLE_S: u64 = 600;

/// What the container runs, on both.
const COMMAND: [&str; 3] = ["/bin/busybox", "sleep", "100000"];

/// Architectures that `cargo xtask dist` builds for.
const ARCHITECTURES: [&str; 3] = ["amd64", "arm64", "armhf"];

fn main() {
    // Tests of the workspace start every bench target, too.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    sizes();
    let Some((program, name)) = program() else {
        println!(
            "no lightshipd to weigh: `cargo xtask dist amd64 lightshipd`, or `cargo build --release -p lightshipd`"
        );
        return;
    };
    if let Some(why) = stage::missing() {
        println!("SKIPPED: {why}");
        return;
    }
    let idle_s = std::env::var("LIGHTSHIP_BENCH_IDLE_S");
    let idle_s = idle_s.map_or(IDLE_S, |text| text.parse().unwrap());
    apart(|| weigh(program, name, idle_s));
}

/// The folder that cargo builds into.
fn target() -> PathBuf {
    let metadata = cargo_metadata::MetadataCommand::new()
        .no_deps()
        .exec()
        .unwrap();
    metadata.target_directory.into_std_path_buf()
}

fn shipped(architecture: &str) -> PathBuf {
    let version = env!("CARGO_PKG_VERSION");
    target().join(format!("dist/lightshipd-{version}-{architecture}"))
}

/// What is shipped, or else what a release build gives; and what to call it.
fn program() -> Option<(PathBuf, &'static str)> {
    let built = target().join("release/lightshipd");
    let all = [
        (shipped(registry::own_architecture()), "as shipped"),
        (
            built,
            "of a release build, which is larger than what is shipped",
        ),
    ];
    all.into_iter().find(|(path, _)| path.exists())
}

fn sizes() {
    for architecture in ARCHITECTURES {
        let Ok(metadata) = fs::metadata(shipped(architecture)) else {
            println!(
                "no size for {architecture}: `cargo xtask dist {architecture} lightshipd` builds it"
            );
            continue;
        };
        let row = json!({
            "name": format!("size of lightshipd for {architecture}"), "unit": "MB",
            "ours": metadata.len() as f64 / 1e6, "budget": 8,
        });
        println!("{row}");
    }
}

async fn weigh(program: PathBuf, name: &str, idle_s: u64) {
    let docker = match dockerd::missing() {
        None => Some(Docker::start()),
        Some(why) => {
            println!("no Docker beside: {why}");
            None
        }
    };
    let shore = Shore::start().await;
    let mut device = Device::new(program, &shore, "tunnel = \"in-process\"").await;
    device.start();
    until("the registration", &device, async || {
        !device.configuration().contains("provisioning_key") && shore.is_online().await
    })
    .await;
    // From now on everything goes through the tunnel, or not at all.
    shore.https.cut();
    let release = shore.push("1.0.0", &COMMAND).await;
    until("the release", &device, async || {
        shore.shows(&release).await && device.runs("sleep 100000")
    })
    .await;
    if let Some(docker) = &docker {
        docker.answers().await;
        run_beside(&docker.socket());
    }
    let costs = |all: &[u32]| all.iter().map(|pid| Cost::of(*pid)).sum::<Cost>();
    let daemon = device.daemon();
    let shims = device.shims();
    let (theirs, their_shims) = docker.as_ref().map(split).unzip();
    let before = (costs(&[daemon]), costs(&shims));
    let before_theirs = theirs.as_deref().map(costs);
    tokio::time::sleep(Duration::from_secs(idle_s)).await;
    assert!(
        shore.is_online().await,
        "it lost its fleet: {}",
        device.said()
    );
    let after = (costs(&[daemon]), costs(&shims));
    let after_theirs = theirs.as_deref().map(costs);
    let after_shims = their_shims.as_deref().map(costs);

    let memory = |what: &str, ours: f64, theirs: Option<f64>, budget: Value| {
        let row = json!({
            "name": format!("memory of {what}, connected, one container, tunnel up"), "unit": "MB",
            "ours": ours / 1e6, "peer": theirs.map(|theirs| theirs / 1e6), "peer_name": "dockerd + containerd",
            "budget": budget,
        });
        println!("{row}");
    };
    let their_pss = after_theirs.as_ref().map(|cost| cost.pss);
    let all_theirs = their_pss
        .zip(after_shims)
        .map(|(pss, shims)| pss + shims.pss);
    let daemon_pss = after.0.pss;
    memory(
        &format!("lightshipd {name}"),
        daemon_pss,
        their_pss,
        json!(8),
    );
    memory(
        "both with the shim that holds the container",
        daemon_pss + after.1.pss,
        all_theirs,
        Value::Null,
    );
    let scale = IDLE_S as f64 / idle_s as f64;
    let projected = match idle_s {
        IDLE_S => String::new(),
        _ => format!(", projected from {idle_s} s"),
    };
    let spent = after.0.cpu_s - before.0.cpu_s + after.1.cpu_s - before.1.cpu_s;
    let theirs = after_theirs.zip(before_theirs);
    let row = json!({
        "name": format!("CPU in ten idle minutes{projected}"), "unit": "s", "ours": spent * scale,
        "peer": theirs.map(|(after, before)| (after.cpu_s - before.cpu_s) * scale), "peer_name": "dockerd + containerd",
        "budget_ratio": 1,
    });
    println!("{row}");
}

/// Docker's daemons, and the shims that hold its containers.
fn split(docker: &Docker) -> (Vec<u32>, Vec<u32>) {
    let named = |pid: &u32, names: &[&str]| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        names.contains(&name.trim_end())
    };
    let all = docker.processes();
    let of = |names: &[&str]| {
        let all = all.iter().copied();
        all.filter(|pid| named(pid, names)).collect::<Vec<_>>()
    };
    let found = (of(&["dockerd", "containerd"]), of(&["containerd-shim"]));
    assert_eq!((found.0.len(), found.1.len()), (2, 1), "not what runs");
    found
}

/// The same container on Docker, over its API.
fn run_beside(socket: &Path) {
    let mut layer = tar::Builder::new(Vec::new());
    layer
        .append_path_with_name("/bin/busybox", "bin/busybox")
        .unwrap();
    let layer = layer.into_inner().unwrap();
    let import = "/images/create?fromSrc=-&repo=bench&tag=latest";
    post(socket, import, "application/x-tar", &layer);
    let host = json!({"NetworkMode": "host"});
    let body = json!({"Image": "bench", "Cmd": COMMAND, "HostConfig": host}).to_string();
    let create = "/containers/create?name=bench-web";
    post(socket, create, "application/json", body.as_bytes());
    let start = "/containers/bench-web/start";
    post(socket, start, "application/json", b"");
}

fn post(socket: &Path, path: &str, kind: &str, body: &[u8]) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 20"),
        "Docker says of {path}: {answer}"
    );
}
