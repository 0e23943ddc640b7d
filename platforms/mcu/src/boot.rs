//! Which image runs: the whole of a bootloader but its hardware.
//!
//! [`decide`](decide()) is pure and is the policy. [`ab`] and [`swap`] read the flash, ask it, store what it
//! says and say what to start. The host's tests run this very code on a model of flash.

pub mod ab;
mod decide;
pub mod swap;

pub use decide::{Decision, Step, decide, next_swap_step};

use crate::{Handoff, Why};
use lightship_image::{Header, Reject};

/// Why the device starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reset {
    /// The power came back, or the reset button was pressed: it says nothing about the image.
    Power,
    /// The watchdog, a fault or the image itself; also when the hardware cannot tell.
    Running,
}

/// What the bootloader does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// Starts this image; a watchdog must run before a trial does.
    Run {
        /// What to tell it.
        handoff: Handoff,
        /// What it says of itself.
        header: Header,
    },
    /// No image can be started now.
    Stop(Stop),
}

/// Why no image can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The confirmed image was refused, and there is no other.
    NoImage(Reject),
    /// The images are changing places and the flash fails: the next boot goes on.
    FlashFailed,
}

impl Boot {
    /// Whether an image on trial is started.
    pub fn is_trial(&self) -> bool {
        matches!(
            self,
            Self::Run {
                handoff: Handoff {
                    why: Why::Trial,
                    ..
                },
                ..
            }
        )
    }
}
