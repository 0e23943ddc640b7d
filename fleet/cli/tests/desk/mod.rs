//! A desk: a server that `lightship serve` runs, a folder for a person's logins and keys, and the commands typed.
#![allow(clippy::unwrap_used, reason = "this is a part of tests")]
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(unreachable_pub, reason = "the module is included, not exported")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

pub const PASSWORD: &str = "a password for tests";

/// One person at one server.
pub struct Desk {
    pub folder: TempDir,
    server: Option<Child>,
    pub url: String,
    pub fingerprint: String,
}

impl Desk {
    /// A desk without a server.
    pub fn bare() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            server: None,
            url: String::new(),
            fingerprint: String::new(),
        }
    }

    /// A desk with a server, and nobody logged in.
    pub fn with_server() -> Self {
        Self::with_server_that("")
    }

    /// The same, with more in the server's configuration.
    pub fn with_server_that(has: &str) -> Self {
        Self::with_hub("listen = \"127.0.0.1:0\"", has)
    }

    /// The same, with a tunnel hub as these lines say.
    fn with_hub(tunnel: &str, has: &str) -> Self {
        let mut desk = Self::bare();
        let data = desk.path("data");
        let config = format!(
            "data = {data:?}\n[https]\nlisten = \"127.0.0.1:0\"\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[tunnel]\n{tunnel}\n[admin]\npassword = {PASSWORD:?}\n{has}"
        );
        desk.write("server.toml", &config);
        let mut command = desk.command(&["serve", "--json", "--config"]);
        command
            .arg(desk.path("server.toml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut server = command.spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(server.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let started: serde_json::Value = serde_json::from_str(&line).unwrap();
        desk.url = started["url"].as_str().unwrap().to_owned();
        desk.fingerprint = started["fingerprint"].as_str().unwrap().to_owned();
        desk.server = Some(server);
        desk
    }

    /// A desk whose person is logged in and has a fleet with keys.
    pub fn with_fleet() -> Self {
        Self::with_server().found()
    }

    /// The same, for devices that see this host's loopback at an address of their own.
    pub fn with_fleet_seen_at(host: &str) -> Self {
        // Devices are told of the ports before the hub listens.
        let free = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let [hub, enrolment] = [free(), free()].map(|socket| socket.local_addr().unwrap().port());
        let tunnel = [
            format!("listen = \"127.0.0.1:{hub}\"\nendpoint = \"{host}:{hub}\""),
            format!(
                "enrolment = \"127.0.0.1:{enrolment}\"\nenrolment_endpoint = \"{host}:{enrolment}\""
            ),
        ];
        Self::with_hub(&tunnel.join("\n"), "").found()
    }

    fn found(self) -> Self {
        let desk = self;
        desk.ok(&["login", &desk.url, "--fingerprint", &desk.fingerprint]);
        desk.ok(&["fleet", "create", "harbour"]);
        desk.ok(&["keys", "init", "--no-passphrase"]);
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lightship"));
        let kept = ["PATH", "HOME", "RUST_BACKTRACE"];
        let kept: Vec<_> = kept
            .iter()
            .filter_map(|name| Some((*name, std::env::var_os(name)?)))
            .collect();
        command.env_clear().envs(kept).args(words);
        command.env("LIGHTSHIP_CONFIG_DIR", self.path("config"));
        command
            .env("LIGHTSHIP_PASSWORD", PASSWORD)
            .env("LIGHTSHIP_NEW_PASSWORD", "another password for tests")
            .env("LIGHTSHIP_PASSPHRASE", "a passphrase");
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// A command that goes on until it is killed.
    pub fn start(&self, words: &[&str]) -> Child {
        let mut command = self.command(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// What a command that must succeed prints.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(
            output.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, words: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(&[words, &["--json"]].concat())).unwrap()
    }

    /// What a command prints and how it ends, with everything that differs from run to run named.
    pub fn snapshot(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let mut text = format!("$ lightship {}\n", words.join(" "));
        text.push_str(&String::from_utf8_lossy(&output.stdout));
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        text.push_str(&format!("[exit code {}]\n", output.status.code().unwrap()));
        let folder = self.folder.path().to_str().unwrap();
        let text = text
            .replace(folder, "DESK")
            .replace(&self.fingerprint_or_nothing(), "FINGERPRINT");
        let text = if self.url.is_empty() {
            text
        } else {
            text.replace(&self.url, "SERVER")
        };
        stable(&text)
    }

    fn fingerprint_or_nothing(&self) -> String {
        if self.fingerprint.is_empty() {
            "\0".to_owned()
        } else {
            self.fingerprint.clone()
        }
    }

    /// Asks the server to stop, as a service manager does, and waits until it has.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        let mut server = self.server.take().unwrap();
        let told = Command::new("kill")
            .arg(server.id().to_string())
            .status()
            .unwrap();
        assert!(told.success());
        server.wait().unwrap()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Names times and digests, which differ from run to run.
fn stable(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '.') {
            word.push(c);
            continue;
        }
        out.push_str(&name_of(&word));
        word.clear();
        out.push(c);
    }
    out.pop();
    out
}

fn name_of(word: &str) -> String {
    let hex = |digits: usize| word.len() == digits && word.bytes().all(|b| b.is_ascii_hexdigit());
    let is_time = word.ends_with('Z') && word.starts_with("20") && word.len() >= 16;
    match word {
        _ if is_time => "TIME".to_owned(),
        _ if hex(64) => "DIGEST".to_owned(),
        _ if hex(16) => "KEYID".to_owned(),
        _ if word.len() == 36 && word.bytes().filter(|b| *b == b'-').count() == 4 => {
            "UUID".to_owned()
        }
        _ if word.strip_prefix("sha256:").is_some() => "sha256:DIGEST".to_owned(),
        _ => word.to_owned(),
    }
}

/// A folder with one service that is built without an engine.
pub fn project(desk: &Desk, folder: &Path, content: &str) {
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    desk.write(&at("compose.yaml"), "services:\n  web:\n    build: web\n");
    desk.write(
        &at("web/Dockerfile"),
        "FROM scratch\nCOPY page.html /page.html\nCMD [\"/serve\"]\n",
    );
    desk.write(&at("web/page.html"), content);
}
