//! `lightship demo`: the whole system on this machine, on real input.
//!
//! A fleet server in this process; a Linux device in namespaces of its own; a microcontroller as a process
//! with a file for its flash; and what a person does, typed as commands of this program.
//! Nothing is staged: each step waits for what the server was told by the devices, and fails if that does not come.

mod acts;
mod board;
mod inside;
mod project;
mod report;
mod shore;
mod stage;
mod story;
mod typed;
mod watch;
mod wires;
mod world;

use clap::Args;

pub(crate) use self::board::{Board, run as run_board};
pub(crate) use self::inside::{Inside, run as run_inside, run_daemon};
use self::report::Report;
pub(crate) use self::stage::Stage;
use self::story::Story;
pub(crate) use self::story::random_password;
pub(crate) use self::typed::Desk;
pub(crate) use self::world::last_lines;
use crate::failure::{Code, Failure};
use crate::output::Output;

/// What the demo's fleet is called.
pub(crate) const FLEET: &str = "harbour";

/// Set for every process that the demo starts.
pub(crate) const PART_OF_A_DEMO: &str = "LIGHTSHIP_PART_OF_A_DEMO";

/// A process that the demo started ends when the demo does, however that ends.
pub(crate) fn end_with_the_demo() {
    if std::env::var_os(PART_OF_A_DEMO).is_some() {
        let signal = Some(rustix::process::Signal::KILL);
        // Where it cannot be asked for, the demo's own orders have to do.
        let _ = rustix::process::set_parent_process_death_signal(signal);
    }
}

/// Show the whole system on this machine: a server, a Linux device, a microcontroller.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Do not stay up afterwards; succeed only if every step came out as stated.
    #[arg(long)]
    once: bool,
}

pub(crate) async fn run(demo: Demo, output: &Output) -> Result<(), Failure> {
    let stage = Stage::open()?;
    let mut report = Report::new();
    let told = tokio::select! {
        told = tell(&demo, &stage, &mut report, output) => told,
        stopped = crate::command::serve::asked_to_stop() => {
            stopped.map_err(|error| stage::failed("waiting for Ctrl-C", &error))?;
            output.remark("\nstopped; what the demo made is removed");
            Ok(())
        }
    };
    report.ok = told.is_ok() && report.is_whole();
    if output.is_json() {
        let line = serde_json::to_string(&report).unwrap_or_default();
        println!("{line}");
    }
    told
}

/// The story, and then, unless it is told once, the stage for whoever wants to look around.
async fn tell(
    demo: &Demo,
    stage: &Stage,
    report: &mut Report,
    output: &Output,
) -> Result<(), Failure> {
    let mut story = Story::begin(stage, report, output).await?;
    let told = story.tell(report).await;
    if let Err(failure) = told {
        let failure = Failure::new(Code::Failed, failure.message);
        return Err(failure.help(story.what_devices_said()));
    }
    if !demo.once {
        story.say_where_to_look(report);
        std::future::pending::<()>().await;
    }
    story.end();
    Ok(())
}
