//! The device of a rig: made once, then switched on and off.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::file::{Filling, Format, Power, Rig};
use crate::demo::{Desk, Stage, last_lines};
use crate::failure::{Code, Failure};

/// What the device is called.
pub(super) const NAME: &str = "rig";
/// The release key of its fleet.
pub(super) const RELEASE_KEY: &str = "harbour-release";
/// What it leaves the factory with.
const FIRST: &str = "0.9.0";

/// The device; dropped, it is without power.
pub(super) struct Device {
    power: Power,
    filling: Filling,
    log: PathBuf,
    folder: PathBuf,
    process: Option<Child>,
}

impl Device {
    /// Makes the device as a factory does, and leaves it without power.
    pub(super) async fn make(rig: &Rig, stage: &Stage, desk: &Desk) -> Result<Self, Failure> {
        let folder = stage.path("rig");
        std::fs::create_dir_all(&folder).map_err(|error| Failure::file(&folder, &error))?;
        let config = folder.join("config").display().to_string();
        let mut words = vec!["config", "--type", &rig.device_type, "--name", NAME];
        if rig.config == Format::Firmware {
            words.extend(["--format", "firmware"]);
        }
        words.extend(["--out", &config]);
        desk.type_in(&words).await?;
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(Code::Failed, format!("this program: {error}")))?;
        let key = desk.config.join("keys").join(format!("{RELEASE_KEY}.key"));
        let device = Self {
            power: rig.power.clone(),
            filling: Filling::default()
                .with("lightship", program.display().to_string())
                .with("folder", folder.display().to_string())
                .with("config", config)
                .with("key", key.display().to_string()),
            log: folder.join("log"),
            folder,
            process: None,
        };
        device.order(&rig.make, FIRST).await?;
        device.order(&rig.install, FIRST).await?;
        Ok(device)
    }

    /// Runs a command of the rig for a version.
    pub(super) async fn order(&self, words: &[String], version: &str) -> Result<(), Failure> {
        command(&self.words_for(words, version)).await
    }

    /// Words of the rig for a version, filled in.
    pub(super) fn words_for(&self, words: &[String], version: &str) -> Vec<String> {
        let out = self.folder.join(format!("made-{version}"));
        let filling = self.filling.with("version", version);
        filling.with("out", out.display().to_string()).fill(words)
    }

    /// The power comes.
    pub(super) async fn switch_on(&mut self) -> Result<(), Failure> {
        match &self.power {
            Power::Process { run } => self.process = Some(self.start(&self.filling.fill(run))?),
            Power::Switch { on, listen, .. } => {
                command(&self.filling.fill(on)).await?;
                // Listening goes on over power cuts, and begins again where the port goes with the power.
                let is_over = match &mut self.process {
                    Some(process) => !matches!(process.try_wait(), Ok(None)),
                    None => true,
                };
                if let Some(words) = listen.as_ref().filter(|_| is_over) {
                    self.process = Some(self.start(&self.filling.fill(words))?);
                }
            }
        }
        Ok(())
    }

    /// The power goes.
    pub(super) async fn cut(&mut self) -> Result<(), Failure> {
        match &self.power {
            Power::Process { .. } => {
                if let Some(mut process) = self.process.take() {
                    let killed = process.kill().await;
                    let told =
                        |error| Failure::new(Code::Failed, format!("cutting the power: {error}"));
                    killed.map_err(told)?;
                }
                Ok(())
            }
            Power::Switch { off, .. } => command(&self.filling.fill(off)).await,
        }
    }

    /// A process whose words go to the device's log.
    fn start(&self, words: &[String]) -> Result<Child, Failure> {
        let failing = |error: std::io::Error| {
            Failure::new(Code::Failed, format!("`{}`: {error}", words.join(" ")))
        };
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| Failure::file(&self.log, &error))?;
        let errors = log.try_clone().map_err(failing)?;
        let mut command = plain(words);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        command.kill_on_drop(true).spawn().map_err(failing)
    }

    /// What the device said last.
    pub(super) fn last_lines(&self) -> String {
        format!(
            "the device said last:\n{}",
            last_lines(Path::new(&self.log))
        )
    }
}

fn plain(words: &[String]) -> Command {
    let (program, rest) = words.split_first().expect("the description was checked");
    let mut command = Command::new(program);
    command.args(rest).env(crate::demo::PART_OF_A_DEMO, "1");
    command
}

/// A command that ends by itself.
async fn command(words: &[String]) -> Result<(), Failure> {
    let shown = words.join(" ");
    let output = plain(words)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    let output =
        output.map_err(|error| Failure::new(Code::Failed, format!("`{shown}`: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(
        Code::Failed,
        format!("`{shown}` ended with {}: {}", output.status, said.trim()),
    ))
}
