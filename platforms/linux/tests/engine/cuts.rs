//! Power cuts at every file operation of an update: fetch, stage, confirm, remove, collect.
//!
//! Oracle: after any cut the store opens, the committed release is there, whole (old or new), whatever
//! loads as an image has exactly the files it was made of, and doing the update again ends as if
//! nothing had happened.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use lightshipd::engine::Error;
use lightshipd::engine::image::Platform;
use lightshipd::engine::pull::{Image as Pulled, Puller};
use lightshipd::store::{Digest, Files, Keep, Record, Store};

use crate::archive::{Archive, Image, architecture, image};
use crate::power::{LOSSES, Loss, Power};
use crate::registry::Registry;
use crate::scratch;

/// What an image unpacks to, layer by layer.
type Expected = BTreeMap<Digest, Vec<String>>;

struct World {
    registry: Registry,
    old: Image,
    new: Image,
    expected: Expected,
}

fn base() -> Vec<u8> {
    Archive::default()
        .folder("bin/")
        .program("bin/app", b"base")
        .symlink("sh", "bin/app")
        .finish()
}

impl World {
    async fn new() -> Self {
        let old_top = Archive::default()
            .program("bin/app", b"old")
            .file(".wh.sh", b"")
            .finish();
        let new_top = Archive::default()
            .program("bin/app", b"new")
            .file("etc/motd", b"hi")
            .hard_link("m", "etc/motd")
            .finish();
        let old = image(architecture(), &[base(), old_top], "{}");
        let new = image(architecture(), &[base(), new_top], "{}");
        let registry = Registry::start().await;
        registry.add(&old);
        registry.add(&new);
        let mut world = Self {
            registry,
            old,
            new,
            expected: Expected::new(),
        };
        world.learn().await;
        world
    }

    /// Pulls both images once with no cut, to know what they unpack to.
    async fn learn(&mut self) {
        let folder = scratch::folder();
        let store = Store::open(&folder.path().join("store"), Files::default()).unwrap();
        for artifact in [self.old.artifact, self.new.artifact] {
            let pulled = self.pull(&store, &artifact).await.unwrap();
            for layer in pulled.layers {
                self.expected
                    .insert(layer, scratch::listing(&store.layer(&layer)));
            }
        }
        assert_eq!(self.expected.len(), 3);
    }

    async fn pull(&self, store: &Store, artifact: &Digest) -> Result<Pulled, Error> {
        let puller = Puller::new(
            store.clone(),
            self.registry.access(None),
            Platform::host(),
            scratch::ownership(),
        );
        puller
            .pull(&self.registry.repository(), artifact, Arc::new(|_| {}))
            .await
    }

    /// Brings a store to where an image is committed and nothing else is there.
    async fn update(&self, root: &Path, files: Files, to: &Digest) -> Result<(), String> {
        let told = |error: std::io::Error| error.to_string();
        let store = Store::open(root, files).map_err(told)?;
        let pulled = self
            .pull(&store, to)
            .await
            .map_err(|error| error.to_string())?;
        let new = record(to);
        store.stage(&new).map_err(told)?;
        store.confirm(new.id(), true).map_err(told)?;
        for old in store
            .records()
            .map_err(told)?
            .iter()
            .filter(|old| old.id() != new.id())
        {
            store.remove_instance(old.id()).map_err(told)?;
        }
        let keep = Keep {
            blobs: pulled.blobs.into_iter().collect(),
            layers: pulled.layers.into_iter().collect(),
            partials: BTreeSet::new(),
        };
        store.collect(&keep).map_err(told)?;
        Ok(())
    }

    /// Opens the store as the daemon does after the power came back, and judges it.
    fn judge(&self, root: &Path, what: &str) {
        let store = Store::open(root, Files::default()).unwrap();
        let confirmed: Vec<Record> = store
            .records()
            .unwrap()
            .into_iter()
            .filter(|record| record.confirmed)
            .collect();
        assert!(
            !confirmed.is_empty(),
            "{what}: no committed release is left"
        );
        for record in &confirmed {
            let image = Pulled::load(&store, &record.artifact, &Platform::host()).unwrap();
            assert!(
                image.is_some(),
                "{what}: the committed {} is not whole",
                record.artifact
            );
        }
        for artifact in [self.old.artifact, self.new.artifact] {
            let image = Pulled::load(&store, &artifact, &Platform::host()).unwrap();
            for layer in image.iter().flat_map(|image| &image.layers) {
                assert_eq!(
                    scratch::listing(&store.layer(layer)),
                    self.expected[layer],
                    "{what}: {layer}"
                );
            }
        }
    }

    async fn cut(&self, at: usize, loss: Loss) -> bool {
        let folder = scratch::folder();
        let root = folder.path().join("store");
        self.update(&root, Files::default(), &self.old.artifact)
            .await
            .unwrap();
        let power = Power::new(Some(at), loss);
        let outcome = self
            .update(&root, Files::witnessed(power.clone()), &self.new.artifact)
            .await;
        assert_eq!(outcome.is_err(), power.is_cut(), "{outcome:?}");
        let what = format!("cut at operation {at}, {loss:?}");
        self.judge(&root, &what);
        self.update(&root, Files::default(), &self.new.artifact)
            .await
            .unwrap();
        self.judge(&root, &what);
        assert_eq!(rubbish(&root), Vec::<String>::new(), "{what}");
        power.is_cut()
    }
}

fn record(artifact: &Digest) -> Record {
    Record {
        version: 1,
        name: "web".to_owned(),
        instance: *artifact,
        artifact: *artifact,
        spec: Digest::of(b"spec"),
        settings: None,
        confirmed: false,
    }
}

/// What should not be left after an update that went through.
fn rubbish(root: &Path) -> Vec<String> {
    let count = |folder: &str| std::fs::read_dir(root.join(folder)).unwrap().count();
    let mut found = Vec::new();
    for (folder, expected) in [
        ("tmp", 0),
        ("trash", 0),
        ("partial", 0),
        ("instances", 1),
        ("layers", 2),
        ("blobs", 2),
    ] {
        let count = count(folder);
        if count != expected {
            found.push(format!("{count} in {folder}"));
        }
    }
    found
}

#[tokio::test]
async fn a_cut_at_any_file_operation_leaves_the_old_release_or_the_new_one_whole() {
    let world = World::new().await;
    let mut cuts = 0;
    for loss in LOSSES {
        let mut at = 1;
        while world.cut(at, loss).await {
            at += 1;
            cuts += 1;
        }
    }
    eprintln!("{cuts} cuts");
    assert!(cuts > 200, "only {cuts} cuts");
}

#[tokio::test]
async fn a_second_cut_while_recovering_from_the_first_changes_nothing() {
    let world = World::new().await;
    for (first, second) in (1..120)
        .step_by(9)
        .flat_map(|first| [2, 7, 23, 41].map(|second| (first, second)))
    {
        let folder = scratch::folder();
        let root = folder.path().join("store");
        world
            .update(&root, Files::default(), &world.old.artifact)
            .await
            .unwrap();
        for at in [first, second] {
            let power = Power::new(Some(at), Loss::Unsynced);
            let outcome = world
                .update(&root, Files::witnessed(power.clone()), &world.new.artifact)
                .await;
            assert_eq!(outcome.is_err(), power.is_cut());
        }
        let what = format!("cuts at {first} and then {second}");
        world.judge(&root, &what);
        world
            .update(&root, Files::default(), &world.new.artifact)
            .await
            .unwrap();
        assert_eq!(rubbish(&root), Vec::<String>::new(), "{what}");
    }
}

/// Fails one operation with this error and lets all others pass, as a disk that is full for a moment.
struct Failing {
    at: usize,
    kind: std::io::ErrorKind,
    count: std::sync::atomic::AtomicUsize,
}

impl lightshipd::store::Witness for Failing {
    fn before(&self, _: lightshipd::store::Operation<'_>) -> std::io::Result<()> {
        let count = self
            .count
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed)
            + 1;
        if count == self.at {
            Err(self.kind.into())
        } else {
            Ok(())
        }
    }
}

#[tokio::test]
async fn a_full_or_read_only_disk_at_any_operation_leaves_the_committed_release_whole() {
    let world = World::new().await;
    let folder = scratch::folder();
    let power = Power::new(None, Loss::Nothing);
    let root = folder.path().join("count");
    world
        .update(&root, Files::default(), &world.old.artifact)
        .await
        .unwrap();
    world
        .update(&root, Files::witnessed(power.clone()), &world.new.artifact)
        .await
        .unwrap();
    for kind in [
        std::io::ErrorKind::StorageFull,
        std::io::ErrorKind::ReadOnlyFilesystem,
    ] {
        for at in 1..=power.count() {
            let root = folder.path().join(format!("{kind:?}-{at}"));
            world
                .update(&root, Files::default(), &world.old.artifact)
                .await
                .unwrap();
            let failing = Failing {
                at,
                kind,
                count: Default::default(),
            };
            let outcome = world
                .update(
                    &root,
                    Files::witnessed(Arc::new(failing)),
                    &world.new.artifact,
                )
                .await;
            let what = format!("{kind:?} at operation {at}: {outcome:?}");
            world.judge(&root, &what);
            world
                .update(&root, Files::default(), &world.new.artifact)
                .await
                .unwrap();
            assert_eq!(rubbish(&root), Vec::<String>::new(), "{what}");
            std::fs::remove_dir_all(&root).unwrap();
        }
    }
}
