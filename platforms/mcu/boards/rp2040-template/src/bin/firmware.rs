//! A light that blinks, in a fleet: the agent on a W5500-EVB-Pico, an RP2040 with Ethernet.

#![no_std]
#![no_main]

use core::cell::RefCell;
use embassy_executor::Spawner;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{Config, Stack, StackResources};
use embassy_net_wiznet::chip::W5500;
use embassy_net_wiznet::{Device, Runner, State};
use embassy_rp::flash::{Blocking, Flash};
use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::peripherals::{DMA_CH0, DMA_CH1, SPI0};
use embassy_rp::spi::{self, Spi};
use embassy_rp::watchdog::Watchdog;
use embassy_rp::{Peripherals, bind_interrupts, dma};
use embassy_time::{Delay, Duration, Timer};
use embedded_hal_bus::spi::ExclusiveDevice;
use lightship_board_rp2040_template::hardware::{self, Hardware};
use lightship_board_rp2040_template::layout::{self, Chip};
use lightship_board_rp2040_template::power;
use lightship_mcu::CoreCurve;
use lightship_mcu::agent::{self, Application, Log, Memory, Nic, Options, Parts, Udp};
use lightship_mcu::slots::Updater;
use static_cell::{ConstStaticCell, StaticCell};

lightship_board_rp2040_template::faults!();

bind_interrupts!(struct Interrupts {
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>, dma::InterruptHandler<DMA_CH1>;
});

/// Components of a release: this firmware alone.
const COMPONENTS: usize = 1;
/// Bytes of datagrams that wait: two of the largest each way.
const DATAGRAMS: usize = 3 * agent::DATAGRAM_BYTES;
/// The W5500 takes 80 MHz; wires between boards take less.
const SPI_HZ: u32 = 20_000_000;

type Bus = ExclusiveDevice<Spi<'static, SPI0, spi::Async>, Output<'static>, Delay>;
type Wire = Runner<'static, W5500, Bus, Input<'static>, Output<'static>>;

static APPLICATION: Application = Application::new();
static LOG: Log = Log::new();

/// Put your own code here. What its self-test finds wrong is a reason to go back: `APPLICATION.fail()`.
#[embassy_executor::task]
async fn application(stack: Stack<'static>, mut light: Output<'static>) {
    stack.wait_config_up().await;
    APPLICATION.confirm();
    loop {
        light.toggle();
        Timer::after(Duration::from_millis(500)).await;
    }
}

#[embassy_executor::task]
async fn lightship(stack: Stack<'static>, mut hardware: Hardware, flash: &'static RefCell<Chip>) {
    static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
    static BYTES: ConstStaticCell<[[u8; DATAGRAMS]; 2]> = ConstStaticCell::new([[0; _]; _]);
    static PACKETS: ConstStaticCell<[[PacketMetadata; 4]; 2]> =
        ConstStaticCell::new([[PacketMetadata::EMPTY; _]; _]);
    // Without a handoff nobody can tell what runs: the bootloader is asked again.
    let Some(handoff) = layout::mailbox().read() else {
        power::reset();
    };
    let ([received, sent], [receiving, sending]) = (BYTES.take(), PACKETS.take());
    let mut socket = UdpSocket::new(stack, receiving, received, sending, sent);
    socket.bind(0).expect("no port is taken yet");
    let (records, pair) = layout::partitions(flash);
    let parts = Parts {
        board: &mut hardware,
        slots: &mut Updater::new(records, pair, layout::device(), CoreCurve, handoff),
        records: layout::agent_records(flash),
        config: layout::configuration(flash),
        outside: Udp::<Device<'static>>::beside(stack, socket),
        log: &LOG,
    };
    let memory = MEMORY.take();
    let run =
        agent::run::<COMPONENTS, _, _, _, _, _>(memory, parts, Options::DEFAULT, &APPLICATION);
    if let Err(error) = run.await {
        // Nobody feeds the watchdog any more: the chip starts again and tries anew.
        defmt::error!("the agent does not start: {=str}", error.as_str());
    }
}

#[embassy_executor::task]
async fn wire(runner: Wire) -> ! {
    runner.run().await
}

#[embassy_executor::task]
async fn network(mut runner: embassy_net::Runner<'static, Nic<'static, Device<'static>>>) -> ! {
    runner.run().await
}

/// The first task: what the others need.
#[embassy_executor::task]
async fn begin(spawner: Spawner, chip: Peripherals) {
    static FLASH: StaticCell<RefCell<Chip>> = StaticCell::new();
    static STATE: ConstStaticCell<State<4, 4>> = ConstStaticCell::new(State::new());
    static SOCKETS: ConstStaticCell<StackResources<3>> =
        ConstStaticCell::new(StackResources::new());
    let light = Output::new(chip.PIN_25, Level::Low);
    let flash = FLASH.init(RefCell::new(Flash::<_, Blocking, _>::new_blocking(
        chip.FLASH,
    )));
    let mut seed =
        hardware::seed(flash).expect("a secret was provisioned, and the next one is stored");
    let address = hardware::address(&seed);
    let mut chance = [0; 8];
    seed.fill(&mut chance);

    let mut settings = spi::Config::default();
    settings.frequency = SPI_HZ;
    let (clock, mosi, miso) = (chip.PIN_18, chip.PIN_19, chip.PIN_16);
    let (tx, rx) = (chip.DMA_CH0, chip.DMA_CH1);
    let spi = Spi::new(chip.SPI0, clock, mosi, miso, tx, rx, Interrupts, settings);
    let select = Output::new(chip.PIN_17, Level::High);
    let bus = ExclusiveDevice::new(spi, select, Delay).expect("the select line can be set");
    let interrupt = Input::new(chip.PIN_21, Pull::Up);
    let reset = Output::new(chip.PIN_20, Level::High);
    let found = embassy_net_wiznet::new(address, STATE.take(), bus, interrupt, reset).await;
    let (device, runner) = found.unwrap_or_else(|_| panic!("there is no W5500 on SPI 0"));

    let config = Config::dhcpv4(Default::default());
    let (stack, stack_runner) = embassy_net::new(
        Nic::Card(device),
        config,
        SOCKETS.take(),
        u64::from_le_bytes(chance),
    );
    let hardware = Hardware::new(seed, Watchdog::new(chip.WATCHDOG));
    spawner.spawn(wire(runner).expect("its only run"));
    spawner.spawn(network(stack_runner).expect("its only run"));
    spawner.spawn(application(stack, light).expect("its only run"));
    spawner.spawn(lightship(stack, hardware, flash).expect("its only run"));
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static EXECUTOR: StaticCell<embassy_executor::Executor> = StaticCell::new();
    let chip = embassy_rp::init(Default::default());
    // Frames go to the fleet; to see them on a port as well, write them to it here.
    lightship_logger::start(|frames| LOG.frames(frames));
    EXECUTOR
        .init(embassy_executor::Executor::new())
        .run(|spawner| spawner.spawn(begin(spawner, chip).expect("the first task")))
}
