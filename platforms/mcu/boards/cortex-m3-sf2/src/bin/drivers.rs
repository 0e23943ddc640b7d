//! Proves the board's drivers to a test; see `../../drivers.rs`.

#![no_std]
#![no_main]

#[path = "../../../drivers.rs"]
mod drivers;

use core::cell::RefCell;
use embassy_executor::{Executor, Spawner};
use embedded_storage::nor_flash::ReadNorFlash;
use lightship_board_cortex_m3_sf2::network::{self, Mac};
use lightship_board_cortex_m3_sf2::{
    Cause, clock, interrupts, layout, power, random, spi_nor::SpiNor, uart::Uart, watchdog,
};
use lightship_mcu::last_words::LastWords;
use lightship_mcu::seed::Seed;
use static_cell::{ConstStaticCell, StaticCell};

lightship_board_cortex_m3_sf2::handlers!();

struct Hardware(Seed);

impl drivers::Hardware for Hardware {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn feed(&mut self, patience_ms: u32) {
        watchdog::feed(patience_ms);
    }

    fn reset(&mut self) -> ! {
        power::reset_because(&LastWords::new(Cause::Asked).and("by the host"))
    }

    fn fault(&mut self) -> ! {
        power::fault()
    }

    fn last_words(&mut self) -> Option<LastWords> {
        power::last_words()
    }

    fn stack(&mut self) -> usize {
        layout::stack().used()
    }
}

#[embassy_executor::task]
async fn story() {
    // QEMU's network sends whole frames, whatever a connection asks for.
    static MAC: ConstStaticCell<network::Buffers<{ network::WHOLE_FRAME }>> =
        ConstStaticCell::new(network::Buffers::new());
    // SAFETY: the first and only use of the flash in this program, which runs from DDR memory.
    let flash = RefCell::new(unsafe { SpiNor::new() });
    let seed = random::open(&flash).expect("a secret was provisioned");
    let mut spare = [0; 10];
    let read = layout::spare(&flash).read(0, &mut spare);
    read.expect("the flash can be read");
    // SAFETY: the first and only use of the device in this program.
    let mac = unsafe { Mac::new(MAC.take(), random::address(&seed)) };
    drivers::run(mac, Hardware(seed), spare, Uart).await;
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    layout::stack().paint();
    clock::start();
    interrupts::start();
    EXECUTOR
        .init(Executor::new())
        .run(|spawner: Spawner| spawner.spawn(story().expect("the first task")))
}
