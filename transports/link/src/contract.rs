//! The traits and what passes through them. The promises are in the crate's page, by number.

use core::fmt;

use lightship_core::id::{ApiKey, Digest, ProvisioningKey, Uuid};
use lightship_core::wire::{Down, Rejection, Up};

use crate::failure::{BlobFailure, Failure};

/// Carries messages between one device and its fleet.
///
/// Call [`connect`](Self::connect), then [`next`](Self::next) for ever; [`send`](Self::send) in between.
/// A connection that went down stays down until `connect` is called: when to try again is the agent's decision.
#[allow(
    async_fn_in_trait,
    reason = "no executor is assumed, so neither is Send; a concrete link's future is Send when its parts are"
)]
pub trait Link {
    /// Closes the connection that there may be and opens one with these credentials.
    ///
    /// Returns at once; [`Event::Up`] or [`Event::Down`] follows.
    /// A message under way on the old connection still ends in `Sent` or `Unsent`.
    fn connect(&mut self, credentials: &Credentials, known: Known);

    /// Closes the connection, if there is one; [`Event::Down`] with [`Failure::Closed`] follows.
    fn disconnect(&mut self);

    /// Takes a message to deliver. Returns at once; [`Event::Sent`] or [`Event::Unsent`] follows.
    ///
    /// # Errors
    ///
    /// [`NotTaken`] when the last message has no outcome yet; nothing has changed.
    fn send(&mut self, message: Up) -> Result<(), NotTaken>;

    /// Waits for what happens next, and so acknowledges the message that the last call returned.
    ///
    /// May be dropped at any time.
    async fn next(&mut self) -> Event<'_>;
}

/// Reads blobs: images, layers, specs, settings; whatever a digest names.
#[allow(
    async_fn_in_trait,
    reason = "no executor is assumed, so neither is Send; a concrete reader's future is Send when its parts are"
)]
pub trait Blobs {
    /// Reads from `offset` of a blob into `into` and returns how many bytes came: at least one, or zero when `offset` is its end or beyond.
    ///
    /// Reading on from where the last read ended is cheap; any other offset is allowed, also after a restart.
    /// The bytes are whatever the far end sent. May be dropped at any time.
    ///
    /// # Errors
    ///
    /// A [`BlobFailure`]; nothing of `into` means anything then.
    async fn read(
        &mut self,
        digest: &Digest,
        offset: u64,
        into: &mut [u8],
    ) -> Result<usize, BlobFailure>;
}

/// What happens on a link.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The far end took the credentials.
    Up {
        /// Whether it remembers the last connection, and so has kept what it could not deliver.
        resumed: bool,
    },
    /// The connection is gone, or none came about.
    Down(Failure),
    /// A message came. The next call of [`Link::next`] acknowledges it.
    Message(Down<'a>),
    /// Bytes came that are not a message.
    Rejected(Rejection),
    /// The message under way was acknowledged by the far end.
    Sent,
    /// The message under way is not known to be delivered. It may have been.
    Unsent(Failure),
    /// Another transport is used from now on; only a fallback says this, just before `Up`.
    Switched {
        /// Position of the new one in the order of preference.
        to: u8,
        /// Why the old one is left; none when a preferred one came back.
        why: Option<Failure>,
    },
}

/// Who a device is and how it proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The device.
    pub uuid: Uuid,
    /// What it shows.
    pub secret: Secret,
}

/// What a device shows to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The key of a registered device.
    Api(ApiKey),
    /// The key of a fleet, to register with and for nothing else.
    Provisioning(ProvisioningKey),
}

/// What a device has already, so that the far end need not send it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The assignment counter last accepted; zero for none.
    pub counter: u64,
    /// Version of the trusted root.
    pub root: u32,
    /// The highest command that was acted on; zero for none.
    pub command: u64,
}

/// The last message has no outcome yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTaken;

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message is still under way")
    }
}

impl core::error::Error for NotTaken {}
