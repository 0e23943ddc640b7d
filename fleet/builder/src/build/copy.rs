//! `COPY` and `ADD`: from the context, from the Dockerfile itself, from another stage or image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::Run;
use super::owner;
use super::stage::{Building, new_folder};
use crate::context::{Item, clean, join};
use crate::dockerfile::{Copy, Step};
use crate::error::{At, BuildError};
use crate::layer::{self, Data, New};
use crate::pattern;
use crate::tree::{Entry, Kind, for_each};

/// What is copied, with variables put in.
pub(super) struct Expanded<'c> {
    copy: &'c Copy,
    from: Option<String>,
    chown: Option<String>,
    sources: Vec<String>,
    /// Names and texts of inline files.
    inline: Vec<(String, String)>,
    target: String,
}

impl<'c> Expanded<'c> {
    pub(super) fn new(
        copy: &'c Copy,
        expand: &dyn Fn(&str) -> Result<String, BuildError>,
    ) -> Result<Self, BuildError> {
        let optional = |text: &Option<String>| text.as_deref().map(expand).transpose();
        let inline = copy.inline.iter().map(|file| {
            let text = if file.expand {
                expand_text(&file.text, expand)?
            } else {
                file.text.clone()
            };
            Ok((file.name.clone(), text))
        });
        Ok(Self {
            copy,
            from: optional(&copy.from)?,
            chown: optional(&copy.chown)?,
            sources: copy
                .sources
                .iter()
                .map(|source| expand(source))
                .collect::<Result<_, _>>()?,
            inline: inline.collect::<Result<_, BuildError>>()?,
            target: expand(&copy.target)?,
        })
    }
}

/// Quotes are part of a text, so they are kept from the reader of words.
fn expand_text(
    text: &str,
    expand: &dyn Fn(&str) -> Result<String, BuildError>,
) -> Result<String, BuildError> {
    let kept = text.replace('"', "\\\"").replace('\'', "\\'");
    expand(&kept)
}

/// One thing to copy: what it is called in a folder, and what is in it.
struct Found {
    /// Of a folder, the contents; of a file, itself under its name.
    name: Option<String>,
    items: Vec<(String, New)>,
}

impl Run<'_, '_> {
    pub(super) fn copy(
        &mut self,
        index: usize,
        to: &mut Building,
        step: &Step,
        copy: &Expanded<'_>,
    ) -> Result<(), BuildError> {
        // Contents from other images wait here until the layer is written.
        let shelf = tempfile::tempdir().at(&std::env::temp_dir())?;
        let mut found = match &copy.from {
            None => self.in_context(step, copy)?,
            Some(from) => self.in_image(index, step, copy, from, shelf.path().to_owned())?,
        };
        for (name, text) in &copy.inline {
            let new = New {
                data: Data::Text(text.clone()),
                mode: 0o644,
                uid: 0,
                gid: 0,
            };
            found.push(Found {
                name: Some(name.clone()),
                items: vec![(String::new(), new)],
            });
        }
        let owner = self.owner(to, step, copy)?;
        let mut entries = self.place(to, step, copy, found)?;
        for new in entries.values_mut() {
            if let Some((uid, gid)) = owner {
                (new.uid, new.gid) = (uid, gid);
            }
            if let (Some(mode), false) = (copy.copy.chmod, matches!(new.data, Data::Link(_))) {
                new.mode = mode;
            }
        }
        let made: Vec<String> = entries.keys().cloned().collect();
        for path in made {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            for (folder, new) in to.missing_folders(parent) {
                if !folder.is_empty() {
                    entries.entry(folder).or_insert(new);
                }
            }
        }
        let written = layer::write(self.request.layout, &entries, &self.guard)?;
        to.add(written, &entries);
        to.record(&step.text, true);
        Ok(())
    }

    fn owner(
        &self,
        to: &Building,
        step: &Step,
        copy: &Expanded<'_>,
    ) -> Result<Option<(u64, u64)>, BuildError> {
        let Some(chown) = &copy.chown else {
            return Ok(None);
        };
        let ids = owner::ids(chown, to, self.request.layout, &self.guard)?;
        if ids.is_none() {
            let what = format!("the image knows no user or group {chown:?}");
            return Err(self.wrong(step.place, what, "use numbers"));
        }
        Ok(ids)
    }

    fn in_context(&self, step: &Step, copy: &Expanded<'_>) -> Result<Vec<Found>, BuildError> {
        let mut all = Vec::new();
        for source in &copy.sources {
            let paths = self.context.matches(source);
            if paths.is_empty() {
                let what = format!("{source:?} is not in the context");
                let help = "check its name and .dockerignore";
                return Err(self.wrong(step.place, what, help));
            }
            for path in paths {
                all.push(self.found(&path, step, copy)?);
            }
        }
        Ok(all)
    }

    fn found(&self, path: &str, step: &Step, copy: &Expanded<'_>) -> Result<Found, BuildError> {
        let new = |path: &str, item: &Item| New {
            data: match item {
                Item::Folder { .. } => Data::Folder,
                Item::File { .. } => Data::Disk(self.context.on_disk(path)),
                Item::Link(target) => Data::Link(target.clone()),
            },
            mode: match item {
                Item::Folder { mode } | Item::File { mode, .. } => *mode,
                Item::Link(_) => 0o777,
            },
            uid: 0,
            gid: 0,
        };
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        match self.context.item(path) {
            Some(Item::File { .. })
                if copy.copy.unpack && is_archive(&self.context.on_disk(path))? =>
            {
                Err(BuildError::NeedsEngine {
                    file: self.request.file.to_owned(),
                    place: step.place,
                    what: format!("ADD of the archive {path:?}"),
                })
            }
            Some(item @ (Item::File { .. } | Item::Link(_))) => Ok(Found {
                name: Some(name),
                items: vec![(String::new(), new(path, item))],
            }),
            Some(Item::Folder { .. }) | None => {
                let skip = if path.is_empty() { 0 } else { path.len() + 1 };
                let below = self.context.below(path).into_iter();
                let items = below.map(|(at, item)| (at[skip..].to_owned(), new(at, item)));
                Ok(Found {
                    name: None,
                    items: items.collect(),
                })
            }
        }
    }

    fn in_image(
        &mut self,
        index: usize,
        step: &Step,
        copy: &Expanded<'_>,
        from: &str,
        shelf: PathBuf,
    ) -> Result<Vec<Found>, BuildError> {
        let stage = self.request.dockerfile.stage_before(from, index);
        let outside;
        let source = match stage {
            Some(stage) => &self.done[&stage],
            None => {
                let (layout, platform) = (self.request.layout, self.request.platform);
                outside = Building::on_image(from, platform, layout, &self.guard)?;
                &outside
            }
        };
        let mut wanted: BTreeMap<(usize, String), PathBuf> = BTreeMap::new();
        let mut all = Vec::new();
        for pattern in &copy.sources {
            let paths = matches(source, pattern);
            if paths.is_empty() {
                let what = format!("{pattern:?} is not in {from:?}");
                return Err(self.wrong(step.place, what, ""));
            }
            for path in paths {
                all.push(image_found(source, &path, &shelf, &mut wanted));
            }
        }
        self.fetch(source, &wanted)?;
        Ok(all)
    }

    /// Takes the wanted files out of their layers, each layer read once.
    fn fetch(
        &self,
        source: &Building,
        wanted: &BTreeMap<(usize, String), PathBuf>,
    ) -> Result<(), BuildError> {
        let layers: BTreeSet<usize> = wanted.keys().map(|(layer, _)| *layer).collect();
        for layer in layers {
            let blob = &source.layers[layer];
            for_each(
                self.request.layout,
                blob,
                &self.guard,
                |path, _, _, content| {
                    if let Some(shelf) = wanted.get(&(layer, path.to_owned())) {
                        let mut file = File::create(shelf).at(shelf)?;
                        io::copy(content, &mut file).at(shelf)?;
                    }
                    Ok(())
                },
            )?;
        }
        Ok(())
    }

    /// Decides where each thing goes.
    fn place(
        &self,
        to: &Building,
        step: &Step,
        copy: &Expanded<'_>,
        found: Vec<Found>,
    ) -> Result<BTreeMap<String, New>, BuildError> {
        let target = &copy.target;
        let absolute = if target.starts_with('/') {
            clean(target)
        } else {
            clean(&join(to.folder(), target))
        };
        let root = to.tree.resolve(&absolute);
        let slash = target.ends_with('/') || target == "." || target.ends_with("/.");
        let files = found.iter().filter(|found| found.name.is_some()).count();
        if found.len() > 1 && !slash && files > 0 && !to.tree.is_folder(&root) {
            let help = "end the target with / to name a folder";
            return Err(self.wrong(step.place, "several things for one target", help));
        }
        let into = slash || found.len() > 1 || to.tree.is_folder(&root);
        let mut entries = BTreeMap::new();
        for one in found {
            let start = match &one.name {
                Some(name) if into => join(&root, name),
                Some(_) | None => root.clone(),
            };
            if one.name.is_none() && !to.tree.is_folder(&start) {
                let folder = self.settle(to, step, &start, &new_folder())?;
                entries.insert(folder, new_folder());
            }
            for (below, new) in one.items {
                let path = if below.is_empty() {
                    start.clone()
                } else {
                    join(&start, &below)
                };
                let path = self.settle(to, step, &path, &new)?;
                let known = matches!(new.data, Data::Folder) && to.tree.is_folder(&path);
                if !known && !path.is_empty() {
                    entries.insert(path, new);
                }
            }
        }
        Ok(entries)
    }

    /// The path with links of the image on the way resolved; a file cannot take the place of a folder.
    fn settle(
        &self,
        to: &Building,
        step: &Step,
        path: &str,
        new: &New,
    ) -> Result<String, BuildError> {
        let path = match path.rsplit_once('/') {
            Some((parent, name)) => join(&to.tree.resolve(parent), name),
            None => path.to_owned(),
        };
        let path = match new.data {
            Data::Folder => to.tree.resolve(&path),
            Data::Disk(_) | Data::Text(_) | Data::Link(_) => path,
        };
        let is_folder = matches!(new.data, Data::Folder);
        let there = to.tree.entry(&path).map(|entry| &entry.kind);
        let clash = match there {
            Some(Kind::Folder) => !is_folder,
            Some(Kind::File { .. } | Kind::Other) => is_folder,
            Some(Kind::Link(_)) | None => false,
        };
        if clash {
            let what = format!("/{path} is a folder in one and a file in the other");
            return Err(self.wrong(step.place, what, ""));
        }
        Ok(path)
    }
}

fn matches(source: &Building, text: &str) -> Vec<String> {
    let path = clean(text);
    if pattern::is_pattern(&path) {
        let paths = source
            .tree
            .paths()
            .filter(|(at, _)| pattern::fits(&path, at));
        return paths.map(|(at, _)| at.to_owned()).collect();
    }
    let path = source.tree.resolve(&path);
    let there = path.is_empty() || source.tree.entry(&path).is_some();
    there.then_some(path).into_iter().collect()
}

fn image_found(
    source: &Building,
    path: &str,
    shelf: &std::path::Path,
    wanted: &mut BTreeMap<(usize, String), PathBuf>,
) -> Found {
    let mut new = |entry: &Entry| {
        let data = match &entry.kind {
            Kind::Folder => Data::Folder,
            Kind::Link(target) => Data::Link(target.clone()),
            Kind::File { layer, path } => {
                let next = shelf.join(wanted.len().to_string());
                Data::Disk(wanted.entry((*layer, path.clone())).or_insert(next).clone())
            }
            Kind::Other => return None,
        };
        // Copying gives files to root, as in Docker.
        Some(New {
            data,
            mode: entry.mode,
            uid: 0,
            gid: 0,
        })
    };
    match source.tree.entry(path) {
        Some(entry) if entry.kind != Kind::Folder => Found {
            name: path.rsplit('/').next().map(str::to_owned),
            items: new(entry)
                .map(|new| (String::new(), new))
                .into_iter()
                .collect(),
        },
        Some(_) | None => {
            let prefix = if path.is_empty() {
                String::new()
            } else {
                format!("{path}/")
            };
            let below = source
                .tree
                .paths()
                .filter(|(at, _)| at.starts_with(&prefix));
            let items =
                below.filter_map(|(at, entry)| Some((at[prefix.len()..].to_owned(), new(entry)?)));
            Found {
                name: None,
                items: items.collect(),
            }
        }
    }
}

/// Whether Docker would unpack it: a tar, plain or compressed.
fn is_archive(path: &std::path::Path) -> Result<bool, BuildError> {
    use std::io::Read as _;
    let mut head = Vec::new();
    File::open(path)
        .at(path)?
        .take(512)
        .read_to_end(&mut head)
        .at(path)?;
    let compressed: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"];
    let is_tar = head.get(257..262) == Some(b"ustar");
    Ok(is_tar || compressed.iter().any(|magic| head.starts_with(magic)))
}
