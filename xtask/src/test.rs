//! `cargo xtask test`: everything that must hold before a change lands.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::report::{Report, Step};
use crate::{dist, firmware, no_std, packages, process, setup, size, workspace};

const HELP: &str = "\
Sets up what is missing, then checks everything; a failed step does not stop the next.

Usage: cargo xtask test

The last line counts tests and steps: `N passed, N failed, N skipped`.
Above it stands why each skipped test was skipped and what failed.
The exit code is not zero when anything failed.";

/// Runs all steps.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    match words {
        [] => Ok(check_everything()),
        [word] if word == "--help" || word == "-h" => {
            println!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("`cargo xtask test` takes no arguments\n\n{HELP}"),
    }
}

fn check_everything() -> ExitCode {
    let root = &workspace::root();
    let mut report = Report::new();
    report.step("set-up: toolchain", |step| setup::toolchain(step, root));
    report.step("set-up: packages", |step| {
        setup::packages(step, packages::FOR_TESTS)
    });
    report.step("set-up: schemathesis", |step| {
        setup::schemathesis(step, root)
    });
    report.step("formatting", |step| {
        step.run(process::cargo(root, ["fmt", "--all", "--check"]))?;
        for folder in workspace::apart(root)? {
            step.run(process::cargo(
                &root.join(folder),
                ["fmt", "--all", "--check"],
            ))?;
        }
        Ok(())
    });
    report.step("licences, bans, sources", |step| deny(step, root));
    report.step("clippy", |step| {
        let words = [
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--locked",
        ];
        step.run(process::cargo(
            root,
            [&words[..], &["--", "-D", "warnings"]].concat(),
        ))
    });
    report.step("the daemon for other processors", |step| {
        dist::for_tests(step, root)
    });
    report.step("tests", |step| {
        let words = ["test", "--workspace", "--no-fail-fast", "--locked"];
        step.run_tests(process::cargo(
            root,
            [&words[..], &["--", "--show-output"]].concat(),
        ))
    });
    report.step("no_std builds", |step| {
        no_std::build(step, root, &workspace::metadata(root)?)
    });
    report.step("size budgets", |step| {
        size::check(step, root);
        Ok(())
    });
    report.step("boards", |step| firmware::check(step, root));
    report.finish()
}

/// An ordinary test reads the same rules from `deny.toml`; this is their own judge, where there is one.
fn deny(step: &mut Step, root: &Path) -> Result<()> {
    if !process::is_installed("cargo-deny") {
        step.skip(
            "cargo-deny is not installed (cargo install cargo-deny --locked); \
             an ordinary test holds the same rules",
        );
        return Ok(());
    }
    let words = ["deny", "--locked", "check", "licenses", "bans", "sources"];
    step.run(process::cargo(root, words))
}
