//! `lightship release`.

use std::time::Duration;

use clap::{Args, Subcommand};
use lightship_api::{
    Invalidation, Name, NewRollout, NewWave, Release as Shown, ReleaseState, Rollout, RolloutOrder,
    RolloutPhase, Wave, WaveWho,
};
use reqwest::Method;

use crate::client::Client;
use crate::failure::{Code, Failure};
use crate::output::{Output, or_dash, sheet, table};
use crate::place::Place;

/// How often a roll-out that is followed is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Releases and their roll-outs.
#[derive(Debug, Subcommand)]
pub(crate) enum Release {
    /// All of the fleet.
    List,
    /// One of them.
    Show {
        /// Its number.
        release: u64,
    },
    /// Give a draft to the devices that follow the fleet.
    Finalize {
        /// Its number.
        release: u64,
    },
    /// Give it to no device any more.
    Invalidate {
        /// Its number.
        release: u64,
        /// Why, for people.
        #[arg(long)]
        reason: String,
    },
    /// In which order devices are given it.
    #[command(subcommand)]
    Rollout(Order),
}

/// In which order devices are given a release.
#[derive(Debug, Subcommand)]
pub(crate) enum Order {
    /// How far it is.
    Show {
        /// The release's number.
        release: u64,
        /// Go on showing until it ends.
        #[arg(long)]
        follow: bool,
    },
    /// Plan it, while the release is a draft.
    Plan {
        /// The release's number.
        release: u64,
        #[command(flatten)]
        plan: Plan,
    },
    /// Stop giving it to anybody new.
    Pause {
        /// The release's number.
        release: u64,
    },
    /// Go on after a pause or a halt.
    Resume {
        /// The release's number.
        release: u64,
    },
    /// Open the next wave now.
    Advance {
        /// The release's number.
        release: u64,
    },
    /// Stop for good.
    Abort {
        /// The release's number.
        release: u64,
        /// Take it back from those who have it.
        #[arg(long)]
        revert: bool,
    },
}

/// A staged roll-out.
#[derive(Clone, Debug, Default, Args)]
#[group(id = "staged")]
pub(crate) struct Plan {
    /// Waves, in order, each a percentage (`10%`) or a tag (`ring=canary`), with the time to soak behind a slash: `ring=canary/2h 10%/1d`. The rest of the fleet comes last.
    #[arg(long, num_args = 1.., value_name = "WAVE")]
    pub(crate) wave: Vec<String>,
    /// Halt when more than this percentage failed.
    #[arg(long, value_name = "PERCENT")]
    pub(crate) halt_percent: Option<u8>,
    /// And at least so many.
    #[arg(long, value_name = "DEVICES")]
    pub(crate) halt_at_least: Option<u32>,
    /// When it is halted, take the release back from those who have it.
    #[arg(long)]
    pub(crate) revert: bool,
}

impl Plan {
    /// The plan, if waves are given.
    pub(crate) fn request(&self) -> Result<Option<NewRollout>, Failure> {
        if self.wave.is_empty() {
            return Ok(None);
        }
        let mut waves = Vec::new();
        for text in self.wave.iter().flat_map(|waves| waves.split_whitespace()) {
            waves.push(wave(text)?);
        }
        let everyone = WaveWho::Percent { percent: 100 };
        if waves.last().is_none_or(|wave| wave.who != everyone) {
            waves.push(NewWave {
                who: everyone,
                soak_s: 0,
            });
        }
        Ok(Some(NewRollout {
            waves,
            halt_percent: self.halt_percent.unwrap_or(10),
            halt_at_least: self.halt_at_least.unwrap_or(2),
            revert: self.revert,
        }))
    }
}

fn wave(text: &str) -> Result<NewWave, Failure> {
    let bad = || {
        Failure::new(Code::Usage, format!("{text} is no wave")).help("write a percentage or a tag, and the time to soak: 10%/1d, ring=canary/2h, ring=canary")
    };
    let (who, soak) = text.split_once('/').unwrap_or((text, "0s"));
    let who = match (who.strip_suffix('%'), who.split_once('=')) {
        (Some(percent), _) => WaveWho::Percent {
            percent: percent.parse().map_err(|_| bad())?,
        },
        (None, Some((key, value))) => WaveWho::Tag {
            key: key.to_owned(),
            value: Some(value.to_owned()),
        },
        (None, None) => return Err(bad()),
    };
    let soak_s = seconds(soak).ok_or_else(bad)?;
    Ok(NewWave { who, soak_s })
}

/// `90s`, `30m`, `2h`, `1d`.
fn seconds(text: &str) -> Option<u32> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return None,
    };
    let number: u32 = text[..text.len() - 1].parse().ok()?;
    number.checked_mul(unit)
}

/// The releases of one fleet.
pub(crate) struct Releases<'a> {
    client: &'a Client,
    fleet: Name,
}

impl<'a> Releases<'a> {
    pub(crate) fn new(client: &'a Client, fleet: Name) -> Self {
        Self { client, fleet }
    }

    fn path(&self, number: u64, what: &str) -> String {
        format!("/api/v1/fleets/{}/releases/{number}{what}", self.fleet)
    }

    pub(crate) async fn plan(&self, number: u64, plan: &NewRollout) -> Result<Rollout, Failure> {
        self.client
            .call(Method::PUT, &self.path(number, "/rollout"), plan)
            .await
    }

    pub(crate) async fn finalize(&self, number: u64) -> Result<Shown, Failure> {
        let request = self
            .client
            .request(Method::POST, &self.path(number, "/finalize"));
        self.client.send(request).await?;
        self.client.get(&self.path(number, "")).await
    }

    async fn rollout(&self, number: u64) -> Result<Rollout, Failure> {
        self.client.get(&self.path(number, "/rollout")).await
    }

    async fn order(
        &self,
        number: u64,
        order: RolloutOrder,
        output: &Output,
    ) -> Result<(), Failure> {
        let rollout: Rollout = self
            .client
            .call(Method::POST, &self.path(number, "/rollout"), &order)
            .await?;
        output.show(&rollout, describe_rollout);
        Ok(())
    }

    /// Shows a roll-out until it ends; a bad end is a failure.
    pub(crate) async fn follow(&self, number: u64, output: &Output) -> Result<(), Failure> {
        let bar = output.count(&format!("release {number}"), 0);
        let mut last = None;
        loop {
            let rollout = self.rollout(number).await?;
            let sum = Sum::of(&rollout.waves);
            bar.set_length(u64::from(sum.all));
            bar.set_position(u64::from(sum.succeeded));
            bar.set_message(format!("{}, {} failed", phase(rollout.phase), sum.failed));
            if output.is_json() && last.as_ref() != Some(&rollout) {
                output.stream(&rollout, |_| String::new());
            }
            match rollout.phase {
                RolloutPhase::Planned | RolloutPhase::Running | RolloutPhase::Paused => {}
                RolloutPhase::Completed => {
                    bar.finish();
                    return ended(number, &sum, output);
                }
                RolloutPhase::Halted | RolloutPhase::Aborted => {
                    bar.abandon();
                    let failure = Failure::new(
                        Code::RolloutFailed,
                        format!(
                            "the roll-out of release {number} was {}: {} succeeded, {} failed",
                            phase(rollout.phase),
                            sum.succeeded,
                            sum.failed
                        ),
                    );
                    return Err(failure.help(format!("`lightship release rollout resume {number}` goes on, `abort --revert` takes it back; `lightship device list` shows who failed")));
                }
            }
            last = Some(rollout);
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn ended(number: u64, sum: &Sum, output: &Output) -> Result<(), Failure> {
    if sum.failed > 0 {
        let failure = Failure::new(
            Code::RolloutFailed,
            format!(
                "release {number} was rolled out; {} devices gave it up",
                sum.failed
            ),
        );
        return Err(failure.help("`lightship device list` shows who failed"));
    }
    output.remark(&format!(
        "release {number} is rolled out: {} of {} devices run it, the others are off or defer it",
        sum.succeeded, sum.all
    ));
    Ok(())
}

#[derive(Default)]
struct Sum {
    all: u32,
    succeeded: u32,
    failed: u32,
}

impl Sum {
    fn of(waves: &[Wave]) -> Self {
        let mut sum = Self::default();
        for wave in waves {
            sum.all += wave.waiting + wave.told + wave.succeeded + wave.failed;
            sum.succeeded += wave.succeeded;
            sum.failed += wave.failed;
        }
        sum
    }
}

pub(crate) async fn run(release: Release, place: &Place, output: &Output) -> Result<(), Failure> {
    let client = place.client()?;
    let fleet = place.fleet(&client).await?;
    let at = Releases::new(&client, fleet.clone());
    match release {
        Release::List => {
            let all: Vec<Shown> = client
                .get(&format!("/api/v1/fleets/{fleet}/releases"))
                .await?;
            output.show(&all, |all| list(all));
        }
        Release::Show { release } => {
            let release: Shown = client.get(&at.path(release, "")).await?;
            output.show(&release, describe);
        }
        Release::Finalize { release } => {
            let release = at.finalize(release).await?;
            output.show(&release, describe);
        }
        Release::Invalidate { release, reason } => {
            let body = Invalidation { reason };
            let release: Shown = client
                .call(Method::POST, &at.path(release, "/invalidate"), &body)
                .await?;
            output.show(&release, describe);
        }
        Release::Rollout(order) => rollout(order, &at, output).await?,
    }
    Ok(())
}

async fn rollout(order: Order, at: &Releases<'_>, output: &Output) -> Result<(), Failure> {
    match order {
        Order::Show {
            release,
            follow: true,
        } => at.follow(release, output).await,
        Order::Show {
            release,
            follow: false,
        } => {
            output.show(&at.rollout(release).await?, describe_rollout);
            Ok(())
        }
        Order::Plan { release, plan } => {
            let plan = plan.request()?;
            let plan = plan.ok_or_else(|| {
                Failure::new(Code::Usage, "a plan has waves")
                    .help("pass --wave, such as --wave 10%/1d 50%/1d")
            })?;
            output.show(&at.plan(release, &plan).await?, describe_rollout);
            Ok(())
        }
        Order::Pause { release } => at.order(release, RolloutOrder::Pause, output).await,
        Order::Resume { release } => at.order(release, RolloutOrder::Resume, output).await,
        Order::Advance { release } => at.order(release, RolloutOrder::Advance, output).await,
        Order::Abort { release, revert } => {
            at.order(release, RolloutOrder::Abort { revert }, output)
                .await
        }
    }
}

fn state(state: ReleaseState) -> &'static str {
    match state {
        ReleaseState::Draft => "draft",
        ReleaseState::Final => "final",
        ReleaseState::Invalid => "invalid",
    }
}

fn phase(phase: RolloutPhase) -> &'static str {
    match phase {
        RolloutPhase::Planned => "planned",
        RolloutPhase::Running => "running",
        RolloutPhase::Paused => "paused",
        RolloutPhase::Halted => "halted",
        RolloutPhase::Aborted => "aborted",
        RolloutPhase::Completed => "completed",
    }
}

fn list(all: &[Shown]) -> String {
    let rows = all.iter().map(|release| {
        let types: Vec<&str> = release
            .documents
            .iter()
            .map(|document| document.device_type.as_str())
            .collect();
        vec![
            release.number.to_string(),
            release.version.clone(),
            state(release.state).to_owned(),
            types.join(" "),
            release.created_at.to_string(),
            or_dash(release.reason.as_ref()),
        ]
    });
    table(
        &[
            "RELEASE",
            "VERSION",
            "STATE",
            "DEVICE TYPES",
            "UPLOADED",
            "REASON",
        ],
        &rows.collect::<Vec<_>>(),
    )
}

pub(crate) fn describe(release: &Shown) -> String {
    let mut text = sheet(&[
        ("release", release.number.to_string()),
        ("version", release.version.clone()),
        ("state", state(release.state).to_owned()),
        ("reason", release.reason.clone().unwrap_or_default()),
        (
            "uploaded",
            format!("{} by {}", release.created_at, release.created_by),
        ),
    ]);
    for document in &release.documents {
        text.push('\n');
        text.push_str(&sheet(&[
            ("device type", document.device_type.to_string()),
            ("document", document.digest.clone()),
            (
                "security version",
                format!("{}, floor {}", document.security_version, document.floor),
            ),
            ("components", document.components.join(" ")),
        ]));
    }
    text
}

fn describe_rollout(rollout: &Rollout) -> String {
    let rows = rollout.waves.iter().map(|wave| {
        let who = match &wave.who {
            WaveWho::Percent { percent } => format!("{percent}%"),
            WaveWho::Tag {
                key,
                value: Some(value),
            } => format!("{key}={value}"),
            WaveWho::Tag { key, value: None } => key.clone(),
        };
        let soak = format!("{} s", wave.soak_s);
        vec![
            who,
            soak,
            wave.waiting.to_string(),
            wave.told.to_string(),
            wave.succeeded.to_string(),
            wave.failed.to_string(),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    format!(
        "release {} is {}\n{}",
        rollout.release,
        phase(rollout.phase),
        table(
            &["WAVE", "SOAK", "WAITING", "TOLD", "SUCCEEDED", "FAILED"],
            &rows
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(waves: &[&str]) -> Result<Option<NewRollout>, Failure> {
        let plan = Plan {
            wave: waves.iter().map(|wave| (*wave).to_owned()).collect(),
            ..Plan::default()
        };
        plan.request()
    }

    #[test]
    fn waves_are_read_as_they_are_typed_and_everyone_comes_last() {
        let waves = plan(&["ring=canary/2h", "10%/1d 50%/90s"])
            .unwrap()
            .unwrap()
            .waves;
        let soaks: Vec<u32> = waves.iter().map(|wave| wave.soak_s).collect();
        assert_eq!(soaks, [7200, 86_400, 90, 0]);
        assert_eq!(waves[3].who, WaveWho::Percent { percent: 100 });
        assert!(plan(&[]).unwrap().is_none());
        assert_eq!(plan(&["100%/1h"]).unwrap().unwrap().waves.len(), 1);
        for bad in ["canary", "10", "300%", "10%/1w", "10%/", "10%/99999999d"] {
            assert_eq!(
                plan(&[bad]).err().map(|failure| failure.code),
                Some(Code::Usage),
                "{bad}"
            );
        }
    }
}
