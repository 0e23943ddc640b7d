//! The board's network card and the tunnel as one type, so that a firmware holds the code of its two IP stacks once.

use core::convert::Infallible;
use core::task::Context;

use embassy_net::driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use lightship_wireguard::embassy;

/// What a stack of embassy-net runs on: the board's card, or the tunnel.
///
/// Give a stack of your own `Nic::Card(card)`, and the agent the same type with [`Udp::beside`](super::Udp::beside); then both are the same code.
pub enum Nic<'d, C> {
    /// The board's.
    Card(C),
    /// The agent's.
    Tunnel(embassy::Driver<'d>),
}

impl<C> core::fmt::Debug for Nic<'_, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Card(_) => "Nic::Card",
            Self::Tunnel(_) => "Nic::Tunnel",
        })
    }
}

/// A packet of either.
#[derive(Debug)]
pub enum Either<A, B> {
    /// The card's.
    Card(A),
    /// The tunnel's.
    Tunnel(B),
}

impl<A: RxToken, B: RxToken> RxToken for Either<A, B> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, f: F) -> R {
        match self {
            Self::Card(token) => token.consume(f),
            Self::Tunnel(token) => token.consume(f),
        }
    }
}

impl<A: TxToken, B: TxToken> TxToken for Either<A, B> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        match self {
            Self::Card(token) => token.consume(len, f),
            Self::Tunnel(token) => token.consume(len, f),
        }
    }
}

impl<'d, C: Driver> Driver for Nic<'d, C> {
    type RxToken<'a>
        = Either<C::RxToken<'a>, <embassy::Driver<'d> as Driver>::RxToken<'a>>
    where
        Self: 'a;
    type TxToken<'a>
        = Either<C::TxToken<'a>, <embassy::Driver<'d> as Driver>::TxToken<'a>>
    where
        Self: 'a;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        match self {
            Self::Card(card) => {
                let (packet, room) = card.receive(cx)?;
                Some((Either::Card(packet), Either::Card(room)))
            }
            Self::Tunnel(tunnel) => {
                let (packet, room) = tunnel.receive(cx)?;
                Some((Either::Tunnel(packet), Either::Tunnel(room)))
            }
        }
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Self::TxToken<'_>> {
        match self {
            Self::Card(card) => card.transmit(cx).map(Either::Card),
            Self::Tunnel(tunnel) => tunnel.transmit(cx).map(Either::Tunnel),
        }
    }

    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        match self {
            Self::Card(card) => card.link_state(cx),
            Self::Tunnel(tunnel) => tunnel.link_state(cx),
        }
    }

    fn capabilities(&self) -> Capabilities {
        match self {
            Self::Card(card) => card.capabilities(),
            Self::Tunnel(tunnel) => tunnel.capabilities(),
        }
    }

    fn hardware_address(&self) -> HardwareAddress {
        match self {
            Self::Card(card) => card.hardware_address(),
            Self::Tunnel(tunnel) => tunnel.hardware_address(),
        }
    }
}

/// No card: the agent's stack shares its code with no other.
#[derive(Debug)]
pub enum Alone {}

/// There is none.
#[derive(Debug)]
pub struct Never(Infallible);

impl RxToken for Never {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, _: F) -> R {
        match self.0 {}
    }
}

impl TxToken for Never {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, _: usize, _: F) -> R {
        match self.0 {}
    }
}

impl Driver for Alone {
    type RxToken<'a> = Never;
    type TxToken<'a> = Never;

    fn receive(&mut self, _: &mut Context<'_>) -> Option<(Never, Never)> {
        match *self {}
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Never> {
        match *self {}
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        match *self {}
    }

    fn capabilities(&self) -> Capabilities {
        match *self {}
    }

    fn hardware_address(&self) -> HardwareAddress {
        match *self {}
    }
}
