//! What was run, how long it took and how it ended; printed as a table and one line of counts.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Error, Result};

use crate::libtest::{Reader, Tally};
use crate::process;

/// All steps of one run. A failed step does not stop the next one.
pub(crate) struct Report {
    began: Instant,
    steps: Vec<Done>,
}

/// A step while it runs: what it checked so far.
#[derive(Default)]
pub(crate) struct Step {
    tally: Tally,
}

struct Done {
    name: String,
    took: Duration,
    tally: Tally,
}

impl Report {
    /// An empty report whose clock runs from now.
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            steps: Vec::new(),
        }
    }

    /// Runs one step under a heading; an error is a failure of the step.
    ///
    /// A step that counted nothing itself counts as one check.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce(&mut Step) -> Result<()>) {
        let at = self.began.elapsed();
        println!("\n=== {name} (at {})", clock(at));
        let mut step = Step::default();
        let result = run(&mut step);
        let took = self.began.elapsed().saturating_sub(at);
        let mut tally = step.tally;
        match result {
            Err(error) if tally.failed.is_empty() => tally.failed.push(one_line(&error)),
            Err(error) => println!("{error:#}"),
            Ok(()) if tally == Tally::default() => tally.passed = 1,
            Ok(()) => (),
        }
        for failure in &tally.failed {
            println!("FAILED: {failure}");
        }
        self.steps.push(Done {
            name: name.to_owned(),
            took,
            tally,
        });
    }

    /// Prints the table, each skip and failure with its reason, and last the counts.
    pub(crate) fn finish(self) -> ExitCode {
        println!("\n=== summary (at {})\n", clock(self.began.elapsed()));
        print!("{}", self.render());
        self.code()
    }

    fn code(&self) -> ExitCode {
        if self.steps.iter().any(|step| !step.tally.failed.is_empty()) {
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }

    fn render(&self) -> String {
        let mut text = format!(
            "{:>8} {:>7} {:>8} {:>7}  step\n",
            "passed", "failed", "skipped", "time"
        );
        let (mut skips, mut failures) = (String::new(), String::new());
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for Done { name, took, tally } in &self.steps {
            text += &format!(
                "{:>8} {:>7} {:>8} {:>7}  {name}\n",
                tally.passed,
                tally.failed.len(),
                tally.skipped.len(),
                clock(*took),
            );
            skips.extend(
                tally
                    .skipped
                    .iter()
                    .map(|why| format!("SKIPPED: {name}: {why}\n")),
            );
            failures.extend(
                tally
                    .failed
                    .iter()
                    .map(|why| format!("FAILED: {name}: {why}\n")),
            );
            passed += tally.passed;
            failed += tally.failed.len();
            skipped += tally.skipped.len();
        }
        format!("{text}\n{skips}{failures}{passed} passed, {failed} failed, {skipped} skipped\n")
    }
}

impl Step {
    /// Runs a command whose success is the whole point.
    pub(crate) fn run(&mut self, command: Command) -> Result<()> {
        process::stream(command, |_| ())
    }

    /// Runs a command that runs tests, and counts them.
    pub(crate) fn run_tests(&mut self, command: Command) -> Result<()> {
        let mut reader = Reader::default();
        let result = process::stream(command, |line| reader.line(line));
        let tally = reader.tally();
        self.tally.passed += tally.passed;
        self.tally.failed.extend(tally.failed);
        self.tally.skipped.extend(tally.skipped);
        result
    }

    /// Counts one check of several that the step makes.
    pub(crate) fn check(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => self.tally.passed += 1,
            Err(error) => self
                .tally
                .failed
                .push(format!("{name}: {}", one_line(&error))),
        }
    }

    /// Says that something was not checked, and why.
    pub(crate) fn skip(&mut self, why: impl Into<String>) {
        let why = why.into();
        // Not `SKIPPED:`, which is what a test says; the summary says that for this one.
        println!("not checked: {why}");
        self.tally.skipped.push(why);
    }
}

fn one_line(error: &Error) -> String {
    let text = format!("{error:#}");
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// Minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}m{:02}s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn the_last_line_is_the_count_and_every_reason_stands_above_it() {
        let mut report = Report::new();
        report.step("formatting", |_| Ok(()));
        report.step("boards", |step| {
            step.check("one", Ok(()));
            step.check("two", Err(anyhow!("too large")));
            step.skip("no QEMU");
            Ok(())
        });
        report.step("lint", |_| Err(anyhow!("first\nsecond")));
        let text = report.render();
        let mut last = text.lines().rev();
        assert_eq!(last.next(), Some("2 passed, 2 failed, 1 skipped"));
        assert_eq!(last.next(), Some("FAILED: lint: first; second"));
        assert_eq!(last.next(), Some("FAILED: boards: two: too large"));
        assert_eq!(last.next(), Some("SKIPPED: boards: no QEMU"));
        assert_eq!(report.code(), ExitCode::FAILURE);
    }

    #[test]
    fn a_run_without_failures_succeeds_even_with_skips() {
        let mut report = Report::new();
        report.step("tests", |step| {
            step.skip("no root");
            Ok(())
        });
        assert!(report.render().ends_with("0 passed, 0 failed, 1 skipped\n"));
        assert_eq!(report.code(), ExitCode::SUCCESS);
    }
}
