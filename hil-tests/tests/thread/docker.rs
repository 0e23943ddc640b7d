//! The daemon with another engine: a real Docker, which pulls, runs and prints, while everything else is as ever.

use std::path::Path;

use serde_json::json;

use crate::device::{self, Device};
use crate::dockerd::{self, Docker};
use crate::mounts::{mount, own_mounts};
use crate::shore::Shore;
use crate::{tell, until};

/// Where Docker and the daemon agree on authorities; the machine's own is hidden for as long as a story lasts.
const AUTHORITIES: &str = "/etc/docker";

fn missing() -> Option<&'static str> {
    dockerd::missing().or_else(|| {
        let is_there = Path::new(AUTHORITIES).is_dir();
        (!is_there).then_some("Docker's folder in /etc is not there")
    })
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
