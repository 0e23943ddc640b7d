//! The shared half of every transport.
//!
//! The agent holds a [`Handle`], which is a [`Link`]; the transport's runner holds a [`Port`].
//! Between them lie one order (the latest wins), one message going out and one packet coming in, and nothing more.
//! The packet's place becomes free when the agent asks for the next event: that is how a runner knows that a message was handled, and what stops it from reading on.
//!
//! The agent's side never waits with something half done, so its futures may be dropped at any await.
//! A runner lives as long as its mailbox: what it took it must give an outcome.

use embassy_futures::select::{Either3, select3};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_sync::signal::Signal;
use embassy_sync::zerocopy_channel;
use lightship_core::limits::MESSAGE_BYTES;
use lightship_core::wire::{Rejection, Up, decode_down};

use crate::contract::{Credentials, Event, Known, Link, NotTaken};
use crate::failure::{Failure, Unreachable};

/// Memory for what comes in; `N` is the longest message that it can hold.
#[derive(Debug)]
pub struct Packet<const N: usize = MESSAGE_BYTES> {
    kind: Kind,
    generation: u32,
    len: usize,
    bytes: [u8; N],
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Up { resumed: bool },
    Down(Failure),
    Message,
    Rejected(Rejection),
    Sent,
    Unsent(Failure),
}

/// What the agent wants of a connection. Only the latest counts.
#[derive(Clone, Debug)]
pub struct Order {
    /// What is wanted.
    pub wish: Wish,
    generation: u32,
}

/// Why a runner does not serve a connection any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection failed.
    Failed(Failure),
    /// Something else is wanted.
    Ordered(Wish),
}

/// What is wanted of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To be connected with these credentials, anew.
    Connect(Credentials, Known),
    /// Not to be connected.
    Disconnect,
}

/// What lies between an agent and a transport. [`split`](Self::split) it once.
pub struct Mailbox<'a, M: RawMutex, const N: usize = MESSAGE_BYTES> {
    packets: zerocopy_channel::Channel<'a, M, Packet<N>>,
    orders: Signal<M, Order>,
    outgoing: Signal<M, Up>,
}

/// The agent's side.
pub struct Handle<'a, M: RawMutex, const N: usize = MESSAGE_BYTES> {
    incoming: zerocopy_channel::Receiver<'a, M, Packet<N>>,
    orders: &'a Signal<M, Order>,
    outgoing: &'a Signal<M, Up>,
    generation: u32,
    shown: bool,
    under_way: bool,
}

/// The transport's side.
pub struct Port<'a, M: RawMutex, const N: usize = MESSAGE_BYTES> {
    packets: zerocopy_channel::Sender<'a, M, Packet<N>>,
    orders: &'a Signal<M, Order>,
    outgoing: &'a Signal<M, Up>,
    generation: u32,
}

impl<const N: usize> Packet<N> {
    /// Empty memory: zeroes, of which the first kind is one, so that a `static` of it takes no room in a program's image.
    pub const fn new() -> Self {
        Self {
            kind: Kind::Up { resumed: false },
            generation: 0,
            len: 0,
            bytes: [0; N],
        }
    }

    fn event(&self) -> Event<'_> {
        match self.kind {
            Kind::Up { resumed } => Event::Up { resumed },
            Kind::Down(failure) => Event::Down(failure),
            Kind::Message => match decode_down(&self.bytes[..self.len]) {
                Ok(message) => Event::Message(message),
                Err(rejection) => Event::Rejected(rejection),
            },
            Kind::Rejected(rejection) => Event::Rejected(rejection),
            Kind::Sent => Event::Sent,
            Kind::Unsent(failure) => Event::Unsent(failure),
        }
    }
}

impl<const N: usize> Default for Packet<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a, M: RawMutex, const N: usize> Mailbox<'a, M, N> {
    /// An empty mailbox over this memory.
    pub fn new(memory: &'a mut Packet<N>) -> Self {
        Self {
            packets: zerocopy_channel::Channel::new(core::slice::from_mut(memory)),
            orders: Signal::new(),
            outgoing: Signal::new(),
        }
    }

    /// The two sides.
    pub fn split(&mut self) -> (Handle<'_, M, N>, Port<'_, M, N>) {
        let (packets, incoming) = self.packets.split();
        let handle = Handle {
            incoming,
            orders: &self.orders,
            outgoing: &self.outgoing,
            generation: 0,
            shown: false,
            under_way: false,
        };
        let port = Port {
            packets,
            orders: &self.orders,
            outgoing: &self.outgoing,
            generation: 0,
        };
        (handle, port)
    }
}

impl<M: RawMutex, const N: usize> Handle<'_, M, N> {
    fn order(&mut self, wish: Wish) {
        self.generation = self.generation.wrapping_add(1);
        self.orders.signal(Order {
            wish,
            generation: self.generation,
        });
    }
}

/// What came, without what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brief {
    Up,
    Down(Failure),
    /// Something went through: a message came, or one was acknowledged.
    Passed,
    /// Anything else that is not about the connection itself.
    Other,
}

impl<M: RawMutex, const N: usize> Handle<'_, M, N> {
    /// Waits for the next event, acknowledges the last, and leaves the next where it is. May be dropped.
    pub(crate) async fn peek(&mut self) -> Brief {
        if self.shown {
            self.incoming.receive_done();
            self.shown = false;
        }
        loop {
            let packet = self.incoming.receive().await;
            let brief = match packet.kind {
                // What became of a connection that was given up is no news of the present one.
                Kind::Up { .. } | Kind::Down(_) if packet.generation != self.generation => {
                    self.incoming.receive_done();
                    continue;
                }
                Kind::Up { .. } => Brief::Up,
                Kind::Down(failure) => Brief::Down(failure),
                Kind::Sent | Kind::Message => Brief::Passed,
                Kind::Unsent(_) | Kind::Rejected(_) => Brief::Other,
            };
            return brief;
        }
    }

    /// The event that [`peek`](Self::peek) found.
    pub(crate) fn show(&mut self) -> Event<'_> {
        self.shown = true;
        let packet = self.incoming.try_receive();
        let packet = packet.expect("it was there and only this side removes it");
        if let Kind::Sent | Kind::Unsent(_) = packet.kind {
            self.under_way = false;
        }
        packet.event()
    }

    /// Takes the event that [`peek`](Self::peek) found and shows it to nobody.
    pub(crate) fn skip(&mut self) {
        self.show();
        self.incoming.receive_done();
        self.shown = false;
    }

    /// Whether a message has no outcome yet.
    pub(crate) fn is_sending(&self) -> bool {
        self.under_way
    }
}

impl<M: RawMutex, const N: usize> Link for Handle<'_, M, N> {
    fn connect(&mut self, credentials: &Credentials, known: Known) {
        self.order(Wish::Connect(credentials.clone(), known));
    }

    fn disconnect(&mut self) {
        self.order(Wish::Disconnect);
    }

    fn send(&mut self, message: Up) -> Result<(), NotTaken> {
        if self.under_way || self.outgoing.signaled() {
            return Err(NotTaken);
        }
        self.outgoing.signal(message);
        self.under_way = true;
        Ok(())
    }

    async fn next(&mut self) -> Event<'_> {
        self.peek().await;
        self.show()
    }
}

impl<M: RawMutex, const N: usize> Port<'_, M, N> {
    /// Waits for the latest order. From here on, what is said of the connection is said of that order's.
    pub async fn order(&mut self) -> Wish {
        let order = self.orders.wait().await;
        self.generation = order.generation;
        order.wish
    }

    /// Whether an order waits.
    pub fn has_order(&self) -> bool {
        self.orders.signaled()
    }

    /// Waits for a message to deliver. Each one taken must end in [`sent`](Self::sent) or [`unsent`](Self::unsent).
    pub fn outgoing(&mut self) -> impl Future<Output = Up> {
        self.outgoing.wait()
    }

    /// Waits for an order or a message to deliver.
    pub async fn work(&mut self) -> Work {
        loop {
            match self.turn(true, false).await {
                Turn::Order(wish) => return Work::Order(wish),
                Turn::Message(message) => return Work::Message(message),
                Turn::Handled => {}
            }
        }
    }

    /// Waits for an order; for a message to deliver, if there is room for one; and until all that was said was handled, if more is to be said.
    ///
    /// For runners that must not stop while the agent takes its time.
    pub async fn turn(&mut self, has_room: bool, has_news: bool) -> Turn {
        let message = async {
            match has_room {
                true => self.outgoing.wait().await,
                false => core::future::pending().await,
            }
        };
        let handled = async {
            match has_news {
                true => drop(self.packets.send().await),
                false => core::future::pending().await,
            }
        };
        match select3(self.orders.wait(), message, handled).await {
            Either3::First(order) => {
                self.generation = order.generation;
                Turn::Order(order.wish)
            }
            Either3::Second(message) => Turn::Message(message),
            Either3::Third(()) => Turn::Handled,
        }
    }

    /// Waits until all that was said was also handled.
    pub async fn handled(&mut self) {
        self.packets.send().await;
    }

    /// Whether all that was said was also handled.
    pub fn is_handled(&self) -> bool {
        self.packets.is_empty()
    }

    /// Says that the far end took the credentials.
    pub fn up(&mut self, resumed: bool) -> impl Future<Output = ()> {
        self.say(Kind::Up { resumed })
    }

    /// Says that there is no connection; first, that a message still waiting to be sent will not be.
    pub async fn down(&mut self, failure: Failure) {
        if self.outgoing.try_take().is_some() {
            self.say(Kind::Unsent(failure)).await;
        }
        self.say(Kind::Down(failure)).await;
    }

    /// Says that the message under way was acknowledged.
    pub fn sent(&mut self) -> impl Future<Output = ()> {
        self.say(Kind::Sent)
    }

    /// Says that the message under way is not known to be delivered.
    pub fn unsent(&mut self, failure: Failure) -> impl Future<Output = ()> {
        self.say(Kind::Unsent(failure))
    }

    /// Says that something came that is no message.
    pub fn rejected(&mut self, rejection: Rejection) -> impl Future<Output = ()> {
        self.say(Kind::Rejected(rejection))
    }

    /// Hands over a message in its postcard form; the agent has handled it when [`handled`](Self::handled) returns.
    ///
    /// # Errors
    ///
    /// The [`Rejection`], of which the agent is told as well.
    pub async fn deliver(&mut self, message: &[u8]) -> Result<(), Rejection> {
        self.deliver_with(|place| {
            let place = place.get_mut(..message.len());
            place.ok_or(Rejection::TooLarge)?.copy_from_slice(message);
            Ok(message.len())
        })
        .await
    }

    /// Hands over a message that `write` puts, in its postcard form, into the memory from which the agent reads it; `write` returns its length.
    ///
    /// For runners that have no memory for a second copy.
    ///
    /// # Errors
    ///
    /// The [`Rejection`], of which the agent is told as well.
    pub async fn deliver_with(
        &mut self,
        write: impl FnOnce(&mut [u8]) -> Result<usize, Rejection>,
    ) -> Result<(), Rejection> {
        let packet = self.packets.send().await;
        let verdict = write(&mut packet.bytes).and_then(|len| {
            packet.len = len;
            decode_down(&packet.bytes[..len]).map(|_| ())
        });
        packet.generation = self.generation;
        packet.kind = match verdict {
            Ok(()) => Kind::Message,
            Err(rejection) => Kind::Rejected(rejection),
        };
        self.packets.send_done();
        verdict
    }

    /// What says something is this future itself, not one more around it.
    async fn say(&mut self, kind: Kind) {
        let packet = self.packets.send().await;
        packet.kind = kind;
        packet.generation = self.generation;
        self.packets.send_done();
    }

    /// Refuses messages until there is an order to connect. What a runner does when it has no connection.
    pub async fn idle(&mut self) -> (Credentials, Known) {
        loop {
            match self.turn(true, false).await {
                Turn::Order(Wish::Connect(credentials, known)) => return (credentials, known),
                Turn::Order(Wish::Disconnect) => self.down(Failure::Closed).await,
                Turn::Message(_) => {
                    let failure = Failure::Unreachable(Unreachable::NotConnected);
                    self.unsent(failure).await;
                }
                Turn::Handled => {}
            }
        }
    }
}

/// What there is to do for a runner that says things in between.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is no allocator to put the large one elsewhere"
)]
pub enum Turn {
    /// The connection is wanted otherwise.
    Order(Wish),
    /// A message waits to be delivered.
    Message(Up),
    /// All that was said was handled: the next thing can be said without waiting.
    Handled,
}

/// What there is to do for a runner.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is no allocator to put the large one elsewhere"
)]
pub enum Work {
    /// The connection is wanted otherwise.
    Order(Wish),
    /// A message waits to be delivered.
    Message(Up),
}

macro_rules! opaque {
    ($($name:ident)*) => {
        $(
            impl<M: RawMutex, const N: usize> core::fmt::Debug for $name<'_, M, N> {
                fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                    f.debug_struct(stringify!($name)).finish_non_exhaustive()
                }
            }
        )*
    };
}

opaque!(Mailbox Handle Port);

#[cfg(test)]
mod tests;
