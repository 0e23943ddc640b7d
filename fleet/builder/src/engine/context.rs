//! The context as the archive that an engine wants, the same bytes for the same files.

use std::io::{Read as _, Seek as _, SeekFrom};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::build::Request;
use crate::context::Context;
use crate::error::{At, BuildError};
use crate::guard::Guard;
use crate::layer::{self, Data, New};

/// The Dockerfile's name in the archive: it may lie outside of the context, or be inline.
pub(super) const DOCKERFILE: &str = ".lightship.Dockerfile";

/// A packed context.
pub(super) struct Packed {
    pub(super) file: NamedTempFile,
    /// The same for the same context.
    pub(super) name: String,
}

pub(super) fn pack(request: &Request<'_>, guard: &Guard) -> Result<Packed, BuildError> {
    let context = Context::list(request.context, guard)?;
    let mut file = NamedTempFile::new().at(&std::env::temp_dir())?;
    let path = file.path().to_owned();
    let mut archive = tar::Builder::new(&mut file);
    for (path, item) in context.below("") {
        guard.check()?;
        // What `.dockerignore` leaves out is not in the list, so the rules need not go along.
        if path == ".dockerignore" || path == DOCKERFILE {
            continue;
        }
        layer::append(&mut archive, path, &context.new_entry(path, item))?;
    }
    let text = New {
        data: Data::Text(request.text.to_owned()),
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    layer::append(&mut archive, DOCKERFILE, &text)?;
    archive.finish().at(&path)?;
    drop(archive);
    file.seek(SeekFrom::Start(0)).at(&path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.as_file_mut().read(&mut piece).at(&path)? {
            0 => break,
            length => hash.update(&piece[..length]),
        }
    }
    hash.update(format!(
        "{:?} {:?} {}",
        request.args, request.target, request.platform
    ));
    file.seek(SeekFrom::Start(0)).at(&path)?;
    let name = hex::encode(hash.finalize());
    Ok(Packed { file, name })
}
