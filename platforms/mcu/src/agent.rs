//! The agent on a microcontroller: [`run`] is one future, to be spawned as one task.
//!
//! It joins the core with slots, records in flash, the tunnel and the links.
//! What it needs of the hardware is [`Board`] and [`Outside`]; what the application tells it, and is told, goes through [`Application`].
//!
//! ```text
//! application   Application
//!     core      Driver over Platform: slots, records, configuration
//!     links     MQTT, with the feature `http` HTTP when that fails; one request of HTTP to register
//!     stack     embassy-net inside the tunnel
//!     tunnel    WireGuard: the enrolment tunnel, then the device's own
//!     board     UDP
//! ```

mod application;
#[cfg(feature = "http")]
mod blobs;
mod board;
mod boot;
mod carrier;
mod clock;
#[cfg(feature = "http")]
mod fallback;
mod firmware;
mod images;
mod log;
mod names;
mod nic;
mod platform;
mod records;
mod run;
mod sockets;
mod tunnel;
mod udp;

pub use application::{Application, Busy};
pub use board::{Board, NoEntropy, Outside, ResetReason};
pub use clock::EmbassyClock;
pub use log::Log;
pub use nic::{Alone, Nic};
pub use run::{Keeping, Memory, Options, Parts, StartError, run};
pub use udp::Udp;

/// Bytes of the tunnel's longest datagram.
pub const DATAGRAM_BYTES: usize = lightship_wireguard::embassy::LARGEST;
