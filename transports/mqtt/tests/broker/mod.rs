//! mosquitto, and a fleet that talks through it.

#![allow(dead_code, reason = "each test uses what it needs")]

pub(crate) mod fleet;
pub(crate) mod probe;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lightship_link::suite::certificate::Identity;
use lightship_link::suite::soon;
use tempfile::TempDir;

/// A broker of one test. It dies with the test.
pub(crate) struct Broker {
    folder: TempDir,
    pub(crate) address: SocketAddr,
    /// Where it listens with TLS, if it does.
    pub(crate) tls: Option<SocketAddr>,
    process: Child,
    users: Vec<(String, String)>,
    /// The fleet's own.
    pub(crate) password: String,
}

/// The fleet's own user.
pub(crate) const FLEET: &str = "fleet";

/// What lightship-link's page lets a device do, and nothing else.
const ACCESS: &str = "\
user fleet
topic readwrite #
pattern write d/%u/up
pattern write d/%u/presence
pattern write d/%u/blob/get
pattern read d/%u/target
pattern read d/%u/down
pattern read d/%u/blob/data
";

fn config(folder: &Path, address: SocketAddr, extra: &str) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    format!(
        "user root
listener {port} 127.0.0.1
allow_anonymous false
password_file {passwords}
acl_file {access}
persistence_location {folder}/
{extra}
",
        port = address.port(),
        passwords = path("passwords"),
        access = path("access"),
        folder = folder.display(),
    )
}

fn free_address() -> SocketAddr {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap()
}

/// A listener with TLS, whose files lie in `folder`.
fn listener(folder: &Path, address: SocketAddr, identity: &Identity) -> String {
    let save = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let certificate = save("certificate", &identity.certificate.pem);
    let key = save("key", &identity.key.pem);
    format!(
        "listener {} 127.0.0.1\ncertfile {certificate}\nkeyfile {key}\n",
        address.port()
    )
}

fn program(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let paths = folders.iter().map(|folder| Path::new(folder).join(name));
    paths.into_iter().find(|path| path.exists())
}

impl Broker {
    /// Starts mosquitto on a port of its own; nothing when it is not installed.
    pub(crate) async fn start(extra: &str) -> Option<Self> {
        Self::start_with(extra, None).await
    }

    /// The same with a second listener that shows this identity.
    pub(crate) async fn start_tls(identity: &Identity) -> Option<Self> {
        Self::start_with("", Some(identity)).await
    }

    async fn start_with(extra: &str, identity: Option<&Identity>) -> Option<Self> {
        if program("mosquitto").is_none() || program("mosquitto_passwd").is_none() {
            eprintln!("SKIPPED: mosquitto is not installed");
            return None;
        }
        loop {
            if let Some(broker) = Self::try_start(extra, identity).await {
                return Some(broker);
            }
        }
    }

    /// One try: another process may take the port first.
    async fn try_start(extra: &str, identity: Option<&Identity>) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let address = free_address();
        let tls = identity.map(|identity| (free_address(), identity));
        let mut extra = extra.to_owned();
        if let Some((address, identity)) = tls {
            extra += &listener(folder.path(), address, identity);
        }
        std::fs::write(
            folder.path().join("config"),
            config(folder.path(), address, &extra),
        )
        .unwrap();
        std::fs::write(folder.path().join("access"), ACCESS).unwrap();
        // The folder's name is unlike any other's, so no other broker takes it for a password.
        let password = folder.path().display().to_string();
        let users = vec![(FLEET.into(), password.clone())];
        save(folder.path(), &users);
        let process = spawn(&program("mosquitto").unwrap(), folder.path());
        let mut broker = Self {
            folder,
            address,
            tls: tls.map(|(address, _)| address),
            process,
            users,
            password,
        };
        soon("the broker starts", async move {
            loop {
                let is_up = probe::is_admitted(address, FLEET, &broker.password).await;
                if is_up == Some(true) {
                    return Some(broker);
                }
                if broker.process.try_wait().unwrap().is_some() {
                    return None;
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        })
        .await
    }

    /// Lets a user in; it has one password at a time.
    pub(crate) async fn admit(&mut self, user: &str, password: &str) {
        self.users.retain(|(name, _)| name != user);
        self.users.push((user.into(), password.into()));
        self.reload();
        self.until(user, password, true).await;
    }

    /// Lets it in no longer, if that is its password.
    pub(crate) async fn expel(&mut self, user: &str, password: &str) {
        self.users
            .retain(|other| *other != (user.into(), password.into()));
        self.reload();
        self.until(user, password, false).await;
    }

    fn reload(&self) {
        save(self.folder.path(), &self.users);
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    async fn until(&self, user: &str, password: &str, is_good: bool) {
        soon("the broker reads its passwords", async {
            while probe::is_admitted(self.address, user, password).await != Some(is_good) {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        })
        .await;
    }

    /// Ends the broker as a service manager does, and starts it again with what it saved.
    pub(crate) async fn restart(&mut self) {
        self.signal("TERM");
        self.process.wait().unwrap();
        self.process = spawn(&program("mosquitto").unwrap(), self.folder.path());
        self.until(FLEET, &self.password, true).await;
    }
}

fn save(folder: &Path, users: &[(String, String)]) {
    let file = folder.join("passwords");
    std::fs::write(&file, "").unwrap();
    for (user, password) in users {
        let mut hasher = Command::new(program("mosquitto_passwd").unwrap());
        let hashed = hasher.arg("-b").arg(&file).args([user, password]).output();
        assert!(hashed.unwrap().status.success());
    }
}

fn spawn(mosquitto: &Path, folder: &Path) -> Child {
    Command::new(mosquitto)
        .arg("-c")
        .arg(folder.join("config"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
