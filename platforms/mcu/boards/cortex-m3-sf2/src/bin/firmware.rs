//! The whole firmware: agent, tunnel, network, slots; see `../../firmware.rs`.

#![no_std]
#![no_main]

#[path = "../../../firmware.rs"]
mod firmware;

use core::cell::RefCell;
use embassy_executor::{Executor, Spawner};
#[cfg(feature = "http")]
use embedded_storage::nor_flash::ReadNorFlash;
use lightship_board_cortex_m3_sf2::hardware::{self, Hardware, PATIENCE_MS};
use lightship_board_cortex_m3_sf2::network::{self, Mac};
use lightship_board_cortex_m3_sf2::{
    clock, interrupts, layout, power, random, spi_nor::SpiNor, uart, watchdog,
};
use lightship_mcu::CoreCurve;
use lightship_mcu::slots::Updater;
use static_cell::{ConstStaticCell, StaticCell};

lightship_board_cortex_m3_sf2::handlers!();

#[embassy_executor::task]
async fn story() {
    static MAC: ConstStaticCell<network::Buffers> = ConstStaticCell::new(network::Buffers::new());
    static ROOM: ConstStaticCell<firmware::Room> = ConstStaticCell::new(firmware::Room::new());
    // SAFETY: the first and only use of the flash in this program, which runs from DDR memory.
    let flash = RefCell::new(unsafe { SpiNor::new() });
    let seed = random::open(&flash).expect("a secret was provisioned, and the next one is stored");
    // SAFETY: the first and only use of the device in this program.
    let mac = unsafe { Mac::new(MAC.take(), random::address(&seed)) };
    // Without a handoff nobody can tell what runs: the bootloader is asked again.
    let Some(handoff) = layout::mailbox().read() else {
        power::reset();
    };
    let (records, pair) = layout::partitions(&flash);
    let firmware = firmware::Firmware {
        board: Hardware::new(seed),
        slots: Updater::new(records, pair, layout::device(), CoreCurve, handoff),
        records: layout::agent_records(&flash),
        config: layout::configuration(&flash),
        #[cfg(feature = "http")]
        mqtt: {
            let mut start = [0; 8];
            let read = layout::spare(&flash).read(0, &mut start);
            read.expect("the flash can be read");
            start != firmware::HTTP_ALONE
        },
        fault: power::fault,
    };
    firmware.run(ROOM.take(), mac).await;
}

#[cortex_m_rt::entry]
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
