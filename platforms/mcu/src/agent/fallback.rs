//! HTTP beside MQTT, for when that fails.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use lightship_https::device::{Journal, Memory as HttpMemory, Patience, Runner, Site};
use lightship_link::Fallback;
use lightship_link::chunk::{Exchange, Reader, Slot};
use lightship_link::mailbox::{Handle, Mailbox, Packet};

use super::Options;
use super::blobs::Readers;
use super::sockets::Sockets;
use super::tunnel::{GATEWAY_NAME, Way, Ways};
use crate::limits::{MESSAGE_BYTES, TEXT_BYTES};

/// Memory for it.
pub(super) struct Memory {
    packet: Packet<MESSAGE_BYTES>,
    chunk: Slot,
    http: HttpMemory<MESSAGE_BYTES, TEXT_BYTES>,
}

type Box<'a> = Mailbox<'a, NoopRawMutex, MESSAGE_BYTES>;
type Ranges<'a> = Exchange<'a, NoopRawMutex>;
type Link<'a> = Handle<'a, NoopRawMutex, MESSAGE_BYTES>;
type Blobs<'a> = Reader<'a, NoopRawMutex>;

/// Carries messages over HTTP.
pub(super) type OverHttp<'a, 'd> = Runner<'a, Way<'a, 'd>, NoopRawMutex, MESSAGE_BYTES, TEXT_BYTES>;

/// What the agent uses in the place of one link and its reader of blobs.
pub(super) type Both<'a> = (
    Fallback<'a, NoopRawMutex, 2, MESSAGE_BYTES>,
    Readers<Blobs<'a>, Blobs<'a>>,
);

impl Memory {
    pub(super) const fn new() -> Self {
        Self {
            packet: Packet::new(),
            chunk: Slot::new(),
            http: HttpMemory::new(),
        }
    }

    /// What lies between the agent and HTTP, and what HTTP needs itself.
    pub(super) fn split(
        &mut self,
    ) -> (
        Box<'_>,
        Ranges<'_>,
        &mut HttpMemory<MESSAGE_BYTES, TEXT_BYTES>,
    ) {
        let (mailbox, exchange) = (
            Mailbox::new(&mut self.packet),
            Exchange::new(&mut self.chunk),
        );
        (mailbox, exchange, &mut self.http)
    }
}

/// Logs go another way, whatever is connected.
pub(super) fn no_logs<'a>() -> Journal<'a, NoopRawMutex> {
    Journal::new(&mut [])
}

/// Puts HTTP behind the first link and its reader of blobs.
pub(super) fn behind<'a, 'd>(
    (link, blobs): (Link<'a>, Blobs<'a>),
    (mailbox, exchange, http): (
        &'a mut Box<'_>,
        &'a mut Ranges<'a>,
        &'a mut HttpMemory<MESSAGE_BYTES, TEXT_BYTES>,
    ),
    journal: &'a mut Journal<'a, NoopRawMutex>,
    (sockets, ways): (&'a Sockets<'d>, &'a Ways),
    options: &Options,
) -> (Both<'a>, OverHttp<'a, 'd>) {
    let ((http_link, port), (http_blobs, asked)) = (mailbox.split(), exchange.split());
    let (_, offered) = journal.split();
    let patience = Patience {
        timeout: options.timeout,
        ..Patience::DEFAULT
    };
    let site = Site::new(GATEWAY_NAME, "").expect("it is short and plain");
    let way = Way::http(sockets, ways);
    let runner = Runner::new(way, (site, patience), (port, asked, offered), http);
    let link = Fallback::new([link, http_link], options.prefer_again);
    ((link, Readers::new(blobs, http_blobs)), runner)
}
