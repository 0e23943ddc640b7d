//! Both halves of the transport, so that each case is tried on both.

use super::*;

/// A half of the transport: the host's or the microcontroller's.
pub(super) trait Half {
    type Link: Link;
    type Blobs: Blobs;
    type Logs;

    /// Longest batch of logs.
    const LOG_BYTES: usize;
    /// What becomes of logs before there are credentials.
    const UNPROVED: Failure;

    fn start(address: SocketAddr) -> (Self::Link, Self::Blobs, Self::Logs);

    async fn append(to: &mut Self::Logs, logs: &[u8]) -> Result<(), Failure>;
}

pub(super) struct Host;
pub(super) struct Microcontroller;

impl Half for Host {
    type Link = fleet::device::Link;
    type Blobs = host::Reader;
    type Logs = host::Logs;

    const LOG_BYTES: usize = limits::LOG_BYTES;
    const UNPROVED: Failure = Failure::Refused {
        retry_after_s: None,
    };

    fn start(address: SocketAddr) -> (Self::Link, Self::Blobs, Self::Logs) {
        device(host::Config::new(&format!("http://{address}"), b"").unwrap())
    }

    async fn append(to: &mut Self::Logs, logs: &[u8]) -> Result<(), Failure> {
        to.append(Kind::Lines, logs.to_vec().into()).await
    }
}

impl Half for Microcontroller {
    type Link = fleet::microcontroller::Link;
    type Blobs = chunk::Reader<'static, CriticalSectionRawMutex>;
    type Logs = small::Logs<'static, CriticalSectionRawMutex>;

    const LOG_BYTES: usize = limits::BODY_BYTES;
    const UNPROVED: Failure = Failure::Unreachable(Unreachable::NotConnected);

    fn start(address: SocketAddr) -> (Self::Link, Self::Blobs, Self::Logs) {
        microcontroller(address)
    }

    async fn append(to: &mut Self::Logs, logs: &[u8]) -> Result<(), Failure> {
        to.append(Kind::Lines, logs).await
    }
}
