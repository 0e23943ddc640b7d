//! What an image has at which path: the layers of a stage, put on top of each other.
//!
//! Only names and places are held; contents stay in the layers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;

use crate::config::Descriptor;
use crate::context::{clean, join};
use crate::error::{At, BuildError};
use crate::guard::Guard;
use crate::layout::Layout;

const MAX_LINKS: usize = 40;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    /// The path within this layer of the stage; hard links share it.
    File {
        layer: usize,
        path: String,
    },
    Link(String),
    /// A device or pipe: kept in its layer, never copied.
    Other,
}

/// All paths of a stage, relative to its root.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    pub(crate) fn read(
        layout: &Layout,
        layers: &[Descriptor],
        guard: &Guard,
    ) -> Result<Self, BuildError> {
        let mut tree = Self::default();
        for (number, layer) in layers.iter().enumerate() {
            let mut upper: BTreeMap<String, Entry> = BTreeMap::new();
            for_each(layout, layer, guard, |path, header, link, _| {
                tree.lay(number, path, header, link, &mut upper);
                Ok(())
            })?;
            // What a layer takes away is below it, whatever its order.
            tree.entries.append(&mut upper);
        }
        Ok(tree)
    }

    fn lay(
        &mut self,
        layer: usize,
        path: &str,
        header: &tar::Header,
        link: Option<String>,
        upper: &mut BTreeMap<String, Entry>,
    ) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name == ".wh..wh..opq" {
            self.remove_below(folder);
            return;
        }
        if let Some(gone) = name.strip_prefix(".wh.") {
            self.remove(&join(folder, gone));
            return;
        }
        let kind = match header.entry_type() {
            tar::EntryType::Directory => Kind::Folder,
            tar::EntryType::Symlink => Kind::Link(link.unwrap_or_default()),
            tar::EntryType::Link => match upper.get(&clean(&link.unwrap_or_default())) {
                Some(entry) => entry.kind.clone(),
                None => Kind::Other,
            },
            tar::EntryType::Regular | tar::EntryType::Continuous => Kind::File {
                layer,
                path: path.to_owned(),
            },
            _ => Kind::Other,
        };
        if kind != Kind::Folder {
            self.remove_below(path);
        }
        let entry = Entry {
            kind,
            mode: header.mode().unwrap_or(0o644) & 0o7777,
            uid: header.uid().unwrap_or(0),
            gid: header.gid().unwrap_or(0),
        };
        upper.insert(path.to_owned(), entry);
    }

    fn remove(&mut self, path: &str) {
        self.entries.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, folder: &str) {
        let prefix = format!("{folder}/");
        self.entries
            .retain(|path, _| !folder.is_empty() && !path.starts_with(&prefix));
    }

    pub(crate) fn insert(&mut self, path: &str, entry: Entry) {
        self.entries.insert(path.to_owned(), entry);
    }

    pub(crate) fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    pub(crate) fn is_folder(&self, path: &str) -> bool {
        path.is_empty()
            || matches!(
                self.entry(path),
                Some(Entry {
                    kind: Kind::Folder,
                    ..
                })
            )
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries
            .iter()
            .map(|(path, entry)| (path.as_str(), entry))
    }

    /// The path with links of the image resolved, as the kernel would; what is not there stays as it is.
    pub(crate) fn resolve(&self, path: &str) -> String {
        let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut at: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = left.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    at.pop();
                    continue;
                }
                _ => at.push(part),
            }
            if let Some(Entry {
                kind: Kind::Link(target),
                ..
            }) = self.entry(&at.join("/"))
            {
                links += 1;
                if links > MAX_LINKS {
                    return at.join("/");
                }
                if target.starts_with('/') {
                    at.clear();
                } else {
                    at.pop();
                }
                left.extend(target.split('/').rev().map(str::to_owned));
            }
        }
        at.join("/")
    }
}

/// Calls `visit` for each entry of a layer: its path, header, link target and content.
pub(crate) fn for_each(
    layout: &Layout,
    layer: &Descriptor,
    guard: &Guard,
    mut visit: impl FnMut(&str, &tar::Header, Option<String>, &mut dyn Read) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    let bad = |what: String| BuildError::BadImage {
        image: layer.digest.clone(),
        what,
    };
    let path = layout
        .blob(&layer.digest)
        .ok_or_else(|| bad("not a SHA-256 digest".to_owned()))?;
    let file = BufReader::new(File::open(&path).at(&path)?);
    let reader: Box<dyn Read> = match layer.media_type.rsplit(['+', '.']).next() {
        Some("gzip") => Box::new(GzDecoder::new(file)),
        Some("tar") => Box::new(file),
        _ => {
            return Err(bad(format!(
                "layers of type {} cannot be read",
                layer.media_type
            )));
        }
    };
    let bounded = reader.take(guard.limits.layer_bytes);
    let mut archive = tar::Archive::new(bounded);
    let unreadable = |error: std::io::Error| bad(format!("a layer that cannot be read: {error}"));
    for entry in archive.entries().map_err(unreadable)? {
        guard.check()?;
        let mut entry = entry.map_err(unreadable)?;
        let path = text(&entry.path().map_err(unreadable)?);
        let path = clean(&path);
        let link = entry
            .link_name()
            .map_err(unreadable)?
            .map(|link| text(&link));
        let header = entry.header().clone();
        if !path.is_empty() {
            visit(&path, &header, link, &mut entry)?;
        }
    }
    Ok(())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
