//! Commands of another processor's image, run by an emulator that the kernel knows of.
//!
//! The kernel is told in a user namespace of the test's own, so nothing else on the machine sees it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lightship_builder::engine::Engine;
use lightship_builder::{Cancel, Layout, Limits, Manifest, Platform};

use crate::daemon::{Daemon, Kind};
use crate::{Bench, INSIDE};

/// What emulates arm64.
const EMULATOR: &str = "/usr/bin/qemu-aarch64-static";
/// Where the kernel is told which program emulates what.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";
/// The beginning of a program for arm64: ELF, 64 bits, executable.
const RULE: &str = r":lightship-arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:F";

/// A program for arm64 that writes `arm64` into `/made`: there need be no compiler for it here.
const CODE: [u32; 13] = [
    0x9280_0c60, // movn x0, #99         AT_FDCWD
    0x1000_0181, // adr  x1, "/made"
    0xd280_4822, // movz x2, #0x241      O_WRONLY | O_CREAT | O_TRUNC
    0xd280_3483, // movz x3, #0o644
    0xd280_0708, // movz x8, #56         openat
    0xd400_0001, // svc  #0
    0x5000_0101, // adr  x1, "arm64\n"
    0xd280_00c2, // movz x2, #6
    0xd280_0808, // movz x8, #64         write
    0xd400_0001, // svc  #0
    0xd280_0000, // movz x0, #0
    0xd280_0ba8, // movz x8, #93         exit
    0xd400_0001, // svc  #0
];
/// What the code refers to, right after it.
const DATA: &[u8] = b"/made\0arm64\n";

/// The program as a file: an ELF header, one segment, the code.
fn program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let code = CODE.iter().flat_map(|word| word.to_le_bytes());
    let code: Vec<u8> = code.chain(DATA.iter().copied()).collect();
    let size = HEADERS + code.len() as u64;
    let eight = u64::to_le_bytes;
    [
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0",
        &[2, 0, 0xb7, 0, 1, 0, 0, 0][..], // executable, AArch64
        &eight(BASE + HEADERS),
        &eight(64), // segments
        &eight(0),  // no sections
        &[0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0, 5, 0, 0, 0], // loaded, to be read and executed
        &eight(0),
        &eight(BASE),
        &eight(BASE),
        &eight(size),
        &eight(size),
        &eight(0x1000),
        &code,
    ]
    .concat()
}

#[test]
fn docker_builds_for_another_processor_what_runs_commands() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    if let Some(why) = missing() {
        return eprintln!("SKIPPED: {why}");
    }
    let child =
        in_a_user_namespace("foreign::docker_builds_for_another_processor_what_runs_commands");
    let output = child.wait_with_output().unwrap();
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = shown(&output.stdout) + &shown(&output.stderr);
    assert!(output.status.success(), "{said}");
    if let Some((_, why)) = said.split_once("SKIPPED: ") {
        eprintln!("SKIPPED: {}", why.lines().next().unwrap_or_default());
    }
}

fn missing() -> Option<String> {
    if !Path::new(EMULATOR).exists() {
        return Some("qemu-user-static is not installed".to_owned());
    }
    Kind::Docker.missing()
}

/// This test again, as root of a user namespace that has every user of this one.
fn in_a_user_namespace(test: &str) -> Child {
    const SCRIPT: &str = "read -r _; exec unshare --net --mount --pid --cgroup --fork --kill-child --mount-proc \"$@\"";
    let mut child = Command::new("unshare")
        .args(["--user", "bash", "-c", SCRIPT, "bash"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/user")).ok();
    let process = child.id().to_string();
    let end = Instant::now() + Duration::from_secs(20);
    while of(&process) == of("self") {
        assert!(Instant::now() < end, "no user namespace came to be");
        std::thread::sleep(Duration::from_millis(5));
    }
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{process}/{map}"), "0 0 65536").unwrap();
    }
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    child
}

fn inside() {
    let run = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stderr(Stdio::null());
        command.status().unwrap().success()
    };
    assert!(run(&["ip", "link", "set", "lo", "up"]));
    // Kernels before 6.7 have one list for the whole machine, which a test leaves alone.
    if !run(&["mount", "-t", "binfmt_misc", "none", BINFMT]) {
        return eprintln!("SKIPPED: this kernel has no binfmt_misc for a user namespace");
    }
    fs::write(Path::new(BINFMT).join("register"), RULE).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(scenario());
}

async fn scenario() {
    let daemon = Daemon::start(Kind::Docker);
    let folder = daemon.folder.path().join("project");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("program"), program()).unwrap();
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.join("program"), mode).unwrap();
    let bench = Bench {
        engine: Engine::connect(&daemon.socket()).await.unwrap(),
        folder: &folder,
        layout: Layout::open(&daemon.folder.path().join("layout")).unwrap(),
    };
    let text = "FROM scratch\nCOPY program /program\nRUN [\"/program\"]\n";
    let platform = Platform::read("linux/arm64").unwrap();
    let (image, said) = bench
        .build_for(&platform, text, Limits::default(), &Cancel::default())
        .await;
    let image = image.unwrap_or_else(|error| panic!("{error}\n{said}\n{}", daemon.log()));
    assert_eq!(bench.files(&image)["made"], "arm64\n");
    let manifest: Manifest =
        serde_json::from_slice(&bench.layout.document(&image).unwrap()).unwrap();
    let config = bench.layout.document(&manifest.config).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["architecture"], "arm64");
}
