//! A tar reader that bounds everything an archive says about itself.
//!
//! POSIX.1-2001 (ustar and pax headers) and GNU's long names and base-256 numbers: what image tools
//! write. Sparse files and multi-volume archives are refused by name.

use std::collections::BTreeMap;
use std::io::Read;

use super::broken;
use crate::engine::Error;

const BLOCK: usize = 512;

/// Names, link targets and pax records together may not be longer than this.
const MAX_EXTENSION_BYTES: u64 = 1024 * 1024;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Regular,
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    CharacterDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry's header, extensions applied.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) modified_s: i64,
    pub(super) extended: Vec<(String, Vec<u8>)>,
}

/// Extensions that come before the entry they belong to.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: BTreeMap<String, Vec<u8>>,
    bytes: u64,
}

/// Reads entries; between two entries the content of the first may be read through [`Read`].
pub(super) struct Reader<R> {
    stream: R,
    content: u64,
    padding: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(stream: R) -> Self {
        Self {
            stream,
            content: 0,
            padding: 0,
        }
    }

    /// The next entry, or nothing at the end of the archive.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_content()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = number(&header[124..136], "size")?;
            match header[156] {
                b'L' => {
                    extensions.path =
                        Some(terminated(&self.extension(size, &mut extensions.bytes)?))
                }
                b'K' => {
                    extensions.link =
                        Some(terminated(&self.extension(size, &mut extensions.bytes)?))
                }
                b'x' => {
                    let body = self.extension(size, &mut extensions.bytes)?;
                    records(&body, &mut extensions.records)?;
                }
                // Global headers carry comments (git) and nothing that an image uses.
                b'g' => drop(self.extension(size, &mut extensions.bytes)?),
                _ => {
                    let entry = entry(&header, size, extensions)?;
                    let size = if entry.kind == Kind::Regular {
                        entry.size
                    } else {
                        0
                    };
                    self.content = size;
                    self.padding = size.next_multiple_of(BLOCK as u64) - size;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// A header block whose checksum holds, or nothing at the end.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let count = self.stream.read(&mut block[filled..]).map_err(broken)?;
            if count == 0 {
                break;
            }
            filled += count;
        }
        // Some writers leave out the two blocks of zeros; an end within a block is a broken stream.
        if filled == 0 || (filled == BLOCK && block.iter().all(|byte| *byte == 0)) {
            return Ok(None);
        }
        if filled < BLOCK || !checksum_holds(&block) {
            return Err(Error::BadImage(
                "a layer holds a broken tar header".to_owned(),
            ));
        }
        Ok(Some(block))
    }

    fn extension(&mut self, size: u64, so_far: &mut u64) -> Result<Vec<u8>, Error> {
        *so_far = so_far.saturating_add(size);
        if *so_far > MAX_EXTENSION_BYTES {
            return Err(Error::BadImage(format!(
                "a name or attribute of over {MAX_EXTENSION_BYTES} bytes"
            )));
        }
        let mut body = vec![0; size as usize];
        self.stream.read_exact(&mut body).map_err(broken)?;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(body)
    }

    fn skip_content(&mut self) -> Result<(), Error> {
        let left = self.content + self.padding;
        self.content = 0;
        self.padding = 0;
        let skipped = std::io::copy(&mut (&mut self.stream).take(left), &mut std::io::sink())
            .map_err(broken)?;
        if skipped < left {
            return Err(Error::BadImage("a layer ends within a file".to_owned()));
        }
        Ok(())
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer
            .len()
            .min(usize::try_from(self.content).unwrap_or(usize::MAX));
        let count = self.stream.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.content -= count as u64;
        Ok(count)
    }
}

fn entry(header: &[u8; BLOCK], size: u64, extensions: Extensions) -> Result<Entry, Error> {
    let Extensions {
        path,
        link,
        records,
        bytes: _,
    } = extensions;
    if records.keys().any(|key| key.starts_with("GNU.sparse")) {
        return Err(Error::BadImage("a layer holds a sparse file".to_owned()));
    }
    let path = records
        .get("path")
        .cloned()
        .or(path)
        .unwrap_or_else(|| header_path(header));
    let link = records
        .get("linkpath")
        .cloned()
        .or(link)
        .unwrap_or_else(|| terminated(&header[157..257]));
    let decimal = |key: &str, otherwise: u64| match records.get(key) {
        Some(text) => pax_number(text, key),
        None => Ok(otherwise),
    };
    let kind = kind(header[156], link, &path)?;
    let modified = number(&header[136..148], "time")?;
    Ok(Entry {
        kind,
        size: decimal("size", size)?,
        mode: number(&header[100..108], "mode")? as u32 & 0o7777,
        user: decimal("uid", number(&header[108..116], "owner")?)? as u32,
        group: decimal("gid", number(&header[116..124], "group")?)? as u32,
        modified_s: i64::try_from(decimal("mtime", modified)?).unwrap_or(0),
        extended: extended(&records),
        path,
    })
}

fn kind(flag: u8, link: Vec<u8>, path: &[u8]) -> Result<Kind, Error> {
    Ok(match flag {
        // Before POSIX a folder was a regular file whose name ends in a slash.
        b'0' | 0 | b'7' if path.ends_with(b"/") => Kind::Directory,
        b'0' | 0 | b'7' => Kind::Regular,
        b'1' => Kind::HardLink(link),
        b'2' => Kind::Symlink(link),
        b'3' => Kind::CharacterDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => {
            return Err(Error::BadImage(format!(
                "a tar entry of the unknown type {other:#x}"
            )));
        }
    })
}

/// The attributes that are kept: capabilities of programs, and what the user set.
///
/// `trusted.*` would steer overlayfs itself, and security labels are the host's business.
fn extended(records: &BTreeMap<String, Vec<u8>>) -> Vec<(String, Vec<u8>)> {
    let kept = |name: &str| {
        name == "security.capability"
            || (name.starts_with("user.") && !name.starts_with("user.overlay."))
    };
    let named = records.iter().filter_map(|(key, value)| {
        let name = key.strip_prefix("SCHILY.xattr.")?;
        kept(name).then(|| (name.to_owned(), value.clone()))
    });
    named.collect()
}

fn header_path(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = terminated(&header[..100]);
    let prefix = terminated(&header[345..500]);
    if &header[257..263] != b"ustar\0" || prefix.is_empty() {
        return name;
    }
    [&prefix[..], b"/", &name[..]].concat()
}

fn checksum_holds(header: &[u8; BLOCK]) -> bool {
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            // The checksum's own field counts as spaces.
            u64::from(if (148..156).contains(&at) {
                b' '
            } else {
                *byte
            })
        })
        .sum();
    number(&header[148..156], "checksum").is_ok_and(|said| said == sum)
}

fn terminated(field: &[u8]) -> Vec<u8> {
    field
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .to_vec()
}

/// Octal digits, or GNU's base 256 when the first bit is set.
fn number(field: &[u8], what: &str) -> Result<u64, Error> {
    let wrong = || Error::BadImage(format!("a tar header with a broken {what}"));
    let (first, rest) = field.split_first().ok_or_else(wrong)?;
    if first & 0x80 != 0 {
        // A negative number (0xff) stands for a time before 1970; nothing else may be negative.
        if *first == 0xff {
            return if what == "time" { Ok(0) } else { Err(wrong()) };
        }
        let high = u64::from(first & 0x7f);
        let fold = |sum: u64, byte: &u8| sum.checked_mul(256)?.checked_add(u64::from(*byte));
        return rest.iter().try_fold(high, fold).ok_or_else(wrong);
    }
    let text: Vec<u8> = field
        .iter()
        .copied()
        .filter(|byte| *byte != b' ' && *byte != 0)
        .collect();
    let fold = |sum: u64, byte: &u8| {
        let digit = u64::from(byte.checked_sub(b'0').filter(|digit| *digit < 8)?);
        sum.checked_mul(8)?.checked_add(digit)
    };
    text.iter().try_fold(0, fold).ok_or_else(wrong)
}

fn pax_number(text: &[u8], key: &str) -> Result<u64, Error> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    if key == "mtime" && text.starts_with('-') {
        return Ok(0);
    }
    let whole = text.split('.').next().unwrap_or_default();
    whole
        .parse()
        .map_err(|_| Error::BadImage(format!("a pax header with a broken {key}")))
}

/// `length key=value\n`, over and over.
fn records(mut body: &[u8], records: &mut BTreeMap<String, Vec<u8>>) -> Result<(), Error> {
    let wrong = || Error::BadImage("a broken pax header".to_owned());
    while !body.is_empty() {
        let space = body
            .iter()
            .take(20)
            .position(|byte| *byte == b' ')
            .ok_or_else(wrong)?;
        let length: usize = std::str::from_utf8(&body[..space])
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(wrong)?;
        let record = body.get(space + 1..length).ok_or_else(wrong)?;
        let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or_else(wrong)?;
        let key = std::str::from_utf8(&record[..equals]).map_err(|_| wrong())?;
        records.insert(key.to_owned(), record[equals + 1..].to_vec());
        body = &body[length..];
    }
    Ok(())
}
