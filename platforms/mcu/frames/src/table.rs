//! What a program can log: the strings that stand in its ELF file and not in its image.
//!
//! Each is the name of a symbol in the section `.defmt`, in JSON; its address is the number that frames name it by.

use std::collections::BTreeMap;

use defmt_parser::Level;
use object::{Object, ObjectSection, ObjectSymbol};
use serde::Deserialize;

/// Wire formats that are understood.
const VERSIONS: [&str; 2] = ["3", "4"];

/// The strings of one program.
#[derive(Clone, Debug)]
pub struct Table {
    entries: BTreeMap<u64, Entry>,
    /// How the time before each message is written, if there is one.
    pub(crate) timestamp: Option<String>,
}

/// A string, and what it is for.
#[derive(Clone, Debug)]
struct Entry {
    text: String,
    /// Of a message of a level.
    level: Option<Level>,
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is another file.
    #[error("it is no ELF file: {0}")]
    NotElf(object::Error),
    /// Its debug information cannot be read.
    #[error("its debug information cannot be read")]
    Damaged,
    /// It was built without defmt, linked without its script, or stripped.
    #[error("it says nothing of what it logs: it does not log with defmt, or its symbols are gone")]
    Silent,
    /// It logs in a format of another time.
    #[error("it logs in defmt's wire format {0}; understood are 3 and 4")]
    Version(String),
    /// Its frames cannot be told apart.
    #[error("it logs in the encoding `{0}`; build it with defmt's feature `encoding-rzcobs`")]
    Encoding(String),
    /// A symbol is not what defmt writes.
    #[error("a symbol of its table is not understood: {0}")]
    Symbol(#[from] serde_json::Error),
}

/// The name of a symbol.
#[derive(Deserialize)]
struct Symbol {
    tag: String,
    data: String,
}

impl Table {
    /// Reads the table of an ELF file.
    ///
    /// # Errors
    ///
    /// See [`Unreadable`].
    pub fn read(elf: &[u8]) -> Result<Self, Unreadable> {
        let file = object::File::parse(elf).map_err(Unreadable::NotElf)?;
        let names = || file.symbols().filter_map(|symbol| symbol.name().ok());
        // A linker may keep the quotes of its script.
        let plain = |name: &str| name.trim_matches('"').to_owned();
        let said =
            |what: &str| names().find_map(|name| Some(plain(name).strip_prefix(what)?.to_owned()));
        let section = file
            .section_by_name(".defmt")
            .map(|section| section.index());
        let (Some(section), Some(version)) = (section, said("_defmt_version_ = ")) else {
            return Err(Unreadable::Silent);
        };
        if !VERSIONS.contains(&version.as_str()) {
            return Err(Unreadable::Version(version));
        }
        match said("_defmt_encoding_ = ").unwrap_or_default() {
            encoding if encoding == "rzcobs" => (),
            other => return Err(Unreadable::Encoding(other)),
        }
        let mut table = Self {
            entries: BTreeMap::new(),
            timestamp: None,
        };
        for symbol in file.symbols() {
            let name = symbol.name().unwrap_or_default();
            if symbol.section_index() == Some(section) && name.starts_with('{') {
                table.enter(symbol.address(), serde_json::from_str(name)?);
            }
        }
        Ok(table)
    }

    fn enter(&mut self, number: u64, symbol: Symbol) {
        let level = match symbol.tag.as_str() {
            "defmt_timestamp" => return self.timestamp = Some(symbol.data),
            "defmt_trace" => Some(Level::Trace),
            "defmt_debug" => Some(Level::Debug),
            "defmt_info" => Some(Level::Info),
            "defmt_warn" => Some(Level::Warn),
            "defmt_error" => Some(Level::Error),
            // Values of flags, and what is for other tools.
            "defmt_bitflags_value" => return,
            tag if !tag.starts_with("defmt_") => return,
            _ => None,
        };
        let text = symbol.data;
        self.entries.insert(number, Entry { text, level });
    }

    /// A message, and its level.
    pub(crate) fn message(&self, number: u16) -> Option<(Option<Level>, &str)> {
        let entry = self.entries.get(&u64::from(number))?;
        Some((entry.level, &entry.text))
    }

    /// A string that a part of a message is written with.
    pub(crate) fn part(&self, number: u16) -> Option<&str> {
        let entry = self.entries.get(&u64::from(number))?;
        entry.level.is_none().then_some(&entry.text)
    }

    /// A table without an ELF file.
    #[cfg(test)]
    pub(crate) fn of(entries: &[(u16, Option<Level>, &str)], timestamp: Option<&str>) -> Self {
        let entries = entries.iter().map(|(number, level, text)| {
            let (text, level) = ((*text).to_owned(), *level);
            (u64::from(*number), Entry { text, level })
        });
        Self {
            entries: entries.collect(),
            timestamp: timestamp.map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_table_is_refused_by_name() {
        let text = |bytes: &[u8]| Table::read(bytes).unwrap_err().to_string();
        assert!(text(b"hello").starts_with("it is no ELF file"));
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(text(&this).starts_with("it says nothing"));
    }

    #[test]
    fn symbols_are_entered_by_their_tags() {
        let mut table = Table::of(&[], None);
        let mut enter = |number, tag: &str| {
            let (tag, data) = (tag.to_owned(), "{=u8}".to_owned());
            table.enter(number, Symbol { tag, data });
        };
        enter(1, "defmt_prim");
        enter(2, "defmt_warn");
        enter(3, "defmt_timestamp");
        enter(4, "another_tool");
        assert_eq!(table.part(1), Some("{=u8}"));
        assert_eq!(table.message(2), Some((Some(Level::Warn), "{=u8}")));
        assert_eq!(table.part(2), None);
        assert_eq!(table.timestamp.as_deref(), Some("{=u8}"));
        assert_eq!(table.part(4), None);
    }
}
