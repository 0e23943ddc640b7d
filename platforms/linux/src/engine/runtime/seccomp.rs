//! The system call filter of a container: what Docker's default profile lets through, compiled to
//! classic BPF here, without libseccomp.
//!
//! The program looks at the architecture first, because the same number means different calls on each:
//! a 64-bit ARM runs 32-bit programs, and x86-64 runs those of i386. Any other architecture is killed.

mod profile;

use std::collections::BTreeMap;

use super::capabilities::Capabilities;
use super::sys::Instruction;

/// Names of system calls to their numbers on one architecture.
type Table = fn(&str) -> Option<u32>;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    /// `EPERM`: as if the caller had no right to it.
    Deny,
    /// `ENOSYS`: as on a kernel that does not have it, so that callers use an older one.
    Unknown,
    /// `clone` that makes no namespace.
    CloneWithoutNamespaces,
    /// `socket` of any family but VSOCK.
    SocketButVsock,
    /// `personality` of an ordinary kind.
    OrdinaryPersonality,
}

// linux/audit.h
const ARCH_X86_64: u32 = 0xc000_003e;
const ARCH_I386: u32 = 0x4000_0003;
const ARCH_AARCH64: u32 = 0xc000_00b7;
const ARCH_ARM: u32 = 0x4000_0028;

// linux/seccomp.h and linux/bpf_common.h
const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_KILL: u32 = 0x8000_0000;
const LOAD: u16 = 0x20;
const JUMP_ALWAYS: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Where `struct seccomp_data` has them; the low half of the first argument on little-endian machines.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENT: u32 = 16;

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NAMESPACES: u32 = 0x7e02_0000;
const AF_VSOCK: u32 = 40;
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The filter for a container with these capabilities, on the machine that this was compiled for.
pub(crate) fn filter(capabilities: Capabilities) -> Vec<Instruction> {
    compile(capabilities, architectures(std::env::consts::ARCH))
}

fn compile(capabilities: Capabilities, architectures: &[(u32, Table)]) -> Vec<Instruction> {
    let mut program = vec![statement(LOAD, ARCH)];
    for (arch, table) in architectures {
        let rules = rules(capabilities, *table);
        let mut body = vec![statement(LOAD, NUMBER)];
        body.extend(search(&segments(&rules)));
        program.push(jump(JUMP_EQUAL, *arch, 1, 0));
        program.push(statement(JUMP_ALWAYS, body.len() as u32));
        program.extend(body);
    }
    program.push(statement(RETURN, RET_KILL));
    program
}

/// What runs on a machine: its own programs, and the 32-bit ones of its family.
fn architectures(machine: &str) -> &'static [(u32, Table)] {
    match machine {
        "x86_64" => &[(ARCH_X86_64, x86_64), (ARCH_I386, i386)],
        "x86" => &[(ARCH_I386, i386)],
        "aarch64" => &[(ARCH_AARCH64, aarch64), (ARCH_ARM, arm)],
        _ => &[(ARCH_ARM, arm)],
    }
}

fn x86_64(name: &str) -> Option<u32> {
    name.parse::<syscalls::x86_64::Sysno>()
        .ok()
        .map(|number| number.id() as u32)
}

fn i386(name: &str) -> Option<u32> {
    name.parse::<syscalls::x86::Sysno>()
        .ok()
        .map(|number| number.id() as u32)
}

fn aarch64(name: &str) -> Option<u32> {
    name.parse::<syscalls::aarch64::Sysno>()
        .ok()
        .map(|number| number.id() as u32)
}

/// With 32-bit ARM's private calls, which tables of system calls leave out.
fn arm(name: &str) -> Option<u32> {
    let private = profile::ARM_PRIVATE
        .iter()
        .find(|(known, _)| *known == name);
    let listed = || {
        name.parse::<syscalls::arm::Sysno>()
            .ok()
            .map(|number| number.id() as u32)
    };
    private.map(|(_, number)| *number).or_else(listed)
}

fn rules(capabilities: Capabilities, table: Table) -> BTreeMap<u32, Verdict> {
    let mut rules = BTreeMap::new();
    let mut set = |name: &str, verdict| {
        rules.extend(table(name).map(|number| (number, verdict)));
    };
    profile::ALLOWED
        .split_whitespace()
        .for_each(|name| set(name, Verdict::Allow));
    profile::ARM_PRIVATE
        .iter()
        .for_each(|(name, _)| set(name, Verdict::Allow));
    set("socket", Verdict::SocketButVsock);
    set("personality", Verdict::OrdinaryPersonality);
    set("clone", Verdict::CloneWithoutNamespaces);
    set("clone3", Verdict::Unknown);
    for (capability, names) in profile::WITH_CAPABILITY {
        if capabilities.has(capability) {
            names
                .split_whitespace()
                .for_each(|name| set(name, Verdict::Allow));
        }
    }
    rules
}

/// The whole range of numbers as runs of the same verdict: (first number, verdict).
fn segments(rules: &BTreeMap<u32, Verdict>) -> Vec<(u32, Verdict)> {
    // The highest number below ARM's private range; what comes after it is newer than this profile.
    let newest = rules
        .keys()
        .copied()
        .filter(|number| *number < 0x1000)
        .max()
        .unwrap_or(0);
    let mut segments: Vec<(u32, Verdict)> = vec![(0, Verdict::Deny)];
    let mut add = |from: u32, verdict: Verdict| match segments.last_mut() {
        Some(last) if last.0 == from => last.1 = verdict,
        Some(last) if last.1 == verdict => {}
        _ => segments.push((from, verdict)),
    };
    for (number, verdict) in rules {
        add(*number, *verdict);
        let after = if *number >= newest {
            Verdict::Unknown
        } else {
            Verdict::Deny
        };
        if !rules.contains_key(&(number + 1)) {
            add(number + 1, after);
        }
    }
    segments
}

/// A binary search for the accumulator.
fn search(segments: &[(u32, Verdict)]) -> Vec<Instruction> {
    let [(_, verdict)] = segments else {
        let (low, high) = segments.split_at(segments.len() / 2);
        let below = search(low);
        let mut program = vec![jump(JUMP_AT_LEAST, high[0].0, 0, 1)];
        // Jumps of a comparison reach 255 instructions; this one reaches everything.
        program.push(statement(JUMP_ALWAYS, below.len() as u32));
        program.extend(below);
        program.extend(search(high));
        return program;
    };
    leaf(*verdict)
}

fn leaf(verdict: Verdict) -> Vec<Instruction> {
    let allow = statement(RETURN, RET_ALLOW);
    let deny = statement(RETURN, RET_ERRNO | libc::EPERM as u32);
    match verdict {
        Verdict::Allow => vec![allow],
        Verdict::Deny => vec![deny],
        Verdict::Unknown => vec![statement(RETURN, RET_ERRNO | libc::ENOSYS as u32)],
        Verdict::CloneWithoutNamespaces => {
            vec![
                statement(LOAD, ARGUMENT),
                jump(JUMP_ANY_BIT, NAMESPACES, 0, 1),
                deny,
                allow,
            ]
        }
        Verdict::SocketButVsock => {
            vec![
                statement(LOAD, ARGUMENT),
                jump(JUMP_EQUAL, AF_VSOCK, 0, 1),
                deny,
                allow,
            ]
        }
        Verdict::OrdinaryPersonality => {
            let mut program = vec![statement(LOAD, ARGUMENT)];
            for (at, value) in PERSONALITIES.iter().enumerate() {
                let to_allow = (PERSONALITIES.len() - at) as u8;
                program.push(jump(JUMP_EQUAL, *value, to_allow, 0));
            }
            program.extend([deny, allow]);
            program
        }
    }
}

fn statement(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use lightship_spec::container::Security;

    use super::*;

    /// Runs a program as the kernel would.
    fn verdict(program: &[Instruction], arch: u32, number: u32, argument: u32) -> u32 {
        let mut at = 0;
        let mut accumulator = 0;
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let choose = |condition: bool| usize::from(if condition { jt } else { jf });
            match code {
                LOAD => {
                    accumulator = match k {
                        NUMBER => number,
                        ARCH => arch,
                        _ => argument,
                    }
                }
                JUMP_ALWAYS => at += k as usize,
                JUMP_EQUAL => at += choose(accumulator == k),
                JUMP_AT_LEAST => at += choose(accumulator >= k),
                JUMP_ANY_BIT => at += choose(accumulator & k != 0),
                RETURN => return k,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    const MACHINES: [&str; 3] = ["x86_64", "aarch64", "arm"];

    fn program(machine: &str, security: &Security) -> Vec<Instruction> {
        compile(Capabilities::of(security).unwrap(), architectures(machine))
    }

    const EPERM: u32 = RET_ERRNO | 1;
    const ENOSYS: u32 = RET_ERRNO | 38;

    #[test]
    fn every_number_gets_the_verdict_of_its_rule_on_every_architecture() {
        for machine in MACHINES {
            let program = program(machine, &Security::default());
            assert!(program.len() < 4096, "{} instructions", program.len());
            for (arch, table) in architectures(machine) {
                let rules = rules(Capabilities::of(&Security::default()).unwrap(), *table);
                assert!(rules.len() > 250, "{} rules on {arch:#x}", rules.len());
                let newest = rules
                    .keys()
                    .copied()
                    .filter(|number| *number < 0x1000)
                    .max()
                    .unwrap();
                for number in (0..0x1100).chain(0xf_0000..0xf_0010) {
                    let found = verdict(&program, *arch, number, AF_VSOCK);
                    let expected = match rules.get(&number) {
                        Some(Verdict::Allow | Verdict::CloneWithoutNamespaces) => RET_ALLOW,
                        Some(Verdict::Unknown) => ENOSYS,
                        Some(_) => EPERM,
                        None if number > newest => ENOSYS,
                        None => EPERM,
                    };
                    assert_eq!(found, expected, "call {number} on {arch:#x}");
                }
            }
        }
    }

    #[test]
    fn arguments_are_looked_at_where_docker_looks_at_them() {
        for (machine, at) in [("x86_64", 0), ("aarch64", 0), ("aarch64", 1), ("arm", 0)] {
            let program = program(machine, &Security::default());
            let (arch, table) = architectures(machine)[at];
            let ask = |name, argument| verdict(&program, arch, table(name).unwrap(), argument);
            assert_eq!(ask("clone", 0x11), RET_ALLOW);
            assert_eq!(ask("clone", 0x1000_0011), EPERM);
            assert_eq!(ask("socket", 2), RET_ALLOW);
            assert_eq!(ask("socket", AF_VSOCK), EPERM);
            assert_eq!(ask("personality", 0xffff_ffff), RET_ALLOW);
            assert_eq!(ask("personality", 0x40_0000), EPERM);
            for denied in [
                "mount",
                "reboot",
                "keyctl",
                "bpf",
                "unshare",
                "init_module",
                "kexec_load",
                "io_uring_setup",
            ] {
                assert_eq!(ask(denied, 0), EPERM, "{denied}");
            }
            assert_eq!(ask("clone3", 0), ENOSYS);
        }
    }

    #[test]
    fn a_capability_opens_the_calls_that_are_of_no_use_without_it() {
        let security = Security {
            cap_add: ["SYS_ADMIN".to_owned()].into(),
            ..Security::default()
        };
        for machine in MACHINES {
            let program = program(machine, &security);
            let (arch, table) = architectures(machine)[0];
            assert_eq!(
                verdict(&program, arch, table("mount").unwrap(), 0),
                RET_ALLOW
            );
            assert_eq!(verdict(&program, arch, table("reboot").unwrap(), 0), EPERM);
        }
    }

    #[test]
    fn arms_private_calls_are_open_and_another_architecture_is_killed() {
        let program = program("aarch64", &Security::default());
        assert_eq!(verdict(&program, ARCH_ARM, 0xf_0005, 0), RET_ALLOW);
        assert_eq!(verdict(&program, ARCH_X86_64, 0, 0), RET_KILL);
    }
}
