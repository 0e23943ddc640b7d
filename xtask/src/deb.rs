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
    /// The systemd unit, by its name without a folder, that it enables and starts.
    pub(crate) unit: &'a str,
    /// What it installs.
    pub(crate) files: Vec<File<'a>>,
}

/// One installed file.
pub(crate) struct File<'a> {
    /// From the root, without a leading `/`.
    pub(crate) path: String,
    /// Permission bits.
    pub(crate) mode: u32,
    /// What is in it.
    pub(crate) bytes: &'a [u8],
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
        let scripts = [
            ("./control", 0o644, self.control()),
            ("./postinst", 0o755, self.after_installation()),
            ("./prerm", 0o755, self.before_removal()),
            ("./postrm", 0o755, self.after_removal()),
        ];
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
            archive::tar_entry(&mut tar, &path, file.mode, &Kind::File(file.bytes))?;
        }
        archive::tar_end(&mut tar);
        Ok(tar)
    }

    fn control(&self) -> String {
        let bytes: usize = self.files.iter().map(|file| file.bytes.len()).sum();
        format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: The Lightship authors\n\
             Installed-Size: {}\nSection: admin\nPriority: optional\nDescription: {}\n",
            self.name,
            self.version,
            self.architecture,
            bytes.div_ceil(1024),
            self.summary,
        )
    }

    /// After an upgrade the service is started anew: what it looks after keeps running meanwhile.
    fn after_installation(&self) -> String {
        format!(
            "#!/bin/sh\nset -e\nif [ \"$1\" = configure ] && [ -d /run/systemd/system ]; then\n    \
             systemctl daemon-reload\n    systemctl enable {unit}\n    systemctl restart {unit} || true\nfi\n",
            unit = self.unit
        )
    }

    fn before_removal(&self) -> String {
        format!(
            "#!/bin/sh\nset -e\nif [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then\n    \
             systemctl disable --now {unit}\nfi\n",
            unit = self.unit
        )
    }

    /// What the service keeps (who a device is, what it runs) stays, as its configuration does.
    fn after_removal(&self) -> String {
        "#!/bin/sh\nset -e\nif [ -d /run/systemd/system ]; then\n    systemctl daemon-reload\nfi\n"
            .to_owned()
    }
}

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
            unit: "example.service",
            files: vec![
                File {
                    path: "usr/bin/example".to_owned(),
                    mode: 0o755,
                    bytes: b"\x7fELF",
                },
                File {
                    path: "usr/lib/systemd/system/example.service".to_owned(),
                    mode: 0o644,
                    bytes: b"[Unit]\n",
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
