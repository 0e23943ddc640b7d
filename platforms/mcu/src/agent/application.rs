//! The application's way to the agent, from any task or thread.

use core::cell::Cell;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_sync::signal::Signal;
use lightship_core::id::Name;
use lightship_core::time::Duration;
use lightship_core::wire::Order;
use lightship_driver::Happening;

use crate::limits::REQUESTS;

/// What the application says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Nothing yet.
    Unknown,
    /// Its self-test passed.
    Well,
    /// It does not work.
    Ill,
}

/// Too many requests wait; the agent takes them within moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// The application's handle; a `static` that the agent is given as well.
pub struct Application {
    health: Mutex<CriticalSectionRawMutex, Cell<Health>>,
    changed: Signal<CriticalSectionRawMutex, ()>,
    requests: Channel<CriticalSectionRawMutex, Happening, REQUESTS>,
}

impl Application {
    /// Put it in a `static`.
    pub const fn new() -> Self {
        Self {
            health: Mutex::new(Cell::new(Health::Unknown)),
            changed: Signal::new(),
            requests: Channel::new(),
        }
    }

    /// The self-test passed: an image on trial may be kept.
    ///
    /// It is kept once it has been well for the window that its release names.
    pub fn confirm(&self) {
        self.set(Health::Well);
    }

    /// The application does not work: an image on trial is given up when it says so for too long, and a kept one is reported.
    pub fn fail(&self) {
        self.set(Health::Ill);
    }

    fn set(&self, health: Health) {
        let before = self.health.lock(|cell| cell.replace(health));
        if before != health {
            self.changed.signal(());
        }
    }

    /// Holds updates and restarts off until [`unlock`](Self::unlock), for `expires_in` at most. One lock for each owner; taking it again renews it.
    ///
    /// # Errors
    ///
    /// [`Busy`]; the lock is not taken.
    pub fn lock(&self, owner: Name, expires_in: Option<Duration>) -> Result<(), Busy> {
        self.request(Happening::Locked {
            owner,
            covers: None,
            expires_in,
        })
    }

    /// Lets a lock go.
    ///
    /// # Errors
    ///
    /// [`Busy`]; the lock still holds.
    pub fn unlock(&self, owner: Name) -> Result<(), Busy> {
        self.request(Happening::Unlocked(owner))
    }

    /// Asks the agent for something, as a person at the device would: to rotate a key, to report, to restart.
    ///
    /// # Errors
    ///
    /// [`Busy`]; nothing will be done.
    pub fn ask(&self, order: Order) -> Result<(), Busy> {
        self.request(Happening::Asked(order))
    }

    /// Ends the agent: [`run`](super::run) returns.
    ///
    /// # Errors
    ///
    /// [`Busy`]; the agent goes on.
    pub fn end(&self) -> Result<(), Busy> {
        self.request(Happening::Ended)
    }

    fn request(&self, request: Happening) -> Result<(), Busy> {
        self.requests.try_send(request).map_err(|_| Busy)
    }

    /// Has the agent look at the health again.
    pub(super) fn tell(&self) {
        self.changed.signal(());
    }

    pub(super) fn health(&self) -> Health {
        self.health.lock(Cell::get)
    }

    /// Waits until the health has changed. May be dropped.
    pub(super) async fn changed(&self) {
        self.changed.wait().await;
    }

    /// Waits for a request. May be dropped.
    pub(super) async fn requested(&self) -> Happening {
        self.requests.receive().await
    }
}

impl Default for Application {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Application {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Application").finish_non_exhaustive()
    }
}
