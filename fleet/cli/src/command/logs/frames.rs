//! What firmware logs with defmt, made readable with the ELF files that its images were made of.
//!
//! Each batch says which image made it; an ELF that makes another image would make it say something else, so it is not asked.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lightship_api::{LogLine, LogStream};
use lightship_frames::{Level, Places, Stream, Table};
use lightship_image::elf;
use lightship_mcu::last_words::Fault;
use lightship_mcu::origin::Origin;
use sha2::{Digest as _, Sha256};

use crate::failure::{Code, Failure};

/// The service that frames are stored under.
pub(super) const SERVICE: &str = "defmt";

/// The ELF files that were given.
pub(super) struct Firmware {
    programs: Vec<Program>,
    /// Images that were looked for, and the programs that make them.
    known: Vec<(Origin, Option<usize>)>,
}

/// A program with a table of what it logs.
struct Program {
    path: PathBuf,
    elf: Vec<u8>,
    table: Table,
}

/// What became of a stored line.
pub(super) enum Explained {
    /// The lines that its frames stand for.
    Lines(Vec<LogLine>),
    /// No program that was given makes this image.
    Of(Origin, LogLine),
    /// It is no batch of frames of an image, or no program was given.
    Other(LogLine),
}

impl Firmware {
    /// Reads the files.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let programs = paths.iter().map(|path| Program::read(path));
        Ok(Self {
            programs: programs.collect::<Result<_, _>>()?,
            known: Vec::new(),
        })
    }

    /// Makes a stored line readable.
    pub(super) fn explain(&mut self, line: LogLine) -> Explained {
        if self.programs.is_empty() {
            return Explained::Other(line);
        }
        if let Some(fault) = Fault::find(&line.line) {
            return Explained::Lines(self.places(line, fault));
        }
        if line.service != SERVICE {
            return Explained::Other(line);
        }
        let batch = STANDARD.decode(&line.line).unwrap_or_default();
        let Some((origin, frames)) = Origin::split(&batch) else {
            return Explained::Other(line);
        };
        match self.program(origin) {
            Some(program) => Explained::Lines(program.lines(&line, frames)),
            None => Explained::Of(origin, line),
        }
    }

    /// A line that tells of a fault, and behind it where in the sources that is, if one of the programs makes the image.
    fn places(&self, line: LogLine, fault: Fault) -> Vec<LogLine> {
        let found = self
            .programs
            .iter()
            .find(|program| program.makes(fault.image));
        let places = found.and_then(|program| Places::read(&program.elf).ok());
        let mut lines = vec![line.clone()];
        if let Some(places) = places {
            let at = places.at(fault.at).into_iter();
            // A return address is behind the call, and odd on Arm.
            let back = places.at((fault.back & !1).wrapping_sub(1)).into_iter();
            let said = at.map(|place| format!("  in {place}"));
            let said = said.chain(back.map(|place| format!("  called from {place}")));
            lines.extend(said.map(|text| LogLine {
                line: text,
                ..line.clone()
            }));
        }
        lines
    }

    fn program(&mut self, origin: Origin) -> Option<&Program> {
        let known = self.known.iter().find(|(known, _)| *known == origin);
        let at = match known {
            Some((_, at)) => *at,
            None => {
                let makes = |program: &Program| program.image(origin.load()) == Some(origin);
                let at = self.programs.iter().position(makes);
                self.known.push((origin, at));
                at
            }
        };
        at.map(|at| &self.programs[at])
    }

    /// The failure of whoever gave files of which none is what runs.
    pub(super) fn misfit(&self, device: &str, origin: Origin) -> Failure {
        let made = self.programs.iter().map(|program| {
            let image = program.image(origin.load());
            let image = image.map_or("none that runs there".to_owned(), |image| image.to_string());
            format!("{} makes {image}", program.path.display())
        });
        let made = made.collect::<Vec<_>>().join(", ");
        Failure::new(
            Code::Failed,
            format!("{device} logs as image {origin}, and {made}"),
        )
        .help("pass the ELF from which the image that runs there was made; --elf can be given several times")
    }
}

impl Program {
    fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let wrong = |text: String| Failure::new(Code::Failed, format!("{name} {text}"));
        let elf = std::fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let table = Table::read(&elf).map_err(|error| {
            wrong(format!("is not what logs there: {error}"))
                .help("pass the file that the linker made, with its symbols")
        })?;
        elf::flatten(&elf, None).map_err(|error| wrong(format!("makes no image: {error}")))?;
        let path = path.to_owned();
        Ok(Self { path, elf, table })
    }

    /// Whether an image is made of it whose digest begins so.
    fn makes(&self, start: u32) -> bool {
        elf::flatten(&self.elf, None).is_ok_and(|flat| {
            let digest = Sha256::digest(flat.body);
            digest.starts_with(&start.to_be_bytes())
        })
    }

    /// The image that is made of it, for where it runs.
    fn image(&self, load: u32) -> Option<Origin> {
        let body = elf::flatten(&self.elf, Some(load)).ok()?.body;
        Some(Origin::new(&Sha256::digest(body).into(), load))
    }

    fn lines(&self, batch: &LogLine, frames: &[u8]) -> Vec<LogLine> {
        let lines = Stream::new(&self.table).take(frames).into_iter();
        let lines = lines.map(|line| match line {
            Ok(line) => (stream_of(line.level), line.to_string()),
            Err(error) => (LogStream::Err, format!("({error})")),
        });
        lines
            .map(|(stream, line)| LogLine {
                stream,
                line,
                ..batch.clone()
            })
            .collect()
    }
}

fn stream_of(level: Option<Level>) -> LogStream {
    match level {
        Some(Level::Error | Level::Warn) => LogStream::Err,
        Some(Level::Info | Level::Debug | Level::Trace) | None => LogStream::Out,
    }
}
