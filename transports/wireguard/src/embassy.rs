//! A microcontroller's end of the tunnel, as a driver for embassy-net.
//!
//! There are two stacks then: one on the board's network card, on which a UDP socket carries the tunnel, and one on this driver, on which everything else happens.
//! ```text
//! application -> embassy-net -> Driver ~ Runner -> UDP socket -> embassy-net -> network card
//! ```
//! [`new`] makes both ends; [`Runner::run`] is a task of its own.

use embassy_futures::select::{Either3, Either4, select3, select4};
use embassy_net::IpEndpoint;
use embassy_net::udp::UdpSocket;
use embassy_net_driver_channel as channel;
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_sync::channel::Channel;
use embassy_sync::signal::Signal;
use embassy_time::{Instant, Timer};
use wireguard_sans_io::{EntropySource, Ticks};

use crate::clock::TimeFloor;
use crate::engine::UnusableKey;
use crate::limits;
use crate::link::{Input, KeepAlive, KeySet, Link, LinkNote, Output};

const MTU: usize = limits::MTU as usize;

/// Bytes of the largest datagram: an inner packet, padded, with header and tag.
const LARGEST: usize = MTU.next_multiple_of(16) + 32;

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
    keys: Signal<M, KeySet>,
    others: Signal<M, Keys>,
    moved: Signal<M, ()>,
    notes: Channel<M, LinkNote, NOTES>,
}

impl<M: RawMutex> Control<M> {
    /// Put it in a `static`, or where it outlives the tunnel.
    pub const fn new() -> Self {
        Self {
            keys: Signal::new(),
            others: Signal::new(),
            moved: Signal::new(),
            notes: Channel::new(),
        }
    }

    /// Changes to other keys while running: store them as pending and announce them to the hub first.
    pub fn offer_keys(&self, keys: KeySet) {
        self.keys.signal(keys);
    }

    /// Begins another tunnel in place of this one: another hub key, another end, or keys that were already announced.
    ///
    /// The driver and the stack on it stay; sessions of the old tunnel are forgotten. Keys that can never work change nothing.
    pub fn replace(&self, keys: KeySet, keep_alive: KeepAlive) {
        self.others.signal(Keys { keys, keep_alive });
    }

    /// The board is in another network.
    pub fn network_changed(&self) {
        self.moved.signal(());
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

/// What another tunnel is made of.
struct Keys {
    keys: KeySet,
    keep_alive: KeepAlive,
}

/// The keys of a tunnel, and what it starts from.
pub struct Start {
    /// The keys in force.
    pub keys: KeySet,
    /// The keys that a rotation stored and that were not confirmed yet.
    pub pending: Option<KeySet>,
    /// How the mapping in a NAT is held open.
    pub keep_alive: KeepAlive,
    /// The floor that is stored; the time of the build, in seconds since 1970, if none is.
    pub floor_s: u64,
}

/// The tunnel's task.
pub struct Runner<'d, M: RawMutex> {
    channel: channel::Runner<'d, MTU>,
    control: &'d Control<M>,
    link: Link,
    floor: TimeFloor,
    store_s: Option<u64>,
}

/// Makes the driver for embassy-net, and the task behind it.
///
/// # Errors
/// [`UnusableKey`] if the keys can never work.
pub fn new<'d, M: RawMutex, const RECEIVE: usize, const SEND: usize>(
    buffers: &'d mut Buffers<RECEIVE, SEND>,
    control: &'d Control<M>,
    start: Start,
) -> Result<(Runner<'d, M>, Driver<'d>), UnusableKey> {
    let now = ticks();
    let (floor, store_s) = TimeFloor::boot(now, start.floor_s);
    let link = Link::new(floor.now(now), start.keys, start.pending, start.keep_alive)?;
    let (channel, driver) = channel::new(buffers, channel::driver::HardwareAddress::Ip);
    Ok((
        Runner {
            channel,
            control,
            link,
            floor,
            store_s: Some(store_s),
        },
        driver,
    ))
}

impl<M: RawMutex> Runner<'_, M> {
    /// Carries packets for ever. Nothing is sent before the time floor is stored.
    pub async fn run(mut self, mut wire: impl Wire, mut board: impl Board) -> ! {
        self.run_on(&mut wire, &mut board).await
    }

    /// [`run`](Self::run) on what the caller keeps: its future holds no copy of it.
    pub async fn run_on(&mut self, wire: &mut impl Wire, board: &mut impl Board) -> ! {
        while !self.store_floor(board).await {
            Timer::after_secs(1).await;
        }
        let (state, mut receive, mut send) = self.channel.borrow_split();
        state.set_link_state(channel::driver::LinkState::Up);
        let (mut datagram, mut out) = ([0; LARGEST], [0; LARGEST]);
        // A packet that found no session waits in the driver's queue, and the others behind it.
        let mut held = false;
        loop {
            let now = self.floor.now(ticks());
            while let Some(length) = self.link.poll(now, &mut out, board) {
                wire.send(&out[..length]).await;
            }
            while let Some(note) = self.link.note() {
                let _ = self.control.notes.try_send(note);
            }
            if let Some(store_s) = self.floor.due(now.ticks)
                && board.store_floor(store_s).await
            {
                self.floor.stored(store_s);
            }
            let wake = Timer::at(instant(self.link.wake()));
            let packet = async {
                if held {
                    core::future::pending().await
                } else {
                    send.tx_buf().await
                }
            };
            let orders = select_orders(self.control);
            match select4(wire.receive(&mut datagram), packet, wake, orders).await {
                Either4::First(length) => {
                    let now = self.floor.now(ticks());
                    match self.link.receive(now, &datagram[..length], &mut out, board) {
                        Input::Packet(packet) => {
                            held = false;
                            wire.authenticated();
                            if let Some(buffer) = receive.try_rx_buf()
                                && let Some(room) = buffer.get_mut(..packet.len())
                            {
                                room.copy_from_slice(packet);
                                receive.rx_done(packet.len());
                            }
                        }
                        Input::Reply(reply) => wire.send(reply).await,
                        Input::Established | Input::Alive => {
                            held = false;
                            wire.authenticated();
                        }
                        Input::Ignored => {}
                    }
                }
                Either4::Second(packet) => {
                    let now = self.floor.now(ticks());
                    match self.link.send(now, packet, &mut out, board) {
                        Output::Datagram(sent) => {
                            send.tx_done();
                            wire.send(sent).await;
                        }
                        Output::Wait(asked) => {
                            held = true;
                            if let Some(asked) = asked {
                                wire.send(asked).await;
                            }
                        }
                    }
                }
                Either4::Third(()) => {}
                Either4::Fourth(Order::Keys(keys)) => {
                    // Keys that can never work change nothing.
                    let _ = self.link.offer(self.floor.now(ticks()), keys);
                }
                Either4::Fourth(Order::Others(others)) => {
                    let now = self.floor.now(ticks());
                    let Keys { keys, keep_alive } = others;
                    if let Ok(link) = Link::new(now, keys, None, keep_alive) {
                        self.link = link;
                        held = false;
                    }
                }
                Either4::Fourth(Order::Moved) => self.link.moved(self.floor.now(ticks())),
            }
        }
    }

    /// The end of the first claimed stretch must be stored before the first packet.
    async fn store_floor(&mut self, board: &mut impl Board) -> bool {
        let Some(store_s) = self.store_s else {
            return true;
        };
        let stored = board.store_floor(store_s).await;
        if stored {
            self.store_s = None;
        }
        stored
    }
}

enum Order {
    Keys(KeySet),
    Others(Keys),
    Moved,
}

async fn select_orders<M: RawMutex>(control: &Control<M>) -> Order {
    let (keys, others) = (control.keys.wait(), control.others.wait());
    match select3(keys, others, control.moved.wait()).await {
        Either3::First(keys) => Order::Keys(keys),
        Either3::Second(others) => Order::Others(others),
        Either3::Third(()) => Order::Moved,
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
