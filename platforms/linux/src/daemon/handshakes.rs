//! The times of the tunnel's handshakes: never one twice, on a board whose clock starts anew too.
//!
//! A hub refuses a handshake that is not later than the last (WireGuard paper, section 5.1), so what is claimed of the future is on the disk before it is used.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lightship_wireguard::tunnel::HandshakeClock;

use crate::store::Files;

/// The file's name, beside the agent's records.
const NAME: &str = "handshakes";
/// How often the clock is compared with the system's.
const LOOK: Duration = Duration::from_secs(3600);

/// The clock of handshakes and where it is kept. Clones are handles of the same one.
#[derive(Clone)]
pub(super) struct Handshakes(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    files: Files,
    /// What is stored, and the clock of this life once there was a tunnel to open.
    state: Mutex<(u64, Option<HandshakeClock>)>,
}

impl Handshakes {
    pub(super) fn open(folder: &Path, files: Files) -> io::Result<Self> {
        let stored_s = match std::fs::read_to_string(folder.join(NAME)) {
            // A file that somebody damaged counts as none: the agent's own floor is there as well.
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self(Arc::new(Inner {
            folder: folder.to_owned(),
            files,
            state: Mutex::new((stored_s, None)),
        })))
    }

    /// Makes times later than this floor, which the agent keeps, usable for a tunnel.
    ///
    /// # Errors
    ///
    /// What the system said: without a record no handshake may be sent.
    pub(super) fn rise_to(&self, floor_s: u64) -> io::Result<()> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.1.is_none() {
            let (clock, end_s) = HandshakeClock::boot(state.0.max(floor_s));
            self.0.save(end_s)?;
            *state = (end_s, Some(clock));
        }
        self.0.look(&mut state)
    }

    /// The clock; call it after [`rise_to`](Self::rise_to).
    pub(super) fn clock(&self) -> HandshakeClock {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = state.1.clone();
        clock.expect("a tunnel is opened after the times for it were claimed")
    }

    /// Claims more of the future while there is a tunnel.
    pub(super) fn keep(&self) -> impl Future<Output = Infallible> + use<> {
        let inner = self.0.clone();
        async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let mut state = inner.state.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = inner.look(&mut state) {
                    tracing::warn!(%error, "the time of handshakes is not saved; it stands still after a while");
                }
            }
        }
    }
}

impl Inner {
    fn look(&self, state: &mut (u64, Option<HandshakeClock>)) -> io::Result<()> {
        let Some(clock) = &state.1 else {
            return Ok(());
        };
        let Some(end_s) = clock.look().filter(|end_s| *end_s > state.0) else {
            return Ok(());
        };
        self.save(end_s)?;
        clock.stored(end_s);
        state.0 = end_s;
        Ok(())
    }

    fn save(&self, end_s: u64) -> io::Result<()> {
        let path = self.folder.join(NAME);
        let draft = self.folder.join(format!("{NAME}.draft"));
        let text = end_s.to_string();
        self.files.replace(&path, &draft, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_claims_times_that_no_earlier_one_did() {
        let folder = tempfile::tempdir().unwrap();
        let far_s = 5_000_000_000;
        let mut last_s = far_s;
        for _ in 0..3 {
            let handshakes = Handshakes::open(folder.path(), Files::default()).unwrap();
            handshakes.rise_to(far_s).unwrap();
            assert!(handshakes.clock().is_system_behind());
            let text = std::fs::read_to_string(folder.path().join(NAME)).unwrap();
            let stored_s: u64 = text.parse().unwrap();
            assert!(stored_s > last_s, "{stored_s}");
            last_s = stored_s;
        }
    }
}
