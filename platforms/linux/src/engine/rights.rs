//! What a spec may have only where the device's owner allows it: whatever makes a container the host's master.
//!
//! A publisher's signature says that a spec is the publisher's, not that each device wants to be owned by it.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;

use lightship_spec::container::{ContainerSpec, Device, Security};

use super::Error;
use super::runtime::{Capabilities, DeviceRule};

/// Refuses what goes beyond Docker's default where the device does not allow it, and devices that are none.
pub(crate) fn check_rights(spec: &ContainerSpec, is_allowed: bool) -> Result<(), Error> {
    let mighty = mighty(&spec.security)?;
    let refuse = |field: &str, what: &str| {
        let why = format!("{what} needs `allow_privileged` in the device's configuration");
        Err(Error::refused(field, why))
    };
    if let (Some(what), false) = (mighty, is_allowed) {
        return refuse("security", what);
    }
    for device in &spec.devices {
        if is_mighty_device(device)? && !is_allowed {
            return refuse("devices", &device.host);
        }
    }
    for text in &spec.device_rules {
        let wrong = |why| Error::refused("device_rules", why);
        let rule = text.parse::<DeviceRule>().map_err(wrong)?;
        if is_mighty_rule(&rule) && !is_allowed {
            return refuse("device_rules", &format!("`{text}`"));
        }
    }
    Ok(())
}

/// Refuses to mount what the device does not allow, and its own folders whatever it allows: keys are in them.
///
/// What counts is where a path leads, not how it is spelt.
pub(crate) fn check_bind(source: &str, allowed: &[PathBuf], own: &[PathBuf]) -> Result<(), Error> {
    let refused = |why: String| Err(Error::refused("mounts.source", why));
    let real = match fs::canonicalize(source) {
        Ok(real) => real,
        Err(error) => return refused(format!("{source}: {error}")),
    };
    let real_of = |path: &PathBuf| fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    if !allowed
        .iter()
        .any(|allowed| real.starts_with(real_of(allowed)))
    {
        let why =
            "is not among the paths that this device allows: `allowed_binds` in its configuration";
        return refused(format!("{source} {why}"));
    }
    let meets = |own: PathBuf| real.starts_with(&own) || own.starts_with(&real);
    if own.iter().map(real_of).any(meets) {
        return refused(format!("{source} holds what is lightshipd's own"));
    }
    Ok(())
}

/// The first thing asked for that goes beyond Docker's default, in Compose's words.
fn mighty(security: &Security) -> Result<Option<&'static str>, Error> {
    let beyond = !Capabilities::of(&Security::default())?.covers(Capabilities::of(security)?);
    let all = [
        (security.privileged, "`privileged`"),
        (security.host_pid, "`pid: host`"),
        (security.host_ipc, "`ipc: host`"),
        (security.seccomp_unconfined, "`seccomp=unconfined`"),
        (beyond, "a capability beyond Docker's default"),
    ];
    Ok(all
        .into_iter()
        .find_map(|(asked, what)| asked.then_some(what)))
}

/// Whether it, or one in it where it is a folder, opens the host's disks or memory.
fn is_mighty_device(device: &Device) -> Result<bool, Error> {
    let refused = |why: String| Error::refused("devices", why);
    let unseen = |error: std::io::Error| refused(format!("{}: {error}", device.host));
    let metadata = fs::metadata(&device.host).map_err(unseen)?;
    let mut all = Vec::new();
    if metadata.is_dir() {
        for entry in fs::read_dir(&device.host).map_err(unseen)? {
            let entry = entry.and_then(|entry| entry.metadata());
            all.push(entry.map_err(unseen)?);
        }
    } else if is_device(&metadata) {
        all.push(metadata);
    } else {
        return Err(refused(format!("{} is no device", device.host)));
    }
    Ok(all.iter().filter(|one| is_device(one)).any(|one| {
        let number = one.rdev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        one.file_type().is_block_device() || is_mighty_node(Some(major), Some(minor))
    }))
}

fn is_device(metadata: &fs::Metadata) -> bool {
    let kind = metadata.file_type();
    kind.is_char_device() || kind.is_block_device()
}

fn is_mighty_rule(rule: &DeviceRule) -> bool {
    !rule.is_of_characters() || is_mighty_node(rule.major, rule.minor)
}

/// Whether these numbers of character devices, of which an absent one is any, take in one that opens disks or memory:
/// `mem`, `kmem`, `port`, SCSI's own way to disks, the device mapper (Linux's `Documentation/admin-guide/devices.txt`).
fn is_mighty_node(major: Option<u32>, minor: Option<u32>) -> bool {
    const NODES: [(u32, Option<u32>); 5] = [
        (1, Some(1)),
        (1, Some(2)),
        (1, Some(4)),
        (21, None),
        (10, Some(236)),
    ];
    let meets = |one: Option<u32>, other: Option<u32>| {
        one.zip(other).is_none_or(|(one, other)| one == other)
    };
    let mut nodes = NODES.iter();
    nodes.any(|(its_major, its_minor)| meets(major, Some(*its_major)) && meets(minor, *its_minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rest: &str, is_allowed: bool) -> Result<(), String> {
        let text = format!(r#"{{"version":1,"application":"a","image":"x.example/web"{rest}}}"#);
        let spec = ContainerSpec::decode(text.as_bytes()).unwrap();
        check_rights(&spec, is_allowed).map_err(|error| error.to_string())
    }

    #[test]
    fn what_makes_a_container_the_hosts_master_needs_to_be_allowed() {
        for rest in [
            r#","security":{"privileged":true}"#,
            r#","security":{"host_pid":true}"#,
            r#","security":{"host_ipc":true}"#,
            r#","security":{"seccomp_unconfined":true}"#,
            r#","security":{"cap_add":["SYS_ADMIN"]}"#,
            r#","device_rules":["a *:* rwm"]"#,
            r#","device_rules":["b 8:* r"]"#,
            r#","device_rules":["c *:* rwm"]"#,
            r#","device_rules":["c 1:* r"]"#,
            r#","device_rules":["c 10:236 rw"]"#,
        ] {
            let why = check(rest, false).unwrap_err();
            assert!(why.contains("`allow_privileged`"), "{rest}: {why}");
            assert_eq!(check(rest, true), Ok(()), "{rest}");
        }
    }

    #[test]
    fn what_boards_are_for_needs_no_more() {
        for rest in [
            "",
            r#","security":{"no_new_privileges":true,"cap_drop":["ALL"],"host_uts":true}"#,
            r#","devices":[{"host":"/dev/null","container":"/dev/other"}]"#,
            r#","device_rules":["c 188:* rwm","c 10:229 rwm","c 1:3 rwm"]"#,
        ] {
            assert_eq!(check(rest, false), Ok(()), "{rest}");
        }
    }

    #[test]
    fn a_file_of_the_host_is_no_device_whatever_is_allowed() {
        for (host, why) in [
            ("/etc/passwd", "is no device"),
            ("/dev/absent", "No such file"),
        ] {
            let rest = format!(r#","devices":[{{"host":"{host}","container":"/dev/x"}}]"#);
            for is_allowed in [false, true] {
                let said = check(&rest, is_allowed).unwrap_err();
                assert!(said.contains(why) && said.contains(host), "{said}");
            }
        }
    }

    #[test]
    fn the_daemons_own_folders_are_mounted_nowhere_whatever_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["data/agent", "music", "link"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        std::os::unix::fs::symlink(path("data"), path("link/away")).unwrap();
        let (allowed, own) = ([folder.path().to_owned()], [path("data")]);
        let check = |name: &str| {
            let source = path(name).display().to_string();
            check_bind(&source, &allowed, &own).map_err(|error| error.to_string())
        };
        assert_eq!(check("music"), Ok(()));
        for name in ["", "data", "data/agent", "link/away", "link/away/agent"] {
            assert!(check(name).unwrap_err().contains("own"), "{name}");
        }
        assert!(check("absent").unwrap_err().contains("No such file"));
        let outside = check_bind("/etc", &allowed, &own).unwrap_err().to_string();
        assert!(outside.contains("`allowed_binds`"), "{outside}");
    }

    #[test]
    fn a_folder_that_holds_a_disk_or_the_memory_is_mighty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let rest = format!(r#","devices":[{{"host":"{path}","container":"/dev/x"}}]"#);
        assert_eq!(check(&rest, false), Ok(()));
        let node = folder.path().join("mem");
        let kind = rustix::fs::FileType::CharacterDevice;
        let number = rustix::fs::makedev(1, 1);
        let made = rustix::fs::mknodat(rustix::fs::CWD, &node, kind, 0o600.into(), number);
        if made.is_err() {
            eprintln!("SKIPPED: making a device node needs root");
            return;
        }
        assert!(
            check(&rest, false)
                .unwrap_err()
                .contains("allow_privileged")
        );
    }
}
