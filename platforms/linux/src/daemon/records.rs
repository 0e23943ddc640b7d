//! The agent's records: one file each, replaced whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lightship_core::record::{Record, Saved};

use crate::store::Files;

/// Where the records are kept.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
    files: Files,
}

/// The bytes of all records.
#[derive(Clone, Debug, Default)]
pub struct Loaded([Option<Vec<u8>>; 4]);

const NAMES: [(Record, &str); 4] = [
    (Record::Identity, "identity"),
    (Record::Trust, "trust"),
    (Record::State, "state"),
    (Record::Clock, "clock"),
];

fn name(record: Record) -> &'static str {
    match record {
        Record::Identity => NAMES[0].1,
        Record::Trust => NAMES[1].1,
        Record::State => NAMES[2].1,
        Record::Clock => NAMES[3].1,
    }
}

impl Records {
    /// Opens the folder and makes it if it is not there. It holds private keys: only its owner may look in.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn open(folder: &Path, files: Files) -> io::Result<Self> {
        files.create_dir_all(folder, 0o700)?;
        Ok(Self {
            folder: folder.to_owned(),
            files,
        })
    }

    /// Reads all records.
    ///
    /// # Errors
    ///
    /// What the system said of one that is there and cannot be read.
    pub fn load(&self) -> io::Result<Loaded> {
        let mut loaded = Loaded::default();
        for (slot, (_, name)) in loaded.0.iter_mut().zip(NAMES) {
            *slot = match fs::read(self.folder.join(name)) {
                Ok(bytes) => Some(bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
        }
        Ok(loaded)
    }

    /// Saves a record: after a cut it is as it was or as it is to be.
    ///
    /// # Errors
    ///
    /// What the system said; the record is as it was.
    pub fn save(&self, record: Record, bytes: &[u8]) -> io::Result<()> {
        let name = name(record);
        let path = self.folder.join(name);
        let draft = self.folder.join(format!("{name}.draft"));
        self.files.replace(&path, &draft, bytes)
    }
}

impl Loaded {
    /// As the agent takes them.
    pub fn saved(&self) -> Saved<'_> {
        let [identity, trust, state, clock] = &self.0;
        Saved {
            identity: identity.as_deref(),
            trust: trust.as_deref(),
            state: state.as_deref(),
            clock: clock.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_record_is_loaded_and_others_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(&folder.path().join("agent"), Files::default()).unwrap();
        records.save(Record::Trust, b"one").unwrap();
        records.save(Record::Trust, b"two").unwrap();
        let loaded = records.load().unwrap();
        assert_eq!(loaded.saved().trust, Some(&b"two"[..]));
        assert!(loaded.saved().identity.is_none());
    }
}
