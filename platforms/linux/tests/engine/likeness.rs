//! What a container may do, beside what it may under Docker: the same program on the same kernel, in both.
//!
//! The program makes every system call (`tests/probe/calls.rs`); it is built here, as one static file.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptionsBuilder, LogsOptionsBuilder, StartContainerOptions,
    WaitContainerOptions,
};
use futures_util::TryStreamExt as _;

use crate::apart::apart;
use crate::daemon::{Daemon, Kind};
use crate::device::{Device, on_device};

const IMAGE: &str = "lightship-likeness";
const EPERM: &str = "1";
const ENOSYS: &str = "38";

/// The lines of `/proc/PID/status` that say what a process may do.
const STATUS: &str = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";

/// Calls that a container without a word in its spec is refused, whatever engine is beside.
const REFUSED: &str = "acct add_key bpf clock_settime delete_module finit_module fsconfig fsmount fsopen \
    fspick init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load \
    kexec_load keyctl lookup_dcookie mount mount_setattr move_mount open_by_handle_at open_tree \
    perf_event_open pivot_root process_madvise quotactl quotactl_fd reboot request_key setdomainname sethostname \
    setns settimeofday swapoff swapon syslog umount2 unshare userfaultfd vhangup";

/// Calls that no program can do without, or that Docker allows though they look like more.
const ALLOWED: &str = "chroot mknodat ptrace process_vm_readv seccomp landlock_create_ruleset openat2 statx \
    memfd_create setresuid capset clock_adjtime name_to_handle_at";

/// A container, as a spec of ours says it and as Docker's API does.
struct Case {
    name: &'static str,
    spec: &'static str,
    add: &'static [&'static str],
    drop: &'static [&'static str],
    options: &'static [&'static str],
    user: &'static str,
}

const CASES: [Case; 4] = [
    Case {
        name: "an ordinary container",
        spec: "",
        add: &[],
        drop: &[],
        options: &[],
        user: "",
    },
    Case {
        name: "with capabilities that open calls",
        spec: r#","security":{"cap_add":["SYS_ADMIN","SYS_PTRACE","NET_ADMIN"]}"#,
        add: &["SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN"],
        drop: &[],
        options: &[],
        user: "",
    },
    Case {
        name: "with no capability at all",
        spec: r#","security":{"cap_drop":["ALL"],"no_new_privileges":true}"#,
        add: &[],
        drop: &["ALL"],
        options: &["no-new-privileges"],
        user: "",
    },
    Case {
        name: "of an ordinary user",
        spec: r#","user":"1000:1000""#,
        add: &[],
        drop: &[],
        options: &[],
        user: "1000:1000",
    },
];

/// What a container was found to be and to may: a line of its status or a call, and what is said of it.
type Found = BTreeMap<String, String>;

/// Builds the program into this folder, or says why it cannot be.
fn build(folder: &Path) -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe/calls.rs");
    // A container's ordinary user reads it too.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder, open).map_err(|error| error.to_string())?;
    let program = folder.join("calls");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--edition", "2024", "-O", "-C", "panic=abort"]);
    command.args(["-C", "target-feature=+crt-static", "-C", "strip=symbols"]);
    let output = command.arg("-o").arg(&program).arg(source).output();
    let output = output.map_err(|error| format!("rustc does not start: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(program).ok_or(said)
}

/// The name of a call of this machine.
fn name(number: &str) -> String {
    let number: Option<usize> = number.parse().ok();
    #[cfg(target_arch = "x86_64")]
    let known = number.and_then(syscalls::x86_64::Sysno::new);
    #[cfg(target_arch = "aarch64")]
    let known = number.and_then(syscalls::aarch64::Sysno::new);
    // The program is not built for others.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let known = number.and_then(syscalls::arm::Sysno::new);
    known.map_or_else(String::new, |known| known.name().to_owned())
}

fn read(said: &str) -> Found {
    let lines = said.lines().filter_map(|line| {
        let (what, result) = line.trim_end().split_once([' ', '\t'])?;
        let named = match what.parse::<u32>() {
            Ok(_) => name(what),
            Err(_) => what.to_owned(),
        };
        // A number without a name is a call that no kernel has had.
        (!named.is_empty()).then(|| (named, result.trim().to_owned()))
    });
    lines.collect()
}

/// On our engine.
async fn here(device: &Device, program: &Path, case: &Case) -> Found {
    let source = program.parent().unwrap().display();
    let mounts = format!(
        r#","mounts":[{{"type":"bind","source":"{source}","target":"/probe","read_only":true}}]"#
    );
    let line = format!("{STATUS}; /probe/calls");
    read(&device.say(&line, &format!("{mounts}{}", case.spec)).await)
}

/// A device that may mount the program, and run what asks for much.
fn lend(device: &mut Device, folder: &Path) {
    device.allowances.binds.push(folder.to_owned());
    device.allowances.privileged = true;
    device.restart_daemon();
}

#[test]
fn an_ordinary_container_is_refused_what_is_not_for_it_and_nothing_else() {
    on_device(async |mut device| {
        let folder = tempfile::tempdir().unwrap();
        let program = match build(folder.path()) {
            Ok(program) => program,
            Err(why) => {
                eprintln!("SKIPPED: no static program can be built here: {why}");
                return;
            }
        };
        lend(&mut device, folder.path());
        let found = here(&device, &program, &CASES[0]).await;
        assert!(found.len() > 350, "{found:?}");
        // What this machine has no call for is not in the list.
        let of = |call: &str| found.get(call).map(String::as_str);
        let judged = |calls: &'static str| {
            let calls = calls.split_whitespace();
            calls.filter_map(|call| of(call).map(|result| (call, result)))
        };
        let open: Vec<_> = judged(REFUSED)
            .filter(|(_, result)| *result != EPERM)
            .collect();
        assert_eq!(open, [], "calls that should be refused");
        let closed: Vec<_> = judged(ALLOWED)
            .filter(|(_, result)| *result == EPERM)
            .collect();
        assert_eq!(closed, [], "calls that should be allowed");
        assert_eq!(
            of("clone3"),
            Some(ENOSYS),
            "so that the C library falls back"
        );
        for (what, result) in [
            ("clone-newuser", EPERM),
            ("clone-newns", EPERM),
            ("unshare-newuser", EPERM),
            ("socket-vsock", EPERM),
            ("personality-read-implies-exec", EPERM),
            ("socket-packet", "0"),
            ("socket-netlink", "0"),
            ("socket-inet", "0"),
            ("personality-linux", "0"),
            ("ptrace-traceme", "0"),
        ] {
            assert_eq!(of(what), Some(result), "{what}");
        }
    });
}

#[test]
fn a_container_is_and_may_what_it_is_and_may_under_docker() {
    let test = "likeness::a_container_is_and_may_what_it_is_and_may_under_docker";
    apart(test, Kind::Docker, beside_docker);
}

fn beside_docker() {
    let folder = tempfile::tempdir().unwrap();
    let program = match build(folder.path()) {
        Ok(program) => program,
        Err(why) => {
            eprintln!("SKIPPED: no static program can be built here: {why}");
            return;
        }
    };
    let theirs = under_docker(&program);
    let (told, heard) = std::sync::mpsc::channel();
    let at = folder.path().to_owned();
    on_device(async move |mut device| {
        lend(&mut device, &at);
        for case in &CASES {
            told.send(here(&device, &program, case).await).unwrap();
        }
    });
    let ours: Vec<Found> = heard.iter().collect();
    if ours.is_empty() {
        // What is missing was said.
        return;
    }
    let mut different = Vec::new();
    for ((case, ours), (theirs, version)) in CASES.iter().zip(&ours).zip(&theirs) {
        assert!(
            ours.len() > 350 && ours.len() == theirs.len(),
            "{ours:?}\n{theirs:?}"
        );
        for (what, here) in ours {
            let there = &theirs[what];
            if here != there && !is_explained(what, here, there, *version) {
                different.push(format!("{}: {what}: {here} here, {there} there", case.name));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Calls that Docker's profile of version 25, which ours is, treats otherwise than an older one, or that an older
/// Docker's library does not know.
const NEWER: &str = "cachestat fchmodat2 io_uring_enter io_uring_register io_uring_setup name_to_handle_at pkey_alloc \
    pkey_free pkey_mprotect process_vm_readv process_vm_writev set_mempolicy_home_node socket-vsock";

/// Whether it is known why there is a difference to this Docker.
fn is_explained(what: &str, here: &str, there: &str, version: u32) -> bool {
    // Of 64 ones given to it, our filter looks at the 32 that the kernel looks at, which ask and change nothing.
    let is_question = what == "personality" && (here, there) == ("0", EPERM);
    is_question || version < 25 && NEWER.split_whitespace().any(|newer| newer == what)
}

/// What Docker's containers are and may, and which Docker it is.
fn under_docker(program: &Path) -> Vec<(Found, u32)> {
    let daemon = Daemon::start(Kind::Docker);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let path = daemon.socket().display().to_string();
        let docker = Docker::connect_with_unix(&path, 60, bollard::API_DEFAULT_VERSION).unwrap();
        let docker = docker.negotiate_version().await.unwrap();
        let version = docker.version().await.unwrap().version.unwrap();
        let major = version.split('.').next().unwrap().parse().unwrap();
        import(&docker, program).await;
        let mut all = Vec::new();
        for case in &CASES {
            all.push((read(&there(&docker, case).await), major));
        }
        all
    })
}

/// Busybox and the program in an image.
async fn import(docker: &Docker, program: &Path) {
    let mut layer = tar::Builder::new(Vec::new());
    for folder in ["bin", "probe"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        layer
            .append_data(&mut header, folder, std::io::empty())
            .unwrap();
    }
    for (file, name) in [
        (Path::new("/bin/busybox"), "bin/sh"),
        (Path::new("/bin/busybox"), "bin/grep"),
        (program, "probe/calls"),
    ] {
        layer.append_path_with_name(file, name).unwrap();
    }
    let layer = layer.into_inner().unwrap();
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(IMAGE)
        .tag("latest")
        .build();
    let imported = docker.create_image(Some(options), Some(bollard::body_full(layer.into())), None);
    imported.try_collect::<Vec<_>>().await.unwrap();
}

/// What a container of Docker's says to its end.
async fn there(docker: &Docker, case: &Case) -> String {
    let all = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        (!words.is_empty()).then_some(words)
    };
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        cmd: all(&["/bin/sh", "-c", &format!("{STATUS}; /probe/calls")]),
        user: Some(case.user.to_owned()),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            cap_add: all(case.add),
            cap_drop: all(case.drop),
            security_opt: all(case.options),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let made = docker.create_container(None::<CreateContainerOptions>, body);
    let id = made.await.unwrap().id;
    let started = docker.start_container(&id, None::<StartContainerOptions>);
    started.await.unwrap();
    let ended = docker.wait_container(&id, None::<WaitContainerOptions>);
    ended.try_collect::<Vec<_>>().await.unwrap();
    let options = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .build();
    let said: Vec<_> = docker.logs(&id, Some(options)).try_collect().await.unwrap();
    said.iter().map(ToString::to_string).collect()
}
