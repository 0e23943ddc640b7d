//! Commands of `lightship` as a person types them, each a process of this very program.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use lightship_core::id::Digest;
use lightship_fleet::Handle;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::stage::failed;
use crate::failure::{Code, Failure};

/// How long a service may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A desk to type at.
pub(crate) struct Desk {
    pub(crate) config: PathBuf,
    pub(crate) password: String,
    pub(crate) quiet: bool,
    /// A folder that commands are shown without, because it is in all of them.
    pub(crate) stage: String,
}

impl Desk {
    /// Types a command, shows it, and reads what it answers.
    pub(crate) async fn type_in<W: AsRef<OsStr>>(&self, words: &[W]) -> Result<Value, Failure> {
        let shown: Vec<_> = words
            .iter()
            .map(|word| word.as_ref().to_string_lossy())
            .collect();
        let shown = shown.join(" ").replace(&self.stage, "$DEMO/");
        if !self.quiet {
            eprintln!("  $ lightship {shown}");
        }
        let output = self.command(words)?.output().await;
        let output = output.map_err(|error| failed("this program", &error))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(Failure::new(
                Code::Failed,
                format!("`lightship {shown}` failed: {}", words_of(&said)),
            ));
        }
        let answer = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&answer)
            .map_err(|error| failed(&format!("`lightship {shown}` is not understood"), &error))
    }
}

impl Desk {
    /// Logs in, and founds a fleet with keys of its own.
    pub(crate) async fn found_fleet(&self, server: &Handle) -> Result<(), Failure> {
        let fingerprint = Digest::of(server.authority_pem().as_bytes()).to_string();
        self.type_in(&["login", &server.url(), "--fingerprint", &fingerprint])
            .await?;
        self.type_in(&["fleet", "create", super::FLEET]).await?;
        self.type_in(&["keys", "init", "--no-passphrase"]).await?;
        Ok(())
    }

    /// A command that is not typed yet; it ends with whoever waits for it.
    fn command<W: AsRef<OsStr>>(&self, words: &[W]) -> Result<Command, Failure> {
        let program = std::env::current_exe().map_err(|error| failed("this program", &error))?;
        let mut command = Command::new(program);
        command.args(words).arg("--json").stdin(Stdio::null());
        command.env("LIGHTSHIP_CONFIG_DIR", &self.config);
        command.env("LIGHTSHIP_PASSWORD", &self.password);
        for name in [
            "LIGHTSHIP_SERVER",
            "LIGHTSHIP_TOKEN",
            "LIGHTSHIP_CA",
            "LIGHTSHIP_FLEET",
            "LIGHTSHIP_KEY",
        ] {
            command.env_remove(name);
        }
        command.env(super::PART_OF_A_DEMO, "1").kill_on_drop(true);
        Ok(command)
    }

    /// The page that a service on a device serves, through `lightship device tunnel`.
    pub(super) async fn page_through_tunnel(
        &self,
        device: &str,
        port: u16,
    ) -> Result<String, Failure> {
        let gone = || Failure::new(Code::Failed, "`lightship device tunnel` ended");
        let mut command = self.command(&["device", "tunnel", device, &port.to_string()])?;
        let mut process = command.stdout(Stdio::piped()).spawn();
        let process = process
            .as_mut()
            .map_err(|error| failed("this program", error))?;
        let said = process.stdout.take().ok_or_else(gone)?;
        let mut line = String::new();
        let read = BufReader::new(said).read_line(&mut line).await;
        read.map_err(|error| failed("`lightship device tunnel`", &error))?;
        let told: Value = serde_json::from_str(&line).map_err(|_| gone())?;
        let at = told["local"].as_str().ok_or_else(gone)?.to_owned();
        let page = tokio::time::timeout(PATIENCE, page(&at)).await;
        let page = page.map_err(|_| failed("the service", &"it does not answer"))?;
        page.map_err(|error| failed("the service", &error))
    }
}

/// Asks for a page as a browser does.
async fn page(at: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at).await?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The message in a failure's JSON, or all of it.
fn words_of(said: &str) -> String {
    let failure = said
        .lines()
        .last()
        .and_then(|line| serde_json::from_str::<Value>(line).ok());
    let message = failure
        .as_ref()
        .and_then(|failure| failure["error"]["message"].as_str());
    message.unwrap_or(said).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_its_own_words() {
        assert_eq!(
            words_of("noise\n{\"error\":{\"code\":\"failed\",\"message\":\"no such fleet\"}}\n"),
            "no such fleet"
        );
        assert_eq!(words_of("killed\n"), "killed");
    }
}
