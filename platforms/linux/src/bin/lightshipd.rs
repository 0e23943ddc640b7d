//! The device daemon. `lightshipd run --config FILE`; as `lightshipd shim ...` it watches one container.

use std::path::PathBuf;
use std::process::ExitCode;

use lightshipd::daemon::{self, Config};

const HELP: &str = "\
Runs what a Lightship fleet assigns to this device.

Usage: lightshipd run [--config FILE]     run the daemon
       lightshipd check [--config FILE]   check the configuration and say what is wrong

FILE is /etc/lightship/device.toml unless it is named.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["shim", ..] => {
            let rest: Vec<String> = words[1..].iter().map(|word| (*word).to_owned()).collect();
            lightshipd::engine::runtime::shim_main(&rest)
        }
        ["run"] => run("/etc/lightship/device.toml"),
        ["run", "--config", file] => run(file),
        ["check"] => check("/etc/lightship/device.toml"),
        ["check", "--config", file] => check(file),
        ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{HELP}");
            ExitCode::from(2)
        }
    }
}

fn load(file: &str) -> Result<Config, ExitCode> {
    Config::load(&PathBuf::from(file)).map_err(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}

fn check(file: &str) -> ExitCode {
    match load(file) {
        Ok(config) => {
            println!(
                "{file} is good: a {} that runs {}",
                config.device_type, config.product
            );
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

fn run(file: &str) -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let config = match load(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    // Another part of the process may have chosen a provider already; both are ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let tasks = tokio::task::LocalSet::new();
    match tasks.block_on(&runtime, daemon::run(config)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
