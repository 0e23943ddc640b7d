//! Where in the sources an address of a program is: what is said of a fault is an address.

use std::fmt;

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, RunTimeEndian};
use object::{Object, ObjectSection};

use crate::Unreadable;

/// The places of one program.
pub struct Places<'e>(Context<EndianSlice<'e, RunTimeEndian>>);

/// A function, and a line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name, if it has one.
    pub function: Option<String>,
    /// The file, as the compiler named it.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
}

impl<'e> Places<'e> {
    /// Reads an ELF file.
    ///
    /// # Errors
    ///
    /// If it is none. One without debug information has no places.
    pub fn read(elf: &'e [u8]) -> Result<Self, Unreadable> {
        let file = object::File::parse(elf).map_err(Unreadable::NotElf)?;
        let endian = match file.is_little_endian() {
            true => RunTimeEndian::Little,
            false => RunTimeEndian::Big,
        };
        let section = |id: addr2line::gimli::SectionId| {
            let section = file.section_by_name(id.name());
            let bytes = section.and_then(|section| section.data().ok());
            Ok::<_, addr2line::gimli::Error>(EndianSlice::new(bytes.unwrap_or_default(), endian))
        };
        let context = Dwarf::load(section).and_then(Context::from_dwarf);
        context.map(Self).map_err(|_| Unreadable::Damaged)
    }

    /// What an instruction is of: the innermost function first, and behind it those that it was inlined into.
    pub fn at(&self, address: u32) -> Vec<Place> {
        let mut places = Vec::new();
        let Ok(mut frames) = self.0.find_frames(address.into()).skip_all_loads() else {
            return places;
        };
        while let Ok(Some(frame)) = frames.next() {
            let function = frame.function.as_ref();
            let name = function.and_then(|function| Some(plain(&function.demangle().ok()?)));
            let location = frame.location.as_ref();
            places.push(Place {
                function: name,
                file: location.and_then(|location| location.file.map(str::to_owned)),
                line: location.and_then(|location| location.line),
            });
        }
        places
    }
}

/// A name without what it is generic over, which can be longer than a page.
fn plain(name: &str) -> String {
    let end = name.find('<').filter(|at| *at > 0);
    name[..end.unwrap_or(name.len())].to_owned()
}

impl fmt::Debug for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").finish_non_exhaustive()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}")?,
            (Some(file), None) => f.write_str(file)?,
            (None, _) => f.write_str("?")?,
        }
        match &self.function {
            Some(function) => write!(f, " ({function})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_of_this_program_is_in_this_file() {
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let file = object::File::parse(&*this).unwrap();
        use object::ObjectSymbol;
        let here = file
            .symbols()
            .find(|symbol| {
                let name = symbol.name().unwrap_or_default();
                name.contains("an_instruction_of_this_program") && symbol.size() > 64
            })
            .unwrap();
        let address = u32::try_from(here.address()).unwrap() + 8;
        let places = Places::read(&this).unwrap().at(address);
        let place = places.last().unwrap();
        assert!(place.to_string().contains("places.rs:"), "{place}");
        assert!(
            place
                .function
                .as_deref()
                .unwrap()
                .contains("an_instruction_of")
        );
    }

    #[test]
    fn what_has_no_places_says_none() {
        assert!(Places::read(b"hello").is_err());
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(Places::read(&this).unwrap().at(u32::MAX), []);
    }
}
