//! Unpacks a layer into a folder of the store, trusting nothing in it.
//!
//! The stream is an enemy until its digest is known, and its digest is known only at its end; so every
//! entry is bounded and confined as it comes, and the caller throws the folder away on any error.
//! What must stay true: nothing outside the layer's folder is read, made or changed, and nothing in it
//! is a device node other than overlayfs's own mark of removal.

mod tar;
mod tree;

use std::io::{self, BufReader, Read};

use sha2::{Digest as _, Sha256};

use super::Error;
use crate::store::{Digest, Files};

pub use tree::{MAX_DEPTH, Ownership};

/// How much one layer may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Files, folders, links.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
}

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

/// Unpacks a layer and returns the digest of its tar stream, and how much it held.
///
/// `root` is an empty folder.
pub fn unpack(
    packed: impl Read,
    root: &std::path::Path,
    files: &Files,
    bounds: Bounds,
    ownership: Ownership,
) -> Result<(Digest, Bounds), Error> {
    let mut packed = BufReader::with_capacity(64 * 1024, packed);
    let stream: Box<dyn Read> = match compression(&mut packed)? {
        Compression::None => Box::new(packed),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        Compression::Zstd => Box::new(zstd(packed)?),
    };
    let mut stream = Hashing {
        stream,
        hasher: Sha256::new(),
    };
    let held = {
        let mut reader = tar::Reader::new(&mut stream);
        let mut tree = tree::Tree::new(root, files, bounds, ownership);
        while let Some(entry) = reader.next_entry()? {
            tree.add(&entry, &mut reader)?;
        }
        tree.finish()?
    };
    drain(&mut stream)?;
    Ok((Digest::from_hasher(stream.hasher), held))
}

/// Reads what follows the end of the archive: the digest covers it too.
fn drain(stream: &mut impl Read) -> Result<(), Error> {
    // Tar pads to its record size (10 KiB, or up to 1 MiB when asked); more than that is no padding.
    const MAX_PADDING_BYTES: u64 = 4 * 1024 * 1024;
    let count =
        io::copy(&mut stream.take(MAX_PADDING_BYTES + 1), &mut io::sink()).map_err(broken)?;
    if count > MAX_PADDING_BYTES {
        return Err(Error::BadImage(
            "the archive goes on after its end".to_owned(),
        ));
    }
    Ok(())
}

/// By content, as Docker does: media types are often wrong.
fn compression(packed: &mut BufReader<impl Read>) -> Result<Compression, Error> {
    let head = io::BufRead::fill_buf(packed).map_err(broken)?;
    Ok(match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    })
}

fn zstd(packed: impl Read) -> Result<impl Read, Error> {
    ruzstd::decoding::StreamingDecoder::new(packed)
        .map_err(|error| Error::BadImage(format!("zstd: {error}")))
}

/// A stream that does not decompress or ends early.
fn broken(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            Error::BadImage(format!("the layer is broken: {error}"))
        }
        _ => match error.raw_os_error() {
            Some(_) => Error::system("reading the layer", error),
            None => Error::BadImage(format!("the layer is broken: {error}")),
        },
    }
}

struct Hashing<R> {
    stream: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
