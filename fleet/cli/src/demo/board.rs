//! The microcontroller of the demo: the host board, which is the firmware as a process, with its flash in a file.
//!
//! Killing the process is cutting the power: what was written to the flash is all that is left.

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;

use super::FLEET;
use super::stage::{Stage, failed};
use super::story::{MCU, MCU_TYPE};
use super::typed::Desk;
use crate::failure::{Code, Failure};

/// Bytes of a firmware image.
pub(super) const IMAGE_BYTES: u64 = 192 * 1024;
/// How long a fetch may take to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where in a fetch the power is cut, in percent.
const CUT_PERCENT: u64 = 40;

/// The microcontroller of the demo: the host board's own commands.
#[derive(Debug, Args)]
pub(crate) struct Board {
    /// What it is to do.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Does what the host board's own program does.
pub(crate) fn run(board: &Board) -> ExitCode {
    lightship_board_host::main(&board.words)
}

/// How far a fetch is, in bytes of the image that are in flash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fetch {
    /// Fetches that were begun or gone on with, before and now.
    count: u64,
    /// What was told of this one first.
    pub(super) from: u64,
    /// What was told of it last.
    pub(super) at: u64,
}

impl Fetch {
    /// What is told after all that was told before; less than that means another fetch.
    fn told(&mut self, bytes: u64) {
        if self.at == 0 || bytes < self.at {
            self.count += 1;
            self.from = bytes;
        }
        self.at = bytes;
    }
}

/// The running microcontroller; dropped, it is without power.
pub(super) struct Microcontroller {
    flash: PathBuf,
    log: PathBuf,
    process: Option<Child>,
    fetch: watch::Sender<Fetch>,
}

impl Microcontroller {
    /// Makes a device as a factory does, and switches it on.
    pub(super) async fn start(stage: &Stage, desk: &Desk) -> Result<Self, Failure> {
        let config = stage.path("mcu/config.bin").display().to_string();
        let words = [
            "config", "--format", "firmware", "--type", MCU_TYPE, "--name", MCU,
        ];
        desk.type_in(&[&words[..], &["--out", &config]].concat())
            .await?;
        let mut device = Self {
            flash: stage.path("mcu/flash"),
            log: stage.path("mcu/log"),
            process: None,
            fetch: watch::Sender::default(),
        };
        let image = device.firmware(stage, desk, "0.9.0", true).await?;
        let flash = device.flash.display().to_string();
        board(&[
            "install", "--flash", &flash, "--image", &image, "--config", &config,
        ])
        .await?;
        device.switch_on()?;
        Ok(device)
    }

    /// Makes an image, signed with the fleet's first release key, which is the one that the bootloader knows.
    pub(super) async fn firmware(
        &self,
        stage: &Stage,
        desk: &Desk,
        version: &str,
        is_healthy: bool,
    ) -> Result<String, Failure> {
        let out = stage
            .path(&format!("firmware-{version}.img"))
            .display()
            .to_string();
        let key = desk
            .config
            .join("keys")
            .join(format!("{FLEET}-release.key"))
            .display()
            .to_string();
        let (size, behaviour) = (
            IMAGE_BYTES.to_string(),
            if is_healthy { "healthy" } else { "crashes" },
        );
        let words = [
            "image",
            "--device-type",
            MCU_TYPE,
            "--version",
            version,
            "--key",
            &key,
        ];
        let rest = ["--size", &size, "--behaviour", behaviour, "--out", &out];
        board(&[&words[..], &rest[..]].concat()).await?;
        Ok(out)
    }

    fn switch_on(&mut self) -> Result<(), Failure> {
        let starting = |error| failed("starting the microcontroller", &error);
        let mut command = this_program(&["run", "--json", "--flash"])?;
        command
            .arg(&self.flash)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log);
        command.stderr(log.map_err(starting)?).kill_on_drop(true);
        let mut process = command.spawn().map_err(starting)?;
        let said = process.stdout.take().expect("it was asked for");
        tokio::spawn(listen(said, self.log.clone(), self.fetch.clone()));
        self.process = Some(process);
        Ok(())
    }

    /// Fetches up to now; what [`cut_power_while_fetching`](Self::cut_power_while_fetching) waits for comes after them.
    pub(super) fn fetches(&self) -> u64 {
        self.fetch.borrow().count
    }

    /// Waits until a fetch after so many is well under way, and cuts the power; where it was.
    pub(super) async fn cut_power_while_fetching(&mut self, after: u64) -> Result<Fetch, Failure> {
        let fetch = self
            .fetched(|fetch| fetch.count > after && fetch.at * 100 >= IMAGE_BYTES * CUT_PERCENT)
            .await?;
        if let Some(mut process) = self.process.take() {
            process
                .kill()
                .await
                .map_err(|error| failed("cutting the power", &error))?;
        }
        Ok(fetch)
    }

    /// Switches it on again, and waits until it goes on with its fetch.
    pub(super) async fn power_up(&mut self) -> Result<Fetch, Failure> {
        let before = self.fetches();
        self.fetch.send_modify(|fetch| fetch.at = 0);
        self.switch_on()?;
        self.fetched(|fetch| fetch.count > before).await
    }

    async fn fetched(&self, done: impl FnMut(&Fetch) -> bool) -> Result<Fetch, Failure> {
        let mut fetch = self.fetch.subscribe();
        let fetch = tokio::time::timeout(PATIENCE, fetch.wait_for(done)).await;
        let late = |_| failed("the microcontroller's fetch", &"it does not come");
        let fetch = fetch.map_err(late)?;
        fetch
            .map(|fetch| *fetch)
            .map_err(|error| failed("the microcontroller", &error))
    }
}

/// Keeps what the microcontroller says in its log, and how far its fetch is.
async fn listen(said: ChildStdout, log: PathBuf, fetch: watch::Sender<Fetch>) {
    let mut lines = BufReader::new(said).lines();
    let Ok(mut log) = tokio::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .await
    else {
        return;
    };
    while let Ok(Some(line)) = lines.next_line().await {
        let _ = log.write_all(format!("{line}\n").as_bytes()).await;
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if event["event"] == "fetched" {
            fetch.send_modify(|fetch| fetch.told(number(&event["bytes"])));
        }
    }
}

fn number(value: &Value) -> u64 {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

fn this_program(words: &[&str]) -> Result<Command, Failure> {
    let program = std::env::current_exe().map_err(|error| failed("this program", &error))?;
    let mut command = Command::new(program);
    command.arg("demo-board").args(words);
    command.env(super::PART_OF_A_DEMO, "1");
    Ok(command)
}

/// A command of the host board that ends by itself.
async fn board(words: &[&str]) -> Result<(), Failure> {
    let output = this_program(words)?.stdin(Stdio::null()).output().await;
    let output = output.map_err(|error| failed("the host board", &error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(
        Code::Failed,
        format!("the host board: {}", said.trim()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_that_goes_on_after_a_power_cut_is_another_one() {
        let mut fetch = Fetch::default();
        [1024, 2048, 196_608]
            .into_iter()
            .for_each(|bytes| fetch.told(bytes));
        assert_eq!((fetch.count, fetch.from, fetch.at), (1, 1024, 196_608));
        [1024, 80_000]
            .into_iter()
            .for_each(|bytes| fetch.told(bytes));
        assert_eq!((fetch.count, fetch.from), (2, 1024));
        fetch.at = 0;
        fetch.told(78_848);
        assert_eq!((fetch.count, fetch.from), (3, 78_848));
    }
}
