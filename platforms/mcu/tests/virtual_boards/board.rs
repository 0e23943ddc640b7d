//! A virtual board: its programs, its flash as files, and QEMU.

use crate::images;
use lightship_frames::{Stream, Table};
use lightship_image::elf;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{fs, thread};

/// What the boards differ in.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    qemu: &'static str,
    target: &'static str,
    /// Where the image body begins to run.
    pub(crate) load: u32,
    pub(crate) entry: lightship_image::Entry,
    /// Bytes of the file that holds slots and records, and where in it the factory puts the image.
    flash_len: usize,
    first_slot: usize,
    spare: usize,
    /// Where the device's configuration lies.
    configuration: usize,
    /// Where the factory writes the secret that randomness is made of, on a board without a source.
    seed: Option<usize>,
    /// Bytes of a whole image: close to the largest that fits.
    pub(crate) image_len: usize,
    /// Features of the board's crate beside its default.
    features: &'static [&'static str],
    arguments: fn(&Files) -> Vec<String>,
}

/// The files that are the board's flash.
pub(crate) struct Files {
    bootloader: PathBuf,
    flash: PathBuf,
    /// QEMU's own control socket.
    control: PathBuf,
}

pub(crate) const RISCV_VIRT: Kind = Kind {
    name: "riscv-virt",
    qemu: "qemu-system-riscv32",
    target: "riscv32imac-unknown-none-elf",
    load: 0x8004_0000,
    entry: lightship_image::Entry::Jump,
    flash_len: 32 << 20,
    first_slot: 0x10_0000,
    spare: 0x100_0000,
    configuration: 0x30_0000,
    seed: None,
    image_len: 300_000,
    features: &[],
    arguments: |files| {
        let bank = |unit, file: &Path, rest| {
            format!(
                "if=pflash,unit={unit},format=raw,file={}{rest}",
                file.display()
            )
        };
        let (first, second) = (
            bank(0, &files.bootloader, ",readonly=on"),
            bank(1, &files.flash, ""),
        );
        [
            "-machine",
            "virt",
            "-bios",
            "none",
            "-drive",
            &first,
            "-drive",
            &second,
            "-global",
            "virtio-mmio.force-legacy=false",
            "-device",
            "virtio-rng-device",
            "-netdev",
            "user,id=net",
            "-device",
            "virtio-net-device,netdev=net",
        ]
        .map(String::from)
        .to_vec()
    },
};

/// The same with HTTP beside MQTT.
pub(crate) const RISCV_VIRT_HTTP: Kind = Kind {
    features: &["--features", "http"],
    ..RISCV_VIRT
};

pub(crate) const CORTEX_M3_SF2: Kind = Kind {
    name: "cortex-m3-sf2",
    qemu: "qemu-system-arm",
    target: "thumbv7m-none-eabi",
    load: 0xA000_0000,
    entry: lightship_image::Entry::VectorTable,
    flash_len: 16 << 20,
    first_slot: 0x10_0000,
    spare: 0x80_0000,
    configuration: 0x4_0000,
    seed: Some(0x6_0000),
    image_len: 100_000,
    features: &[],
    arguments: |files| {
        let flash = format!("if=mtd,format=raw,file={}", files.flash.display());
        let bootloader = files.bootloader.display().to_string();
        [
            "-M",
            "emcraft-sf2",
            "-drive",
            &flash,
            "-kernel",
            &bootloader,
            "-nic",
            "user,model=msf2-emac",
        ]
        .map(String::from)
        .to_vec()
    },
};

/// How long QEMU may take to halt.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// Bytes after a program that fills its image: enough to tell versions apart.
const TAIL: usize = 1024;

/// A board that can be started.
pub(crate) struct Board {
    pub(crate) kind: &'static Kind,
    /// The program as the linker made it, and as it lies in a slot.
    pub(crate) elf: Vec<u8>,
    firmware: elf::Flat,
    files: Files,
    _folder: tempfile::TempDir,
}

/// A running board: its power is cut by [`Machine::cut`], or when it is dropped.
pub(crate) struct Machine {
    child: Child,
    control: PathBuf,
    pub(crate) lines: Receiver<String>,
}

impl Board {
    /// Builds the board's programs and puts the first image of one into its slot, unless something
    /// that is needed is missing: then it says so.
    pub(crate) fn new(kind: &'static Kind, firmware: &str) -> Option<Self> {
        let folder = Path::new(crate::BOARDS).join(kind.name);
        if let Some(missing) = missing(kind) {
            eprintln!("SKIPPED: {}: {missing} is not installed", kind.name);
            return None;
        }
        let elf = build(kind, &folder, firmware);
        let loader = bootloader(kind, &build(kind, &folder, "bootloader"));
        let firmware = elf::flatten(&elf, Some(kind.load)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let files = Files {
            bootloader: path("bootloader"),
            flash: path("flash"),
            control: path("control"),
        };
        fs::write(&files.bootloader, loader).unwrap();
        let board = Self {
            kind,
            elf,
            firmware,
            files,
            _folder: folder,
        };
        let mut flash = vec![0xFF; kind.flash_len];
        let image = board.image(1);
        flash[kind.first_slot..kind.first_slot + image.len()].copy_from_slice(&image);
        if let Some(at) = kind.seed {
            let record = lightship_mcu::seed::provision([9; 32], *b"\x02\0\0\0\0\x17\0\0");
            flash[at..at + record.len()].copy_from_slice(&record);
        }
        fs::write(&board.files.flash, flash).unwrap();
        Some(board)
    }

    /// The board's firmware as version `major.0.0`: every byte after the program tells the version.
    pub(crate) fn image(&self, major: u16) -> Vec<u8> {
        self.image_of(major, 0)
    }

    /// The same as version `major.0.patch`.
    pub(crate) fn image_of(&self, major: u16, patch: u32) -> Vec<u8> {
        let mut body = self.firmware.body.clone();
        let mut byte = (major as u8, 0u8);
        let len = self.kind.image_len.max(body.len() + TAIL);
        body.resize_with(len - lightship_image::HEADER_LEN, || {
            byte = (
                byte.0.wrapping_add(byte.1),
                byte.1.wrapping_mul(5).wrapping_add(7),
            );
            byte.0
        });
        images::sign(self.kind, (major, patch), &body)
    }

    /// The firmware as version `1.0.patch`, made of nothing but its ELF file.
    pub(crate) fn bare_image(&self, patch: u32) -> Vec<u8> {
        images::sign(self.kind, (1, patch), &self.firmware.body)
    }

    /// Puts an image into the slot that the factory fills, while the power is off.
    pub(crate) fn install(&self, image: &[u8]) {
        self.write(self.kind.first_slot, image);
    }

    /// Puts an image where the running firmware finds it, while the power is off.
    pub(crate) fn deliver(&self, image: &[u8]) {
        let mut flash = fs::read(&self.files.flash).unwrap();
        let digest = lightship_image::builder::artifact_digest(image);
        let start = [
            b"DELIVERY",
            &(image.len() as u32).to_le_bytes()[..],
            &digest,
        ]
        .concat();
        let mut put = |at: usize, bytes: &[u8]| {
            let at = self.kind.spare + at;
            flash[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &start);
        put(256, image);
        fs::write(&self.files.flash, flash).unwrap();
    }

    /// Tells the device in the factory what it is told there.
    pub(crate) fn configure(&self, block: &[u8]) {
        self.write(self.kind.configuration, block);
    }

    /// Writes into spare flash, while the power is off.
    pub(crate) fn write_spare(&self, bytes: &[u8]) {
        self.write(self.kind.spare, bytes);
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        let mut flash = fs::read(&self.files.flash).unwrap();
        flash[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(&self.files.flash, flash).unwrap();
    }

    /// Inverts a byte of the slot that the factory filled, while the power is off.
    pub(crate) fn flip_in_first_slot(&self, at: usize) {
        let mut flash = fs::read(&self.files.flash).unwrap();
        flash[self.kind.first_slot + at] ^= 0xFF;
        fs::write(&self.files.flash, flash).unwrap();
    }

    pub(crate) fn start(&self) -> Machine {
        let mut child = Command::new(self.kind.qemu)
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args((self.kind.arguments)(&self.files))
            .args([
                "-qmp",
                &format!("unix:{},server=on,wait=off", self.files.control.display()),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = child.stdout.take().unwrap();
        let table = Table::read(&self.elf);
        // It ends with QEMU's output.
        thread::spawn(move || match table {
            Ok(table) => hear_frames(output, &table, &sender),
            // A program that logs nothing with defmt speaks text.
            Err(_) => hear_lines(output, &sender),
        });
        let control = self.files.control.clone();
        Machine {
            child,
            control,
            lines,
        }
    }
}

impl Machine {
    /// The power goes between two instructions: what the flash has acknowledged stays, and nothing else happens.
    /// Returns the lines still unread.
    pub(crate) fn cut(mut self) -> Vec<String> {
        self.stop();
        self.lines.iter().collect()
    }

    /// Halts the processor. QEMU tells the board that a page of SPI flash is written before the file has it;
    /// SIGKILL alone would lose such pages, which no flash does.
    fn halt(&self) -> io::Result<()> {
        let mut control = UnixStream::connect(&self.control)?;
        control.set_read_timeout(Some(PATIENCE))?;
        control.write_all(b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"stop\"}\n")?;
        let mut answers = BufReader::new(control).lines().map_while(Result::ok);
        let is_answer = |line: &String| line.starts_with("{\"return\"");
        let halted = answers.by_ref().filter(is_answer).nth(1);
        assert!(halted.is_some(), "QEMU does not halt");
        Ok(())
    }

    fn stop(&mut self) {
        // A QEMU that is not there yet, or no more, has nothing to halt.
        let _ = self.halt();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Passes on the lines of a program that speaks text.
fn hear_lines(output: ChildStdout, lines: &Sender<String>) -> Option<()> {
    for line in BufReader::new(output).lines() {
        lines.send(line.ok()?).ok()?;
    }
    None
}

/// Passes on what a program logs with defmt.
fn hear_frames(mut output: ChildStdout, table: &Table, lines: &Sender<String>) -> Option<()> {
    let (mut frames, mut piece) = (Stream::new(table), [0; 256]);
    loop {
        let len = output.read(&mut piece).ok().filter(|len| *len > 0)?;
        for line in frames.take(&piece[..len]) {
            let text = line.map_or("(no frame)".to_owned(), |line| line.text);
            lines.send(text).ok()?;
        }
    }
}

fn missing(kind: &Kind) -> Option<String> {
    let runs = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        output.is_ok_and(|output| output.status.success())
    };
    if !runs(kind.qemu) {
        return Some(kind.qemu.into());
    }
    let root = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .unwrap()
        .stdout;
    let root = PathBuf::from(String::from_utf8(root).unwrap().trim());
    let library = root.join("lib/rustlib").join(kind.target);
    (!library.is_dir()).then(|| format!("the Rust target {}", kind.target))
}

/// Builds a program of a board's folder, a workspace of its own.
///
/// What ships is built as it ships (see the folder's `.cargo/smallest.toml`); test programs say more when they panic.
fn build(kind: &Kind, folder: &Path, program: &str) -> Vec<u8> {
    let lock = folder.join("Cargo.lock");
    if !lock.exists() {
        fs::copy(Path::new(crate::BOARDS).join("../../../Cargo.lock"), lock).unwrap();
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--release", "--bin", program])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(folder)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stderr(Stdio::inherit());
    if ["bootloader", "firmware"].contains(&program) {
        cargo
            .args([
                "--config",
                ".cargo/smallest.toml",
                "--target-dir",
                "target/ships",
            ])
            .env("RUSTC_BOOTSTRAP", "1");
    }
    match program {
        "bootloader" => cargo.arg("--no-default-features"),
        _ => cargo.args(kind.features),
    };
    let output = cargo.output().unwrap();
    assert!(
        output.status.success(),
        "{program} of {} does not build",
        folder.display()
    );
    let messages = cargo_metadata::Message::parse_stream(&output.stdout[..]);
    let mut programs = messages.filter_map(|message| match message.unwrap() {
        cargo_metadata::Message::CompilerArtifact(artifact) => artifact.executable,
        _ => None,
    });
    let path = programs.find(|path| path.ends_with(program));
    fs::read(path.expect("the board has this program")).unwrap()
}

/// What QEMU takes as the bootloader: an ELF file, or a bank of flash that it starts from.
fn bootloader(kind: &Kind, program: &[u8]) -> Vec<u8> {
    match kind.entry {
        lightship_image::Entry::VectorTable => program.to_vec(),
        lightship_image::Entry::Jump => {
            let mut bank = elf::flatten(program, None).unwrap().body;
            bank.resize(kind.flash_len, 0xFF);
            bank
        }
    }
}
