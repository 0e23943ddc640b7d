#![doc = include_str!("../README.md")]

mod file_flash;
#[path = "../../probe.rs"]
mod probe;

use anyhow::{Context, Result, bail};
use file_flash::FileFlash;
use lightship_image::builder::artifact_digest;
use lightship_image::check::{Place, Span};
use lightship_image::salty::Salty;
use lightship_mcu::boot::{Boot, Reset, ab};
use lightship_mcu::flash::{Shared, Window};
use lightship_mcu::slots::{Ab, Updater};
use lightship_mcu::{Device, RecordLog};
use std::cell::RefCell;
use std::fs;

const SECTOR: u32 = 4096;
const SLOT_LEN: u32 = 1 << 20;
const SLOT_A: u32 = 2 * SECTOR;
const SLOT_B: u32 = SLOT_A + SLOT_LEN;
const SPARE: u32 = SLOT_B + SLOT_LEN;
const FLASH_LEN: u32 = SPARE + SLOT_LEN + SECTOR;
/// A process has no such addresses; images are linked for them all the same.
const RAM: Span = Span {
    start: 0x8002_0000,
    len: SLOT_LEN,
};
/// Resets in one run: an update needs two, a trial that fails three more.
const MOST_RESETS: usize = 16;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [flash, "install", image] => install(flash, image),
        [flash, "deliver", image] => deliver(flash, image),
        [flash, "run"] => run(flash),
        _ => bail!("usage: lightship-board-host FLASH (install IMAGE | deliver IMAGE | run)"),
    }
}

fn install(flash: &str, image: &str) -> Result<()> {
    let mut bytes = vec![0xFF; FLASH_LEN as usize];
    put(&mut bytes, SLOT_A, &read(image)?);
    fs::write(flash, bytes).context("the flash cannot be written")
}

fn deliver(flash: &str, image: &str) -> Result<()> {
    let (mut bytes, image) = (fs::read(flash)?, read(image)?);
    bytes.resize(FLASH_LEN as usize, 0xFF);
    let (len, digest) = ((image.len() as u32).to_le_bytes(), artifact_digest(&image));
    put(
        &mut bytes,
        SPARE,
        &[&probe::MARK[..], &len, &digest].concat(),
    );
    put(&mut bytes, SPARE + probe::IMAGE_AT, &image);
    fs::write(flash, bytes).context("the flash cannot be written")
}

fn read(image: &str) -> Result<Vec<u8>> {
    let image = fs::read(image).with_context(|| format!("`{image}` cannot be read"))?;
    if image.len() > SLOT_LEN as usize {
        bail!("the image is larger than a slot of {SLOT_LEN} bytes");
    }
    Ok(image)
}

fn put(flash: &mut [u8], at: u32, bytes: &[u8]) {
    flash[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
}

/// The process is the device: a first boot is one with the power coming back.
fn run(path: &str) -> Result<()> {
    let flash = RefCell::new(FileFlash::open(path).context("the flash cannot be opened")?);
    let part = |start, len| Window::new(Shared(&flash), start, len);
    let records = || part(0, 2 * SECTOR);
    let slots = || [part(SLOT_A, SLOT_LEN), part(SLOT_B, SLOT_LEN)];
    let mut reset = Reset::Power;
    for _ in 0..MOST_RESETS {
        let (mut log, device) = (RecordLog::open(records()), device());
        let boot = ab::boot(&mut log, &mut slots(), &device, &Salty, reset, &mut || ());
        let Boot::Run { handoff, .. } = boot else {
            bail!("nothing boots: {boot:?}");
        };
        let mut updater = Updater::new(records(), Ab(slots()), device, Salty, handoff);
        let mut out = Standard;
        match probe::run(&mut updater, &mut part(SPARE, SLOT_LEN + SECTOR), &mut out) {
            probe::Next::Reset => reset = Reset::Running,
            probe::Next::Idle => return Ok(()),
        }
    }
    bail!("the firmware is reset again and again")
}

fn device() -> Device<'static> {
    Device {
        keys: &KEYS,
        board: "host",
        device_type: "virtual",
        places: [Place::Within(RAM); 2],
        stack: RAM,
    }
}

/// The release key that virtual boards trust; its private half is in the tests, so no product may.
const KEYS: [[u8; 32]; 1] = [*include_bytes!("../../virtual-release-key.pub")];

/// Standard output, as a board's serial port.
struct Standard;

impl std::fmt::Write for Standard {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        use std::io::Write;
        std::io::stdout()
            .write_all(text.as_bytes())
            .map_err(|_| std::fmt::Error)
    }
}
