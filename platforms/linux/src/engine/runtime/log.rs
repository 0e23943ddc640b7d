//! A container's output on disk: bounded, with the time and the stream of each line.
//!
//! A log is a run of numbered files of which the last two are kept, each half of the bound. A line is
//! `<milliseconds since 1970> <o|e> <text>`; a position is a file's number and an offset in it, and stays
//! good while the file is kept. A full disk costs lines, never the container.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::inotify;
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

/// A longer line is broken into several.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// So much is read at once.
const MAX_READ_BYTES: u64 = 256 * 1024;

/// The least bound that makes sense.
const MIN_LOG_BYTES: u64 = 64 * 1024;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output, or the terminal.
    Out,
    /// Standard error.
    Error,
}

/// A place in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The file's number.
    pub file: u64,
    /// Bytes from its start.
    pub offset: u64,
}

/// One line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Milliseconds since 1970, by the device's clock.
    pub time_ms: u64,
    /// Where it came from.
    pub stream: Stream,
    /// Its text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// Writes a log.
#[derive(Debug)]
pub(crate) struct Writer {
    folder: PathBuf,
    half: u64,
    number: u64,
    file: fs::File,
    length: u64,
}

/// Gathers a stream into lines.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Writer {
    pub(crate) fn open(folder: &Path, max_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let number = numbers(folder)?.last().copied().unwrap_or(1);
        let file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path(folder, number))?;
        let length = file.metadata()?.len();
        Ok(Self {
            folder: folder.to_owned(),
            half: max_bytes.max(MIN_LOG_BYTES) / 2,
            number,
            file,
            length,
        })
    }

    /// Keeps nothing, where nothing can be kept: a container runs without a log rather than not at all.
    pub(crate) fn nowhere() -> io::Result<Self> {
        Ok(Self {
            folder: PathBuf::from("/dev"),
            half: u64::MAX,
            number: 1,
            file: fs::OpenOptions::new().append(true).open("/dev/null")?,
            length: 0,
        })
    }

    pub(crate) fn write(&mut self, stream: Stream, text: &[u8]) -> io::Result<()> {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_millis());
        self.write_at(u64::try_from(time).unwrap_or(u64::MAX), stream, text)
    }

    /// A line that was printed at another time than now, in milliseconds since 1970.
    pub(crate) fn write_at(&mut self, time: u64, stream: Stream, text: &[u8]) -> io::Result<()> {
        let mark = match stream {
            Stream::Out => 'o',
            Stream::Error => 'e',
        };
        let mut line = format!("{time} {mark} ").into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        if self.length + line.len() as u64 > self.half {
            self.turn()?;
        }
        self.file.write_all(&line)?;
        self.length += line.len() as u64;
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        let file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path(&self.folder, self.number + 1))?;
        self.number += 1;
        self.file = file;
        self.length = 0;
        for old in numbers(&self.folder)?
            .into_iter()
            .filter(|old| old + 1 < self.number)
        {
            fs::remove_file(path(&self.folder, old))?;
        }
        Ok(())
    }
}

impl Lines {
    /// Takes bytes in and gives each whole line out, without its end.
    pub(super) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.0.extend_from_slice(part);
            while self.0.len() > MAX_LINE_BYTES {
                let rest = self.0.split_off(MAX_LINE_BYTES);
                each(&self.0);
                self.0 = rest;
            }
            if self.0.ends_with(b"\n") {
                self.0.pop();
                each(self.0.strip_suffix(b"\r").unwrap_or(&self.0));
                self.0.clear();
            }
        }
    }

    /// Gives out what came without an end of line.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.0.is_empty() {
            each(&self.0);
            self.0.clear();
        }
    }
}

/// Reads lines from a position on, and the position after them. No lines: there are no more yet.
///
/// A position whose file is gone continues at the oldest line that is kept.
pub fn read(folder: &Path, from: Position) -> io::Result<(Vec<Line>, Position)> {
    read_at_most(folder, from, MAX_READ_BYTES)
}

/// The same, but no more than these bytes at once, which must hold the longest line.
pub(crate) fn read_at_most(
    folder: &Path,
    from: Position,
    most_bytes: u64,
) -> io::Result<(Vec<Line>, Position)> {
    let numbers = match numbers(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), from)),
        found => found?,
    };
    let mut at = from;
    for number in numbers.into_iter().filter(|number| *number >= from.file) {
        if number != at.file {
            at = Position {
                file: number,
                offset: 0,
            };
        }
        let mut file = fs::File::open(path(folder, number))?;
        file.seek(SeekFrom::Start(at.offset))?;
        let mut bytes = Vec::new();
        file.take(most_bytes).read_to_end(&mut bytes)?;
        // A line without its end is still being written.
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        if whole > 0 {
            at.offset += whole as u64;
            return Ok((
                bytes[..whole]
                    .split_inclusive(|byte| *byte == b'\n')
                    .filter_map(parse)
                    .collect(),
                at,
            ));
        }
    }
    Ok((Vec::new(), at))
}

/// Tells when a log grows, without asking it again and again.
#[derive(Debug)]
pub struct Watch {
    inotify: AsyncFd<fs::File>,
}

impl Watch {
    /// Watches the log in this folder, which is made if it is not there yet.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let inotify =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let growth = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE;
        inotify::add_watch(&inotify, folder, growth)?;
        Ok(Self {
            inotify: super::sys::watch(inotify)?,
        })
    }

    /// Waits until something was added since the last call. Read the log once before the first call.
    pub async fn grown(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let mut buffer = [0; 4096];
            match ready.try_io(|file| file.get_ref().read(&mut buffer)) {
                Ok(read) => return read.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}

fn parse(line: &[u8]) -> Option<Line> {
    let line = String::from_utf8_lossy(line.strip_suffix(b"\n")?).into_owned();
    let mut parts = line.splitn(3, ' ');
    let time_ms = parts.next()?.parse().ok()?;
    let stream = match parts.next()? {
        "o" => Stream::Out,
        "e" => Stream::Error,
        _ => return None,
    };
    Some(Line {
        time_ms,
        stream,
        text: parts.next()?.to_owned(),
    })
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}"))
}

fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        numbers.extend(
            entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u64>().ok()),
        );
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(folder: &Path, from: Position) -> (Vec<String>, Position) {
        let (mut all, mut at) = (Vec::new(), from);
        loop {
            let (lines, next) = read(folder, at).unwrap();
            at = next;
            if lines.is_empty() {
                return (all, at);
            }
            all.extend(lines.into_iter().map(|line| line.text));
        }
    }

    #[test]
    fn a_reader_sees_each_line_once_while_the_log_turns() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(folder.path(), 0).unwrap();
        let (mut seen, mut at) = (Vec::new(), Position::default());
        for number in 0..3000 {
            writer
                .write(
                    Stream::Out,
                    format!("line {number} {}", "x".repeat(20)).as_bytes(),
                )
                .unwrap();
            if number % 100 == 0 {
                let (lines, next) = texts(folder.path(), at);
                seen.extend(lines);
                at = next;
            }
        }
        seen.extend(texts(folder.path(), at).0);
        assert_eq!(seen.len(), 3000);
        assert!(seen[2999].starts_with("line 2999 "));
    }

    #[test]
    fn the_bound_holds_and_the_newest_lines_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(folder.path(), 100_000).unwrap();
        for number in 0..10_000 {
            writer
                .write(Stream::Error, format!("{number}").as_bytes())
                .unwrap();
        }
        let size: u64 = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(size <= 100_000, "{size}");
        assert_eq!(
            texts(folder.path(), Position::default()).0.last().unwrap(),
            "9999"
        );
    }

    #[test]
    fn lines_are_split_where_they_end_and_where_they_are_too_long() {
        let mut lines = Lines::default();
        let mut found: Vec<Vec<u8>> = Vec::new();
        lines.feed(b"a\r\nb", |line| found.push(line.to_vec()));
        lines.feed(b"c\n\n", |line| found.push(line.to_vec()));
        lines.feed(&vec![b'x'; MAX_LINE_BYTES + 5], |line| {
            found.push(line.to_vec())
        });
        lines.finish(|line| found.push(line.to_vec()));
        let lengths: Vec<usize> = found.iter().map(Vec::len).collect();
        assert_eq!(&found[..3], [b"a".to_vec(), b"bc".to_vec(), b"".to_vec()]);
        assert_eq!(&lengths[3..], [MAX_LINE_BYTES, 5]);
    }

    #[test]
    fn a_log_goes_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["one", "two"] {
            Writer::open(folder.path(), 0)
                .unwrap()
                .write(Stream::Out, text.as_bytes())
                .unwrap();
        }
        assert_eq!(texts(folder.path(), Position::default()).0, ["one", "two"]);
    }
}
