//! The whole daemon is killed at random moments, through registration, pull, stage, commit and revert.
//!
//! `LIGHTSHIP_KILLS` says how often, 20 times if it is absent; `LIGHTSHIP_SEED` repeats a run.
//! The service checks every byte of its image before it goes on, so a layer that is not whole is a release that is not committed.

use std::path::PathBuf;
use std::time::Duration;

use lightship_core::id::Digest;

use crate::device::Device;
use crate::shore::Shore;
use crate::{tell, until};

/// Kills for each release.
const KILLS_EACH: u32 = 4;

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A small random number generator (Marsaglia's xorshift, 64 bits).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn whole(seconds: u32) -> String {
    format!("busybox sha256sum -c /sum && exec busybox sleep {seconds}")
}

async fn story(program: PathBuf) {
    let kills = u32::try_from(number("LIGHTSHIP_KILLS", 20)).unwrap();
    let seed = number("LIGHTSHIP_SEED", 0x5eed);
    eprintln!("{kills} kills, LIGHTSHIP_SEED={seed}");
    let mut chance = Chance(seed.max(1));
    let shore = Shore::start().await;
    // Over HTTP: the server's broker may forget the subscriptions of a device that comes back while its last connection still stands there.
    let lines = "tunnel = \"in-process\"\ntransports = [\"https\"]\nprefer_again_s = 2";
    let mut device = Device::new(program, &shore, lines).await;
    device.start();
    let mut committed: Option<(Digest, u32)> = None;
    for round in 1..=kills.div_ceil(KILLS_EACH) {
        // Every third release breaks after it has begun.
        let is_good = round % 3 != 0;
        let script = match is_good {
            true => whole(1000 + round),
            false => format!("busybox sleep 1; exit {}", round % 100 + 1),
        };
        let version = format!("1.0.{round}");
        let command = ["/bin/busybox", "sh", "-c", script.as_str()];
        let release = shore.push(&version, &command).await;
        for _ in 0..KILLS_EACH {
            tokio::time::sleep(Duration::from_millis(chance.below(1500))).await;
            match chance.below(3) {
                0 => device.kill_with_containers(),
                _ => device.kill(),
            }
            device.start();
        }
        if is_good {
            committed = Some((release, 1000 + round));
        } else {
            until("the rejection", &device, async || {
                shore.state().await.contains("rejected")
            })
            .await;
        }
        let (release, seconds) = committed.expect("the first release is good");
        until("a truthful report", &device, async || {
            shore.shows(&release).await && device.runs(&format!("sleep {seconds}"))
        })
        .await;
    }
}

#[test]
fn a_daemon_that_is_killed_at_any_moment_comes_to_rest_with_a_whole_release() {
    tell(story);
}
