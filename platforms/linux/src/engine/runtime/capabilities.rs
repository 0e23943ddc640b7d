//! Which capabilities a container has: Docker's default ones, plus and minus what the spec says.

use lightship_spec::container::Security;
use rustix::thread::CapabilitySet;

use crate::engine::Error;

/// By the kernel's numbers (linux/capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What Docker gives a container that asks for nothing.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A set of capabilities, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities(u64);

impl Capabilities {
    /// What a spec asks for.
    pub(crate) fn of(security: &Security) -> Result<Self, Error> {
        if security.privileged {
            return Ok(Self::all());
        }
        let mut set = DEFAULT
            .iter()
            .filter_map(|name| bit(name))
            .fold(0, |set, bit| set | bit);
        if security.cap_drop.iter().any(|name| name == "ALL") {
            set = 0;
        }
        if security.cap_add.iter().any(|name| name == "ALL") {
            set = Self::all().0;
        }
        for name in security.cap_add.iter().filter(|name| *name != "ALL") {
            set |= known("security.cap_add", name)?;
        }
        for name in security.cap_drop.iter().filter(|name| *name != "ALL") {
            set &= !known("security.cap_drop", name)?;
        }
        Ok(Self(set))
    }

    fn all() -> Self {
        Self((1 << NAMES.len()) - 1)
    }

    /// Whether a capability is in the set.
    pub(crate) fn has(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.0 & bit != 0)
    }

    /// Whether every capability of another set is in this one.
    pub(crate) fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// As the kernel takes it.
    pub(crate) fn set(self) -> CapabilitySet {
        CapabilitySet::from_bits_retain(self.0)
    }

    /// Every capability that the kernel may know and this set lacks, one at a time.
    pub(crate) fn lacking(self) -> impl Iterator<Item = CapabilitySet> {
        let kernel = 0..63_u32;
        let absent = kernel
            .map(|number| 1_u64 << number)
            .filter(move |bit| self.0 & bit == 0);
        absent.map(CapabilitySet::from_bits_retain)
    }
}

fn bit(name: &str) -> Option<u64> {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    NAMES
        .iter()
        .position(|known| *known == name)
        .map(|number| 1 << number)
}

fn known(field: &str, name: &str) -> Result<u64, Error> {
    bit(name)
        .ok_or_else(|| Error::refused(field, format!("`{name}` is no capability that Linux has")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(add: &[&str], drop: &[&str]) -> Capabilities {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Capabilities::of(&Security {
            cap_add: names(add),
            cap_drop: names(drop),
            ..Security::default()
        })
        .unwrap()
    }

    #[test]
    fn the_default_is_dockers() {
        // The mask that `docker run alpine grep Cap /proc/1/status` shows.
        assert_eq!(of(&[], &[]).0, 0x0000_0000_a804_25fb);
    }

    #[test]
    fn all_and_single_ones_are_added_and_dropped() {
        assert_eq!(of(&["NET_ADMIN"], &["ALL"]).0, 1 << 12);
        assert!(!of(&["ALL"], &["SYS_ADMIN"]).has("SYS_ADMIN"));
        assert!(of(&["CAP_SYS_TIME"], &[]).has("SYS_TIME"));
        let unknown = Security {
            cap_add: ["FLY".to_owned()].into(),
            ..Security::default()
        };
        assert!(
            Capabilities::of(&unknown)
                .unwrap_err()
                .to_string()
                .contains("`FLY`")
        );
    }
}
