//! The context of a build: the files of a folder, as far as `.dockerignore` does not leave them out.
//!
//! Listed once, sorted; links are kept as links and never followed out of the folder.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{At, BuildError};
use crate::guard::Guard;
use crate::ignore::Ignore;
use crate::layer::{Data, New};
use crate::pattern;

/// Links that lead to links are followed so far.
const MAX_LINKS: usize = 40;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Folder { mode: u32 },
    File { mode: u32, bytes: u64 },
    Link(String),
}

/// The files of a folder, by path relative to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    root: PathBuf,
    items: BTreeMap<String, Item>,
}

impl Context {
    pub(crate) fn list(root: &Path, guard: &Guard) -> Result<Self, BuildError> {
        let rules = match fs::read_to_string(root.join(".dockerignore")) {
            Ok(text) => Ignore::read(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ignore::default(),
            Err(error) => return Err(error).at(&root.join(".dockerignore")),
        };
        Self::list_with(root, &rules, guard)
    }

    /// As [`Self::list`], with these rules in place of the folder's own.
    pub(crate) fn list_with(
        root: &Path,
        rules: &Ignore,
        guard: &Guard,
    ) -> Result<Self, BuildError> {
        let mut context = Self {
            root: root.to_owned(),
            items: BTreeMap::new(),
        };
        let mut bytes = 0;
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            guard.check()?;
            context.list_folder(&folder, rules, &mut folders, &mut bytes)?;
            if context.items.len() > guard.limits.context_entries {
                let most = guard.limits.context_entries;
                return Err(BuildError::Limit(format!(
                    "more than {most} files in the context"
                )));
            }
            if bytes > guard.limits.context_bytes {
                let most = guard.limits.context_bytes;
                return Err(BuildError::Limit(format!(
                    "more than {most} bytes in the context"
                )));
            }
        }
        Ok(context)
    }

    fn list_folder(
        &mut self,
        folder: &str,
        rules: &Ignore,
        folders: &mut Vec<String>,
        bytes: &mut u64,
    ) -> Result<(), BuildError> {
        let path = self.root.join(folder);
        for entry in fs::read_dir(&path).at(&path)? {
            let entry = entry.at(&path)?;
            let Ok(name) = entry.file_name().into_string() else {
                let what = format!("{}: a name that is not UTF-8", entry.path().display());
                return Err(BuildError::Limit(what));
            };
            let inner = join(folder, &name);
            let left_out = rules.leaves_out(&inner);
            let data = entry.metadata().at(&entry.path())?;
            let mode = data.permissions().mode() & 0o7755;
            let item = if data.is_dir() {
                if !left_out || rules.has_exceptions() {
                    folders.push(inner.clone());
                }
                Item::Folder { mode }
            } else if data.is_symlink() {
                let target = fs::read_link(entry.path()).at(&entry.path())?;
                Item::Link(target.to_string_lossy().into_owned())
            } else if data.is_file() {
                if !left_out {
                    *bytes = bytes.saturating_add(data.len());
                }
                Item::File {
                    mode,
                    bytes: data.len(),
                }
            } else {
                // Sockets, pipes and devices have no content to copy.
                continue;
            };
            if !left_out {
                self.keep(&inner, item);
            }
        }
        Ok(())
    }

    /// Adds an item, and the folders that lead to it where they were left out themselves.
    fn keep(&mut self, path: &str, item: Item) {
        for (at, _) in path.match_indices('/') {
            let parent = Item::Folder { mode: 0o755 };
            self.items.entry(path[..at].to_owned()).or_insert(parent);
        }
        self.items.insert(path.to_owned(), item);
    }

    /// The items that a source of `COPY` names, with their paths; links to files are followed.
    /// A folder that is named stands for what is in it.
    pub(crate) fn matches(&self, source: &str) -> Vec<String> {
        let source = clean(source);
        if source.is_empty() {
            return vec![String::new()];
        }
        if pattern::is_pattern(&source) {
            let fits = |path: &&String| pattern::fits(&source, path);
            return self.items.keys().filter(fits).cloned().collect();
        }
        self.follow(&source).into_iter().collect()
    }

    /// The path with all links resolved, if it is in the context.
    pub(crate) fn follow(&self, path: &str) -> Option<String> {
        let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut at: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = left.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    at.pop()?;
                    continue;
                }
                _ => at.push(part),
            }
            match self.items.get(&at.join("/"))? {
                Item::Folder { .. } | Item::File { .. } => {}
                Item::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS || target.starts_with('/') {
                        return None;
                    }
                    at.pop();
                    left.extend(target.split('/').rev().map(str::to_owned));
                }
            }
        }
        Some(at.join("/"))
    }

    pub(crate) fn item(&self, path: &str) -> Option<&Item> {
        self.items.get(path)
    }

    /// What is in a folder, at any depth; the empty path is the whole context.
    pub(crate) fn below<'c>(&'c self, folder: &str) -> Vec<(&'c str, &'c Item)> {
        let prefix = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        let items = self
            .items
            .iter()
            .filter(|(path, _)| path.starts_with(&prefix));
        items.map(|(path, item)| (path.as_str(), item)).collect()
    }

    /// What an archive says of an item.
    pub(crate) fn new_entry(&self, path: &str, item: &Item) -> New {
        let (data, mode) = match item {
            Item::Folder { mode } => (Data::Folder, *mode),
            Item::File { mode, .. } => (Data::Disk(self.on_disk(path)), *mode),
            Item::Link(target) => (Data::Link(target.clone()), 0o777),
        };
        New {
            data,
            mode,
            uid: 0,
            gid: 0,
        }
    }

    pub(crate) fn on_disk(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

pub(crate) fn join(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    }
}

/// Without `.`, doubled slashes and what would leave the folder, as Docker has it.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
