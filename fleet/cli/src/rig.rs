//! `lightship rig`: the same scenarios on whatever a file describes, from a process on this machine to a board on a bench.
//!
//! A rig is a device whose power this machine can switch. Its server is a real one, started for the run,
//! and every verdict rests on what the device itself told that server.

mod device;
mod file;
mod scenario;
mod shore;

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Subcommand};
use serde::Serialize;

use self::device::Device;
use self::file::Rig;
use self::scenario::{Bench, SCENARIOS, Scenario};
use self::shore::Shore;
use crate::demo::Stage;
use crate::failure::{Code, Failure};
use crate::output::Output;

/// Try scenarios with real power cuts on a device that a file describes.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a device as the factory does, and run the scenarios on it.
    Run(Run),
    /// List the scenarios.
    List,
}

/// What to run, and on what.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The rig's description.
    file: PathBuf,
    /// Only these scenarios, in the order of `lightship rig list`; enrolment is always first.
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
}

/// How a scenario came out.
#[derive(Debug, Serialize)]
struct Outcome {
    scenario: &'static str,
    ok: bool,
    seconds: f64,
    /// What was not as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

pub(crate) async fn run(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::List => {
            for scenario in SCENARIOS {
                let line = serde_json::json!({"scenario": scenario.name, "what": scenario.what});
                output.stream(&line, |_| format!("{:26} {}", scenario.name, scenario.what));
            }
            Ok(())
        }
        Command::Run(run) => {
            let chosen = choose(&run.scenarios)?;
            let rig = Rig::read(&run.file)?;
            tokio::select! {
                ended = on(&rig, &chosen, output) => ended,
                stopped = crate::command::serve::asked_to_stop() => {
                    stopped.map_err(|error| Failure::new(Code::Failed, format!("waiting for Ctrl-C: {error}")))?;
                    Err(Failure::new(Code::Failed, "stopped before the last scenario"))
                }
            }
        }
    }
}

/// Those with the names, and the first of all, which the others build on.
fn choose(names: &[String]) -> Result<Vec<&'static Scenario>, Failure> {
    let known = |name: &&String| !SCENARIOS.iter().any(|scenario| scenario.name == **name);
    if let Some(unknown) = names.iter().find(known) {
        let message = format!("there is no scenario `{unknown}`");
        return Err(Failure::new(Code::Usage, message).help("`lightship rig list` shows them"));
    }
    let is_chosen = |(at, scenario): &(usize, &Scenario)| {
        *at == 0 || names.is_empty() || names.iter().any(|name| name == scenario.name)
    };
    let all = SCENARIOS.iter().enumerate().filter(is_chosen);
    Ok(all.map(|(_, scenario)| scenario).collect())
}

/// Runs scenarios one after the other; what fails does not keep the next from being tried, unless the device is lost.
async fn on(rig: &Rig, chosen: &[&'static Scenario], output: &Output) -> Result<(), Failure> {
    let stage = Stage::open()?;
    let shore = Shore::start(rig, &stage).await?;
    let device = Device::make(rig, &stage, &shore.desk).await?;
    let mut bench = Bench::new(rig, shore, device)?;
    let mut failed = 0;
    for scenario in chosen {
        let began = Instant::now();
        let ended = bench.run(scenario).await;
        let outcome = Outcome {
            scenario: scenario.name,
            ok: ended.is_ok(),
            seconds: began.elapsed().as_secs_f64(),
            why: ended.err().map(|failure| failure.message),
        };
        output.stream(&outcome, line);
        if !outcome.ok {
            failed += 1;
            if bench.is_lost().await {
                break;
            }
        }
    }
    if failed == 0 {
        return Ok(());
    }
    let message = format!(
        "{failed} of {} scenarios failed on {}",
        chosen.len(),
        rig.name
    );
    Err(Failure::new(Code::Failed, message).help(bench.last_lines()))
}

fn line(outcome: &Outcome) -> String {
    let verdict = if outcome.ok { "ok" } else { "FAILED" };
    let why = outcome.why.as_deref().unwrap_or_default();
    format!(
        "{:26} {verdict:6} {:6.1} s  {why}",
        outcome.scenario, outcome.seconds
    )
    .trim_end()
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enrolment_is_always_first_and_an_unknown_name_is_refused() {
        let names = |chosen: Vec<&Scenario>| -> Vec<&str> {
            chosen.iter().map(|scenario| scenario.name).collect()
        };
        assert_eq!(choose(&[]).unwrap().len(), SCENARIOS.len());
        let chosen = choose(&["broken-release".to_owned()]).unwrap();
        assert_eq!(names(chosen), ["enrolment", "broken-release"]);
        let failure = choose(&["nothing".to_owned()]).unwrap_err();
        assert_eq!(failure.code, Code::Usage);
    }
}
