//! Proves the board's drivers to a test; see `../../drivers.rs`.

#![no_std]
#![no_main]

#[path = "../../../drivers.rs"]
mod drivers;

use core::cell::RefCell;
use embassy_executor::{Executor, Spawner};
use embedded_storage::nor_flash::ReadNorFlash;
use lightship_board_riscv_virt::network::{self, Card};
use lightship_board_riscv_virt::random::{self, Random};
use lightship_board_riscv_virt::{Cause, clock, interrupts, layout, power, uart::Uart, watchdog};
use lightship_mcu::last_words::LastWords;
use static_cell::{ConstStaticCell, StaticCell};

lightship_board_riscv_virt::faults!();

struct Hardware(Random);

impl drivers::Hardware for Hardware {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes).expect("QEMU has a random source");
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
    static CARD: ConstStaticCell<network::Buffers<{ network::buffer(network::WHOLE_FRAME) }>> =
        ConstStaticCell::new(network::Buffers::new());
    static RANDOM: ConstStaticCell<random::Buffers> = ConstStaticCell::new(random::Buffers::new());
    // SAFETY: the first and only use of these devices in this program, which runs from RAM.
    let (bank, card, random) = unsafe {
        (
            RefCell::new(layout::bank()),
            Card::new(CARD.take()).expect("QEMU was given a network card"),
            Random::new(RANDOM.take()).expect("QEMU was given a random source"),
        )
    };
    let mut spare = [0; 10];
    let read = layout::spare(&bank).read(0, &mut spare);
    read.expect("the flash can be read");
    drivers::run(card, Hardware(random), spare, Uart).await;
}

#[riscv_rt::entry]
fn main() -> ! {
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    layout::stack().paint();
    clock::start();
    interrupts::start();
    EXECUTOR
        .init(Executor::new())
        .run(|spawner: Spawner| spawner.spawn(story().expect("the first task")))
}
