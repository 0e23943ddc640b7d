//! Instances: one component of a release as it was staged, with the folder that it writes to.
//!
//! An instance is there from the rename that puts it in `instances` to the rename that takes it out;
//! its record never changes but for `confirmed`, which is replaced whole.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Digest, Store};

/// A record larger than this is corrupt.
const MAX_RECORD_BYTES: u64 = 16 * 1024;

/// The name of an instance in the store: 16 hexadecimal digits made from its name and digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(u64);

/// What an instance is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of this record's form: 1.
    pub version: u16,
    /// The component's name.
    pub name: String,
    /// Tells this version of the component from others; whoever asks for it chose it.
    pub instance: Digest,
    /// The image's manifest or index.
    pub artifact: Digest,
    /// The container spec.
    pub spec: Digest,
    /// The per-device values, where the component has any.
    pub settings: Option<Digest>,
    /// Whether it belongs to the committed release.
    pub confirmed: bool,
}

impl Record {
    /// The instance's name in the store.
    pub fn id(&self) -> InstanceId {
        InstanceId::of(&self.name, &self.instance)
    }
}

impl InstanceId {
    /// The same for the same name and instance.
    pub fn of(name: &str, instance: &Digest) -> Self {
        let digest = Digest::of(format!("{name}\n{instance}").as_bytes());
        let (head, _) = digest
            .as_bytes()
            .split_first_chunk()
            .expect("a digest has 32 bytes");
        Self(u64::from_be_bytes(*head))
    }
}

impl Store {
    /// Stages an instance: its record and empty folders for what it writes. Staged already is fine.
    pub fn stage(&self, record: &Record) -> io::Result<()> {
        let id = record.id();
        if self.record(id)?.is_some() {
            return Ok(());
        }
        let draft = self.draft("instance");
        self.files.create_dir(&draft, 0o700)?;
        // The container's root is the merge of these; its permissions are those of `upper`.
        self.files.create_dir(&draft.join("upper"), 0o755)?;
        self.files.create_dir(&draft.join("work"), 0o755)?;
        let mut file = self.files.create(&draft.join("record"))?;
        file.write_all(&encode(record))?;
        file.sync()?;
        self.files.sync_dir(&draft)?;
        if self.instance(id).is_dir() {
            self.discard(&self.instance(id))?;
        }
        self.files.rename(&draft, &self.instance(id))?;
        self.files.sync_dir(&self.root.join("instances"))
    }

    /// Marks a staged instance as part of the committed release, or no longer so.
    pub fn confirm(&self, id: InstanceId, confirmed: bool) -> io::Result<()> {
        let Some(record) = self.record(id)? else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no such instance"));
        };
        if record.confirmed == confirmed {
            return Ok(());
        }
        let record = Record {
            confirmed,
            ..record
        };
        let path = self.instance(id).join("record");
        self.files
            .replace(&path, &self.draft("record"), &encode(&record))
    }

    /// Removes an instance with what it wrote. Absent already is fine.
    pub fn remove_instance(&self, id: InstanceId) -> io::Result<()> {
        if self.instance(id).is_dir() {
            self.discard(&self.instance(id))?;
        }
        Ok(())
    }

    /// Reads an instance's record; absent when there is no such instance or its record is corrupt.
    pub fn record(&self, id: InstanceId) -> io::Result<Option<Record>> {
        let file = match fs::File::open(self.instance(id).join("record")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MAX_RECORD_BYTES).read_to_end(&mut bytes)?;
        let record: Option<Record> = serde_json::from_slice(&bytes).ok();
        Ok(record.filter(|record| record.version == 1 && record.id() == id))
    }

    /// Every instance with a readable record.
    pub fn records(&self) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for name in self.names("instances")? {
            let Ok(id) = name.parse() else { continue };
            records.extend(self.record(id)?);
        }
        Ok(records)
    }

    /// An instance's folder.
    pub fn instance(&self, id: InstanceId) -> PathBuf {
        self.root.join("instances").join(id.to_string())
    }
}

fn encode(record: &Record) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record has no map")
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for InstanceId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}
