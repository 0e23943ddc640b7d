//! Roll-outs: shown, followed, paused and ended.

use std::time::Duration;

use clap::Subcommand;
use lightship_api::{Rollout, RolloutOrder, RolloutPhase, Wave};
use reqwest::Method;

use super::shown::{describe_rollout, phase};
use super::{Plan, Releases};
use crate::failure::{Code, Failure};
use crate::output::Output;

/// How often a roll-out that is followed is looked at.
const LOOK: Duration = Duration::from_secs(2);

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

pub(super) async fn run(order: Order, at: &Releases<'_>, output: &Output) -> Result<(), Failure> {
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

impl Releases<'_> {
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
