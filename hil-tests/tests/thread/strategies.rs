//! How a release takes the place of another: all four strategies, by what the services themselves write down.

use std::fs;
use std::path::PathBuf;

use lightship_core::id::Digest;
use lightship_core::target::Strategy;
use serde_json::json;

use crate::registry::{Manner, own_architecture};
use crate::trouble::{Disk, Scene};
use crate::{tell, until};

/// Two images of this size do not fit on the disk while one of them is unpacked.
const LARGE_BYTES: usize = 5 << 20;

/// A service that writes down when it begins and when it is asked to end.
fn script(name: &str) -> String {
    format!(
        "trap 'busybox echo stop {name} >> /log/log; exit 0' TERM; busybox echo start {name} >> /log/log; while :; do busybox sleep 0.1; done"
    )
}

async fn push(
    scene: &Scene,
    number: u8,
    name: &str,
    bytes: usize,
    strategy: Strategy,
) -> (Digest, String) {
    let artifact = scene.image(number, own_architecture(), bytes).await;
    let line = script(name);
    let command = ["/bin/busybox", "sh", "-c", line.as_str()];
    let log = json!({"type": "volume", "name": "log", "target": "/log"});
    let more = json!({"image": scene.registry.repository(), "mounts": [log]});
    let version = format!("{number}.0.0");
    let pushed = scene
        .shore
        .push_by(strategy, &version, artifact, &command, more);
    (pushed.await.0, format!("start {name} "))
}

/// What the services wrote down so far.
fn written(scene: &Scene) -> Vec<String> {
    let log = scene
        .device
        .path("data/engine/volumes/harbour/log/data/log");
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn each_strategy_takes_the_old_away_when_it_says() {
    tell(all_four);
}

async fn all_four(program: PathBuf) {
    let mut scene = Scene::new(program).await;
    let disk = Disk::new(&scene.device.path("data"));
    scene.device.start();
    let first = push(&scene, 1, "one", 1000, Strategy::DownloadThenKill).await;
    scene.committed(first).await;

    // The old one runs until the new one is ready to start, and never beside it.
    let second = push(&scene, 2, "two", 1000, Strategy::DownloadThenKill).await;
    scene.committed(second).await;
    assert_eq!(written(&scene), ["start one", "stop one", "start two"]);

    // The new one is healthy before the old one is asked to end.
    let third = push(&scene, 3, "three", 1000, Strategy::HandOver).await;
    scene.committed(third).await;
    until("the end of the old one", &scene.device, async || {
        written(&scene).len() == 5
    })
    .await;
    assert_eq!(written(&scene)[3..], ["start three", "stop two"]);

    // The old one ends before anything is fetched: the registry has not even answered.
    scene.registry.behave(Manner::Down);
    let mark = scene.mark();
    let fourth = push(&scene, 4, "four", LARGE_BYTES, Strategy::KillThenDownload).await;
    until("the end before the download", &scene.device, async || {
        let said = scene.device.said();
        written(&scene).len() == 6 && said[mark..].contains("failure: Network")
    })
    .await;
    assert_eq!(written(&scene)[5], "stop three");
    assert!(!scene.device.runs("start three "));
    scene.registry.behave(Manner::Honest);
    scene.committed(fourth).await;

    // There is no room for both: the old one is gone, with its image, before the new one is here.
    let mark = scene.mark();
    let fifth = push(&scene, 5, "five", LARGE_BYTES, Strategy::DeleteThenDownload).await;
    scene.committed(fifth).await;
    let said = scene.device.said();
    assert!(said[mark..].contains("failure: NoSpace"), "{said}");
    assert_eq!(
        written(&scene)[6..],
        ["start four", "stop four", "start five"]
    );
    drop(disk);
}
