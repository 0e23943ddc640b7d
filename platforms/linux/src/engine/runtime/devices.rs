//! Which device nodes open: the rules of cgroup v1's devices controller, and the same for cgroup v2 as a
//! BPF program, compiled here.
//!
//! Beside `nodev` on all that a container can write to, this holds for containers that may mount.

use std::str::FromStr;

use super::sys::DeviceInstruction;

/// What every container may do, as with Docker: make any node, open the harmless ones.
pub(super) const DEFAULT: [&str; 12] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
];

/// More rules than this are refused: the kernel bounds a program's length.
pub(crate) const MAX_RULES: usize = 256;

// linux/bpf.h: BPF_DEVCG_*
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;
const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;

/// One rule: `c 188:* rw`, in the form of the kernel's `devices.allow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceRule {
    /// Absent is both.
    kind: Option<u32>,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    access: u32,
}

impl DeviceRule {
    /// Whether it is of character devices alone.
    pub(crate) fn is_of_characters(&self) -> bool {
        self.kind == Some(CHARACTER)
    }
}

impl FromStr for DeviceRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is not like `c 188:* rwm`", text.escape_default());
        let parts: Vec<&str> = text.split(' ').collect();
        let [kind, numbers, access] = parts[..] else {
            return Err(wrong());
        };
        let kind = match kind {
            "a" => None,
            "b" => Some(BLOCK),
            "c" => Some(CHARACTER),
            _ => return Err(wrong()),
        };
        let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
        // Linux has 12 bits of major and 20 of minor numbers.
        let number = |text: &str, most: u32| match text {
            "*" => Ok(None),
            digits => digits
                .parse()
                .ok()
                .filter(|number| *number <= most)
                .map(Some)
                .ok_or_else(wrong),
        };
        let mut mask = 0;
        for letter in access.chars() {
            let bit = match letter {
                'r' => READ,
                'w' => WRITE,
                'm' => MAKE,
                _ => return Err(wrong()),
            };
            if mask & bit != 0 {
                return Err(wrong());
            }
            mask |= bit;
        }
        if mask == 0 {
            return Err(wrong());
        }
        Ok(Self {
            kind,
            major: number(major, 0xfff)?,
            minor: number(minor, 0xf_ffff)?,
            access: mask,
        })
    }
}

/// The program that lets through what any of the rules does.
pub(super) fn program(rules: &[DeviceRule]) -> Vec<DeviceInstruction> {
    // r2 type, r3 access, r4 major, r5 minor, out of struct bpf_cgroup_dev_ctx in r1.
    let mut program = vec![
        load(2, 0),
        instruction(0xbc, 3, 2, 0, 0),
        instruction(0x54, 2, 0, 0, 0xffff),
        instruction(0x74, 3, 0, 0, 16),
        load(4, 4),
        load(5, 8),
    ];
    for rule in rules {
        program.extend(check(rule));
    }
    program.extend([instruction(0xb7, 0, 0, 0, 0), EXIT]);
    program
}

fn check(rule: &DeviceRule) -> Vec<DeviceInstruction> {
    let mut tests: Vec<Vec<DeviceInstruction>> = Vec::new();
    let all = READ | WRITE | MAKE;
    if rule.access != all {
        // Nothing may be asked for that the rule does not give.
        let beyond = (!rule.access & 0xffff).cast_signed();
        tests.push(vec![
            instruction(0xbc, 6, 3, 0, 0),
            instruction(0x54, 6, 0, 0, beyond),
            unless(6, 0),
        ]);
    }
    for (register, value) in [(2, rule.kind), (4, rule.major), (5, rule.minor)] {
        tests.extend(value.map(|value| vec![unless(register, value)]));
    }
    let mut program: Vec<DeviceInstruction> = tests.concat();
    program.extend([instruction(0xb7, 0, 0, 0, 1), EXIT]);
    // Whatever does not match goes on after this rule.
    let end = program.len();
    for (at, instruction) in program.iter_mut().enumerate() {
        if instruction.code == NOT_EQUAL {
            instruction.offset = i16::try_from(end - at - 1).expect("a rule is a few instructions");
        }
    }
    program
}

const NOT_EQUAL: u8 = 0x55;
const EXIT: DeviceInstruction = DeviceInstruction {
    code: 0x95,
    registers: 0,
    offset: 0,
    value: 0,
};

fn unless(register: u8, value: u32) -> DeviceInstruction {
    instruction(NOT_EQUAL, register, 0, 0, value.cast_signed())
}

fn load(register: u8, offset: i16) -> DeviceInstruction {
    instruction(0x61, register, 1, offset, 0)
}

fn instruction(code: u8, to: u8, from: u8, offset: i16, value: i32) -> DeviceInstruction {
    // The two halves are where little-endian machines, the only ones we run on, have them.
    DeviceInstruction {
        code,
        registers: to | (from << 4),
        offset,
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Vec<DeviceRule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Runs a program as the kernel would.
    fn allows(
        program: &[DeviceInstruction],
        kind: u32,
        access: u32,
        major: u32,
        minor: u32,
    ) -> bool {
        let mut registers = [0_u32; 10];
        let context = [kind | (access << 16), major, minor];
        let mut at = 0;
        loop {
            let DeviceInstruction {
                code,
                registers: both,
                offset,
                value,
            } = program[at];
            let (to, from) = (usize::from(both & 0xf), usize::from(both >> 4));
            at += 1;
            match code {
                0x61 => registers[to] = context[offset as usize / 4],
                0xbc => registers[to] = registers[from],
                0xb7 => registers[to] = value as u32,
                0x54 => registers[to] &= value as u32,
                0x74 => registers[to] >>= value,
                NOT_EQUAL => {
                    at += if registers[to] == value as u32 {
                        0
                    } else {
                        offset as usize
                    }
                }
                0x95 => return registers[0] == 1,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_default_opens_null_but_no_disk_and_no_memory() {
        let program = program(&rules(&DEFAULT));
        assert!(allows(&program, CHARACTER, READ | WRITE, 1, 3));
        assert!(allows(&program, CHARACTER, READ, 136, 7));
        assert!(!allows(&program, CHARACTER, READ, 1, 1));
        assert!(!allows(&program, BLOCK, READ, 8, 0));
        assert!(allows(&program, BLOCK, MAKE, 8, 0));
        assert!(!allows(&program, BLOCK, MAKE | READ, 8, 0));
    }

    #[test]
    fn a_rule_gives_what_it_says_and_no_more() {
        let program = program(&rules(&["c 188:* rw", "b 8:1 r"]));
        assert!(allows(&program, CHARACTER, READ | WRITE, 188, 99));
        assert!(!allows(&program, CHARACTER, MAKE, 188, 99));
        assert!(!allows(&program, BLOCK, READ, 188, 99));
        assert!(allows(&program, BLOCK, READ, 8, 1));
        assert!(!allows(&program, BLOCK, READ | WRITE, 8, 1));
        assert!(!allows(&program, BLOCK, READ, 8, 2));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in [
            "",
            "c",
            "c 1:3",
            "x 1:3 r",
            "c 1 r",
            "c 1:3 rx",
            "c 1:3 ",
            "c 4096:1 r",
            "c -1:1 r",
            "c 1:3 rr r",
            "c 1:3 rrr",
        ] {
            assert!(text.parse::<DeviceRule>().is_err(), "{text}");
        }
    }
}
