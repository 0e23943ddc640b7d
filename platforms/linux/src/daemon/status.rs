//! `lightshipd status`: what the daemon says of itself, or, where none runs, what it saved.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Config;
use super::local::{Board, Component, Connection, Facts, Held, Line, Releases};
use super::records::Records;
use crate::engine::{Instance, Presence};
use crate::store::Files;

/// A daemon that has not answered after so long hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// An answer is no longer.
const ANSWER_BYTES: u64 = 1024 * 1024;

/// What `lightshipd status` prints.
#[derive(Clone, Debug)]
pub struct Printed {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: String,
    /// Whether a daemon said it; otherwise it was saved by the last one.
    pub is_running: bool,
}

/// Asks the daemon, or reads what the last one saved.
///
/// # Errors
///
/// When a daemon is there and does not answer, or nothing can be read.
pub fn status(config: &Config) -> io::Result<Printed> {
    let status = Status::ask(config)?;
    Ok(Printed {
        text: status.text(),
        json: serde_json::to_string_pretty(&status).map_err(io::Error::other)?,
        is_running: status.daemon.is_some(),
    })
}

/// Who the device is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) uuid: Option<String>,
    pub(crate) name: String,
    pub(crate) device_type: String,
    pub(crate) product: String,
    pub(crate) is_registered: bool,
}

/// The daemon's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Daemon {
    pub(crate) version: String,
    pub(crate) process: u32,
}

/// A lock, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lock {
    pub(crate) service: String,
    /// `service` or `device`.
    pub(crate) covers: String,
    pub(crate) expires_in_s: Option<u64>,
    pub(crate) by_file: bool,
    pub(crate) by_api: bool,
}

/// All that there is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) device: Device,
    /// Absent: no daemon runs, and what follows was saved by the last.
    pub(crate) daemon: Option<Daemon>,
    pub(crate) connection: Connection,
    pub(crate) release: Releases,
    pub(crate) components: Vec<Component>,
    pub(crate) locks: Vec<Lock>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) notes: Vec<Line>,
}

impl Status {
    /// From within the daemon.
    pub(crate) fn of(
        facts: &Facts,
        board: &Board,
        found: &[(Instance, Presence)],
        held: &[Held],
        tags: &BTreeMap<String, String>,
    ) -> Self {
        Self {
            device: Device {
                uuid: board.uuid().map(|uuid| uuid.to_string()),
                name: facts.name.clone(),
                device_type: facts.device_type.clone(),
                product: facts.product.clone(),
                is_registered: board.is_registered(),
            },
            daemon: Some(Daemon {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                process: std::process::id(),
            }),
            connection: board.connection(),
            release: board.releases(),
            components: board.components(found),
            locks: held.iter().map(lock).collect(),
            tags: tags.clone(),
            notes: board.notes(),
        }
    }

    /// Asks the daemon; where there is none, reads what it saved.
    ///
    /// # Errors
    ///
    /// When a daemon is there and does not answer, or nothing can be read.
    pub(crate) fn ask(config: &Config) -> io::Result<Self> {
        let door = config.run.join("control.sock");
        match UnixStream::connect(&door) {
            Ok(stream) => from_daemon(stream),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                saved(config)
            }
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!("{}: {error}; try as root", door.display()),
            )),
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |what: &str, value: &str| {
            let _ = writeln!(text, "{what:<12} {value}");
        };
        let Device {
            uuid,
            name,
            device_type,
            product,
            is_registered,
        } = &self.device;
        line("device", &format!("{name} ({device_type}, runs {product})"));
        line("uuid", uuid.as_deref().unwrap_or("none yet"));
        line("registered", if *is_registered { "yes" } else { "no" });
        match &self.daemon {
            Some(daemon) => line(
                "daemon",
                &format!("{} runs, process {}", daemon.version, daemon.process),
            ),
            None => line(
                "daemon",
                "does not run; what follows was saved by the last one",
            ),
        }
        line(
            "connection",
            &connection(&self.connection, self.daemon.is_some()),
        );
        let release = |release: &Option<super::local::Release>| match release {
            Some(release) => format!(
                "{} ({})",
                release.version,
                &release.digest[..12.min(release.digest.len())]
            ),
            None => "none".to_owned(),
        };
        line("committed", &release(&self.release.committed));
        if self.release.trial.is_some() {
            line("trial", &release(&self.release.trial));
        }
        if let (Some(rejected), Some(reason)) = (&self.release.rejected, &self.release.rejected_for)
        {
            line(
                "rejected",
                &format!("{} ({reason})", &rejected[..12.min(rejected.len())]),
            );
        }
        for component in &self.components {
            line(
                "service",
                &format!(
                    "{} is {} ({})",
                    component.name, component.state, component.release
                ),
            );
        }
        for lock in &self.locks {
            let end = lock
                .expires_in_s
                .map_or_else(String::new, |s| format!(", for {s} s more"));
            line(
                "lock",
                &format!(
                    "{} holds off updates of the {}{end}",
                    lock.service, lock.covers
                ),
            );
        }
        for (name, value) in &self.tags {
            line("tag", &format!("{name} = {value}"));
        }
        for note in self.notes.iter().rev().take(10).rev() {
            line("note", &format!("{} {}", note.at, note.note));
        }
        text
    }
}

fn connection(connection: &Connection, runs: bool) -> String {
    if connection.is_up {
        return "up".to_owned();
    }
    let why = connection
        .failure
        .as_deref()
        .map_or_else(String::new, |why| format!(" ({why})"));
    let again = connection.retry_in_ms.map_or_else(String::new, |ms| {
        format!(", tried again in {} s", ms / 1000)
    });
    if runs {
        format!("down{why}{again}")
    } else {
        "down".to_owned()
    }
}

fn lock(held: &Held) -> Lock {
    let left = held
        .until_ms
        .map(|end| end.saturating_sub(super::local::now_ms()).div_ceil(1000));
    Lock {
        service: held.service.clone(),
        covers: if held.covers_all { "device" } else { "service" }.to_owned(),
        expires_in_s: left,
        by_file: held.by_file,
        by_api: held.by_api,
    }
}

fn from_daemon(mut stream: UnixStream) -> io::Result<Status> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream
        .write_all(b"GET /v1/status HTTP/1.1\r\nHost: lightshipd\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer)?;
    let wrong = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the daemon's answer makes no sense; are both of one version?",
        )
    };
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(wrong)?;
    serde_json::from_slice(&answer[end + 4..]).map_err(|_| wrong())
}

fn saved(config: &Config) -> io::Result<Status> {
    let folder = config.data.join("agent");
    if !folder.is_dir() {
        return Ok(Status {
            device: Device {
                name: config
                    .name
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                device_type: config.device_type.to_string(),
                product: config.product.to_string(),
                ..Device::default()
            },
            ..Status::default()
        });
    }
    let loaded = Records::open(&folder, Files::default())?.load()?;
    let board = Board::new(&loaded.saved());
    let mut status = Status::of(&Facts::of(config), &board, &[], &[], &BTreeMap::new());
    status.daemon = None;
    Ok(status)
}
