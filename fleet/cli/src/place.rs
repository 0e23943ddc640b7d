//! Where things are: the server that is talked to, the login, the folder of keys.

use std::path::{Path, PathBuf};

use lightship_api::{Fleet, Name};
use serde::{Deserialize, Serialize};

use crate::args::Global;
use crate::client::Client;
use crate::failure::{Code, Failure};

/// What `lightship login` stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Login {
    pub(crate) server: String,
    pub(crate) token: String,
    /// The authority that is pinned; absent means those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<String>,
}

/// Where things are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) global: Global,
    folder: PathBuf,
}

impl Place {
    pub(crate) fn new(global: Global) -> Result<Self, Failure> {
        let folder = match (
            &global.config_dir,
            std::env::var_os("XDG_CONFIG_HOME"),
            std::env::var_os("HOME"),
        ) {
            (Some(folder), _, _) => folder.clone(),
            (None, Some(config), _) => PathBuf::from(config).join("lightship"),
            (None, None, Some(home)) => PathBuf::from(home).join(".config/lightship"),
            (None, None, None) => {
                let failure = Failure::new(
                    Code::Usage,
                    "there is no home folder to keep logins and keys in",
                );
                return Err(failure.help("pass --config-dir"));
            }
        };
        Ok(Self { global, folder })
    }

    /// The folder of keys.
    pub(crate) fn keys(&self) -> PathBuf {
        self.folder.join("keys")
    }

    /// Where uploads that broke off are remembered.
    pub(crate) fn uploads(&self) -> PathBuf {
        self.folder.join("uploads")
    }

    fn login_file(&self) -> PathBuf {
        self.folder.join("login.toml")
    }

    /// What `lightship login` stored, if it did.
    pub(crate) fn login(&self) -> Result<Option<Login>, Failure> {
        let path = self.login_file();
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map(Some).map_err(|error| {
                Failure::new(Code::Failed, format!("{}: {error}", path.display()))
                    .help("log in again with `lightship login`")
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::file(&path, &error)),
        }
    }

    pub(crate) fn store_login(&self, login: &Login) -> Result<(), Failure> {
        let text = toml::to_string(login)
            .map_err(|error| Failure::new(Code::Failed, error.to_string()))?;
        write_private(&self.login_file(), text.as_bytes(), true)
    }

    pub(crate) fn forget_login(&self) -> Result<(), Failure> {
        match std::fs::remove_file(self.login_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::file(&self.login_file(), &error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The PEM of the authority that is pinned, if one is.
    pub(crate) fn authority(&self) -> Result<Option<String>, Failure> {
        match &self.global.ca {
            Some(path) => std::fs::read_to_string(path)
                .map(Some)
                .map_err(|error| Failure::file(path, &error)),
            None => Ok(self.login()?.and_then(|login| login.ca)),
        }
    }

    /// The server, as whoever is logged in.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let login = self.login()?;
        let server = self
            .global
            .server
            .clone()
            .or_else(|| login.as_ref().map(|login| login.server.clone()));
        let Some(server) = server else {
            return Err(Failure::new(Code::Denied, "not logged in").help(
                "run `lightship login https://your.server:7443`, or pass --server and --token",
            ));
        };
        // A token is for the server that made it.
        let stored = login
            .filter(|login| login.server == server)
            .map(|login| login.token);
        let Some(token) = self.global.token.clone().or(stored) else {
            return Err(
                Failure::new(Code::Denied, format!("not logged in to {server}"))
                    .help(format!("run `lightship login {server}`, or pass --token")),
            );
        };
        Client::new(&server, Some(token), self.authority()?.as_deref())
    }

    /// The fleet that is meant.
    pub(crate) async fn fleet(&self, client: &Client) -> Result<Name, Failure> {
        if let Some(fleet) = &self.global.fleet {
            return Ok(fleet.clone());
        }
        let fleets: Vec<Fleet> = client.get("/api/v1/fleets").await?;
        match fleets.as_slice() {
            [only] => Ok(only.name.clone()),
            [] => Err(Failure::new(Code::Missing, "there is no fleet yet")
                .help("make one with `lightship fleet create NAME`")),
            many => {
                let names: Vec<&str> = many.iter().map(|fleet| fleet.name.as_str()).collect();
                Err(Failure::new(Code::Usage, "which fleet?")
                    .help(format!("pass --fleet with one of: {}", names.join(", "))))
            }
        }
    }
}

/// Writes a file that only its owner reads; whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8], replace: bool) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    if path.exists() && !replace {
        return Err(
            Failure::new(Code::Refused, format!("{} exists already", path.display()))
                .help("choose another name, or move it away first"),
        );
    }
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(|error| Failure::file(folder, &error))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = || -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    written().map_err(|error| {
        let _left_behind = std::fs::remove_file(&temporary).is_err();
        Failure::file(path, &error)
    })
}
