//! The whole firmware: agent, tunnel, network, slots; see `../../firmware.rs`.

#![no_std]
#![no_main]

#[path = "../../../firmware.rs"]
mod firmware;

use core::cell::RefCell;
use embassy_executor::{Executor, Spawner};
#[cfg(feature = "http")]
use embedded_storage::nor_flash::ReadNorFlash;
use lightship_board_riscv_virt::hardware::{self, Hardware, PATIENCE_MS};
use lightship_board_riscv_virt::network::{self, Card};
use lightship_board_riscv_virt::random::{self, Random};
use lightship_board_riscv_virt::{clock, interrupts, layout, power, uart, watchdog};
use lightship_mcu::CoreCurve;
use lightship_mcu::slots::{Ab, Updater};
use static_cell::{ConstStaticCell, StaticCell};

lightship_board_riscv_virt::faults!();

#[embassy_executor::task]
async fn story() {
    static CARD: ConstStaticCell<network::Buffers> = ConstStaticCell::new(network::Buffers::new());
    static RANDOM: ConstStaticCell<random::Buffers> = ConstStaticCell::new(random::Buffers::new());
    static ROOM: ConstStaticCell<firmware::Room> = ConstStaticCell::new(firmware::Room::new());
    // SAFETY: the first and only use of these devices in this program, which runs from RAM.
    let (bank, card, random) = unsafe {
        (
            RefCell::new(layout::bank()),
            Card::new(CARD.take()).expect("QEMU was given a network card"),
            Random::new(RANDOM.take()).expect("QEMU was given a random source"),
        )
    };
    // Without a handoff nobody can tell what runs: the bootloader is asked again.
    let Some(handoff) = layout::mailbox().read() else {
        power::reset();
    };
    let slots = Ab(layout::slots(&bank));
    let firmware = firmware::Firmware {
        board: Hardware::new(random),
        slots: Updater::new(
            layout::records(&bank),
            slots,
            layout::device(),
            CoreCurve,
            handoff,
        ),
        records: layout::agent_records(&bank),
        config: layout::configuration(&bank),
        #[cfg(feature = "http")]
        mqtt: {
            let mut start = [0; 8];
            let read = layout::spare(&bank).read(0, &mut start);
            read.expect("the flash can be read");
            start != firmware::HTTP_ALONE
        },
        fault: power::fault,
    };
    firmware.run(ROOM.take(), card).await;
}

#[riscv_rt::entry]
fn main() -> ! {
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    layout::stack().paint();
    lightship_logger::start(|frames| {
        uart::send(frames);
        if hardware::is_for_the_fleet() {
            firmware::ship(frames);
        }
    });
    clock::start();
    watchdog::feed(PATIENCE_MS);
    interrupts::start();
    EXECUTOR
        .init(Executor::new())
        .run(|spawner: Spawner| spawner.spawn(story().expect("the first task")))
}
