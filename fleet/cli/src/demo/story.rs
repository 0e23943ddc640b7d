//! What happens in the demo, step by step.

use super::board::Microcontroller;
use super::project;
use super::report::{DeviceLine, Report};
use super::shore::Shore;
use super::stage::{Stage, failed};
use super::typed::Desk;
use super::watch::{Player, Watch, named};
use super::world::{LinuxDevice, Places, World, last_lines};
use crate::client::Client;
use crate::failure::{Code, Failure};
use crate::output::Output;

/// The Linux device, and what it is.
pub(super) const LINUX: &str = "gate";
pub(super) const LINUX_TYPE: &str = "demo-linux";
/// The microcontroller, and what it is.
pub(super) const MCU: &str = "buoy";
pub(super) const MCU_TYPE: &str = "demo-mcu";

/// Everything that runs, and what is known of it.
pub(super) struct Story<'s> {
    pub(super) stage: &'s Stage,
    shore: Shore,
    pub(super) desk: Desk,
    pub(super) watch: Watch,
    pub(super) world: Option<World>,
    linux: Option<LinuxDevice>,
    mcu: Option<Microcontroller>,
}

impl<'s> Story<'s> {
    /// Starts the server and founds the fleet.
    pub(super) async fn begin(
        stage: &'s Stage,
        report: &mut Report,
        output: &Output,
    ) -> Result<Self, Failure> {
        let quiet = output.is_json();
        let password = random_password()?;
        let shore = Shore::start(stage, &password).await?;
        let desk = Desk {
            config: stage.path("config"),
            password,
            quiet,
            stage: stage.path("").display().to_string(),
        };
        let mut world = World::find()
            .map_err(|why| report.left_out.push(format!("the Linux device: {why}")))
            .ok();
        if !project::is_there() {
            report.left_out.push("the Linux device: its service could not be linked when this program was built; install the static C library (Debian: libc6-dev)".to_owned());
            world = None;
        }
        if world == Some(World::User) {
            report
                .left_out
                .push("limits on memory and CPU of containers: they need root".to_owned());
        }
        desk.say(&format!(
            "A fleet server on {}, in {}",
            shore.server.url(),
            stage.path("").display()
        ));
        report
            .left_out
            .iter()
            .for_each(|what| desk.say(&format!("  left out: {what}")));
        desk.found_fleet(&shore.server).await?;
        let watch = Watch::new(desk.client()?, quiet);
        Ok(Self {
            stage,
            shore,
            desk,
            watch,
            world,
            linux: None,
            mcu: None,
        })
    }

    pub(super) async fn tell(&mut self, report: &mut Report) -> Result<(), Failure> {
        self.start_devices(report).await?;
        self.first_release(report).await?;
        self.update(report).await?;
        self.broken_release(report).await?;
        self.rotate(report).await?;
        report.devices = self.lines().await?;
        self.desk
            .say(&format!("\nAll of it in {:.0} s.", report.seconds()));
        Ok(())
    }

    /// Makes what devices start with, and starts them.
    async fn start_devices(&mut self, report: &mut Report) -> Result<(), Failure> {
        self.desk
            .say("\nTwo devices start with what `lightship config` writes, and register");
        let mcu = Microcontroller::start(self.stage, &self.desk).await?;
        self.watch.players.push(self.shore.player(MCU));
        self.mcu = Some(mcu);
        if let Some(world) = self.world {
            self.configure_linux().await?;
            let https = self.shore.server.https();
            let places = Places {
                https,
                announced_hub: self.shore.announced_hub,
                hub: self.shore.hub,
            };
            let linux = LinuxDevice::start(world, self.stage, places)?;
            self.watch
                .players
                .push(Player::new(LINUX, linux.meter.clone()));
            self.linux = Some(linux);
        }
        self.watch
            .until(report, "registration through the tunnel", 4_000, |device| {
                device.online && device.last_handshake_at.is_some()
            })
            .await?;
        Ok(())
    }

    async fn configure_linux(&self) -> Result<(), Failure> {
        let file = self.stage.path("linux/device.toml");
        let shown = file.display().to_string();
        self.desk
            .type_in(&[
                "config", "--type", LINUX_TYPE, "--name", LINUX, "--out", &shown,
            ])
            .await?;
        let own = format!(
            "data = {:?}\ncgroup_parent = {:?}\ntransports = [\"https\"]\n",
            self.stage.path("linux/data"),
            self.stage.cgroup()
        );
        let mut text =
            std::fs::read_to_string(&file).map_err(|error| Failure::file(&file, &error))?;
        text.insert_str(0, &own);
        std::fs::write(&file, text).map_err(|error| Failure::file(&file, &error))
    }

    pub(super) fn mcu(&self) -> Result<&Microcontroller, Failure> {
        self.mcu
            .as_ref()
            .ok_or_else(|| Failure::new(Code::Failed, "the microcontroller does not run"))
    }

    pub(super) fn mcu_mut(&mut self) -> Result<&mut Microcontroller, Failure> {
        self.mcu
            .as_mut()
            .ok_or_else(|| Failure::new(Code::Failed, "the microcontroller does not run"))
    }

    async fn lines(&self) -> Result<Vec<DeviceLine>, Failure> {
        let devices = self.watch.devices().await?;
        self.watch
            .players
            .iter()
            .map(|player| {
                let device = named(&devices, player.name)?;
                let kind = if player.name == MCU { "mcu" } else { "linux" };
                Ok(DeviceLine {
                    name: player.name.to_owned(),
                    kind,
                    transport: device.transport,
                    release: device.running.clone(),
                    state: device.state.clone().unwrap_or_default(),
                })
            })
            .collect()
    }

    /// Where a person goes on from here.
    pub(super) fn say_where_to_look(&self, report: &Report) {
        let config = self.desk.config.display();
        self.desk.say(&format!(
            "\nIt stays up until Ctrl-C. In another terminal:\n\n  export LIGHTSHIP_CONFIG_DIR={config}\n  lightship device list\n  lightship device show {MCU}\n  lightship release list\n  lightship push --help\n"
        ));
        if self.world.is_some() {
            self.desk.say(&format!("  lightship device tunnel {LINUX} 80:8080     # then look at http://127.0.0.1:8080\n  lightship logs {LINUX} -f\n"));
        }
        report
            .left_out
            .iter()
            .for_each(|what| self.desk.say(&format!("  left out: {what}")));
    }

    /// The end of both devices' logs, for when something went wrong.
    pub(super) fn what_devices_said(&self) -> String {
        let logs = ["linux/world.log", "linux/log", "mcu/log"];
        let said = logs.map(|log| (log, last_lines(&self.stage.path(log))));
        let said = said.iter().filter(|(_, said)| !said.is_empty());
        said.map(|(log, said)| format!("{log} ends:\n{said}\n"))
            .collect()
    }

    /// Ends everything at once: nothing of it is needed any more.
    pub(super) fn end(self) {
        drop((self.linux, self.mcu, self.shore));
    }
}

pub(crate) fn random_password() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    match filled {
        Ok(16) => Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        Ok(_) => Err(Failure::new(
            Code::Failed,
            "the system has too little randomness for a password",
        )),
        Err(error) => Err(failed("the system's randomness", &error)),
    }
}

impl Desk {
    pub(super) fn say(&self, line: &str) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }

    /// The server, as the person at this desk.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let global = crate::args::Global {
            json: false,
            server: None,
            token: None,
            ca: None,
            fleet: None,
            config_dir: Some(self.config.clone()),
        };
        crate::place::Place::new(global)?.client()
    }
}
