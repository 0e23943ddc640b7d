//! The whole firmware of the virtual boards: the agent, and a tiny application beside it.
//!
//! The application's self-test is its own version: a patch number other than 0 says how it is
//! broken, so that the tests can make firmware that fails in each way.
//! What it says goes through defmt to the board's port and to the fleet.

use core::pin::pin;

use embassy_futures::join::join;
use embassy_futures::select::select;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{Config, Stack, StackResources};
use embassy_net_driver::Driver;
use embedded_storage::nor_flash::NorFlash;
use lightship_mcu::agent::{
    self, Application, Board, Log, Memory, Nic, Options, Parts, ResetReason, Udp,
};
use lightship_mcu::slots::Slots;

/// Components of a release that the boards run.
const COMPONENTS: usize = 2;
/// Bytes of datagrams that wait for the tunnel: a window of the agent's TCP.
const RECEIVED: usize = 4 * agent::DATAGRAM_BYTES;
/// Bytes of datagrams that wait for the network: the tunnel waits with the next one.
const SENT: usize = agent::DATAGRAM_BYTES;

/// Memory of the firmware; put it in a `static`, where it is zeroes and takes no room in the image.
pub(crate) struct Room {
    agent: Memory,
    // DHCP, one of UDP, and one where embassy-net resolves names; as many as the agent has, so that both are made by the same code.
    sockets: StackResources<3>,
    received: [u8; RECEIVED],
    sent: [u8; SENT],
}

impl Room {
    pub(crate) const fn new() -> Self {
        Self {
            agent: Memory::new(),
            sockets: StackResources::new(),
            received: [0; RECEIVED],
            sent: [0; SENT],
        }
    }
}

static APPLICATION: Application = Application::new();
static LOG: Log = Log::new();

/// At the start of spare flash: the test wants no MQTT.
#[cfg(feature = "http")]
pub(crate) const HTTP_ALONE: [u8; 8] = *b"HTTPONLY";

/// The firmware, without its network.
pub(crate) struct Firmware<B, S, R, C> {
    pub(crate) board: B,
    pub(crate) slots: S,
    pub(crate) records: R,
    pub(crate) config: C,
    /// Whether MQTT is used.
    #[cfg(feature = "http")]
    pub(crate) mqtt: bool,
    /// Does what the processor refuses.
    pub(crate) fault: fn() -> !,
}

defmt::timestamp!("{=u64:ms}", embassy_time::Instant::now().as_millis());

/// What is logged goes to the fleet; the board passes it to its port as well.
pub(crate) fn ship(frames: &[u8]) {
    LOG.frames(frames);
}

impl<B: Board, S: Slots, R: NorFlash, C: NorFlash> Firmware<B, S, R, C> {
    /// Runs for as long as the agent does.
    pub(crate) async fn run<N: Driver>(mut self, room: &mut Room, card: N) {
        let mut seed = [0; 8];
        let patch = self.tell_of_boot();
        let reason = self.board.reset_reason();
        if self.board.random(&mut seed).is_err() {
            return defmt::error!("no randomness");
        }
        let (net, mut network) = embassy_net::new(
            Nic::Card(card),
            Config::dhcpv4(Default::default()),
            &mut room.sockets,
            u64::from_le_bytes(seed),
        );
        let mut packets = [[PacketMetadata::EMPTY; 8]; 2];
        let [received, sent] = &mut packets;
        let mut socket = UdpSocket::new(net, received, &mut room.received, sent, &mut room.sent);
        socket.bind(0).expect("no port is taken yet");
        let parts = Parts {
            board: &mut self.board,
            slots: &mut self.slots,
            records: self.records,
            config: self.config,
            outside: Udp::<N>::beside(net, socket),
            log: &LOG,
        };
        // Pinned where it is made: what is moved takes its room on the stack as well.
        let agent = async {
            let end = pin!(agent::run::<COMPONENTS, _, _, _, _, _>(
                &mut room.agent,
                parts,
                Options {
                    #[cfg(feature = "http")]
                    mqtt: self.mqtt,
                    ..Options::DEFAULT
                },
                &APPLICATION,
            ));
            match end.await {
                Ok(_) => defmt::println!("the agent has ended"),
                Err(error) => defmt::error!("failed: {=str}", error.as_str()),
            }
        };
        let work = pin!(join(agent, application(net, patch, reason, self.fault)));
        let network = pin!(network.run());
        select(network, work).await;
    }

    /// Says what runs and why, and returns the version's patch number.
    fn tell_of_boot(&mut self) -> u32 {
        let report = self.slots.report();
        let Ok(header) = self.slots.running() else {
            defmt::error!("the running image cannot be read");
            return 0;
        };
        let version = header.version;
        defmt::println!(
            "boot version={=u16}.{=u16}.{=u32} why={} outcome={}",
            version.major,
            version.minor,
            version.patch,
            report.why,
            report.outcome
        );
        version.patch
    }
}

/// Where your own code stands.
async fn application(net: Stack<'_>, patch: u32, reason: ResetReason, fault: fn() -> !) {
    net.wait_config_up().await;
    match (patch, reason) {
        // Some break once.
        (0, _) | (4 | 5, ResetReason::Fault) => APPLICATION.confirm(),
        (1, _) => APPLICATION.fail(),
        (2, _) => loop {
            core::hint::spin_loop();
        },
        (5, _) => fault(),
        _ => panic!("broken as patch {patch} says"),
    }
}
