//! ELF files to bodies: what a linker made, as the bytes that lie in flash.

use object::read::elf::{ElfFile32, ProgramHeader};
use object::{Endianness, Object, elf};
use std::{string::String, string::ToString, vec, vec::Vec};

/// Largest body that is made: a flat file of a program linked to two distant regions would
/// otherwise fill the disk.
const MAX_BODY: u64 = 64 << 20;

/// A program as one run of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flat {
    /// Address of the first byte.
    pub load: u32,
    /// Address of the entry that the linker wrote.
    pub entry: u32,
    /// The bytes; gaps are filled with 0xFF, as erased flash is.
    pub body: Vec<u8>,
}

/// Why a file cannot be made flat.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// It is not an ELF file for a 32-bit machine.
    #[error("not a 32-bit ELF file: {0}")]
    NotElf(String),
    /// It says that a segment's bytes lie where the file has none.
    #[error("a segment lies outside the file")]
    Outside,
    /// It has nothing to load.
    #[error("the ELF file has nothing to load")]
    Empty,
    /// It has a segment below the address that the body is to start at.
    #[error("there is a segment at {0:#x}, below the body's start")]
    Below(u32),
    /// Its segments lie too far apart to be one image.
    #[error("the segments span {0} bytes, more than one image holds")]
    TooWide(u64),
}

/// Lays the loadable segments at their physical addresses, from `from` on.
///
/// With `from` below the first segment the body starts with padding.
///
/// # Errors
///
/// See [`ElfError`].
pub fn flatten(file: &[u8], from: Option<u32>) -> Result<Flat, ElfError> {
    let file = ElfFile32::<Endianness>::parse(file)
        .map_err(|error: object::Error| ElfError::NotElf(error.to_string()))?;
    let mut segments = segments(&file)?;
    segments.sort_by_key(|(address, _)| *address);
    let (first, last) = match (segments.first(), segments.last()) {
        (Some((first, _)), Some((last, bytes))) => (*first, u64::from(*last) + bytes.len() as u64),
        _ => return Err(ElfError::Empty),
    };
    let load = from.unwrap_or(first);
    if load > first {
        return Err(ElfError::Below(first));
    }
    let width = last - u64::from(load);
    if width > MAX_BODY {
        return Err(ElfError::TooWide(width));
    }
    let mut body = vec![0xFF; width as usize];
    for (address, bytes) in segments {
        let at = (address - load) as usize;
        let end = (at + bytes.len()).min(body.len());
        body[at..end].copy_from_slice(&bytes[..end - at]);
    }
    Ok(Flat {
        load,
        entry: file.entry() as u32,
        body,
    })
}

/// Address and bytes of each segment that has bytes.
fn segments<'data>(
    file: &ElfFile32<'data, Endianness>,
) -> Result<Vec<(u32, &'data [u8])>, ElfError> {
    let endian = file.endian();
    let mut out = Vec::new();
    for header in file.elf_program_headers() {
        if header.p_type(endian) != elf::PT_LOAD || header.p_filesz(endian) == 0 {
            continue;
        }
        let bytes = header
            .data(endian, file.data())
            .map_err(|()| ElfError::Outside)?;
        out.push((header.p_paddr(endian), bytes));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A little-endian 32-bit ELF file with the given segments: physical address and bytes.
    fn elf_file(entry: u32, segments: &[(u32, &[u8])]) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend(*b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0");
        for half in [2u16, 243] {
            file.extend(half.to_le_bytes());
        }
        for word in [1, entry, 52, 0, 0] {
            file.extend(word.to_le_bytes());
        }
        for half in [52, 32, segments.len() as u16, 40, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let mut offset = 52 + 32 * segments.len() as u32;
        for (address, bytes) in segments {
            let size = bytes.len() as u32;
            for word in [1, offset, 0x2000_0000, *address, size, size, 5, 4] {
                file.extend(word.to_le_bytes());
            }
            offset += size;
        }
        segments.iter().for_each(|(_, bytes)| file.extend(*bytes));
        file
    }

    #[test]
    fn segments_lie_at_their_physical_addresses_with_erased_flash_between() {
        let file = elf_file(0x104, &[(0x106, b"later"), (0x100, b"now")]);
        let flat = flatten(&file, None).unwrap();
        assert_eq!(
            flat,
            Flat {
                load: 0x100,
                entry: 0x104,
                body: b"now\xff\xff\xfflater".into()
            }
        );
        assert_eq!(
            flatten(&file, Some(0xFE)).unwrap().body,
            b"\xff\xffnow\xff\xff\xfflater"
        );
    }

    #[test]
    fn a_file_that_is_not_one_program_is_refused() {
        assert!(matches!(flatten(b"text", None), Err(ElfError::NotElf(_))));
        assert_eq!(flatten(&elf_file(0, &[]), None), Err(ElfError::Empty));
        let below = elf_file(0, &[(8, b"a")]);
        assert_eq!(flatten(&below, Some(9)), Err(ElfError::Below(8)));
        let wide = elf_file(0, &[(0, b"a"), (0x8000_0000, b"b")]);
        assert_eq!(flatten(&wide, None), Err(ElfError::TooWide(0x8000_0001)));
        let mut cut = elf_file(0, &[(0, b"abcdef")]);
        cut.truncate(cut.len() - 1);
        assert_eq!(flatten(&cut, None), Err(ElfError::Outside));
    }
}
