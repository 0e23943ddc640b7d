//! Tags: short texts about the device that applications read and set.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::store::Files;

/// Tags of one device.
const MAX_TAGS: usize = 32;
/// Bytes of a name.
const MAX_NAME_BYTES: usize = 64;
/// Bytes of a value.
const MAX_VALUE_BYTES: usize = 256;

/// The tags that were set here.
#[derive(Debug)]
pub(crate) struct Tags {
    path: PathBuf,
    all: Mutex<BTreeMap<String, String>>,
}

impl Tags {
    /// Reads what was set before; what cannot be read counts as nothing.
    pub(crate) fn open(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_default();
        let all = serde_json::from_slice(&bytes).unwrap_or_default();
        Self {
            path: path.to_owned(),
            all: Mutex::new(all),
        }
    }

    pub(crate) fn all(&self) -> BTreeMap<String, String> {
        self.all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets a tag, or removes it.
    ///
    /// # Errors
    ///
    /// Why it cannot be, for whoever asked.
    pub(super) fn set(&self, name: &str, value: Option<&str>) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(plain) {
            return Err(format!(
                "a tag's name is 1 to {MAX_NAME_BYTES} letters, digits, `.`, `_` and `-`"
            ));
        }
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = all.clone();
        match value {
            Some(value) if value.len() > MAX_VALUE_BYTES => {
                return Err(format!("a tag's value has at most {MAX_VALUE_BYTES} bytes"));
            }
            Some(value) => drop(next.insert(name.to_owned(), value.to_owned())),
            None => drop(next.remove(name)),
        }
        if next.len() > MAX_TAGS {
            return Err(format!(
                "a device has at most {MAX_TAGS} tags; remove one first"
            ));
        }
        self.save(&next)
            .map_err(|error| format!("the tag cannot be saved: {error}"))?;
        *all = next;
        Ok(())
    }

    fn save(&self, all: &BTreeMap<String, String>) -> io::Result<()> {
        let bytes = serde_json::to_vec(all).map_err(io::Error::other)?;
        Files::default().replace(&self.path, &self.path.with_extension("draft"), &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_last_and_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tags");
        let tags = Tags::open(&path);
        tags.set("site", Some("hall 3")).unwrap();
        tags.set("gone", Some("x")).unwrap();
        tags.set("gone", None).unwrap();
        assert_eq!(
            Tags::open(&path).all(),
            BTreeMap::from([("site".to_owned(), "hall 3".to_owned())])
        );
        assert!(tags.set("a b", Some("x")).is_err());
        assert!(tags.set("a", Some(&"x".repeat(257))).is_err());
        let refused = (0..40)
            .filter(|i| tags.set(&format!("t{i}"), Some("x")).is_err())
            .count();
        assert_eq!(refused, 9);
    }
}
