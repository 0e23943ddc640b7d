//! How the microcontroller's halves come to their streams.

use embedded_io_async::{Read, Write};
use lightship_link::Unreachable;

/// Opens byte streams to the fleet.
#[allow(
    async_fn_in_trait,
    reason = "no executor is assumed, so neither is Send"
)]
pub trait Dial {
    /// A connection. Its reads may be dropped; one whose write was dropped is not used again.
    type Stream<'s>: Read + Write
    where
        Self: 's;

    /// Opens one. Of the half with reqwless two are open at once, at most, and of the half that posts one.
    ///
    /// # Errors
    ///
    /// Why there is none.
    async fn dial(&self) -> Result<Self::Stream<'_>, Unreachable>;
}
