//! A project's archive: what is packed comes out as it went in, and what is hostile does nothing.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use lightship_builder::bundle::{pack, unpack};
use lightship_builder::{BuildError, Cancel, Limits};
use tar::{EntryType, Header};

const SMALL: Limits = Limits {
    context_entries: 50,
    context_bytes: 64 * 1024,
    layer_bytes: 1 << 20,
    layers: 10,
    time: std::time::Duration::from_secs(60),
};

/// Raw entries, each exactly as it is asked for: libraries refuse to write what attackers would.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn entry(mut self, kind: EntryType, name: &[u8], link: &[u8], content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..name.len()].copy_from_slice(name);
        gnu.linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(kind);
        header.set_mode(0o4777);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, name.as_bytes(), b"", content)
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name.as_bytes(), target.as_bytes(), b"")
    }

    fn unpacked(&self, folder: &Path) -> Result<(), BuildError> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&self.0).unwrap();
        let bytes = gzip.finish().unwrap();
        unpack(bytes.as_slice(), folder, SMALL, &Cancel::default())
    }
}

/// The archive is refused, and nothing beside the folder was touched.
fn refused(archive: &Archive, why: &str) {
    let outer = tempfile::tempdir().unwrap();
    fs::write(outer.path().join("victim"), "as it was").unwrap();
    let folder = outer.path().join("a/b/project");
    fs::create_dir_all(&folder).unwrap();
    let error = archive.unpacked(&folder).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
    assert_eq!(fs::read(outer.path().join("victim")).unwrap(), b"as it was");
    let beside: Vec<_> = fs::read_dir(outer.path()).unwrap().flatten().collect();
    assert_eq!(beside.len(), 2, "{beside:?}");
    assert_eq!(fs::read_dir(outer.path().join("a")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(outer.path().join("a/b")).unwrap().count(), 1);
}

#[test]
fn a_project_comes_out_as_it_went_in() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let deep = format!("web/{}/{}", "a".repeat(100), "b".repeat(120));
    fs::create_dir_all(from.path().join(&deep)).unwrap();
    fs::create_dir_all(from.path().join(".git/objects")).unwrap();
    fs::write(from.path().join(".git/HEAD"), "history").unwrap();
    fs::write(from.path().join("compose.yaml"), "services: {}\n").unwrap();
    fs::write(from.path().join(".dockerignore"), "web\n").unwrap();
    fs::write(from.path().join(&deep).join("run"), "#!/bin/sh\n").unwrap();
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(from.path().join(&deep).join("run"), mode).unwrap();
    symlink("../compose.yaml", from.path().join("web/link")).unwrap();
    let mut packed = Vec::new();
    pack(from.path(), &mut packed, SMALL, &Cancel::default()).unwrap();
    let mut again = Vec::new();
    pack(from.path(), &mut again, SMALL, &Cancel::default()).unwrap();
    assert_eq!(packed, again, "the same bytes for the same files");
    unpack(packed.as_slice(), to.path(), SMALL, &Cancel::default()).unwrap();
    let run = to.path().join(&deep).join("run");
    assert_eq!(fs::read(&run).unwrap(), b"#!/bin/sh\n");
    assert_eq!(
        fs::metadata(&run).unwrap().permissions().mode() & 0o777,
        0o755
    );
    assert_eq!(
        fs::read(to.path().join("web/link")).unwrap(),
        b"services: {}\n"
    );
    assert!(to.path().join(".dockerignore").exists());
    assert!(!to.path().join(".git").exists(), "history is not sent");
}

#[test]
fn a_link_out_of_the_project_is_not_packed() {
    let from = tempfile::tempdir().unwrap();
    symlink("/etc/shadow", from.path().join("web")).unwrap();
    let error = pack(from.path(), Vec::new(), SMALL, &Cancel::default()).unwrap_err();
    assert!(
        error.to_string().contains("a link out of the project"),
        "{error}"
    );
}

#[test]
fn no_path_leads_out_of_the_folder() {
    for name in [
        "../victim",
        "a/../../victim",
        "/victim",
        "a//b",
        "a/./b",
        "..",
        "a/..",
    ] {
        refused(&Archive::default().file(name, b"mine"), "is not the name");
    }
    refused(
        &Archive::default().entry(EntryType::Regular, b"\xff\xfe", b"", b""),
        "is not UTF-8",
    );
    let long = Archive::default()
        .entry(
            EntryType::GNULongName,
            b"././@LongLink",
            b"",
            b"../../../victim\0",
        )
        .file("harmless", b"mine");
    refused(&long, "is not the name");
}

#[test]
fn no_link_leads_out_of_the_folder() {
    for (name, target) in [
        ("link", "/etc"),
        ("link", ".."),
        ("link", "../../../victim"),
        ("a/link", "../../victim"),
        ("link", ""),
    ] {
        refused(
            &Archive::default().link(name, target),
            "a link out of the project",
        );
    }
    // Each of the two looks harmless by itself.
    let pair = Archive::default()
        .entry(EntryType::Directory, b"a/b/c", b"", b"")
        .link("a/b/c/d", "../../..")
        .link("a/b/c/l", "d/../../victim");
    refused(&pair, "goes down and up again");
    let long = Archive::default()
        .entry(
            EntryType::GNULongLink,
            b"././@LongLink",
            b"",
            b"../victim\0",
        )
        .link("l", "harmless");
    refused(&long, "a link out of the project");
}

#[test]
fn nothing_is_written_through_a_link_or_over_what_is_there() {
    let through = Archive::default()
        .entry(EntryType::Directory, b"real", b"", b"")
        .link("door", "real")
        .file("door/file", b"mine");
    refused(&through, "is there twice, or below");
    let over = Archive::default()
        .link("file", "other")
        .file("file", b"mine");
    refused(&over, "is there twice, or below");
    let twice = Archive::default().file("file", b"1").file("file", b"2");
    refused(&twice, "is there twice, or below");
}

#[test]
fn what_is_no_file_folder_or_link_is_refused() {
    for kind in [
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::XHeader,
    ] {
        let archive = Archive::default().entry(kind, b"thing", b"/etc/shadow", b"");
        refused(&archive, "is no file, folder or symbolic link");
    }
}

#[test]
fn a_bomb_is_given_up_when_its_bound_is_reached() {
    refused(
        &Archive::default().file("big", &vec![0; 70_000]),
        "larger than is taken",
    );
    let many = (0..60).fold(Archive::default(), |archive, n| {
        archive.file(&format!("{n}"), b"")
    });
    refused(&many, "more than 50 files");
    let name = Archive::default().entry(EntryType::GNULongName, b"@", b"", &[b'a'; 5000]);
    refused(&name, "too long");
    let deep = vec!["d"; 70].join("/");
    let long = Archive::default()
        .entry(EntryType::GNULongName, b"@", b"", deep.as_bytes())
        .file("x", b"");
    refused(&long, "too deep");
    // A header that promises more than it keeps, and a stream of nothing but zeros that never ends.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_path("endless").unwrap();
    header.set_mode(0o644);
    header.set_size(u64::from(u32::MAX));
    header.set_cksum();
    gzip.write_all(header.as_bytes()).unwrap();
    for _ in 0..256 {
        gzip.write_all(&[0; 64 * 1024]).unwrap();
    }
    let bytes = gzip.finish().unwrap();
    assert!(
        bytes.len() < 64 * 1024,
        "sixteen megabytes in {} bytes",
        bytes.len()
    );
    let folder = tempfile::tempdir().unwrap();
    let error = unpack(bytes.as_slice(), folder.path(), SMALL, &Cancel::default()).unwrap_err();
    assert!(error.to_string().contains("is taken"), "{error}");
    let written = fs::metadata(folder.path().join("endless")).unwrap().len();
    assert!(written <= SMALL.context_bytes + 1, "{written}");
}

#[test]
fn what_is_no_archive_is_refused_and_a_cancelled_one_is_left() {
    let folder = tempfile::tempdir().unwrap();
    for bytes in [
        &b""[..],
        b"hello",
        &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3],
    ] {
        let outcome = unpack(bytes, folder.path(), SMALL, &Cancel::default());
        assert!(
            matches!(outcome, Err(BuildError::BadArchive(_))),
            "{outcome:?}"
        );
    }
    let cancel = Cancel::default();
    cancel.cancel();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&Archive::default().file("a", b"").0)
        .unwrap();
    let bytes = gzip.finish().unwrap();
    let outcome = unpack(bytes.as_slice(), folder.path(), SMALL, &cancel);
    assert!(matches!(outcome, Err(BuildError::Cancelled)), "{outcome:?}");
}
