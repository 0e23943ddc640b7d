//! Layers that try to get out of their folder, and the ones that must work.

use std::path::Path;

use lightshipd::engine::unpack::{Bounds, unpack};
use lightshipd::engine::{Error, Reason};
use lightshipd::store::{Digest, Files};
use proptest::prelude::*;

use crate::archive::{Archive, gzip};
use crate::scratch;

const ROOMY: Bounds = Bounds {
    entries: 1000,
    bytes: 1_000_000,
};

fn unpack_into(root: &Path, packed: &[u8], bounds: Bounds) -> Result<(Digest, Bounds), Error> {
    unpack(
        packed,
        root,
        &Files::default(),
        bounds,
        scratch::ownership(),
    )
}

/// Unpacks beside a file that must not change, and returns what the layer's folder holds.
fn try_layer(archive: Archive) -> Result<Vec<String>, Error> {
    let folder = scratch::folder();
    let root = folder.path().join("layer");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(folder.path().join("outside"), "untouched").unwrap();
    let outcome = unpack_into(&root, &archive.finish(), ROOMY);
    let outside = std::fs::read_to_string(folder.path().join("outside")).unwrap();
    assert_eq!(outside, "untouched");
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["layer", "outside"]);
    outcome.map(|_| scratch::listing(&root))
}

#[test]
fn paths_that_lead_out_are_refused() {
    for path in ["../outside", "a/../../outside", "a/.."] {
        let error = try_layer(Archive::default().file(path, b"changed")).unwrap_err();
        assert_eq!(error.reason(), Reason::BadImage, "{path}: {error}");
    }
}

#[test]
fn an_absolute_path_starts_at_the_layers_root() {
    let listing = try_layer(Archive::default().file("/etc/motd", b"hi")).unwrap();
    assert_eq!(listing, ["etc folder 755", "etc/motd file 644 hi"]);
}

#[test]
fn links_are_followed_inside_the_layer_only() {
    for target in ["..", "../..", "/", "/../../..", "../../../../.."] {
        let archive = Archive::default()
            .symlink("way", target)
            .file("way/outside", b"changed");
        let listing = try_layer(archive).unwrap();
        assert!(
            listing.contains(&"outside file 644 changed".to_owned()),
            "{target}: {listing:?}"
        );
    }
}

#[test]
fn a_link_in_an_entrys_own_place_is_replaced_not_followed() {
    let archive = Archive::default()
        .symlink("f", "../outside")
        .file("f", b"mine");
    assert_eq!(try_layer(archive).unwrap(), ["f file 644 mine"]);
}

#[test]
fn links_in_a_circle_and_paths_through_files_are_refused() {
    let circle = Archive::default()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/x", b"");
    assert_eq!(try_layer(circle).unwrap_err().reason(), Reason::BadImage);
    let through = Archive::default().file("a", b"").file("a/x", b"");
    assert_eq!(try_layer(through).unwrap_err().reason(), Reason::BadImage);
}

#[test]
fn a_hard_link_to_something_outside_or_absent_is_refused() {
    for target in ["../outside", "absent", "way/outside", "folder", ""] {
        let archive = Archive::default()
            .folder("folder/")
            .symlink("way", "..")
            .hard_link("x", target);
        let error = try_layer(archive).unwrap_err();
        assert_eq!(error.reason(), Reason::BadImage, "{target}: {error}");
    }
}

#[test]
fn a_hard_link_shares_the_file() {
    let archive = Archive::default().file("a", b"same").hard_link("b/c", "a");
    let listing = try_layer(archive).unwrap();
    assert_eq!(
        listing,
        ["a file 644 same", "b folder 755", "b/c file 644 same"]
    );
}

#[test]
fn a_device_node_is_refused_outside_dev_and_left_out_within() {
    let error = try_layer(Archive::default().device("disk")).unwrap_err();
    assert_eq!(error.reason(), Reason::BadImage, "{error}");
    let listing = try_layer(Archive::default().folder("dev/").device("dev/sda")).unwrap();
    assert_eq!(listing, ["dev folder 755"]);
}

#[test]
fn a_whiteout_becomes_overlayfss_mark_and_never_reaches_out() {
    let listing = try_layer(Archive::default().file("etc/.wh.motd", b"")).unwrap();
    assert_eq!(listing, ["etc folder 755", "etc/motd device 0"]);
    for path in [".wh...", ".wh.", ".wh..", "a/.wh..."] {
        let outcome = try_layer(Archive::default().file(path, b""));
        assert!(
            matches!(outcome, Err(Error::BadImage(_))),
            "{path}: {outcome:?}"
        );
    }
}

#[test]
fn an_opaque_folder_is_marked() {
    if !scratch::is_root() {
        eprintln!("SKIPPED: marking a folder as opaque needs root");
        return;
    }
    let folder = scratch::folder();
    let archive = Archive::default()
        .folder("etc/")
        .file("etc/.wh..wh..opq", b"")
        .finish();
    unpack_into(folder.path(), &archive, ROOMY).unwrap();
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(
        folder.path().join("etc"),
        "trusted.overlay.opaque",
        &mut value,
    )
    .unwrap();
    assert_eq!(&value[..length], b"y");
}

#[test]
fn attributes_that_would_steer_overlayfs_are_left_out() {
    let folder = scratch::folder();
    let records = [
        ("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
        ("SCHILY.xattr.user.overlay.redirect", "/etc"),
    ];
    let archive = Archive::default().pax(&records).folder("d/").finish();
    unpack_into(folder.path(), &archive, ROOMY).unwrap();
    let mut names = [0; 256];
    let length = rustix::fs::listxattr(folder.path().join("d"), &mut names).unwrap_or(0);
    assert!(!String::from_utf8_lossy(&names[..length]).contains("redirect"));
}

#[test]
fn long_names_of_both_kinds_work() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    let gnu = try_layer(Archive::default().long_name(&long).file("short", b"x")).unwrap();
    let pax = try_layer(
        Archive::default()
            .pax(&[("path", &long)])
            .file("short", b"x"),
    )
    .unwrap();
    assert_eq!(gnu, pax);
    assert!(gnu[1].starts_with(&long));
}

#[test]
fn too_many_files_too_many_bytes_and_too_deep_trees_are_refused() {
    let folder = scratch::folder();
    let three = Archive::default()
        .file("a", b"aa")
        .file("b/c", b"bb")
        .finish();
    let bounds = |entries, bytes| Bounds { entries, bytes };
    for (entries, bytes, fits) in [(3, 4, true), (2, 4, false), (3, 3, false)] {
        let root = folder.path().join(format!("{entries}-{bytes}"));
        std::fs::create_dir(&root).unwrap();
        let outcome = unpack_into(&root, &three, bounds(entries, bytes));
        assert_eq!(outcome.is_ok(), fits, "{entries} {bytes} {outcome:?}");
    }
    let deep = vec!["d"; 200].join("/");
    let error = try_layer(
        Archive::default()
            .pax(&[("path", &deep)])
            .file("short", b""),
    )
    .unwrap_err();
    assert_eq!(error.reason(), Reason::BadImage);
}

#[test]
fn a_bomb_of_a_name_is_refused_before_it_fills_the_memory() {
    let folder = scratch::folder();
    let archive = Archive::default()
        .long_name(&"n".repeat(2_000_000))
        .file("short", b"")
        .finish();
    let error = unpack_into(folder.path(), &gzip(&archive), ROOMY).unwrap_err();
    assert_eq!(error.reason(), Reason::BadImage, "{error}");
}

#[test]
fn a_layer_cut_short_or_changed_anywhere_never_has_the_right_digest() {
    let folder = scratch::folder();
    let archive = Archive::default()
        .file("a", b"aaaa")
        .symlink("b", "a")
        .finish();
    let digest = Digest::of(&archive);
    let mut number = 0;
    let mut attempt = |bytes: &[u8]| {
        number += 1;
        let root = folder.path().join(number.to_string());
        std::fs::create_dir(&root).unwrap();
        let outcome = unpack_into(&root, bytes, ROOMY);
        std::fs::remove_dir_all(&root).unwrap();
        outcome.ok().map(|(found, _)| found)
    };
    assert_eq!(attempt(&archive), Some(digest));
    for length in (0..archive.len()).step_by(7) {
        assert_ne!(attempt(&archive[..length]), Some(digest), "cut at {length}");
    }
    for at in (0..archive.len()).step_by(5) {
        let mut changed = archive.clone();
        changed[at] ^= 0x81;
        assert_ne!(attempt(&changed), Some(digest), "changed at {at}");
    }
    for length in (0..gzip(&archive).len()).step_by(3) {
        assert_ne!(
            attempt(&gzip(&archive)[..length]),
            Some(digest),
            "gzip cut at {length}"
        );
    }
}

/// Paths that try everything, made of few names so that they meet.
fn path() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "..",
        ".",
        "",
        ".wh.a",
        ".wh..wh..opq",
        "outside",
    ]);
    prop::collection::vec(part, 1..5)
        .prop_map(|parts| parts.join("/"))
        .prop_filter("a name", |path| !path.is_empty())
}

fn entry() -> impl Strategy<Value = (u8, String, String)> {
    (prop::sample::select(b"0125634".to_vec()), path(), path())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// `try_layer` looks at what lies around the layer's folder.
    #[test]
    fn no_series_of_entries_reaches_out_of_the_layer(entries in prop::collection::vec(entry(), 1..12)) {
        let archive = entries.iter().fold(Archive::default(), |archive, (kind, path, link)| {
            let content: &[u8] = if *kind == b'0' { b"changed" } else { b"" };
            archive.entry(path, *kind, link, 0o755, content)
        });
        match try_layer(archive) {
            Ok(_) => {}
            // Without root some kernels refuse the marks that overlayfs wants.
            Err(Error::System { .. }) if !scratch::is_root() => {}
            Err(error) => prop_assert_eq!(error.reason(), Reason::BadImage, "{}", error),
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let folder = scratch::folder();
        let root = folder.path().join("layer");
        std::fs::create_dir(&root).unwrap();
        let _ = unpack_into(&root, &bytes, ROOMY);
    }
}
