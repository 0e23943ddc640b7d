//! What can go wrong on the way, so that nobody has to guess from a text.

use core::fmt;

/// Why there is no connection, or why a message is not known to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The far end does not take these credentials: 401 or 403, CONNACK not authorised, `sorry`.
    ///
    /// The only failure that says anything about an identity.
    Refused {
        /// How long it asks to be left alone, in seconds.
        retry_after_s: Option<u32>,
    },
    /// The far end is there and asks for patience: 429 or 503, CONNACK busy.
    Busy {
        /// How long, in seconds.
        retry_after_s: Option<u32>,
    },
    /// Nobody was reached.
    Unreachable(Unreachable),
    /// Somebody answered who could not prove to be the fleet: a wrong, expired or unknown certificate.
    Untrusted,
    /// Another connection with this device's name took its place.
    TakenOver,
    /// The far end broke the rules of the transport.
    Misbehaved(Misconduct),
    /// The far end understood the message and does not want it: 4xx, a PUBACK with an error, a rejection.
    Declined,
    /// The message is longer than the far end takes.
    TooLarge,
    /// The connection was closed from this side.
    Closed,
}

/// Where the way to the fleet ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// There is no connection, and none is being made.
    NotConnected,
    /// The name of the fleet has no address.
    Name,
    /// No connection could be made.
    Connect,
    /// The connection broke.
    Broken,
    /// Nothing came in the time allowed: the other half of the connection is gone.
    Silent,
    /// Something on the way answered in the fleet's place: a 5xx of a proxy, a server that is not ready.
    Server,
}

/// How a far end broke the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misconduct {
    /// Bytes that are not the protocol.
    Garbage,
    /// A length beyond the agreed one, or one that does not fit what came.
    Length,
    /// A topic or a session of somebody else.
    NotOurs,
    /// A step out of turn, or an answer to nothing.
    Sequence,
}

/// Why a blob was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobFailure {
    /// The fleet has no such blob, or not for this device.
    Absent,
    /// The way there failed; the same read may succeed later.
    Link(Failure),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { retry_after_s } => {
                wait(f, "the credentials are refused", *retry_after_s)
            }
            Self::Busy { retry_after_s } => wait(f, "the far end is busy", *retry_after_s),
            Self::Unreachable(how) => write!(f, "the fleet is not reached: {how}"),
            Self::Untrusted => f.write_str("the far end did not prove to be the fleet"),
            Self::TakenOver => f.write_str("another connection has taken this device's place"),
            Self::Misbehaved(how) => write!(f, "the far end broke the protocol: {how}"),
            Self::Declined => f.write_str("the far end declined the message"),
            Self::TooLarge => f.write_str("the message is larger than the far end takes"),
            Self::Closed => f.write_str("the connection was closed from this side"),
        }
    }
}

fn wait(f: &mut fmt::Formatter<'_>, what: &str, seconds: Option<u32>) -> fmt::Result {
    f.write_str(what)?;
    match seconds {
        Some(seconds) => write!(f, " for {seconds} s"),
        None => Ok(()),
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConnected => "no connection is open",
            Self::Name => "its name has no address",
            Self::Connect => "no connection could be made",
            Self::Broken => "the connection broke",
            Self::Silent => "no answer came in time",
            Self::Server => "the server is not ready",
        })
    }
}

impl fmt::Display for Misconduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Garbage => "bytes that are no message of it",
            Self::Length => "a wrong length",
            Self::NotOurs => "a topic or session of somebody else",
            Self::Sequence => "a step out of turn",
        })
    }
}

impl fmt::Display for BlobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("the fleet has no such blob for this device"),
            Self::Link(failure) => failure.fmt(f),
        }
    }
}

/// What the agent is told: it tells credentials, patience and everything else apart.
impl From<Failure> for lightship_core::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused { .. } => Self::Unauthorized,
            Failure::Busy {
                retry_after_s: Some(seconds),
            } => Self::RetryAfter(seconds),
            Failure::Unreachable(Unreachable::Silent) => Self::TimedOut,
            Failure::Declined | Failure::TooLarge => Self::Broken,
            Failure::Busy {
                retry_after_s: None,
            }
            | Failure::Unreachable(_)
            | Failure::Untrusted
            | Failure::TakenOver
            | Failure::Misbehaved(_)
            | Failure::Closed => Self::Network,
        }
    }
}

impl core::error::Error for Failure {}
impl core::error::Error for BlobFailure {}
