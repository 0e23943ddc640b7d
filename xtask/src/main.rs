#![doc = include_str!("../README.md")]

mod archive;
mod bench;
mod deb;
mod device;
mod dist;
mod elf;
mod firmware;
mod fuzz;
mod image;
mod libtest;
mod no_std;
mod packages;
mod process;
mod report;
mod reproduce;
mod setup;
mod size;
mod test;
mod workspace;

use std::process::ExitCode;

const HELP: &str = "\
What the repository does to itself.

Usage: cargo xtask <command>

Commands:
  test              set up, then check everything; ends with `N passed, N failed, N skipped`
  size              weigh what runs on a microcontroller, and fail over a budget
  fuzz <target>     look for inputs that trip a fuzz target
  bench [name]      measure, beside a peer where there is one
  firmware <board>  build the programs of a board
  dist              build static programs and Debian packages

`cargo xtask <command> --help` says more about one command.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match reproduce::as_wrapper().unwrap_or_else(|| run(&words)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    let (command, rest) = match words.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", words),
    };
    match command {
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        "firmware" => firmware::run(rest),
        "bench" => bench::run(rest),
        "dist" => dist::run(rest),
        "fuzz" => fuzz::run(rest),
        "size" => size::run(rest),
        "test" => test::run(rest),
        unknown => anyhow::bail!("there is no command `{unknown}`\n\n{HELP}"),
    }
}
