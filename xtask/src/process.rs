//! Runs other programs: their output is shown as it comes and can be read line by line.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A cargo command in `folder`, deaf to the flags of the cargo that started this program.
///
/// It is called by name so that rustup's proxy chooses the toolchain of the folder.
pub(crate) fn cargo<S: AsRef<OsStr>>(folder: &Path, words: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("cargo");
    command
        .args(words)
        .current_dir(folder)
        .env("CARGO_TERM_COLOR", "never")
        .env_remove("CARGO");
    command
}

/// Runs `command`, shows each line of its output as it comes and hands it to `each`.
///
/// Output and errors share one pipe so that a failure stands beside the line that led to it.
pub(crate) fn stream(mut command: Command, mut each: impl FnMut(&str)) -> Result<()> {
    let shown = describe(&command);
    println!("$ {shown}");
    let (reader, writer) = std::io::pipe().context("no pipe for the output")?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command
        .spawn()
        .with_context(|| format!("could not start `{shown}`"))?;
    // The command holds the writing end; the reader would wait for ever while it lives.
    drop(command);
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        each(line.trim_end_matches('\r'));
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// The output of `command`, which must succeed; nothing is shown unless it fails.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let shown = describe(&command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start `{shown}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` ended with {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// As [`output`], but kills the command after `limit`: for a device that may hang.
///
/// The output must be short: it is read when the command has ended.
pub(crate) fn output_within(mut command: Command, limit: Duration) -> Result<String> {
    let shown = describe(&command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{shown}`"))?;
    let end = Instant::now() + limit;
    while child.try_wait()?.is_none() {
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            bail!("`{shown}` did not end within {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if !output.status.success() {
        bail!("`{shown}` ended with {}: {}", output.status, said.trim());
    }
    Ok(said)
}

/// Whether a program of this name is on the path.
pub(crate) fn is_installed(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else {
        return false;
    };
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(OsStr::to_string_lossy));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_streams_are_read_in_order() {
        let mut lines = Vec::new();
        stream(shell("echo one; echo two >&2; echo three"), |line| {
            lines.push(line.to_owned());
        })
        .expect("the shell succeeds");
        assert_eq!(lines, ["one", "two", "three"]);
    }

    #[test]
    fn a_failed_command_is_named_in_the_error() {
        let error = stream(shell("exit 3"), |_| ()).unwrap_err().to_string();
        assert!(
            error.contains("exit 3") && error.contains("status: 3"),
            "{error}"
        );
    }

    #[test]
    fn a_command_that_hangs_is_killed() {
        let started = Instant::now();
        let error = output_within(shell("exec sleep 60"), Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn an_absent_program_is_an_error_and_not_a_panic() {
        assert!(stream(Command::new("no-such-program-here"), |_| ()).is_err());
        assert!(!is_installed("no-such-program-here"));
        assert!(is_installed("sh"));
    }
}
