//! Replacing a running service by another of the same image, on our engine and over Docker's API.
//!
//! Both have fetched what it takes, keep their things in the same place, and do what an update does: make the
//! new container ready, stop the old one, start the new one, remove the old one. Ours is confirmed too, and
//! waits for the disk at each step, so that no cut of the power loses it; the same on memory shows what that costs.
//! `cargo xtask bench linux`; needs root, a static busybox, and Docker for the figure beside.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on should say where"
)]
#![allow(
    dead_code,
    reason = "the device of the engine tests and the Docker of its tests do more than a benchmark needs"
)]

#[path = "../tests/engine/archive.rs"]
mod archive;
#[path = "../tests/docker/daemon.rs"]
mod daemon;
#[path = "../tests/engine/device.rs"]
mod device;
#[path = "figures/peer.rs"]
mod peer;
#[path = "../tests/engine/registry.rs"]
mod registry;

/// Other than the tests', which want memory: a benchmark waits for a disk as a device does.
mod scratch {
    pub(crate) fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    pub(crate) fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }
}

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lightshipd::engine::{Component, Engine as _};
use serde_json::json;

const ROUNDS: usize = 30;

/// Set in the process that runs within namespaces of its own, to what it keeps its things on.
const INSIDE: &str = "LIGHTSHIP_INSIDE_NAMESPACE";

/// One way to connect a container, as a spec of ours says it and as a Docker's port.
struct Network {
    name: &'static str,
    spec: &'static str,
    port: Option<u16>,
}

const NETWORKS: [Network; 2] = [
    Network {
        name: "no network",
        spec: r#","network":{"mode":"none"}"#,
        port: None,
    },
    Network {
        name: "bridge, one published port",
        spec: r#","network":{"ports":[{"host":8080,"container":80}]}"#,
        port: Some(8080),
    },
];

fn main() {
    // Tests of the workspace start every bench target, too.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    let Some(place) = std::env::var_os(INSIDE) else {
        isolate();
        return;
    };
    let place = place.to_string_lossy().into_owned();
    let ours = ours();
    if ours.is_empty() {
        return;
    }
    let theirs = peer::all(&NETWORKS);
    for (index, network) in NETWORKS.iter().enumerate() {
        let name = format!("replace a running service: {}, on {place}", network.name);
        let row = json!({
            "name": name, "unit": "ms", "ours": ours[index],
            "peer": theirs.as_ref().map(|theirs| theirs[index]), "peer_name": "Docker API", "budget_ratio": 0.15,
        });
        println!("{row}");
    }
}

/// Runs this program again where nothing of what it does shows on this machine.
fn isolate() {
    let disk = std::env::temp_dir();
    for (place, folder) in [("disk", disk.as_path()), ("memory", Path::new("/dev/shm"))] {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--fork"]);
        command.args(["--kill-child", "--mount-proc"]);
        command.arg(std::env::current_exe().unwrap()).arg("--bench");
        command.env(INSIDE, place).env("TMPDIR", folder);
        match command.status() {
            Ok(status) => assert!(status.success(), "the benchmark failed inside"),
            Err(error) => println!("SKIPPED: namespaces cannot be made here: {error}"),
        }
    }
}

/// Our median for each network; nothing where containers cannot be run.
fn ours() -> Vec<f64> {
    let times = Arc::new(Mutex::new(Vec::new()));
    let told = times.clone();
    device::on_device(async move |device| {
        for network in &NETWORKS {
            let median = measure(&device, network).await;
            told.lock().unwrap().push(median);
        }
    });
    Arc::into_inner(times).unwrap().into_inner().unwrap()
}

async fn measure(device: &device::Device, network: &Network) -> f64 {
    let first = fetch(device, 0, network).await;
    device.engine.stage(&first).await.unwrap();
    let mut old = first.instance;
    device.engine.start(&old).await.unwrap();
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let component = fetch(device, round, network).await;
        let begun = Instant::now();
        device.engine.stage(&component).await.unwrap();
        let new = component.instance;
        device.engine.stop(&old).await.unwrap();
        device.engine.start(&new).await.unwrap();
        device.engine.confirm(&new).await.unwrap();
        device.engine.remove(&old).await.unwrap();
        rounds.push(begun.elapsed());
        old = new;
    }
    device.engine.remove(&old).await.unwrap();
    median(&mut rounds)
}

async fn fetch(device: &device::Device, round: usize, network: &Network) -> Component {
    let network = network.spec;
    let spec = format!(
        r#","command":["/bin/sleep","1000"],"stop_signal":"SIGKILL","environment":{{"ROUND":"{round}"}}{network}"#
    );
    device.fetch_of("app", "web", &spec).await.unwrap()
}

/// In milliseconds.
fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}
