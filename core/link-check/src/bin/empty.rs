//! Nothing but what every program for this chip has, start-up code and vectors, and the messages of the other program.
#![no_std]
#![no_main]

use core::hint::black_box;

use lightship_link_check::received::{REGISTERED, ROOT, ROTATE, TARGET};

#[cortex_m_rt::entry]
fn main() -> ! {
    lightship_link_check::run(|| {
        black_box([REGISTERED, ROOT, ROTATE, TARGET]);
        true
    })
}
