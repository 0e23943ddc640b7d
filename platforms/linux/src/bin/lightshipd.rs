//! The device daemon. `lightshipd run --config FILE`; as `lightshipd shim ...` it watches one container.

use std::path::PathBuf;
use std::process::ExitCode;

use lightshipd::daemon::{self, Config, Verdict};

const HELP: &str = "\
Runs what a Lightship fleet assigns to this device.

Usage: lightshipd run [--config FILE]     run the daemon
       lightshipd check [--config FILE]   check the configuration and say what is wrong
       lightshipd status [--json] [--config FILE]   say what the device runs and how it is connected
       lightshipd doctor [--json] [--config FILE]   look for what keeps it from running, and say what to do

`status` exits with 1 when no daemon runs, `doctor` with 1 when something is bad; both with 2 when they cannot look.
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
        ["status", ..] => look(&words[1..], status),
        ["doctor", ..] => look(&words[1..], doctor),
        ["help" | "--help" | "-h"] => {
            print(HELP);
            ExitCode::SUCCESS
        }
        _ => {
            complain(HELP);
            ExitCode::from(2)
        }
    }
}

/// Runs a command that looks at the device: `[--json] [--config FILE]`.
fn look(words: &[&str], command: fn(&str, bool) -> ExitCode) -> ExitCode {
    let (mut file, mut is_json) = ("/etc/lightship/device.toml", false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match (*word, words.as_slice()) {
            ("--json", _) => is_json = true,
            ("--config", [named, ..]) => {
                file = named;
                words.next();
            }
            _ => {
                complain(HELP);
                return ExitCode::from(2);
            }
        }
    }
    command(file, is_json)
}

fn status(file: &str, is_json: bool) -> ExitCode {
    let config = match load(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match daemon::status(&config) {
        Ok(status) => {
            print(&if is_json { status.json } else { status.text });
            ExitCode::from(u8::from(!status.is_running))
        }
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

fn doctor(file: &str, is_json: bool) -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        complain("error: the runtime does not start; are there too many open files?");
        return ExitCode::from(2);
    };
    let diagnosis = runtime.block_on(daemon::examine(&PathBuf::from(file)));
    print(&if is_json {
        diagnosis.json()
    } else {
        diagnosis.text()
    });
    match diagnosis.worst() {
        Verdict::Good | Verdict::Warning => ExitCode::SUCCESS,
        Verdict::Bad => ExitCode::FAILURE,
    }
}

/// That nobody reads it any more is no failure.
fn print(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// As [`print`], for what went wrong.
fn complain(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn load(file: &str) -> Result<Config, ExitCode> {
    Config::load(&PathBuf::from(file)).map_err(|error| {
        complain(&format!("error: {error}"));
        ExitCode::from(2)
    })
}

fn check(file: &str) -> ExitCode {
    match load(file) {
        Ok(config) => {
            let (device_type, product) = (config.device_type, config.product);
            print(&format!(
                "{file} is good: a {device_type} that runs {product}"
            ));
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
            complain(&format!("error: the runtime does not start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let tasks = tokio::task::LocalSet::new();
    match tasks.block_on(&runtime, daemon::run(config)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
