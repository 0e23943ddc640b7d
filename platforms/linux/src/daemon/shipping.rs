//! Brings what containers print, and what the daemon notes, to the fleet.
//!
//! All of it is on the disk first, bounded there. A position for each log says how far the fleet has it; it moves when the fleet has said so, and is written down then, so that a daemon that starts goes on where the last one ended.
//! When there is nothing new, nothing is sent and nothing is looked at.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use lightship_link::Failure;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::journal::SERVICE;
use super::senders::Senders;
use crate::engine::Engine;
use crate::engine::runtime::{Line, LogWatch, Position, Stream, read_log_at_most};

/// Time for more lines to come before some are sent.
const GATHER: Duration = Duration::from_secs(1);
/// Bytes of a log that go into one request; room is left for how JSON writes them.
const READ_BYTES: u64 = 24 * 1024;
/// Bytes of one request.
const BATCH_BYTES: usize = 60 * 1024;
/// The first wait after a failure, and the longest.
const WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How long a removal waits for the last lines to be sent.
const FLUSH: Duration = Duration::from_secs(3);

/// Has everything sent that there is, before it is removed. Clones are handles of the same one.
#[derive(Clone)]
pub(super) struct Flush(mpsc::Sender<oneshot::Sender<()>>);

impl Flush {
    /// Waits until what was printed so far is sent, but not for long.
    pub(super) async fn now(&self) {
        let (done, flushed) = oneshot::channel();
        if self.0.try_send(done).is_ok() {
            // A fleet that is away does not hold anything up.
            let _ = timeout(FLUSH, flushed).await;
        }
    }
}

/// All logs and how far the fleet has them.
pub(super) struct Shipper<E> {
    pub(super) senders: Senders,
    pub(super) engine: Option<Arc<E>>,
    /// The folder of the logs; the daemon's own is in it.
    pub(super) logs: PathBuf,
    pub(super) online: watch::Receiver<bool>,
    pub(super) stirred: watch::Receiver<()>,
    positions: BTreeMap<String, Position>,
    sources: BTreeMap<String, Source>,
    flushes: mpsc::Receiver<oneshot::Sender<()>>,
}

struct Source {
    service: String,
    folder: PathBuf,
    growth: LogWatch,
}

#[derive(Serialize)]
struct Row<'a> {
    service: &'a str,
    stream: &'static str,
    line: &'a str,
}

impl<E: Engine> Shipper<E> {
    pub(super) fn new(
        senders: Senders,
        engine: Option<Arc<E>>,
        logs: PathBuf,
        online: watch::Receiver<bool>,
        stirred: watch::Receiver<()>,
    ) -> (Self, Flush) {
        let (flush, flushes) = mpsc::channel(8);
        let shipper = Self {
            positions: read_positions(&logs),
            senders,
            engine,
            logs,
            online,
            stirred,
            sources: BTreeMap::new(),
            flushes,
        };
        (shipper, Flush(flush))
    }

    /// Ships for ever; poll it beside the driver.
    pub(super) async fn run(mut self) -> std::convert::Infallible {
        let mut wait = WAIT;
        loop {
            self.look_for_sources().await;
            let flushed = if *self.online.borrow() {
                match self.ship().await {
                    Ok(()) => {
                        wait = WAIT;
                        self.something(None).await
                    }
                    Err(failure) => {
                        tracing::debug!(%failure, "logs wait");
                        let now = wait;
                        wait = (wait * 2).min(LONGEST_WAIT);
                        self.something(Some(now)).await
                    }
                }
            } else {
                self.reached().await
            };
            if let Some(done) = flushed {
                self.look_for_sources().await;
                if *self.online.borrow() {
                    // Whoever waits for this waits no longer than it takes.
                    let _ = self.ship().await;
                }
                let _ = done.send(());
            }
        }
    }

    /// Waits for the fleet; flushes have nothing to wait for meanwhile.
    async fn reached(&mut self) -> Option<oneshot::Sender<()>> {
        tokio::select! {
            online = self.online.wait_for(|online| *online) => {
                if online.is_err() {
                    std::future::pending::<()>().await;
                }
                None
            }
            Some(done) = self.flushes.recv() => Some(done),
        }
    }

    /// Waits for something to send, or for `wait` after a failure.
    async fn something(&mut self, wait: Option<Duration>) -> Option<oneshot::Sender<()>> {
        let growths = self.sources.values_mut().map(|source| &mut source.growth);
        let grown = async {
            let mut all: Vec<_> = growths.map(|growth| Box::pin(growth.grown())).collect();
            match (wait, all.is_empty()) {
                (Some(wait), _) => sleep(wait).await,
                (None, true) => std::future::pending().await,
                (None, false) => drop(select_all(all.drain(..)).await),
            }
        };
        tokio::select! {
            () = grown => {}
            Ok(()) = self.stirred.changed() => {}
            Some(done) = self.flushes.recv() => return Some(done),
        }
        sleep(GATHER).await;
        None
    }

    /// The daemon's own log, and one for each instance that there is.
    async fn look_for_sources(&mut self) {
        let mut found = vec![(
            SERVICE.to_owned(),
            SERVICE.to_owned(),
            self.logs.join(SERVICE),
        )];
        if let Some(engine) = &self.engine
            && let Ok(instances) = engine.inventory().await
        {
            found.extend(instances.into_iter().map(|(instance, _)| {
                let folder = engine.log_folder(&instance);
                let key = folder.file_name().unwrap_or_default();
                (key.to_string_lossy().into_owned(), instance.name, folder)
            }));
        }
        self.sources
            .retain(|key, _| found.iter().any(|(found, ..)| found == key));
        self.positions.retain(|key, _| self.logs.join(key).exists());
        for (key, service, folder) in found {
            if self.sources.contains_key(&key) {
                continue;
            }
            match LogWatch::new(&folder) {
                Ok(growth) => {
                    let source = Source {
                        service,
                        folder,
                        growth,
                    };
                    self.sources.insert(key, source);
                }
                Err(error) => tracing::warn!(service, %error, "a log is not followed"),
            }
        }
    }

    /// Sends all there is.
    async fn ship(&mut self) -> Result<(), Failure> {
        for (key, source) in &self.sources {
            let mut at = self.positions.get(key).copied().unwrap_or_default();
            loop {
                let read = read_log_at_most(&source.folder, at, READ_BYTES);
                let (lines, next) = match read {
                    Ok(read) => read,
                    Err(error) => {
                        tracing::warn!(service = source.service, %error, "a log is not read");
                        break;
                    }
                };
                for batch in batches(&source.service, &lines) {
                    match self.senders.lines(batch).await {
                        Err(failure @ (Failure::Declined | Failure::TooLarge)) => {
                            // The same lines would be declined for ever, and all that follow would wait.
                            tracing::warn!(service = source.service, %failure, "lines are left out");
                        }
                        sent => sent?,
                    }
                }
                if next == at {
                    break;
                }
                at = next;
                self.positions.insert(key.clone(), at);
                if let Err(error) = write_positions(&self.logs, &self.positions) {
                    tracing::warn!(%error, "how far the fleet has the logs is not kept");
                }
                if lines.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Lines as the fleet takes them, in as many requests as it takes.
fn batches(service: &str, lines: &[Line]) -> Vec<Vec<u8>> {
    let mut batches: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        let row = Row {
            service,
            stream: match line.stream {
                Stream::Out => "out",
                Stream::Error => "err",
            },
            line: &line.text,
        };
        let Ok(mut row) = serde_json::to_vec(&row) else {
            continue;
        };
        row.push(b'\n');
        match batches.last_mut() {
            Some(batch) if batch.len() + row.len() <= BATCH_BYTES => batch.extend(row),
            Some(_) | None => batches.push(row),
        }
    }
    batches
}

fn file(logs: &Path) -> PathBuf {
    logs.join("shipped")
}

/// A file that is not there, or that a power cut has spoilt, means that the fleet has nothing: lines come twice then, and none is lost.
fn read_positions(logs: &Path) -> BTreeMap<String, Position> {
    let bytes = fs::read(file(logs)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Not synced: a daemon that is killed loses nothing of it, and a disk that is a card of flash is not worn out by lines.
fn write_positions(logs: &Path, positions: &BTreeMap<String, Position>) -> io::Result<()> {
    let draft = logs.join("shipped.draft");
    let bytes = serde_json::to_vec(positions).map_err(io::Error::other)?;
    fs::write(&draft, bytes)?;
    fs::rename(draft, file(logs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line {
            time_ms: 1,
            stream: Stream::Error,
            text: text.to_owned(),
        }
    }

    #[test]
    fn lines_are_one_object_each_and_no_request_is_too_long() {
        let lines = [line("a \"b\""), line(&"\u{1}".repeat(10_000)), line("c")];
        let batches = batches("web", &lines);
        assert!(batches.iter().all(|batch| batch.len() <= 64 * 1024));
        let text = String::from_utf8(batches.concat()).unwrap();
        let first = text.lines().next().unwrap();
        assert_eq!(
            first,
            r#"{"service":"web","stream":"err","line":"a \"b\""}"#
        );
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn positions_come_back_and_a_spoilt_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let at = Position { file: 3, offset: 7 };
        let positions = BTreeMap::from([("x".to_owned(), at)]);
        write_positions(folder.path(), &positions).unwrap();
        assert_eq!(read_positions(folder.path()), positions);
        fs::write(file(folder.path()), b"{").unwrap();
        assert!(read_positions(folder.path()).is_empty());
    }
}
