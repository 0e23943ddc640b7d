//! Takes the provisioning key out of the configuration file and leaves everything else as it was written.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use toml::de::DeTable;

use crate::store::{Attributes, Files};

const KEY: &str = "provisioning_key";

/// Erases the key; a file without one is left alone. After a cut the file is as it was or as it is to be.
///
/// # Errors
///
/// What the system said; or the file is no TOML any more, and a person must erase the key.
pub(crate) fn erase_provisioning_key(path: &Path, files: &Files) -> io::Result<()> {
    // Where the name is a link, the file that it leads to is replaced, not the link.
    let path = &fs::canonicalize(path)?;
    let text = fs::read_to_string(path)?;
    let Some(erased) = without(&text).map_err(io::Error::other)? else {
        return Ok(());
    };
    let before = fs::metadata(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".draft");
    let draft = path.with_file_name(name);
    files.replace(path, &draft, erased.as_bytes())?;
    let attributes = Attributes {
        owner: Some((before.uid(), before.gid())),
        mode: Some(before.mode() & 0o7777),
        ..Attributes::default()
    };
    files.set_attributes(path, &attributes)
}

/// The text without the key at its top level; nothing when there is none.
fn without(text: &str) -> Result<Option<String>, String> {
    let table = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    let table = table.into_inner();
    let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == KEY) else {
        return Ok(None);
    };
    let Range { start, end } = whole_lines(text, key.span().start..value.span().end);
    Ok(Some(format!("{}{}", &text[..start], &text[end..])))
}

/// The lines of a statement, with the comment at its end.
fn whole_lines(text: &str, statement: Range<usize>) -> Range<usize> {
    let start = text[..statement.start].rfind('\n').map_or(0, |at| at + 1);
    let rest = text[statement.end..].find('\n');
    let end = rest.map_or(text.len(), |at| statement.end + at + 1);
    start..end
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::store::{Operation, Witness};

    #[test]
    fn the_key_goes_and_all_else_stays_as_it_was_written() {
        let cases = [
            (
                "# mine\nname = \"x\"\nprovisioning_key = \"00\" # soon gone\nserver = \"s\"",
                "# mine\nname = \"x\"\nserver = \"s\"",
            ),
            (
                "\"provisioning_key\" = '''\n00\n'''\nname = \"x\"\n",
                "name = \"x\"\n",
            ),
            ("  provisioning_key=\"00\"", ""),
        ];
        for (text, erased) in cases {
            assert_eq!(without(text).unwrap().as_deref(), Some(erased), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_the_key_stays() {
        let texts = [
            "authority = \"\"\"\nprovisioning_key = \"00\"\n\"\"\"\n",
            "[other]\nprovisioning_key = \"00\"\n",
            "provisioning_key_note = \"x\"\n",
            "# provisioning_key = \"00\"\n",
            "",
        ];
        for text in texts {
            assert_eq!(without(text).unwrap(), None, "{text}");
        }
        assert!(without("provisioning_key = ").is_err());
    }

    /// Cuts before the operation of this number.
    #[derive(Debug)]
    struct Cut(AtomicUsize);

    impl Witness for Cut {
        fn before(&self, _: Operation<'_>) -> io::Result<()> {
            if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
                return Err(io::Error::other("the power is cut"));
            }
            Ok(())
        }
    }

    #[test]
    fn a_cut_at_any_operation_leaves_the_old_file_or_the_new() {
        let (old, new) = (
            "name = \"x\"\nprovisioning_key = \"00\"\n",
            "name = \"x\"\n",
        );
        let mut cuts = 0;
        for at in 1.. {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("device.toml");
            fs::write(&path, old).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let cut = Files::witnessed(Arc::new(Cut(AtomicUsize::new(at))));
            let done = erase_provisioning_key(&path, &cut);
            let found = fs::read_to_string(&path).unwrap();
            assert!(found == old || found == new, "{found}");
            // In the next life it is tried again, and what the cut left behind is no obstacle.
            erase_provisioning_key(&path, &Files::default()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), new);
            if done.is_ok() {
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o640);
                break;
            }
            cuts += 1;
        }
        assert!(cuts >= 5, "{cuts} cuts");
    }
}
