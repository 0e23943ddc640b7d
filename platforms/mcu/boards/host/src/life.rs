//! The device's life: boots, until the process is killed.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lightship_image::check::Place;
use lightship_image::dalek::Dalek;
use lightship_image::{HEADER_LEN, Header};
use lightship_mcu::agent::{self, Application, Log, Memory, Parts, ResetReason};
use lightship_mcu::boot::{Boot, Reset, ab};
use lightship_mcu::slots::{Ab, Slots, Updater};
use lightship_mcu::{Device, Handoff, RecordLog, Slot};

use crate::board::{Hardware, HostBoard};
use crate::factory::Bootloader;
use crate::file_flash::FileFlash;
use crate::layout::{BOOT_RECORDS, BOOTLOADER, CONFIG, FLASH_LEN, RAM, RECORDS, SLOTS, part};
use crate::outside::Socket;
use crate::payload::{BOARD, Behaviour, START};
use crate::say::Say;

/// Components of a release that this device runs.
const COMPONENTS: usize = 2;
/// The watchdog bites after so long without being fed.
const WATCHDOG: Duration = Duration::from_secs(3);
/// How long firmware runs before it does what is wrong with it.
const BEFORE_TROUBLE: Duration = Duration::from_millis(300);

/// What waits to be sent to the fleet; RAM that a reset of the processor does not clear.
static LOG: Log = Log::new();

/// How the device is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file with its flash.
    pub flash: PathBuf,
    /// Whether what happens is told in JSON.
    pub json: bool,
    /// Time between attempts to go back from HTTP to MQTT.
    pub prefer_again: Duration,
    /// Whether MQTT is used.
    pub mqtt: bool,
}

/// How one boot ended.
enum End {
    Reset(ResetReason),
    Off,
}

/// Runs the device until its firmware ends it.
///
/// # Errors
///
/// When no image can be started, or the flash is none.
pub fn run(options: &Options) -> Result<()> {
    let path = &options.flash;
    let flash =
        FileFlash::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    let flash = RefCell::new(flash);
    let bootloader = bootloader(&flash)?;
    let say = Say { json: options.json };
    let hardware = Hardware {
        fed: Cell::new(Instant::now()),
        reset: Cell::new(false),
        fault: RefCell::new(None),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut reason = ResetReason::Power;
    loop {
        let device = device(&bootloader);
        let (handoff, header) = boot(&flash, &device, reason)?;
        tell(say, &flash, &device, handoff, &header, reason);
        let life = Life {
            flash: &flash,
            device,
            handoff,
            hardware: &hardware,
            reason,
            say,
            options,
        };
        let behaviour = behaviour(&flash, handoff.slot)?;
        match runtime.block_on(lightship_link::steady(life.live(behaviour)))? {
            End::Reset(why) => reason = why,
            End::Off => return Ok(()),
        }
        say.event("reset", &[("reason", reason.as_str().to_owned())]);
    }
}

fn bootloader(flash: &RefCell<FileFlash>) -> Result<Bootloader> {
    use embedded_storage::nor_flash::ReadNorFlash;
    let mut bytes = vec![0; BOOTLOADER.1 as usize];
    let size = flash.borrow().capacity();
    if size != FLASH_LEN as usize {
        bail!(
            "a flash of this board has {FLASH_LEN} bytes, and this file {size}; make it with `install`"
        );
    }
    let read = part(flash, BOOTLOADER).read(0, &mut bytes);
    read.ok().context("the flash cannot be read")?;
    Bootloader::decode(&bytes)
        .context("there is no bootloader in the flash; make it with `install`")
}

fn device(bootloader: &Bootloader) -> Device<'_> {
    Device {
        keys: &bootloader.keys,
        board: BOARD,
        device_type: &bootloader.device_type,
        places: [Place::Within(RAM); 2],
        stack: RAM,
    }
}

/// What the bootloader does.
fn boot(
    flash: &RefCell<FileFlash>,
    device: &Device<'_>,
    reason: ResetReason,
) -> Result<(Handoff, Header)> {
    let mut log = RecordLog::open(part(flash, BOOT_RECORDS));
    let mut slots = SLOTS.map(|slot| part(flash, slot));
    let reset = match reason {
        ResetReason::Power => Reset::Power,
        ResetReason::Watchdog | ResetReason::Fault | ResetReason::Asked | ResetReason::Unknown => {
            Reset::Running
        }
    };
    match ab::boot(&mut log, &mut slots, device, &Dalek, reset, &mut || ()) {
        Boot::Run { handoff, header } => Ok((handoff, header)),
        Boot::Stop(why) => bail!("no image can be started: {why:?}"),
    }
}

fn updater<'f>(
    flash: &'f RefCell<FileFlash>,
    device: Device<'f>,
    handoff: Handoff,
) -> Updater<'f, crate::layout::Partition<'f>, Ab<crate::layout::Partition<'f>>, Dalek> {
    let slots = SLOTS.map(|slot| part(flash, slot));
    Updater::new(part(flash, BOOT_RECORDS), Ab(slots), device, Dalek, handoff)
}

fn tell(
    say: Say,
    flash: &RefCell<FileFlash>,
    device: &Device<'_>,
    handoff: Handoff,
    header: &Header,
    reason: ResetReason,
) {
    let report = updater(flash, *device, handoff).report();
    say.event(
        "boot",
        &[
            ("version", header.version.to_string()),
            ("slot", format!("{:?}", report.slot)),
            ("why", format!("{:?}", report.why)),
            ("outcome", format!("{:?}", report.outcome)),
            ("reset", reason.as_str().to_owned()),
        ],
    );
}

fn behaviour(flash: &RefCell<FileFlash>, slot: Slot) -> Result<Behaviour> {
    use embedded_storage::nor_flash::ReadNorFlash;
    let at = SLOTS[usize::from(slot == Slot::B)];
    let mut start = [0; START];
    let read = part(flash, at).read(HEADER_LEN as u32, &mut start);
    read.ok().context("the flash cannot be read")?;
    Behaviour::of_body(&start).context("the image is none that was made for this board")
}

/// One boot.
struct Life<'l> {
    flash: &'l RefCell<FileFlash>,
    device: Device<'l>,
    handoff: Handoff,
    hardware: &'l Hardware,
    reason: ResetReason,
    say: Say,
    options: &'l Options,
}

impl Life<'_> {
    async fn live(self, behaviour: Behaviour) -> Result<End> {
        let application = Application::new();
        let (hardware, say) = (self.hardware, self.say);
        hardware.reset.set(false);
        hardware.fed.set(Instant::now());
        let firmware = self.firmware(&application);
        let trouble = trouble(behaviour, &application);
        let agent = async {
            tokio::select! {
                end = firmware => end.map(Some),
                what = trouble => Ok(what),
            }
        };
        match agent.await? {
            Some(End::Off) => Ok(End::Off),
            Some(End::Reset(ResetReason::Fault)) => {
                let fault = "panicked at 'a crash was asked for'".to_owned();
                say.event("fault", &[("text", fault.clone())]);
                *hardware.fault.borrow_mut() = Some(fault);
                Ok(End::Reset(ResetReason::Fault))
            }
            Some(reset @ End::Reset(_)) => Ok(reset),
            None => {
                // The firmware is not polled any more; only the watchdog is left.
                say.event("hangs", &[]);
                tokio::time::sleep(WATCHDOG.saturating_sub(hardware.fed.get().elapsed())).await;
                Ok(End::Reset(ResetReason::Watchdog))
            }
        }
    }

    async fn firmware(&self, application: &Application) -> Result<End> {
        let parts = Parts {
            board: &mut HostBoard {
                hardware: self.hardware,
                reason: self.reason,
                say: self.say,
            },
            slots: &mut updater(self.flash, self.device, self.handoff),
            records: part(self.flash, RECORDS),
            config: part(self.flash, CONFIG),
            outside: Socket::open().await?,
            log: &LOG,
        };
        let options = agent::Options {
            prefer_again: embassy_time::Duration::from_millis(
                self.options.prefer_again.as_millis() as u64,
            ),
            mqtt: self.options.mqtt,
            ..agent::Options::DEFAULT
        };
        let mut memory = Box::new(Memory::new());
        let ended =
            agent::run::<COMPONENTS, _, _, _, _, _>(&mut memory, parts, options, application).await;
        ended.context("the agent does not start")?;
        match self.hardware.reset.get() {
            true => Ok(End::Reset(ResetReason::Asked)),
            false => Ok(End::Off),
        }
    }
}

/// What the firmware's own code does; `None` when it hangs.
async fn trouble(behaviour: Behaviour, application: &Application) -> Option<End> {
    tokio::time::sleep(BEFORE_TROUBLE).await;
    match behaviour {
        Behaviour::Healthy => application.confirm(),
        Behaviour::Ill => application.fail(),
        Behaviour::Hangs => return None,
        Behaviour::Crashes => return Some(End::Reset(ResetReason::Fault)),
    }
    std::future::pending().await
}
