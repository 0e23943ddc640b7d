//! The hub's keys on disk: the one that devices are told, and during a rotation the one before.
//!
//! The key before is saved first, so that a cut leaves two files with one key, which is no
//! rotation, or two keys that are both answered to.

use std::io;
use std::path::{Path, PathBuf};

use lightship_wireguard::SecretKey;

use crate::folder;

/// A key of the hub.
#[derive(Clone)]
pub(super) struct HubKey {
    pub(super) secret: SecretKey,
    /// Whether it answers on the second port, where each key has a port of its own.
    pub(super) second: bool,
}

/// What is on disk.
pub(super) struct Kept {
    folder: PathBuf,
    pub(super) current: HubKey,
    pub(super) former: Option<HubKey>,
}

impl HubKey {
    fn read(bytes: &[u8]) -> io::Result<Self> {
        let (key, port) = match bytes.split_first_chunk::<32>() {
            Some((key, [])) => (key, 0),
            Some((key, [port @ 0..=1])) => (key, *port),
            _ => {
                return Err(io::Error::other(
                    "a hub key must have 32 bytes, or 33 with its port",
                ));
            }
        };
        Ok(Self {
            secret: SecretKey(*key),
            second: port == 1,
        })
    }

    fn bytes(&self) -> Vec<u8> {
        [&self.secret.0[..], &[u8::from(self.second)]].concat()
    }
}

impl Kept {
    /// Reads what is there, or makes the first key.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let first = || SecretKey::generate().0.to_vec();
        let current = HubKey::read(&folder::keep(&current_path(folder), first)?)?;
        let former = match std::fs::read(former_path(folder)) {
            Ok(bytes) => Some(HubKey::read(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            folder: folder.to_owned(),
            former: former.filter(|former| former.secret != current.secret),
            current,
        })
    }

    /// Makes `next` the key that devices are told; the one so far becomes the former.
    pub(super) fn replace(&mut self, next: HubKey) -> io::Result<()> {
        folder::replace(&former_path(&self.folder), &self.current.bytes())?;
        folder::replace(&current_path(&self.folder), &next.bytes())?;
        self.former = Some(std::mem::replace(&mut self.current, next));
        Ok(())
    }

    /// Forgets the former key.
    ///
    /// It stays on disk beside the others: devices that registered under it look for it when they were led astray, and its owner can then bring it back.
    pub(super) fn forget(&mut self) -> io::Result<Option<HubKey>> {
        if let Some(former) = &self.former {
            folder::replace(&retired_path(&self.folder, former), &former.bytes())?;
        }
        let path = former_path(&self.folder);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => folder::sync_parent(&path)?,
        }
        Ok(self.former.take())
    }
}

fn current_path(folder: &Path) -> PathBuf {
    folder.join("hub.key")
}

fn former_path(folder: &Path) -> PathBuf {
    folder.join("hub.former.key")
}

fn retired_path(folder: &Path, key: &HubKey) -> PathBuf {
    let name = hex::encode(key.secret.public().0);
    folder.join(format!("hub.retired.{name}.key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8, second: bool) -> HubKey {
        HubKey {
            secret: SecretKey([byte; 32]),
            second,
        }
    }

    #[test]
    fn a_rotation_is_on_disk_and_a_cut_in_it_loses_no_key() {
        let folder = tempfile::tempdir().unwrap();
        // As servers before rotation have it: the key alone.
        std::fs::write(folder.path().join("hub.key"), [1; 32]).unwrap();
        let mut kept = Kept::open(folder.path()).unwrap();
        assert!(kept.former.is_none() && !kept.current.second);
        kept.replace(key(2, true)).unwrap();
        let mut kept = Kept::open(folder.path()).unwrap();
        assert_eq!(kept.current.secret, SecretKey([2; 32]));
        assert!(kept.current.second);
        assert_eq!(kept.former.as_ref().unwrap().secret, SecretKey([1; 32]));
        assert!(kept.forget().unwrap().is_some());
        assert!(Kept::open(folder.path()).unwrap().former.is_none());
        let retired = retired_path(folder.path(), &key(1, false));
        // Its owner wants it back: it takes the present one's place, which becomes the former.
        let place = |name: &str| folder.path().join(name);
        std::fs::rename(place("hub.key"), place("hub.former.key")).unwrap();
        std::fs::copy(retired, place("hub.key")).unwrap();
        let back = Kept::open(folder.path()).unwrap();
        assert_eq!(back.current.secret, SecretKey([1; 32]));
        assert_eq!(back.former.unwrap().secret, SecretKey([2; 32]));
        std::fs::rename(place("hub.former.key"), place("hub.key")).unwrap();
        // The first of two writes was done.
        std::fs::copy(
            folder.path().join("hub.key"),
            folder.path().join("hub.former.key"),
        )
        .unwrap();
        let kept = Kept::open(folder.path()).unwrap();
        assert!(kept.former.is_none() && kept.current.secret == SecretKey([2; 32]));
    }

    #[test]
    fn a_file_that_is_no_key_is_told_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [&[1; 31][..], &[1; 34], &[2; 33]] {
            std::fs::write(folder.path().join("hub.key"), bytes).unwrap();
            assert!(Kept::open(folder.path()).is_err());
            assert_eq!(std::fs::read(folder.path().join("hub.key")).unwrap(), bytes);
        }
    }
}
