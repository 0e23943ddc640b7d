//! A virtual machine with Debian's cloud kernel, which runs some of the tests of the program that this is part of.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::support::{is_there, skip};

const MARK: &str = "LIGHTSHIP_TEST_MACHINE";
const PASSED: &str = "the test passed in the machine";
const FAILED: &str = "the test failed in the machine";

/// In the order in which they can be loaded.
const MODULES: [&str; 11] = [
    "lib/crypto/libchacha",
    "lib/crypto/libpoly1305",
    "lib/crypto/libcurve25519-generic",
    "arch/x86/crypto/chacha-x86_64",
    "arch/x86/crypto/poly1305-x86_64",
    "lib/crypto/libchacha20poly1305",
    "arch/x86/crypto/curve25519-x86_64",
    "net/ipv4/udp_tunnel",
    "net/ipv6/ip6_udp_tunnel",
    "drivers/net/wireguard/wireguard",
    "drivers/net/tun",
];

pub(crate) fn is_inside() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Runs the test `name` in a machine; skips it where there is none to be had.
#[allow(dead_code, reason = "some run more than one")]
pub(crate) fn run(name: &str) {
    run_all(&format!("--exact {name}"), 512);
}

/// Runs the tests that these words select in a machine with so many megabytes; skips them where there is none to be had.
pub(crate) fn run_all(words: &str, megabytes: u32) {
    for tool in ["qemu-system-x86_64", "busybox", "cpio"] {
        if !is_there(tool) {
            return skip(&format!("there is no `{tool}` here"));
        }
    }
    let Some((kernel, modules)) = cloud_kernel() else {
        return skip("Debian's cloud kernel is not installed");
    };
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path(), &modules, words);
    let log = boot(&kernel, &archive, folder.path(), megabytes);
    assert!(log.contains(PASSED), "{log}");
    for line in log.lines().filter(|line| line.starts_with("test ")) {
        println!("in the machine: {line}");
    }
}

fn cloud_kernel() -> Option<(PathBuf, PathBuf)> {
    let names = fs::read_dir("/boot")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut versions: Vec<_> = names
        .filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned))
        .filter(|version| version.ends_with("-cloud-amd64"))
        .collect();
    versions.sort();
    let version = versions.pop()?;
    let modules = Path::new("/lib/modules").join(&version).join("kernel");
    modules
        .exists()
        .then(|| (format!("/boot/vmlinuz-{version}").into(), modules))
}

/// The machine's file system: this test, what it is linked with, busybox and the modules.
fn archive(folder: &Path, modules: &Path, words: &str) -> PathBuf {
    let root = folder.join("root");
    for below in [
        "bin",
        "lib/modules",
        "proc",
        "sys",
        "dev",
        "run",
        "tmp",
        "var",
    ] {
        fs::create_dir_all(root.join(below)).unwrap();
    }
    std::os::unix::fs::symlink("/run", root.join("var/run")).unwrap();
    let test = std::env::current_exe().unwrap();
    fs::copy(&test, root.join("bin/test")).unwrap();
    for library in libraries(&test) {
        let target = root.join(library.strip_prefix("/").unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&library, target).unwrap();
    }
    fs::copy(busybox(), root.join("bin/busybox")).unwrap();
    for applet in ["sh", "mount", "insmod", "poweroff", "ip"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let mut load = String::new();
    for module in MODULES {
        let file = modules.join(format!("{module}.ko"));
        let short = Path::new(module).file_name().unwrap().to_str().unwrap();
        if file.exists() {
            fs::copy(file, root.join(format!("lib/modules/{short}.ko"))).unwrap();
            load += &format!("insmod /lib/modules/{short}.ko\n");
        }
    }
    let init = format!(
        "#!/bin/sh\nexport PATH=/bin:/sbin:/usr/sbin {MARK}=1\n\
         mount -t proc proc /proc\nmount -t sysfs sys /sys\nmount -t devtmpfs dev /dev\n{load}\
         ip link set lo up\n\
         if test {words} --nocapture; then echo '{PASSED}'; else echo '{FAILED}'; fi\npoweroff -f\n"
    )
    .replace("if test ", "if /bin/test ");
    fs::write(root.join("init"), init).unwrap();
    Command::new("chmod")
        .args(["-R", "755"])
        .arg(&root)
        .status()
        .unwrap();
    pack(&root, folder)
}

fn pack(root: &Path, folder: &Path) -> PathBuf {
    let files = Command::new("find")
        .arg(".")
        .current_dir(root)
        .output()
        .unwrap()
        .stdout;
    let archive = folder.join("initramfs");
    let mut cpio = Command::new("cpio")
        .args(["--quiet", "-o", "-H", "newc"])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&archive).unwrap())
        .spawn()
        .unwrap();
    cpio.stdin.take().unwrap().write_all(&files).unwrap();
    assert!(cpio.wait().unwrap().success());
    archive
}

fn busybox() -> PathBuf {
    let places = ["/bin/busybox", "/usr/bin/busybox"];
    places
        .iter()
        .map(PathBuf::from)
        .find(|place| place.exists())
        .unwrap()
}

/// What the program needs to start, as the loader lists it.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg(program).output().unwrap().stdout;
    let text = String::from_utf8(listed).unwrap();
    text.split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// Boots, waits until it has powered itself off, and returns what it wrote to its console.
fn boot(kernel: &Path, archive: &Path, folder: &Path, megabytes: u32) -> String {
    let log = folder.join("console");
    let mut machine = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-m",
            &megabytes.to_string(),
            "-nographic",
            "-no-reboot",
            "-nic",
            "none",
        ])
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(archive)
        .stdin(Stdio::null())
        .stdout(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while machine.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(240) {
            machine.kill().unwrap();
            machine.wait().unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned()
}
