//! Looks at the fleet until it is as it should be, with a bar for each device.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lightship_api::Device;

use super::FLEET;
use super::report::{Report, amount};
use super::stage::failed;
use super::wires::Meter;
use crate::client::Client;
use crate::failure::{Code, Failure};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Longest time for one step of the story.
const PATIENCE: Duration = Duration::from_secs(60);

/// One device of the story.
pub(super) struct Player {
    /// What it is called.
    pub(super) name: &'static str,
    /// What its wires have carried.
    pub(super) meter: Meter,
    /// What was seen of it last.
    seen: Option<String>,
}

impl Player {
    pub(super) fn new(name: &'static str, meter: Meter) -> Self {
        Self {
            name,
            meter,
            seen: None,
        }
    }
}

/// The fleet, and who is in it.
pub(super) struct Watch {
    client: Client,
    pub(super) players: Vec<Player>,
    bars: MultiProgress,
    quiet: bool,
}

impl Watch {
    pub(super) fn new(client: Client, quiet: bool) -> Self {
        let shown = !quiet && std::io::stderr().is_terminal();
        let target = if shown {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            client,
            players: Vec::new(),
            bars: MultiProgress::with_draw_target(target),
            quiet,
        }
    }

    /// Bytes that all wires have carried.
    pub(super) fn bytes(&self) -> u64 {
        self.players.iter().map(|player| player.meter.bytes()).sum()
    }

    /// Says a line, above the bars.
    pub(super) fn say(&self, line: &str) {
        if self.quiet {
            return;
        }
        // Without a terminal there are no bars to keep out of the way of.
        if self.bars.is_hidden() {
            eprintln!("{line}");
        } else {
            let _ = self.bars.println(line);
        }
    }

    /// The devices as the server shows each of them.
    pub(super) async fn devices(&self) -> Result<Vec<Device>, Failure> {
        let path = format!("/api/v1/fleets/{FLEET}/devices");
        let all: Vec<Device> = self.client.get(&format!("{path}?limit=10")).await?;
        let mut shown = Vec::new();
        for device in all {
            shown.push(self.client.get(&format!("{path}/{}", device.uuid)).await?);
        }
        Ok(shown)
    }

    /// Waits until every device of the story satisfies `done`.
    ///
    /// # Errors
    ///
    /// When it takes too long: what was waited for, and how the devices are.
    pub(super) async fn until(
        &mut self,
        report: &mut Report,
        what: &str,
        expected: u64,
        done: impl Fn(&Device) -> bool,
    ) -> Result<Vec<Device>, Failure> {
        let bars: Vec<ProgressBar> = self
            .players
            .iter()
            .map(|player| self.bar(player, expected))
            .collect();
        let begun: Vec<u64> = self
            .players
            .iter()
            .map(|player| player.meter.bytes())
            .collect();
        let end = Instant::now() + PATIENCE;
        let outcome = loop {
            let devices = self.devices().await?;
            for (at, bar) in bars.iter().enumerate() {
                let moved = self.players[at].meter.bytes() - begun[at];
                bar.set_position(moved.min(expected));
                self.notice(at, &devices, report);
                bar.set_message(format!(
                    "{:8} {}",
                    amount(moved),
                    self.players[at].seen.as_deref().unwrap_or("-")
                ));
            }
            let is_done = |player: &Player| {
                devices
                    .iter()
                    .any(|device| device.name == player.name && done(device))
            };
            if self.players.iter().all(is_done) {
                break Ok(devices);
            }
            if Instant::now() > end {
                let seen = self.players.iter().map(|player| {
                    format!(
                        "{} is {}",
                        player.name,
                        player.seen.as_deref().unwrap_or("not there")
                    )
                });
                let seen: Vec<String> = seen.collect();
                break Err(failed(
                    what,
                    &format!("not within {} s: {}", PATIENCE.as_secs(), seen.join(", ")),
                ));
            }
            tokio::time::sleep(LOOK).await;
        };
        bars.iter().for_each(ProgressBar::finish_and_clear);
        outcome
    }

    /// Keeps what is new of a device.
    fn notice(&mut self, at: usize, devices: &[Device], report: &mut Report) {
        let name = self.players[at].name;
        let Some(device) = devices.iter().find(|device| device.name == name) else {
            return;
        };
        let target = device.target.map_or_else(String::new, |number| {
            format!(", told to run release {number}")
        });
        let state = device.state.as_deref().unwrap_or("registered");
        let online = if device.online { "" } else { ", offline" };
        let seen = format!("{state}{target}{online}");
        if self.players[at].seen.as_ref() != Some(&seen) {
            let line = report.event(name, seen.clone());
            self.say(&line);
            self.players[at].seen = Some(seen);
        }
    }

    fn bar(&self, player: &Player, expected: u64) -> ProgressBar {
        let style = "  {prefix:6} {bar:24} {msg}";
        let style = ProgressStyle::with_template(style).expect("the template is a constant");
        let bar = self.bars.add(ProgressBar::new(expected));
        bar.with_style(style).with_prefix(player.name)
    }
}

/// The one device that is called so.
pub(super) fn named<'d>(devices: &'d [Device], name: &str) -> Result<&'d Device, Failure> {
    let found = devices.iter().find(|device| device.name == name);
    found.ok_or_else(|| Failure::new(Code::Missing, format!("device {name} is not in the fleet")))
}
