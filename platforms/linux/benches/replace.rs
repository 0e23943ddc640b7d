//! How long it takes to replace a running service: stop the old container, start the new one, remove the
//! old one. `cargo bench -p lightshipd --bench replace`; needs root and a static busybox.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on should say where"
)]
#![allow(
    dead_code,
    reason = "the device of the engine tests does more than a benchmark needs"
)]

#[path = "../tests/engine/archive.rs"]
mod archive;
#[path = "../tests/engine/device.rs"]
mod device;
#[path = "../tests/engine/registry.rs"]
mod registry;
#[path = "../tests/engine/scratch.rs"]
mod scratch;

use std::time::{Duration, Instant};

use lightshipd::engine::{Engine as _, Instance};

const ROUNDS: usize = 30;

fn main() {
    device::on_device(async |device| {
        for (what, rest) in [
            ("own network", r#","network":{"mode":"none"}"#),
            (
                "bridge, one published port",
                r#","network":{"ports":[{"host":8080,"container":80}]}"#,
            ),
        ] {
            measure(&device, what, rest).await;
        }
    });
}

async fn measure(device: &device::Device, what: &str, rest: &str) {
    let mut old = stage(device, 0, rest).await;
    device.engine.start(&old).await.unwrap();
    let (mut stops, mut starts, mut removes) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let new = stage(device, round, rest).await;
        let begun = Instant::now();
        device.engine.stop(&old).await.unwrap();
        stops.push(begun.elapsed());
        let begun = Instant::now();
        device.engine.start(&new).await.unwrap();
        starts.push(begun.elapsed());
        let begun = Instant::now();
        device.engine.remove(&old).await.unwrap();
        removes.push(begun.elapsed());
        old = new;
    }
    let shim = device.engine.state(&old).unwrap().unwrap().shim;
    println!(
        "{what}: stop {}, start {}, remove {}; shim {}",
        median(&mut stops),
        median(&mut starts),
        median(&mut removes),
        memory(shim)
    );
    device.engine.remove(&old).await.unwrap();
}

async fn stage(device: &device::Device, round: usize, rest: &str) -> Instance {
    let spec = format!(
        r#","command":["/bin/sleep","1000"],"stop_signal":"SIGKILL","environment":{{"ROUND":"{round}"}}{rest}"#
    );
    device.stage("web", &spec).await.unwrap()
}

fn median(times: &mut [Duration]) -> String {
    times.sort_unstable();
    format!("{:.1} ms", times[times.len() / 2].as_secs_f64() * 1000.0)
}

fn memory(process: i32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let line = |name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default()
            .split_whitespace()
            .nth(1)
            .unwrap_or_default()
            .to_owned()
    };
    format!("{} kB PSS", line("Pss:"))
}
