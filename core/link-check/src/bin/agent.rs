//! Everything a device needs of the core.
#![no_std]
#![no_main]

use core::hint::black_box;

use lightship_core::id::{Name, Uuid};
use lightship_core::trust::{Compact, Trust, TrustState};

static ROOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/root.bin"));
static RELEASE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/release.bin"));
static ASSIGNMENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/assignment.bin"));

#[cortex_m_rt::entry]
fn main() -> ! {
    lightship_link_check::run(is_accepted)
}

/// Not inlined, so that what the program itself keeps on the stack is not mixed with what the core does.
#[inline(never)]
fn is_accepted() -> bool {
    let Ok(root) = TrustState::first_root(&Compact, black_box(ROOT)) else {
        return false;
    };
    let (Ok(device_type), Ok(product)) = (Name::new("cortex-m3-sf2"), Name::new("blinker")) else {
        return false;
    };
    let trust = Trust {
        codec: Compact,
        state: &TrustState::new(root),
        device: Uuid([7; 16]),
        device_type: &device_type,
        product: &product,
        clock: None,
    };
    trust
        .accept_target::<4>(black_box(ASSIGNMENT), black_box(RELEASE))
        .is_ok()
}
