//! Writes a layer: sorted, with one fixed time, so that equal files make equal bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use crate::config::{Descriptor, LAYER_GZIP};
use crate::error::{At, BuildError};
use crate::guard::Guard;
use crate::layout::Layout;

/// One entry of a new layer.
#[derive(Clone, Debug)]
pub(crate) struct New {
    pub(crate) data: Data,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    Folder,
    Disk(PathBuf),
    Text(String),
    Link(String),
}

/// A layer that was written.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) blob: Descriptor,
    /// Digest of the layer before it was compressed.
    pub(crate) diff_id: String,
}

pub(crate) fn write(
    layout: &Layout,
    entries: &BTreeMap<String, New>,
    guard: &Guard,
) -> Result<Written, BuildError> {
    let blob = layout.new_blob()?;
    let here = PathBuf::from("a new layer");
    // The gzip header carries neither a name nor a time.
    let gzip = GzEncoder::new(blob, Compression::new(6));
    let mut plain = Hashed {
        inner: gzip,
        hash: Sha256::new(),
        left: guard.limits.layer_bytes,
    };
    let mut archive = tar::Builder::new(&mut plain);
    archive.mode(tar::HeaderMode::Deterministic);
    for (path, new) in entries {
        guard.check()?;
        append(&mut archive, path, new)?;
    }
    archive.finish().at(&here)?;
    drop(archive);
    let diff_id = format!("sha256:{}", hex::encode(plain.hash.finalize()));
    let blob = plain.inner.finish().at(&here)?;
    Ok(Written {
        blob: blob.finish(LAYER_GZIP)?,
        diff_id,
    })
}

pub(crate) fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    path: &str,
    new: &New,
) -> Result<(), BuildError> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(new.mode);
    header.set_uid(new.uid);
    header.set_gid(new.gid);
    header.set_mtime(0);
    header.set_size(0);
    let here = PathBuf::from(path);
    match &new.data {
        Data::Folder => {
            header.set_entry_type(tar::EntryType::Directory);
            archive
                .append_data(&mut header, format!("{path}/"), io::empty())
                .at(&here)
        }
        Data::Link(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, path, target).at(&here)
        }
        Data::Text(text) => {
            header.set_size(text.len() as u64);
            archive
                .append_data(&mut header, path, text.as_bytes())
                .at(&here)
        }
        Data::Disk(source) => {
            let file = File::open(source).at(source)?;
            let size = file.metadata().at(source)?.len();
            header.set_size(size);
            let mut exact = Exact { file, left: size };
            archive
                .append_data(&mut header, path, &mut exact)
                .at(source)
        }
    }
}

/// Exactly as many bytes as the header says, or an error: a file may change while it is read.
struct Exact {
    file: File,
    left: u64,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let length = self.file.read(&mut buffer[..most])?;
        if length == 0 && most > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it became shorter meanwhile",
            ));
        }
        self.left -= length as u64;
        Ok(length)
    }
}

/// Hashes and bounds what goes through.
struct Hashed<W> {
    inner: W,
    hash: Sha256,
    left: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.hash.update(&bytes[..length]);
        self.left = self.left.checked_sub(length as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the layer is larger than allowed",
            )
        })?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
