//! How much flash and RAM a linked program takes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::read::elf::{ElfFile32, FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, FileKind, Object, ObjectSection, ObjectSymbol, SectionKind, elf};

/// Bytes that a program takes on its device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Code, constants and the initial values of variables.
    pub(crate) flash: u64,
    /// Variables; the stack is not among them.
    pub(crate) ram: u64,
}

impl Weight {
    /// What is left of this above `other`.
    pub(crate) fn over(self, other: Self) -> Self {
        Self {
            flash: self.flash.saturating_sub(other.flash),
            ram: self.ram.saturating_sub(other.ram),
        }
    }
}

/// Whether the program is one for a microcontroller: a 32-bit ELF file.
pub(crate) fn is_for_device(path: &Path) -> Result<bool> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(FileKind::parse(&*bytes)? == FileKind::Elf32)
}

/// Weighs the 32-bit ELF file at `path`.
pub(crate) fn weigh(path: &Path) -> Result<Weight> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    weigh_bytes(&bytes).with_context(|| format!("cannot weigh {}", path.display()))
}

/// Whether a program of any size of word needs no other file to start: it names no interpreter.
pub(crate) fn is_static(bytes: &[u8]) -> Result<bool> {
    Ok(match object::FileKind::parse(bytes)? {
        FileKind::Elf32 => !has_interpreter::<elf::FileHeader32<Endianness>>(bytes)?,
        FileKind::Elf64 => !has_interpreter::<elf::FileHeader64<Endianness>>(bytes)?,
        other => bail!("a program is expected, not {other:?}"),
    })
}

fn has_interpreter<Header: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<bool> {
    let header = Header::parse(bytes)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, bytes)?;
    Ok(segments
        .iter()
        .any(|segment| segment.p_type(endian) == elf::PT_INTERP))
}

/// Sections that are no program's: room for the stack and the heap.
const LEFT_OVER: [&[u8]; 2] = [b".stack", b".heap"];

fn weigh_bytes(bytes: &[u8]) -> Result<Weight> {
    let file = ElfFile32::<Endianness>::parse(bytes)?;
    let endian = file.endian();
    let sections = file.elf_header().sections(endian, bytes)?;
    let mut weight = Weight::default();
    for section in sections.iter() {
        let flags = section.sh_flags(endian);
        if flags & elf::SHF_ALLOC == 0 {
            continue;
        }
        // Some linker scripts make a section of the memory that is left, for the stack and the heap.
        let name = sections.section_name(endian, section).unwrap_or_default();
        if LEFT_OVER.contains(&name) {
            continue;
        }
        let size = u64::from(section.sh_size(endian));
        if section.sh_type(endian) != elf::SHT_NOBITS {
            weight.flash += size;
        }
        if flags & elf::SHF_WRITE != 0 {
            weight.ram += size;
        }
    }
    Ok(weight)
}

/// Parts that are smaller are put together.
const SMALL_PART: u64 = 1024;

/// Bytes of code and constants by the crate that they are of, the largest first.
///
/// What implements a trait counts for its type's crate; a generic function counts for the crate that it was written in, an inlined one for its caller's;
/// what has no name, most constants among it, is not there.
pub(crate) fn parts(path: &Path) -> Result<Vec<(String, u64)>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = ElfFile32::<Endianness>::parse(&*bytes)?;
    let mut parts = BTreeMap::<String, u64>::new();
    for symbol in file.symbols() {
        let Some(section) = symbol.section_index() else {
            continue;
        };
        let kind = file.section_by_index(section)?.kind();
        if matches!(kind, SectionKind::Text | SectionKind::ReadOnlyData) {
            let of = crate_of(symbol.name().unwrap_or_default()).unwrap_or("no crate");
            *parts.entry(of.to_owned()).or_default() += symbol.size();
        }
    }
    let (mut large, small): (Vec<_>, Vec<_>) = parts
        .into_iter()
        .partition(|(_, bytes)| *bytes >= SMALL_PART);
    large.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    large.push((
        "others".to_owned(),
        small.iter().map(|(_, bytes)| bytes).sum(),
    ));
    Ok(large)
}

/// The first crate in a mangled name: `_ZN<length><crate>...`, where the first part may be an
/// implementation, `_$LT$<crate>..<path>`.
fn crate_of(symbol: &str) -> Option<&str> {
    let rest = symbol.strip_prefix("_ZN")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (len, rest) = rest.split_at(digits);
    let mut part = rest.get(..len.parse().ok()?)?;
    while let Some((_, inner)) = part
        .trim_start_matches('_')
        .strip_prefix('$')
        .and_then(|token| token.split_once('$'))
    {
        part = inner;
    }
    let end = part.find(['.', '$']).unwrap_or(part.len());
    Some(&part[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header, and section headers given as type, flags and size.
    fn program(sections: &[(u32, u32, u32)]) -> Vec<u8> {
        let mut bytes = vec![0; 52];
        bytes[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
        bytes[16] = 2; // executable
        bytes[18] = 40; // Arm
        bytes[20] = 1;
        bytes[32] = 52; // section headers follow at once
        bytes[40] = 52;
        bytes[46] = 40;
        bytes[48] = u8::try_from(sections.len() + 2).expect("a few");
        bytes[50] = 1; // names stand in section 1
        bytes.resize(52 + 2 * 40, 0); // section 0 is null
        bytes[52 + 40 + 4] = 3; // string table
        for (kind, flags, size) in sections {
            let mut header = [0; 40];
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[8..12].copy_from_slice(&flags.to_le_bytes());
            header[20..24].copy_from_slice(&size.to_le_bytes());
            bytes.extend(header);
        }
        bytes
    }

    #[test]
    fn initial_values_count_twice_and_debug_information_not_at_all() {
        let text = (elf::SHT_PROGBITS, elf::SHF_ALLOC | elf::SHF_EXECINSTR, 1000);
        let data = (elf::SHT_PROGBITS, elf::SHF_ALLOC | elf::SHF_WRITE, 10);
        let bss = (elf::SHT_NOBITS, elf::SHF_ALLOC | elf::SHF_WRITE, 200);
        let debug = (elf::SHT_PROGBITS, 0, 50_000);
        let weight = weigh_bytes(&program(&[text, data, bss, debug])).expect("an ELF file");
        assert_eq!(
            weight,
            Weight {
                flash: 1010,
                ram: 210
            }
        );
        let empty = Weight {
            flash: 1000,
            ram: 300,
        };
        assert_eq!(weight.over(empty), Weight { flash: 10, ram: 0 });
    }

    #[test]
    fn what_is_left_for_the_stack_is_no_variable() {
        let bss = (elf::SHT_NOBITS, elf::SHF_ALLOC | elf::SHF_WRITE, 200);
        let mut bytes = program(&[bss, bss]);
        // Section 1 has the names, and section 3 is called by the first of them.
        let names = u32::try_from(bytes.len()).expect("small");
        bytes.extend(b"\0.stack\0");
        bytes[52 + 40 + 16..][..4].copy_from_slice(&names.to_le_bytes());
        bytes[52 + 40 + 20..][..4].copy_from_slice(&8u32.to_le_bytes());
        bytes[52 + 3 * 40..][..4].copy_from_slice(&1u32.to_le_bytes());
        assert_eq!(weigh_bytes(&bytes).expect("an ELF file").ram, 200);
    }

    #[test]
    fn this_very_test_is_not_static_and_a_bare_program_is() {
        let own = std::env::current_exe()
            .and_then(std::fs::read)
            .expect("a test can read itself");
        assert!(cfg!(target_env = "musl") || !is_static(&own).expect("an ELF file"));
        assert!(is_static(&program(&[])).expect("an ELF file"));
        assert!(is_static(b"#!/bin/sh").is_err());
    }

    #[test]
    fn a_mangled_name_tells_its_crate() {
        let function = "_ZN14lightship_core4wire11decode_down17h0123456789abcdefE";
        assert_eq!(crate_of(function), Some("lightship_core"));
        let of_trait = "_ZN40_$LT$minimq..Error$u20$as$u20$core..fmt$GT$3fmt17h0123456789abcdefE";
        assert_eq!(crate_of(of_trait), Some("minimq"));
        assert_eq!(crate_of("memcpy"), None);
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(weigh_bytes(b"").is_err());
        assert!(weigh_bytes(&[0x7f; 200]).is_err());
    }
}
