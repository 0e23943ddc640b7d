//! Downloads one layer: resumed where it stopped, checked against its length and digest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;

use super::registry::{Registries, Wanted, next_chunk};
use super::{OnProgress, Progress};
use crate::engine::error::Doing;
use crate::engine::image::{Descriptor, Reference};
use crate::engine::{Error, blocking};
use crate::store::{Partial, Store};

/// Connections that break before they brought anything, in a row.
const MAX_BARREN_TRIES: u32 = 3;

/// Connections for one layer: a server that trickles cannot keep a fetch going for ever.
const MAX_TRIES: u32 = 64;

/// So much is gathered before it is written.
const WRITE_BYTES: usize = 256 * 1024;

/// Adds up what all downloads of an image have brought.
pub(super) struct Tally {
    done: AtomicU64,
    total: u64,
    on_progress: OnProgress,
}

impl Tally {
    pub(super) fn new(total: u64, on_progress: OnProgress) -> Self {
        Self {
            done: AtomicU64::new(0),
            total,
            on_progress,
        }
    }

    fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.on_progress)(Progress {
            done_bytes: done.min(self.total),
            total_bytes: self.total,
        });
    }
}

impl Registries {
    /// Brings a blob into the store's downloads, whole and verified.
    pub(super) async fn download(
        &self,
        store: &Store,
        from: &Reference,
        layer: &Descriptor,
        tally: &Tally,
    ) -> Result<Partial, Error> {
        let (store, digest, size) = (store.clone(), layer.digest, layer.size);
        let partial = blocking(move || {
            let mut partial = store.partial(&digest).doing("opening a download")?;
            if partial.length() > size {
                partial.restart().doing("restarting a download")?;
            }
            Ok(partial)
        })
        .await?;
        let partial = Sink(Arc::new(Mutex::new(partial)));
        tally.add(partial.length());
        let mut resumed = partial.length() > 0;
        let mut barren = 0;
        for _ in 0..MAX_TRIES {
            let before = partial.length();
            let outcome = self.go_on(&partial, from, layer, tally).await;
            match outcome {
                Ok(()) if partial.is_whole() => return Ok(partial.into_partial()),
                // What an earlier run left may have been damaged: once more from the start.
                Ok(()) if resumed => {
                    resumed = false;
                    partial.restart()?;
                }
                Ok(()) => return Err(lied(partial.into_partial(), layer, "other bytes")),
                Err(Error::Network {
                    retry_after_s: None,
                    ..
                }) if partial.length() > before => barren = 0,
                Err(Error::Network {
                    retry_after_s: None,
                    ..
                }) if barren + 1 < MAX_BARREN_TRIES => barren += 1,
                Err(error) => return Err(error),
            }
        }
        let why = format!("breaks off {MAX_TRIES} times");
        Err(Error::Network {
            host: from.host.clone(),
            why,
            retry_after_s: None,
        })
    }

    /// One connection: from where the download stands to the layer's length.
    async fn go_on(
        &self,
        partial: &Sink,
        from: &Reference,
        layer: &Descriptor,
        tally: &Tally,
    ) -> Result<(), Error> {
        if partial.length() == layer.size {
            return Ok(());
        }
        let wanted = Wanted::Blob {
            from: partial.length(),
        };
        let mut response = self.open(from, &layer.digest, wanted).await?;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            if !continues(&response, partial.length()) {
                let why = "answers with a range that was not asked for".to_owned();
                return Err(Error::Network {
                    host: from.host.clone(),
                    why,
                    retry_after_s: None,
                });
            }
        } else if partial.length() > 0 {
            partial.restart()?;
        }
        let mut gathered = Vec::with_capacity(WRITE_BYTES);
        loop {
            let chunk = next_chunk(&mut response, &from.host).await;
            let ended = !matches!(chunk, Ok(Some(_)));
            if let Ok(Some(chunk)) = &chunk {
                if partial.length() + (gathered.len() + chunk.len()) as u64 > layer.size {
                    partial.restart()?;
                    let found = format!("more than its {} bytes", layer.size);
                    return Err(Error::DigestMismatch {
                        wanted: layer.digest,
                        found,
                    });
                }
                gathered.extend_from_slice(chunk);
            }
            if gathered.len() >= WRITE_BYTES || ended {
                tally.add(gathered.len() as u64);
                gathered = partial.write(gathered).await?;
            }
            match chunk {
                Ok(Some(_)) => {}
                Ok(None) => return ended_at(partial, layer, &from.host),
                Err(error) => return Err(error),
            }
        }
    }
}

/// A download that is written where waiting for the disk keeps nobody else from working.
struct Sink(Arc<Mutex<Partial>>);

impl Sink {
    fn length(&self) -> u64 {
        self.held().length()
    }

    fn is_whole(&self) -> bool {
        self.held().is_whole()
    }

    fn restart(&self) -> Result<(), Error> {
        self.held().restart().doing("restarting a download")
    }

    /// Writes, and gives the emptied buffer back.
    async fn write(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        let partial = Arc::clone(&self.0);
        blocking(move || {
            let mut partial = partial.lock().unwrap_or_else(PoisonError::into_inner);
            partial.write(&bytes).doing("writing a download")?;
            bytes.clear();
            Ok(bytes)
        })
        .await
    }

    fn into_partial(self) -> Partial {
        let partial = Arc::into_inner(self.0).expect("every write was waited for");
        partial.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Partial> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ended_at(partial: &Sink, layer: &Descriptor, host: &str) -> Result<(), Error> {
    if partial.length() < layer.size {
        let why = format!(
            "breaks off after {} of {} bytes",
            partial.length(),
            layer.size
        );
        return Err(Error::Network {
            host: host.to_owned(),
            why,
            retry_after_s: None,
        });
    }
    Ok(())
}

/// Whether the answer starts where the download stands.
fn continues(response: &reqwest::Response, from: u64) -> bool {
    let range = response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok());
    let start = range.and_then(|text| {
        text.strip_prefix("bytes ")?
            .split('-')
            .next()?
            .parse::<u64>()
            .ok()
    });
    start == Some(from)
}

fn lied(partial: Partial, layer: &Descriptor, found: &str) -> Error {
    match partial.remove() {
        Ok(()) => Error::DigestMismatch {
            wanted: layer.digest,
            found: found.to_owned(),
        },
        Err(error) => Error::system("removing a download", error),
    }
}
