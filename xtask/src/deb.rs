//! A Debian package (deb(5)): control data and files, each a compressed tar, in an ar archive.

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::archive::{self, Kind};

/// A package to be written.
pub(crate) struct Package<'a> {
    /// Its name in Debian.
    pub(crate) name: &'a str,
    /// As Debian compares versions.
    pub(crate) version: &'a str,
    /// `amd64`, `arm64` or `armhf`.
    pub(crate) architecture: &'a str,
    /// One line.
    pub(crate) summary: &'a str,
    /// A package of the same version that this one cannot do without.
    pub(crate) needs: Option<&'a str>,
    /// The systemd unit, by its name without a folder, that it enables and starts.
    pub(crate) unit: Option<&'a str>,
    /// What it installs.
    pub(crate) files: Vec<File>,
}

/// One installed file.
pub(crate) struct File {
    /// From the root, without a leading `/`.
    pub(crate) path: String,
    /// Permission bits.
    pub(crate) mode: u32,
    /// What is in it.
    pub(crate) bytes: Vec<u8>,
}

impl Package<'_> {
    /// The bytes of the `.deb` file.
    pub(crate) fn write(&self) -> Result<Vec<u8>> {
        let control = self.control_files()?;
        let data = self.data_files()?;
        Ok(archive::ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar.gz", &compressed(&control)?),
            ("data.tar.gz", &compressed(&data)?),
        ]))
    }

    fn control_files(&self) -> Result<Vec<u8>> {
        let mut scripts = vec![("./control", 0o644, self.control())];
        if let Some(unit) = self.unit {
            scripts.push(("./postinst", 0o755, after_installation(unit)));
            scripts.push(("./prerm", 0o755, before_removal(unit)));
            scripts.push(("./postrm", 0o755, AFTER_REMOVAL.to_owned()));
        }
        let mut tar = Vec::new();
        archive::tar_entry(&mut tar, "./", 0o755, &Kind::Folder)?;
        for (path, mode, text) in scripts {
            archive::tar_entry(&mut tar, path, mode, &Kind::File(text.as_bytes()))?;
        }
        archive::tar_end(&mut tar);
        Ok(tar)
    }

    fn data_files(&self) -> Result<Vec<u8>> {
        let mut folders = BTreeSet::from(["./".to_owned()]);
        for file in &self.files {
            let ends = file.path.match_indices('/').map(|(at, _)| at);
            folders.extend(ends.map(|end| format!("./{}/", &file.path[..end])));
        }
        let mut tar = Vec::new();
        // A folder sorts before what is in it.
        for folder in &folders {
            archive::tar_entry(&mut tar, folder, 0o755, &Kind::Folder)?;
        }
        for file in &self.files {
            let path = format!("./{}", file.path);
            archive::tar_entry(&mut tar, &path, file.mode, &Kind::File(&file.bytes))?;
        }
        archive::tar_end(&mut tar);
        Ok(tar)
    }

    fn control(&self) -> String {
        let Self {
            name,
            version,
            architecture,
            summary,
            ..
        } = self;
        let bytes: usize = self.files.iter().map(|file| file.bytes.len()).sum();
        let size = bytes.div_ceil(1024);
        let needs = self
            .needs
            .map(|needs| format!("Depends: {needs} (= {version})\n"));
        let needs = needs.unwrap_or_default();
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n\
             Maintainer: The Lightship authors\nInstalled-Size: {size}\n{needs}\
             Section: admin\nPriority: optional\nDescription: {summary}\n"
        )
    }
}

/// After an upgrade the service is started anew: what it looks after keeps running meanwhile.
fn after_installation(unit: &str) -> String {
    format!(
        "#!/bin/sh
set -e
if [ \"$1\" = configure ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable {unit}
    # Installed but not configured is no failure of the installation.
    systemctl restart {unit} || true
fi
"
    )
}

fn before_removal(unit: &str) -> String {
    format!(
        "#!/bin/sh
set -e
if [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now {unit}
fi
"
    )
}

/// What a service keeps (who a device is, what it runs) stays, as its configuration does.
const AFTER_REMOVAL: &str = "#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
";

fn compressed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::process;

    fn package() -> Package<'static> {
        Package {
            name: "lightship-example",
            version: "1.2.3",
            architecture: "arm64",
            summary: "An example",
            needs: Some("lightship"),
            unit: Some("example.service"),
            files: vec![
                File {
                    path: "usr/bin/example".to_owned(),
                    mode: 0o755,
                    bytes: b"\x7fELF".to_vec(),
                },
                File {
                    path: "usr/lib/systemd/system/example.service".to_owned(),
                    mode: 0o644,
                    bytes: b"[Unit]\n".to_vec(),
                },
            ],
        }
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let bytes = package().write().expect("a small package");
        assert_eq!(bytes, package().write().expect("a small package"));
        assert!(bytes.starts_with(b"!<arch>\ndebian-binary"));
    }

    #[test]
    fn dpkg_reads_what_was_written() {
        if !process::is_installed("dpkg-deb") {
            eprintln!("SKIPPED: dpkg-deb is not installed");
            return;
        }
        let path = std::env::temp_dir().join(format!("lightship-{}.deb", std::process::id()));
        std::fs::write(&path, package().write().expect("a small package")).expect("room");
        let ask = |question: &str| {
            let mut dpkg = Command::new("dpkg-deb");
            dpkg.arg(question).arg(&path);
            process::output(dpkg).expect("dpkg understands the package")
        };
        let fields = ask("--field");
        let contents = ask("--contents");
        std::fs::remove_file(&path).expect("the package was written");
        assert!(fields.contains("Package: lightship-example\n"), "{fields}");
        assert!(fields.contains("Architecture: arm64\n"), "{fields}");
        assert!(
            fields.contains("Depends: lightship (= 1.2.3)\n"),
            "{fields}"
        );
        let program = contents
            .lines()
            .find(|line| line.ends_with("./usr/bin/example"));
        assert!(
            program.is_some_and(|line| line.starts_with("-rwxr-xr-x root/root")),
            "{contents}"
        );
        assert!(
            contents.contains("./usr/lib/systemd/system/example.service"),
            "{contents}"
        );
    }
}
