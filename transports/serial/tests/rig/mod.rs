//! A device and a shore on one line.

#![allow(dead_code, reason = "each test uses what it needs")]

pub(crate) mod terminals;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::Duration;
use embedded_io_async::{Read, Write};
use lightship_core::id::Digest;
use lightship_core::limits::MESSAGE_BYTES;
use lightship_core::wire::{self, Down, Up};
use lightship_link::chunk::{Exchange, Reader, Request, Slot};
use lightship_link::mailbox::{Handle, Mailbox, Packet};
use lightship_link::suite::FarEnd;
use lightship_link::{Credentials, Failure};
use lightship_serial::device::Runner;
use lightship_serial::shore::{Host, Shore};
use lightship_serial::{Patience, Sorry};
use tokio::sync::Notify;

pub(crate) type Link = Handle<'static, CriticalSectionRawMutex>;
pub(crate) type Blobs = Reader<'static, CriticalSectionRawMutex>;

/// Impatient, so that tests are not.
pub(crate) const PATIENCE: Patience = Patience {
    answer: Duration::from_millis(60),
    ping: Duration::from_millis(250),
};

fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

/// A device on this port, whose mailbox lives as long as the test.
pub(crate) fn device<P: Read + Write + 'static>(port: P) -> (Link, Blobs) {
    let (link, mail) = leak(Mailbox::new(leak(Packet::new()))).split();
    let (blobs, asked) = leak(Exchange::new(leak(Slot::new()))).split();
    let mut runner = Runner::new(port, PATIENCE, mail, asked);
    tokio::task::spawn_local(async move { runner.run().await });
    (link, blobs)
}

/// What a shore knows and has heard.
#[derive(Default)]
pub(crate) struct Book {
    admitted: Vec<Credentials>,
    is_known: bool,
    saying: VecDeque<Vec<u8>>,
    /// The target, which every session begins with.
    target: Option<Vec<u8>>,
    target_is_due: bool,
    said_target: Option<Vec<u8>>,
    heard: Vec<Up>,
    blobs: HashMap<Digest, Vec<u8>>,
}

/// A shore that does what a test says.
#[derive(Clone, Default)]
pub(crate) struct Desk {
    pub(crate) book: Rc<RefCell<Book>>,
    news: Rc<Notify>,
}

/// Serves a device on this port.
pub(crate) fn shore<P: Read + Write + 'static>(port: P) -> Desk {
    let desk = Desk::default();
    let mut host = Host::new(port, PATIENCE, desk.clone());
    tokio::task::spawn_local(async move { host.run().await });
    desk
}

impl Shore for Desk {
    fn admit(&mut self, credentials: &Credentials) -> Result<bool, Sorry> {
        let mut book = self.book.borrow_mut();
        if !book.admitted.contains(credentials) {
            return Err(Sorry::Refused {
                retry_after_s: Some(5),
            });
        }
        book.target_is_due = book.target.is_some();
        Ok(std::mem::replace(&mut book.is_known, true))
    }

    fn hear(&mut self, message: Up) {
        self.book.borrow_mut().heard.push(message);
    }

    async fn next(&mut self, out: &mut [u8; MESSAGE_BYTES]) -> usize {
        loop {
            {
                let mut book = self.book.borrow_mut();
                book.said_target = book.target.clone().filter(|_| book.target_is_due);
                let next = match book.target_is_due {
                    true => book.target.as_ref(),
                    false => book.saying.front(),
                };
                if let Some(bytes) = next {
                    out[..bytes.len()].copy_from_slice(bytes);
                    return bytes.len();
                }
            }
            self.news.notified().await;
        }
    }

    fn said(&mut self, outcome: Result<(), Failure>) {
        let mut book = self.book.borrow_mut();
        if outcome.is_ok() || outcome == Err(Failure::Declined) {
            match book.said_target.take() {
                // Another one may have taken its place in the meantime.
                Some(said) => book.target_is_due = book.target != Some(said),
                None => drop(book.saying.pop_front()),
            }
        }
    }

    fn piece(&mut self, request: &Request, into: &mut [u8]) -> Option<usize> {
        let book = self.book.borrow();
        let blob = book.blobs.get(&request.digest)?;
        let from = (request.offset as usize).min(blob.len());
        let len = into.len().min(blob.len() - from);
        into[..len].copy_from_slice(&blob[from..from + len]);
        Some(len)
    }
}

impl FarEnd for Desk {
    async fn admit(&mut self, credentials: &Credentials) {
        self.book.borrow_mut().admitted.push(credentials.clone());
    }

    async fn expel(&mut self, credentials: &Credentials) {
        self.book
            .borrow_mut()
            .admitted
            .retain(|other| other != credentials);
    }

    async fn say(&mut self, message: &Down<'_>, _counter: u64) {
        let mut out = vec![0; MESSAGE_BYTES];
        let bytes = wire::encode(message, &mut out).unwrap().to_vec();
        {
            let mut book = self.book.borrow_mut();
            match message {
                Down::Target(_) => {
                    book.target = Some(bytes);
                    book.target_is_due = true;
                }
                _ => book.saying.push_back(bytes),
            }
        }
        self.news.notify_one();
    }

    async fn say_raw(&mut self, bytes: &[u8]) {
        self.book.borrow_mut().saying.push_back(bytes.to_vec());
        self.news.notify_one();
    }

    async fn heard(&mut self) -> Vec<Up> {
        std::mem::take(&mut self.book.borrow_mut().heard)
    }

    async fn keep(&mut self, blob: Vec<u8>) -> Digest {
        let digest = Digest::of(&blob);
        self.book.borrow_mut().blobs.insert(digest, blob);
        digest
    }
}
