//! The keys that servers on one PostgreSQL database share, so that any of them can take over.
//!
//! They are files of the data folder, as on a desk. On PostgreSQL they are kept in the database,
//! too, sealed with a key that is derived from `secret.key`: that one file is all that an operator
//! has to give to each server, and a copy of the database alone opens nothing. The database is what
//! counts: a server that begins to lead writes its files anew from there.

use std::io;
use std::path::Path;

use crate::db::{self, Tx};
use crate::http::failure::{Answer, Failure};
use crate::secret::Secrets;
use crate::{App, folder};

/// The files, by their names in the data folder and in the database; the hub's are beside them.
const NAMES: [&str; 3] = ["director.key", "ca.key", "ca.pem"];

/// Whether a file of the data folder is one of them: the hub's have the name of a key that comes and goes.
fn is_shared(name: &str) -> bool {
    NAMES.contains(&name)
        || (name.starts_with("hub.") && name.ends_with(".key") && !name.contains('/'))
}

/// Those that are there.
fn names(data: &Path) -> io::Result<Vec<String>> {
    let files = std::fs::read_dir(data)?.collect::<io::Result<Vec<_>>>()?;
    let names = files
        .into_iter()
        .filter_map(|file| file.file_name().into_string().ok());
    Ok(names.filter(|name| is_shared(name)).collect())
}

/// Makes the files what the database holds; false when it holds none yet.
pub(crate) fn unpack(
    data: &Path,
    secrets: &Secrets,
    kept: &[(String, String)],
) -> io::Result<bool> {
    if kept.is_empty() {
        return Ok(false);
    }
    for name in names(data)? {
        if !kept.iter().any(|(kept, _)| *kept == name) {
            // One that was retired while another server led.
            std::fs::remove_file(data.join(name))?;
        }
    }
    // A row that somebody else put there is no path out of the folder.
    for (name, sealed) in kept.iter().filter(|(name, _)| is_shared(name)) {
        let key = secrets.open(name, sealed).ok_or_else(|| {
            io::Error::other(format!("{name} in the database was sealed by nobody here"))
        })?;
        let path = data.join(name);
        if read(&path)?.as_ref() != Some(&key) {
            folder::replace(&path, &key)?;
        }
    }
    Ok(true)
}

/// A file, if it is there.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl App {
    /// Keeps the keys that this start may have made.
    pub(crate) async fn keep_keys_made(&self) -> Answer<()> {
        let mut tx = self.db.write().await?;
        self.keep_keys(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// Makes the database hold what the files are, where several servers share it.
    pub(crate) async fn keep_keys(&self, tx: &mut Tx<'_>) -> Answer<()> {
        if self.db.backend == db::Backend::Sqlite {
            return Ok(());
        }
        let data = &self.config.data;
        let names = names(data).map_err(Failure::internal)?;
        db::kept_keys::delete_others(tx, &names).await?;
        for name in names {
            let key = std::fs::read(data.join(&name)).map_err(Failure::internal)?;
            db::kept_keys::put(tx, &name, &self.secrets.seal(&name, &key)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_decides_which_keys_a_server_has() {
        let (folder, secrets) = (tempfile::tempdir().unwrap(), Secrets::new(&[1; 32]));
        let file = |name: &str| read(&folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join("ca.key"), "mine").unwrap();
        assert!(!unpack(folder.path(), &secrets, &[]).unwrap());
        assert_eq!(file("ca.key").unwrap(), b"mine");
        std::fs::write(folder.path().join("hub.former.key"), "retired").unwrap();
        let sealed = secrets.seal("ca.key", b"everybody's");
        let kept = [("ca.key".to_owned(), sealed)];
        assert!(unpack(folder.path(), &secrets, &kept).unwrap());
        assert_eq!(file("ca.key").unwrap(), b"everybody's");
        assert!(file("hub.former.key").is_none());
        assert!(unpack(folder.path(), &Secrets::new(&[2; 32]), &kept).is_err());
        for name in ["../hub.key", "hub./../x.key", "secret.key"] {
            let kept = [(name.to_owned(), secrets.seal(name, b"planted"))];
            assert!(unpack(folder.path(), &secrets, &kept).unwrap());
            assert!(!folder.path().join(name).exists(), "{name}");
        }
    }
}
