//! A microcontroller's end of the tunnel, as a driver for embassy-net.
//!
//! There are two stacks then: one on the board's network card, on which a UDP socket carries the tunnel, and one on this driver, on which everything else happens.
//! ```text
//! application -> embassy-net -> Driver ~ Runner -> UDP socket -> embassy-net -> network card
//! ```
//! [`new`] makes both ends over a [`Link`] that lies where the application wants it; [`Runner::run`] is a task of its own.
//! It is idle until [`Control::replace`] says which tunnel is wanted.

use core::cell::RefCell;
use core::future::poll_fn;
use core::task::Poll;

use embassy_futures::select::{Either4, select4};
use embassy_net::IpEndpoint;
use embassy_net::udp::UdpSocket;
use embassy_net_driver_channel as channel;
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_sync::channel::Channel;
use embassy_sync::signal::Signal;
use embassy_time::{Instant, Timer};
use wireguard_sans_io::{EntropySource, Now, Ticks};

use crate::clock::TimeFloor;
use crate::limits;
use crate::link::{Input, KeepAlive, KeySet, Link, LinkNote, Output};

const MTU: usize = limits::BOARD_MTU as usize;

/// Bytes of the largest datagram: an inner packet, padded, with header and tag.
pub const LARGEST: usize = MTU.next_multiple_of(16) + 32;

/// Bytes that everything but a packet fits in: the first message of a handshake.
const SMALLEST: usize = 148;

/// Notes that wait for the application; a newer one is dropped when they are not read.
const NOTES: usize = 4;

/// Packet buffers of the driver: so many packets each way.
pub type Buffers<const RECEIVE: usize, const SEND: usize> = channel::State<MTU, RECEIVE, SEND>;

/// What embassy-net is given.
pub type Driver<'d> = channel::Device<'d, MTU>;

/// What the tunnel needs of the board.
pub trait Board: EntropySource {
    /// Stores the floor of the handshakes' time; `false` if that failed. See [`TimeFloor`].
    fn store_floor(&mut self, floor_s: u64) -> impl Future<Output = bool>;
}

/// Where the tunnel's datagrams go.
pub trait Wire {
    /// Sends to the hub; what cannot be sent is lost.
    fn send(&mut self, datagram: &[u8]) -> impl Future<Output = ()>;
    /// Waits for a datagram and returns its length. May be given up at any time.
    fn receive(&mut self, buffer: &mut [u8]) -> impl Future<Output = usize>;
    /// What was received last is proved to be the hub's: it is where that came from.
    fn authenticated(&mut self);
}

/// A UDP socket of the outer stack, and the hub's address; the hub is followed when it moves.
pub struct Udp<'s> {
    socket: UdpSocket<'s>,
    hub: IpEndpoint,
    from: IpEndpoint,
}

impl<'s> Udp<'s> {
    /// The socket is bound to any port.
    pub fn new(socket: UdpSocket<'s>, hub: IpEndpoint) -> Self {
        Self {
            socket,
            hub,
            from: hub,
        }
    }
}

impl Wire for Udp<'_> {
    async fn send(&mut self, datagram: &[u8]) {
        // Without an address yet, or with a full queue, it is lost, as it could be anywhere on its way.
        let _ = self.socket.send_to(datagram, self.hub).await;
    }

    async fn receive(&mut self, buffer: &mut [u8]) -> usize {
        loop {
            // One that does not fit is no datagram of ours.
            if let Ok((length, from)) = self.socket.recv_from(buffer).await {
                self.from = from.endpoint;
                return length;
            }
        }
    }

    fn authenticated(&mut self) {
        self.hub = self.from;
    }
}

/// The application's way to the running tunnel.
pub struct Control<M: RawMutex> {
    orders: Mutex<M, RefCell<Orders>>,
    ordered: Signal<M, ()>,
    notes: Channel<M, LinkNote, NOTES>,
}

impl<M: RawMutex> Control<M> {
    /// Put it in a `static`, or where it outlives the tunnel.
    pub const fn new() -> Self {
        Self {
            orders: Mutex::new(RefCell::new(Orders::NONE)),
            ordered: Signal::new(),
            notes: Channel::new(),
        }
    }

    /// Changes to other keys while running: store them as pending and announce them to the hub first.
    pub fn offer_keys(&self, keys: KeySet) {
        self.order(|orders| orders.keys = Some(keys));
    }

    /// Begins another tunnel in place of this one: another hub key, another end, or keys that were already announced.
    ///
    /// The driver and the stack on it stay; sessions of the old tunnel are forgotten. Keys that can never work change nothing.
    pub fn replace(&self, keys: KeySet, keep_alive: KeepAlive) {
        self.order(|orders| orders.others = Some((keys, keep_alive)));
    }

    /// The board is in another network.
    pub fn network_changed(&self) {
        self.order(|orders| orders.moved = true);
    }

    fn order(&self, note: impl FnOnce(&mut Orders)) {
        self.orders.lock(|orders| note(&mut orders.borrow_mut()));
        self.ordered.signal(());
    }

    /// What happens next.
    pub async fn note(&self) -> LinkNote {
        self.notes.receive().await
    }
}

impl<M: RawMutex> Default for Control<M> {
    fn default() -> Self {
        Self::new()
    }
}

/// What was ordered and not yet done: the latest of each, in the order in which it is done.
struct Orders {
    keys: Option<KeySet>,
    others: Option<(KeySet, KeepAlive)>,
    moved: bool,
}

impl Orders {
    const NONE: Self = Self {
        keys: None,
        others: None,
        moved: false,
    };
}

/// The tunnel's task.
pub struct Runner<'d, M: RawMutex> {
    channel: channel::Runner<'d, MTU>,
    control: &'d Control<M>,
    link: &'d mut Link,
    floor: TimeFloor,
    /// What must be stored before the first packet.
    claim_s: Option<u64>,
}

/// Makes the driver for embassy-net, and the task behind it.
///
/// `floor_s` is the floor that is stored; the time of the build, in seconds since 1970, if none is.
pub fn new<'d, M: RawMutex, const RECEIVE: usize, const SEND: usize>(
    buffers: &'d mut Buffers<RECEIVE, SEND>,
    link: &'d mut Link,
    control: &'d Control<M>,
    floor_s: u64,
) -> (Runner<'d, M>, Driver<'d>) {
    let (floor, claim_s) = TimeFloor::boot(ticks(), floor_s);
    let (channel, driver) = channel::new(buffers, channel::driver::HardwareAddress::Ip);
    let runner = Runner {
        channel,
        control,
        link,
        floor,
        claim_s: Some(claim_s),
    };
    (runner, driver)
}

impl<M: RawMutex> Runner<'_, M> {
    /// Carries packets for ever. Nothing is sent before the time floor is stored.
    pub async fn run(mut self, mut wire: impl Wire, mut board: impl Board) -> ! {
        self.run_on(&mut wire, &mut board).await
    }

    /// [`run`](Self::run) on what the caller keeps: its future holds no copy of it.
    pub async fn run_on(&mut self, wire: &mut impl Wire, board: &mut impl Board) -> ! {
        let (state, receive, send) = self.channel.borrow_split();
        state.set_link_state(channel::driver::LinkState::Up);
        let mut ends = Ends {
            link: self.link,
            receive,
            send,
            held: false,
        };
        // What came until it is decrypted, and what is sent: never both at once.
        let mut datagram = [0; LARGEST];
        loop {
            let now = self.floor.now(ticks());
            if let Some(store_s) = self.claim_s.or_else(|| self.floor.due(now.ticks)) {
                if board.store_floor(store_s).await {
                    self.floor.stored(store_s);
                    self.claim_s = None;
                } else if self.claim_s.is_some() {
                    Timer::after_secs(1).await;
                    continue;
                }
            }
            let mut sent = ends.link.poll(now, &mut datagram, board);
            while let Some(note) = ends.link.note() {
                let _ = self.control.notes.try_send(note);
            }
            if sent.is_none() {
                let what = ends.wait(wire, &mut datagram, self.control).await;
                let now = self.floor.now(ticks());
                let is_hub;
                (sent, is_hub) = ends.happened(now, what, &mut datagram, self.control, board);
                if is_hub {
                    wire.authenticated();
                }
            }
            if let Some(length) = sent {
                wire.send(&datagram[..length]).await;
            }
        }
    }
}

/// The tunnel between the driver's queues and the datagrams.
struct Ends<'a> {
    link: &'a mut Link,
    receive: channel::RxRunner<'a, MTU>,
    send: channel::TxRunner<'a, MTU>,
    /// A packet that found no session waits in the driver's queue, and the others behind it.
    held: bool,
}

/// What is waited for: a datagram of so many bytes, a packet to send, a moment or an order.
type Happening = Either4<usize, (), (), ()>;

impl Ends<'_> {
    /// Waits for a datagram, a packet to send, a moment or an order.
    async fn wait<M: RawMutex>(
        &mut self,
        wire: &mut impl Wire,
        datagram: &mut [u8],
        control: &Control<M>,
    ) -> Happening {
        let wake = Timer::at(instant(self.link.wake()));
        let held = self.held;
        let arrival = async {
            // What has no room in the stack waits where it is. Not while the handshake is that is missing.
            if !held {
                self.receive.rx_buf().await;
            }
            wire.receive(datagram).await
        };
        let packet = poll_fn(|cx| match held {
            true => Poll::Pending,
            false => self.send.poll_tx_buf(cx).map(drop),
        });
        select4(arrival, packet, wake, control.ordered.wait()).await
    }

    /// Does what there is to do. Returns the length of what is to be sent, and whether what came was the hub's.
    ///
    /// It waits for nothing: inside the future that calls it all of it would be larger.
    #[inline(never)]
    fn happened<M: RawMutex>(
        &mut self,
        now: Now,
        what: Happening,
        datagram: &mut [u8],
        control: &Control<M>,
        chance: &mut dyn EntropySource,
    ) -> (Option<usize>, bool) {
        match what {
            Either4::First(length) => return self.received(now, datagram, length, chance),
            Either4::Second(()) => return (self.packet(now, datagram, chance), false),
            Either4::Third(()) => {}
            Either4::Fourth(()) => {
                let orders = |orders: &RefCell<_>| orders.replace(Orders::NONE);
                self.obey(now, control.orders.lock(orders));
            }
        }
        (None, false)
    }

    /// Takes in a datagram. Returns how long the answer is, which takes its place, and whether the hub has sent it.
    fn received(
        &mut self,
        now: Now,
        datagram: &mut [u8],
        length: usize,
        chance: &mut dyn EntropySource,
    ) -> (Option<usize>, bool) {
        let mut small = [0; SMALLEST];
        let room = self.receive.try_rx_buf();
        let has_room = room.is_some();
        let room = room.unwrap_or(&mut small);
        match self.link.receive(now, &datagram[..length], room, chance) {
            Input::Packet(packet) => {
                let length = packet.len();
                if has_room {
                    self.receive.rx_done(length);
                }
            }
            Input::Reply(reply) => {
                let place = datagram.get_mut(..reply.len());
                let length = place.map(|place| place.copy_from_slice(reply));
                return (length.map(|()| reply.len()), false);
            }
            Input::Established | Input::Alive => {}
            Input::Ignored => return (None, false),
        }
        self.held = false;
        (None, true)
    }

    /// Encrypts the packet that waits. Returns the length of what is to be sent.
    fn packet(
        &mut self,
        now: Now,
        datagram: &mut [u8],
        chance: &mut dyn EntropySource,
    ) -> Option<usize> {
        let packet = self.send.try_tx_buf()?;
        match self.link.send(now, packet, datagram, chance) {
            Output::Datagram(sent) => {
                self.send.tx_done();
                Some(sent.len())
            }
            Output::Wait(asked) => {
                self.held = true;
                asked.map(<[u8]>::len)
            }
        }
    }

    /// Keys that can never work change nothing.
    fn obey(&mut self, now: Now, orders: Orders) {
        if let Some(keys) = orders.keys {
            let _ = self.link.offer(now, keys);
        }
        if let Some((keys, keep_alive)) = orders.others
            && self.link.begin(now, keys, None, keep_alive).is_ok()
        {
            self.held = false;
        }
        if orders.moved {
            self.link.moved(now);
        }
    }
}

fn ticks() -> Ticks {
    Ticks::from_nanos(Instant::now().as_micros().saturating_mul(1000))
}

/// A timer that is due at once still gives the others their turn.
fn instant(ticks: Ticks) -> Instant {
    Instant::from_micros(ticks.nanos().div_ceil(1000))
        .max(Instant::now() + embassy_time::Duration::from_millis(1))
}
