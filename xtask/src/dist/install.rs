//! Our packages in the hands of a real dpkg, in a root of their own: installed, upgraded, removed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ARCHITECTURES, PRODUCTS, Product, pack};
use crate::deb::File;
use crate::{process, workspace};

/// A file system with a shell, a database of packages, and a `systemctl` that writes down what it is told.
struct Root(PathBuf);

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const SYSTEMCTL: &str = "#!/bin/sh\necho \"$@\" >> /systemctl\n";

impl Root {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("lightship-root-{}", std::process::id()));
        let root = Self(path);
        for folder in [
            "bin",
            "etc",
            "tmp",
            "run/systemd/system",
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "var/log",
        ] {
            fs::create_dir_all(root.0.join(folder)).expect("room for a root");
        }
        fs::copy("/bin/busybox", root.0.join("bin/busybox")).expect("busybox is there");
        symlink("busybox", root.0.join("bin/sh")).expect("a new name");
        let systemctl = root.0.join("bin/systemctl");
        fs::write(&systemctl, SYSTEMCTL).expect("a small file");
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).expect("our own file");
        fs::write(root.0.join("var/lib/dpkg/status"), "").expect("an empty file");
        root
    }

    fn dpkg(&self, words: &[&str]) -> String {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg("--root").arg(&self.0);
        // A root that small has not what dpkg wants to find beside itself.
        dpkg.args(["--force-bad-path", "--force-depends"])
            .args(words);
        process::output(dpkg).expect("dpkg does what it is told")
    }

    fn install(&self, product: &'static Product, version: &str) {
        let files = product.program.map(|program| File {
            path: format!("usr/bin/{}", program.name),
            mode: 0o755,
            bytes: version.as_bytes().to_vec(),
        });
        let files = files.into_iter().collect();
        let on = &ARCHITECTURES[0];
        let package = pack(&workspace::root(), on, product, version, files);
        let bytes = package
            .and_then(|package| package.write())
            .expect("a package");
        let path = self.0.join(format!("{}.deb", product.package));
        fs::write(&path, bytes).expect("room for a package");
        let path = path.display().to_string();
        self.dpkg(&["--install", &path]);
    }

    fn told_systemctl(&self) -> Vec<String> {
        let path = self.0.join("systemctl");
        let told = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        told.lines().map(str::to_owned).collect()
    }

    fn has(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }
}

fn missing() -> Option<&'static str> {
    let is_root = Command::new("id").arg("-u").output();
    if !is_root.is_ok_and(|output| output.stdout.trim_ascii() == b"0") {
        return Some("installing packages needs root");
    }
    if !Path::new("/bin/busybox").exists() {
        return Some("busybox-static is not installed");
    }
    (!process::is_installed("dpkg")).then_some("dpkg is not installed")
}

#[test]
fn packages_are_installed_upgraded_and_removed_by_dpkg() {
    if let Some(why) = missing() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let native = process::output({
        let mut dpkg = Command::new("dpkg");
        dpkg.arg("--print-architecture");
        dpkg
    });
    if native.expect("dpkg knows its architecture").trim() != ARCHITECTURES[0].name {
        eprintln!(
            "SKIPPED: the packages of this test are for {}",
            ARCHITECTURES[0].name
        );
        return;
    }
    let root = Root::new();
    for product in PRODUCTS {
        root.install(product, "1.0.0");
        let told = root.told_systemctl();
        let unit = product.unit.and_then(|path| path.rsplit('/').next());
        let expected: Vec<String> = unit.map_or_else(Vec::new, |unit| {
            vec![
                "daemon-reload".to_owned(),
                format!("enable {unit}"),
                format!("restart {unit}"),
            ]
        });
        assert_eq!(told, expected, "{}", product.package);
        if let Some(unit) = unit {
            assert!(root.has(&format!("usr/lib/systemd/system/{unit}")));
        }
        if let Some(program) = product.program {
            assert!(root.has(&format!("usr/bin/{}", program.name)));
        }
    }
    let configuration = root.0.join("etc/lightship");
    fs::create_dir_all(&configuration).expect("a folder");
    fs::write(configuration.join("device.toml"), "mine").expect("a small file");

    // An upgrade starts the daemon anew and does not stop it for longer than that: its unit kills the
    // daemon's process alone, so containers run on.
    let daemon = &PRODUCTS[0];
    root.install(daemon, "1.1.0");
    let told = root.told_systemctl();
    assert!(
        told.iter()
            .all(|words| !words.starts_with("stop") && !words.starts_with("disable")),
        "{told:?}"
    );
    assert!(
        told.contains(&"restart lightshipd.service".to_owned()),
        "{told:?}"
    );
    let program = fs::read(root.0.join("usr/bin/lightshipd")).expect("it is installed");
    assert_eq!(program, b"1.1.0");
    let unit = root.0.join("usr/lib/systemd/system/lightshipd.service");
    let unit = fs::read_to_string(unit).expect("it is installed");
    for line in [
        "KillMode=process",
        "Type=notify",
        "RuntimeDirectoryPreserve=yes",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }

    for product in PRODUCTS.iter().rev() {
        root.dpkg(&["--remove", product.package]);
    }
    let told = root.told_systemctl();
    assert!(
        told.contains(&"disable --now lightshipd.service".to_owned()),
        "{told:?}"
    );
    assert!(
        !root.has("usr/bin/lightshipd") && !root.has("usr/lib/systemd/system/lightshipd.service")
    );
    assert!(
        root.has("etc/lightship/device.toml"),
        "what is not the package's stays"
    );
}
