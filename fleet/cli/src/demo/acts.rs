//! The acts of the story, once the devices are there.

use lightship_api::Device;

use super::board::IMAGE_BYTES;
use super::project;
use super::report::{Bytes, Report, amount};
use super::story::{LINUX, LINUX_TYPE, MCU, Story};
use crate::failure::{Code, Failure};

const ROOT_KEY: &str = "harbour-root";
const RELEASE_KEY: &str = "harbour-release";
const NEXT_RELEASE_KEY: &str = "harbour-release-2";
/// What the bars expect, in bytes: the service and the firmware, and then a page and the firmware.
const FIRST_BYTES: u64 = 1_000_000;
const UPDATE_BYTES: u64 = 300_000;

/// When firmware counts as healthy; the compose file says the same for the service.
const HEALTH: &str = "--health-grace 5s --health-window 3s --health-failures 1";

/// A release, and how the devices were before it.
struct Pushed {
    number: u64,
    before: Vec<Device>,
}

impl Story<'_> {
    pub(super) async fn first_release(&mut self, report: &mut Report) -> Result<(), Failure> {
        self.desk
            .say("\nA release: a container for one, firmware for the other, signed here");
        project::write(self.stage, "1.0.0")?;
        let firmware = self
            .mcu()?
            .firmware(self.stage, &self.desk, "1.0.0", true)
            .await?;
        let before = self.watch.bytes();
        let pushed = self.push("1.0.0", &firmware, RELEASE_KEY).await?;
        self.until_committed(report, pushed, "the first release", FIRST_BYTES)
            .await?;
        report.bytes.first_release = self.watch.bytes() - before;
        self.read_the_page(report, "1.0.0").await
    }

    /// A small change: what is there already does not move; and the power fails in the middle.
    pub(super) async fn update(&mut self, report: &mut Report) -> Result<(), Failure> {
        self.desk
            .say("\nAn update, and a power cut in the middle of it");
        project::write(self.stage, "1.1.0")?;
        let firmware = self
            .mcu()?
            .firmware(self.stage, &self.desk, "1.1.0", true)
            .await?;
        let before = self.watch.bytes();
        let fetches = self.mcu()?.fetches();
        let pushed = self.push("1.1.0", &firmware, RELEASE_KEY).await?;
        let cut = self.mcu_mut()?.cut_power_while_fetching(fetches).await?;
        let line = report.event(
            MCU,
            format!("loses power after {} of {IMAGE_BYTES} bytes", cut.at),
        );
        self.watch.say(&line);
        let resumed = self.mcu_mut()?.power_up().await?;
        let line = report.event(
            MCU,
            format!("is back, and goes on at byte {}", resumed.from),
        );
        self.watch.say(&line);
        if resumed.from * 2 < cut.at {
            return Err(Failure::new(
                Code::Failed,
                "the microcontroller began its download again after the power cut",
            ));
        }
        self.until_committed(report, pushed, "the update", UPDATE_BYTES)
            .await?;
        report.bytes.update = self.watch.bytes() - before;
        let Bytes {
            first_release,
            update,
        } = report.bytes;
        self.desk.say(&format!(
            "  {} moved for the first release, {} for the update",
            amount(first_release),
            amount(update)
        ));
        self.read_the_page(report, "1.1.0").await
    }

    /// Every device tries it, goes back on its own, and says so.
    pub(super) async fn broken_release(&mut self, report: &mut Report) -> Result<(), Failure> {
        self.desk
            .say("\nA broken release: both go back on their own");
        project::break_it(self.stage)?;
        let firmware = self
            .mcu()?
            .firmware(self.stage, &self.desk, "1.2.0", false)
            .await?;
        let Pushed { number, before } = self.push("1.2.0", &firmware, RELEASE_KEY).await?;
        let went_back = |device: &Device| {
            let ran = before
                .iter()
                .find(|known| known.uuid == device.uuid)
                .and_then(|known| known.running.as_ref());
            device.target == Some(number)
                && device.state.as_deref() == Some("rejected")
                && device.running.as_ref() == ran
        };
        self.watch
            .until(
                report,
                "the way back from the broken release",
                UPDATE_BYTES,
                went_back,
            )
            .await?;
        self.read_the_page(report, "1.1.0").await
    }

    /// Every key is replaced; what is signed with the new ones is taken.
    pub(super) async fn rotate(&mut self, report: &mut Report) -> Result<(), Failure> {
        self.desk
            .say("\nAll keys are replaced: each device's own, and the publisher's");
        let before = self.watch.devices().await?;
        for player in [MCU, LINUX]
            .iter()
            .filter(|name| before.iter().any(|device| device.name == **name))
        {
            self.desk.type_in(&["device", "rotate", player]).await?;
        }
        self.rotate_publisher().await?;
        let rotated = |device: &Device| {
            let Some(known) = before.iter().find(|known| known.uuid == device.uuid) else {
                return false;
            };
            device.online
                && device.api_key_changed_at > known.api_key_changed_at
                && device.tunnel_key_changed_at > known.tunnel_key_changed_at
        };
        self.watch
            .until(report, "new keys on both devices", 4_000, rotated)
            .await?;
        project::write(self.stage, "1.3.0")?;
        let firmware = self
            .mcu()?
            .firmware(self.stage, &self.desk, "1.1.0", true)
            .await?;
        let pushed = self.push("1.3.0", &firmware, NEXT_RELEASE_KEY).await?;
        self.until_committed(
            report,
            pushed,
            "a release signed with the new key",
            UPDATE_BYTES,
        )
        .await?;
        self.read_the_page(report, "1.3.0").await
    }

    async fn rotate_publisher(&self) -> Result<(), Failure> {
        let keys = self
            .desk
            .config
            .join("keys")
            .join(format!("{}.root", super::FLEET));
        let (from, next) = (
            keys.display().to_string(),
            self.stage.path("next.root").display().to_string(),
        );
        self.desk
            .type_in(&["keys", "new", NEXT_RELEASE_KEY, "--no-passphrase"])
            .await?;
        self.desk
            .type_in(&[
                "keys",
                "rotate",
                "--from",
                &from,
                "--release",
                NEXT_RELEASE_KEY,
                "--out",
                &next,
                "--sign",
                ROOT_KEY,
            ])
            .await?;
        self.desk.type_in(&["keys", "publish", &next]).await?;
        Ok(())
    }

    async fn until_committed(
        &mut self,
        report: &mut Report,
        Pushed { number, before }: Pushed,
        what: &str,
        expected: u64,
    ) -> Result<(), Failure> {
        let committed = |device: &Device| {
            let ran = before
                .iter()
                .find(|known| known.uuid == device.uuid)
                .and_then(|known| known.running.as_ref());
            device.target == Some(number)
                && device.state.as_deref() == Some("committed")
                && device.running.is_some()
                && device.running.as_ref() != ran
        };
        self.watch.until(report, what, expected, committed).await?;
        Ok(())
    }

    /// Asks the service for its page, through the device's tunnel.
    async fn read_the_page(&mut self, report: &mut Report, version: &str) -> Result<(), Failure> {
        if self.world.is_none() {
            return Ok(());
        }
        let page = self.desk.page_through_tunnel(LINUX, 80).await?;
        if !page.contains(&project::page(version)) {
            return Err(Failure::new(
                Code::Failed,
                format!("the service on {LINUX} does not serve version {version}: {page}"),
            ));
        }
        let line = report.event(
            LINUX,
            format!("serves the page of {version} through its tunnel"),
        );
        self.watch.say(&line);
        Ok(())
    }

    /// Pushes what the project and the firmware are now; the release's number and how many bytes it has.
    async fn push(&self, version: &str, firmware: &str, key: &str) -> Result<Pushed, Failure> {
        let before = self.watch.devices().await?;
        let project = self.stage.path("project").display().to_string();
        let kind = format!("{LINUX_TYPE}={}", project::platform());
        let mut words = vec!["push", "--release", version, "--yes", "--key", key];
        words.extend(["--firmware", firmware]);
        words.extend(HEALTH.split(' '));
        if self.world.is_some() {
            words.extend(["--type", &kind, &project]);
        }
        let release = self.desk.type_in(&words).await?;
        let number = release["number"].as_u64();
        let number =
            number.ok_or_else(|| Failure::new(Code::Failed, "the release has no number"))?;
        Ok(Pushed { number, before })
    }
}
