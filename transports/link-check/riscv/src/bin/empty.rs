//! Nothing but what every program for this chip has: start-up code and vectors.
#![no_std]
#![no_main]

use lightship_transports_link_check_riscv as _;

#[riscv_rt::entry]
fn main() -> ! {
    loop {
        core::hint::spin_loop();
    }
}
