//! Logs on their way from whoever prints to the runner that owns the wire.

use core::cell::RefCell;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_sync::signal::Signal;
use lightship_link::{Credentials, Failure};

use crate::limits::BODY_BYTES;
use crate::logs::Kind;
use crate::protocol::{self, Bearer};

/// What lies between. [`split`](Self::split) it once.
pub struct Journal<'a, M: RawMutex> {
    slot: Mutex<M, RefCell<Slot<'a>>>,
    offered: Signal<M, ()>,
    outcome: Signal<M, (u32, Result<(), Failure>)>,
}

struct Slot<'a> {
    memory: &'a mut [u8],
    credentials: Option<Credentials>,
    id: u32,
    kind: Kind,
    len: usize,
}

/// Sends logs to the fleet.
pub struct Logs<'a, M: RawMutex> {
    journal: &'a Journal<'a, M>,
    id: u32,
}

/// The runner's side.
pub struct Offered<'a, M: RawMutex> {
    journal: &'a Journal<'a, M>,
}

/// Logs that were offered, and where they were copied to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) id: u32,
    pub(super) kind: Kind,
    pub(super) len: usize,
}

impl<'a, M: RawMutex> Journal<'a, M> {
    /// A journal whose longest batch has as many bytes as this memory, and at most [`BODY_BYTES`]. A device without logs gives none.
    pub fn new(memory: &'a mut [u8]) -> Self {
        let len = memory.len().min(BODY_BYTES);
        Self {
            slot: Mutex::new(RefCell::new(Slot {
                memory: &mut memory[..len],
                credentials: None,
                id: 0,
                kind: Kind::Lines,
                len: 0,
            })),
            offered: Signal::new(),
            outcome: Signal::new(),
        }
    }

    /// The two sides.
    pub fn split(&'a mut self) -> (Logs<'a, M>, Offered<'a, M>) {
        let journal: &'a Self = self;
        (Logs { journal, id: 0 }, Offered { journal })
    }
}

impl<M: RawMutex> Logs<'_, M> {
    /// From now on logs are sent as this device, also while there is no connection over HTTP: another transport may be in use.
    pub fn show(&mut self, credentials: Option<Credentials>) {
        self.journal
            .slot
            .lock(|slot| slot.borrow_mut().credentials = credentials);
    }

    /// Sends some logs. They are kept by the fleet, or this fails.
    ///
    /// May be dropped; whether the fleet keeps them is not known then.
    ///
    /// # Errors
    ///
    /// The [`Failure`]; [`Failure::TooLarge`] for more than the journal's memory at once.
    pub async fn append(&mut self, kind: Kind, logs: &[u8]) -> Result<(), Failure> {
        self.id = self.id.wrapping_add(1);
        let id = self.id;
        let is_taken = self.journal.slot.lock(|slot| {
            let mut slot = slot.borrow_mut();
            let Some(memory) = slot.memory.get_mut(..logs.len()) else {
                return false;
            };
            memory.copy_from_slice(logs);
            (slot.id, slot.kind, slot.len) = (id, kind, logs.len());
            true
        });
        if !is_taken {
            return Err(Failure::TooLarge);
        }
        self.journal.offered.signal(());
        loop {
            let (of, outcome) = self.journal.outcome.wait().await;
            if of == id {
                return outcome;
            }
        }
    }
}

impl<M: RawMutex> Offered<'_, M> {
    /// Waits for logs.
    pub(super) async fn wait(&mut self) {
        self.journal.offered.wait().await;
    }

    /// Waits for logs, and leaves them where they are.
    pub(super) async fn ready(&mut self) {
        self.wait().await;
        self.journal.offered.signal(());
    }

    /// What shows whose logs they are, while there is no connection.
    pub(super) fn bearer(&self) -> Option<Bearer> {
        self.journal.slot.lock(|slot| {
            let slot = slot.borrow();
            slot.credentials.as_ref().and_then(protocol::bearer)
        })
    }

    /// Copies what was offered into `into`, which is large enough for it.
    pub(super) fn copy(&self, into: &mut [u8]) -> Batch {
        self.journal.slot.lock(|slot| {
            let slot = slot.borrow();
            into[..slot.len].copy_from_slice(&slot.memory[..slot.len]);
            Batch {
                id: slot.id,
                kind: slot.kind,
                len: slot.len,
            }
        })
    }

    /// Says what became of them.
    pub(super) fn settle(&self, id: u32, outcome: Result<(), Failure>) {
        self.journal.outcome.signal((id, outcome));
    }

    /// Says that what was offered and not settled is not known to be kept.
    pub(super) fn fail(&self, failure: Failure) {
        // Who is told that it failed may offer it again, and then it is to be sent once.
        self.journal.offered.reset();
        let id = self.journal.slot.lock(|slot| slot.borrow().id);
        self.settle(id, Err(failure));
    }
}

impl<M: RawMutex> core::fmt::Debug for Journal<'_, M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl<M: RawMutex> core::fmt::Debug for Logs<'_, M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Logs").finish_non_exhaustive()
    }
}

impl<M: RawMutex> core::fmt::Debug for Offered<'_, M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Offered").finish_non_exhaustive()
    }
}
