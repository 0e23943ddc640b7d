//! A device that acts by the rules of the messages: each command once, the newest target, each report until it was sent.

use std::time::Duration;
use std::vec::Vec;

use lightship_core::wire::{Down, Up};

use super::{Way, credentials};
use crate::contract::{Credentials, Event, Known, Link};
use crate::failure::Failure;

/// Longest time that anything may take before a test fails.
const LIMIT: Duration = Duration::from_secs(20);
/// Pause before another attempt, so that a far end that is not ready is not flooded.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits for something that must come.
///
/// # Panics
///
/// When it does not.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("in {LIMIT:?} this did not come: {what}"),
    }
}

/// An agent in small.
pub struct Actor<'a, L: Link> {
    /// What it talks through.
    pub link: &'a mut L,
    /// Commands acted on, in order.
    pub acted: Vec<u64>,
    /// Targets taken, each as its assignment and release.
    pub targets: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the connection is up.
    pub up: bool,
    /// The report that is to be sent, if its outcome is open.
    pub pending: Option<Up>,
    /// Connections that came about.
    pub connections: u32,
    /// Whether one of them resumed an earlier one.
    pub resumed: bool,
    /// Failures seen, the last one last.
    pub failures: Vec<Failure>,
    way: Way,
    credentials: Credentials,
    in_flight: bool,
}

impl<'a, L: Link> Actor<'a, L> {
    /// A device that has not connected yet.
    pub fn new(link: &'a mut L, way: &Way, credentials: Credentials) -> Self {
        Self {
            link,
            acted: Vec::new(),
            targets: Vec::new(),
            up: false,
            pending: None,
            connections: 0,
            resumed: false,
            failures: Vec::new(),
            way: way.clone(),
            credentials,
            in_flight: false,
        }
    }

    /// A device that has just connected.
    pub async fn connected(link: &'a mut L, way: &Way) -> Self {
        let mut actor = Self::new(link, way, credentials(1));
        actor.until("the connection", |actor| actor.up).await;
        actor
    }

    /// Asks for a connection.
    pub fn connect(&mut self) {
        let known = Known {
            counter: 0,
            root: 1,
            command: self.acted.last().copied().unwrap_or(0),
        };
        self.link.connect(&self.credentials, known);
    }

    /// Hands over the report that is to be sent, if it is not on its way.
    pub fn push(&mut self) {
        if let Some(message) = &self.pending
            && !self.in_flight
        {
            self.link
                .send(message.clone())
                .expect("nothing is on its way");
            self.in_flight = true;
        }
    }

    /// Takes one event.
    pub async fn step(&mut self) {
        match self.link.next().await {
            Event::Up { resumed } => {
                self.up = true;
                self.resumed |= resumed;
                self.connections += 1;
            }
            Event::Down(failure) => {
                self.up = false;
                self.failures.push(failure);
            }
            Event::Message(Down::Command(command)) => {
                if self.acted.last().is_none_or(|last| *last < command.id) {
                    self.acted.push(command.id);
                }
            }
            Event::Message(Down::Target(target)) => {
                use lightship_core::wire::Blob::Raw;
                let (Raw(assignment), Raw(release)) = (target.assignment, target.release) else {
                    panic!("a target arrived without being decoded");
                };
                self.targets.push((assignment.to_vec(), release.to_vec()));
            }
            Event::Sent => {
                assert!(self.in_flight, "an outcome without a message");
                self.in_flight = false;
                self.pending = None;
            }
            Event::Unsent(failure) => {
                assert!(self.in_flight, "an outcome without a message");
                self.in_flight = false;
                self.failures.push(failure);
            }
            Event::Message(_) | Event::Rejected(_) | Event::Switched { .. } => {}
        }
    }

    /// Goes on, connecting and sending again as often as it takes, until `done`.
    pub async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        soon(what, async {
            if !self.up {
                self.connect();
            }
            while !done(self) {
                self.push();
                let was_up = self.up;
                let failures = self.failures.len();
                self.step().await;
                let went_down = was_up || self.failures.len() > failures;
                if !self.up && went_down && !self.in_flight {
                    tokio::time::sleep(PAUSE).await;
                    self.way.mend();
                    self.connect();
                }
            }
        })
        .await;
    }

    /// Closes the connection and waits until it is closed.
    pub async fn leave(&mut self) {
        self.link.disconnect();
        soon("the connection is closed", async {
            self.up = true;
            while self.up {
                self.step().await;
            }
        })
        .await;
    }
}
