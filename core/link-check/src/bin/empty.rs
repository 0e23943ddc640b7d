//! Nothing but what every program for this chip has: start-up code and vectors.
#![no_std]
#![no_main]

#[cortex_m_rt::entry]
fn main() -> ! {
    lightship_link_check::run(|| true)
}
