//! Puts the agent together and runs it.

use core::cell::RefCell;
use core::fmt;
use core::pin::pin;

use embassy_futures::select::{Either, select, select3};
use embassy_net::StackResources;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_time::{Duration, Timer};
use embedded_storage::nor_flash::NorFlash;
use lightship_core::Agent;
use lightship_core::record::{Record, Saved, State};
use lightship_core::trust::{Compact, TrustState};
use lightship_driver::{Clock, Driver, End};
use lightship_https::post::Entrance as Registration;
use lightship_link::chunk::{Exchange, Slot};
use lightship_link::mailbox::{Mailbox, Packet};
use lightship_mqtt::device as mqtt;
use lightship_wireguard::embassy as wireguard;
use lightship_wireguard::link::Link as Tunnel;

use super::boot;
use super::carrier;
use super::clock::EmbassyClock;
#[cfg(feature = "http")]
use super::fallback;
use super::firmware::Firmware;
use super::images::Images;
use super::log::{self, Log};
use super::platform::Mcu;
use super::records::{Key, Records};
use super::sockets::{Buffers, Sockets};
use super::tunnel::{Chance, Datagrams, GATEWAY_NAME, Way, Ways};
use super::{Application, Board, Nic, Outside};
use crate::config::{Config, Entrance, Malformed};
use crate::limits::{
    CONNECTIONS, FEED_EVERY, FIRST_TUNNEL_TIME_S, MESSAGE_BYTES, RECORD_BYTES, START_BYTES,
    TUNNEL_RECEIVE, TUNNEL_SEND,
};
use crate::slots::Slots;

/// When an image on trial counts as healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// When the application says so, with [`Application::confirm`].
    Confirmed,
    /// When the fleet was reached; the application can still say that it does not work.
    FleetReached,
}

/// How the agent behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// When an image on trial counts as healthy.
    pub keeping: Keeping,
    /// Seconds between signs of life over MQTT.
    pub keep_alive_s: u16,
    /// How long the fleet may take to answer anything.
    pub timeout: Duration,
    /// Time between attempts to go back from HTTP to MQTT.
    #[cfg(feature = "http")]
    pub prefer_again: Duration,
    /// Whether MQTT is used at all once the device is registered; HTTP always is when it has to be.
    #[cfg(feature = "http")]
    pub mqtt: bool,
}

impl Options {
    /// Confirmed by the application; a sign of life every twenty minutes.
    pub const DEFAULT: Self = Self {
        keeping: Keeping::Confirmed,
        keep_alive_s: 1200,
        timeout: Duration::from_secs(30),
        #[cfg(feature = "http")]
        prefer_again: Duration::from_secs(900),
        #[cfg(feature = "http")]
        mqtt: true,
    };
}

impl Options {
    #[cfg(feature = "http")]
    const fn is_mqtt_used(&self) -> bool {
        self.mqtt
    }

    #[cfg(not(feature = "http"))]
    const fn is_mqtt_used(&self) -> bool {
        true
    }
}

/// What the agent runs on. The large parts are lent, so that there is one of each in memory.
#[derive(Debug)]
pub struct Parts<'p, B, S, R, C, O> {
    /// The board.
    pub board: &'p mut B,
    /// The firmware's slots.
    pub slots: &'p mut S,
    /// A partition for records: at least two erase units.
    pub records: R,
    /// The partition that the device is configured through: at least [`BLOCK_BYTES`](crate::config::BLOCK_BYTES).
    pub config: C,
    /// The board's network.
    pub outside: O,
    /// What the firmware logs.
    pub log: &'static Log,
}

const _: () = assert!(
    START_BYTES >= RECORD_BYTES + MESSAGE_BYTES + 256,
    "MQTT has room for the longest message in what the records leave"
);

/// Memory of the agent; put it in a `static`, where it is zeroes and takes no room in the image.
pub struct Memory {
    packet: Packet<MESSAGE_BYTES>,
    chunk: Slot,
    /// For what is read at the start; then for one record, and for what comes over MQTT.
    scratch: [u8; START_BYTES],
    tx: [u8; mqtt::TX_BYTES],
    #[cfg(feature = "http")]
    http: fallback::Memory,
    connections: Buffers,
    tunnel: wireguard::Buffers<TUNNEL_RECEIVE, TUNNEL_SEND>,
    /// One more for a firmware whose embassy-net resolves names: its stacks all have a socket for that.
    sockets: StackResources<{ CONNECTIONS + 1 }>,
}

impl Memory {
    /// Empty memory.
    pub const fn new() -> Self {
        Self {
            packet: Packet::new(),
            chunk: Slot::new(),
            scratch: [0; _],
            tx: [0; _],
            #[cfg(feature = "http")]
            http: fallback::Memory::new(),
            connections: Buffers::new(),
            tunnel: wireguard::Buffers::new(),
            sockets: StackResources::new(),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

/// Why the agent does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The partition for records is too small.
    RecordsPartition,
    /// The flash cannot be read.
    Flash,
    /// There is no configuration.
    Config(Malformed),
    /// The trust root in the configuration is none.
    Root,
    /// There is no randomness.
    Entropy,
}

impl StartError {
    /// What is wrong, and what to do.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::RecordsPartition => "the records' partition must have at least two erase units",
            Self::Flash => "the flash cannot be read",
            Self::Config(malformed) => malformed.as_str(),
            Self::Root => {
                "the trust root in the device configuration is not one that its own keys signed"
            }
            Self::Entropy => "the board has no randomness to make keys from",
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for StartError {}

/// Runs the agent until the application ends it or the device restarts.
///
/// # Errors
///
/// [`StartError`] when it cannot begin; once it runs, it goes on.
pub async fn run<const COMPONENTS: usize, B, S, R, C, O>(
    memory: &mut Memory,
    parts: Parts<'_, B, S, R, C, O>,
    options: Options,
    application: &Application,
) -> Result<End, StartError>
where
    B: Board,
    S: Slots,
    R: NorFlash,
    C: NorFlash,
    O: Outside,
{
    // A number takes half as much again in the worst case, bytes take no more.
    const {
        assert!(
            size_of::<State<COMPONENTS>>() * 3 / 2 <= RECORD_BYTES,
            "a record has room for two components"
        );
    }
    let Parts {
        board,
        slots,
        records,
        config: mut factory,
        outside,
        log,
    } = parts;
    let records = Records::open(records).map_err(|_| StartError::RecordsPartition)?;
    let (board, records) = (RefCell::new(board), RefCell::new(records));
    let running = slots.artifact().map_err(|_| StartError::Flash)?;
    let scratch = &mut memory.scratch;
    let images = images(&records, scratch)?;
    let mut firmware = Firmware::new(slots, images, running);
    boot::tell(log, &board, &mut firmware);
    let (core, entrance) = configuration(&records, &mut factory, scratch)?;
    let floor_s = tunnel_time(&records, scratch)?;
    let seed = random(&board)?;
    let saved = load(&records, scratch)?;
    let mut agent = Agent::<COMPONENTS>::new(core, saved, seed, EmbassyClock.now());
    let (buffer, rx) = scratch.split_at_mut(RECORD_BYTES);

    let (ways, control) = (
        Ways::new(options.is_mqtt_used()),
        wireguard::Control::<NoopRawMutex>::new(),
    );
    // Goes nowhere until a tunnel is wanted.
    let mut tunnel = Tunnel::idle();
    let (mut tunnel, driver) = wireguard::new(&mut memory.tunnel, &mut tunnel, &control, floor_s);
    let net = embassy_net::Config::default();
    let seed = u64::from_le_bytes(random(&board)?);
    let (stack, mut network) = embassy_net::new(
        Nic::<O::Card>::Tunnel(driver),
        net,
        &mut memory.sockets,
        seed,
    );

    let sockets = Sockets::new(stack, &mut memory.connections);

    let mut mailbox = Mailbox::<NoopRawMutex, _>::new(&mut memory.packet);
    let mut exchange = Exchange::new(&mut memory.chunk);
    let ((link, port), (blobs, asked)) = (mailbox.split(), exchange.split());
    let over_mqtt = mqtt::Runner::new(
        Way::mqtt(&sockets, &ways),
        mqtt::Patience {
            keep_alive_s: options.keep_alive_s,
            timeout: options.timeout,
        },
        (port, asked),
        (rx, &mut memory.tx),
    );
    let way = Way::post(&sockets, &ways);
    let registration = Registration::new(way, GATEWAY_NAME, options.timeout);
    #[cfg(feature = "http")]
    let (mut mailbox, mut exchange, http) = memory.http.split();
    #[cfg(feature = "http")]
    let mut journal = fallback::no_logs();
    #[cfg(feature = "http")]
    let ((link, blobs), mut over_http) = fallback::behind(
        (link, blobs),
        (&mut mailbox, &mut exchange, http),
        &mut journal,
        (&sockets, &ways),
        &options,
    );
    // Pinned where they are made: what is moved takes its room twice, and once more on the stack.
    let links = pin!(carrier::carry(over_mqtt, registration));
    #[cfg(feature = "http")]
    let over_http = pin!(over_http.run());
    #[cfg(feature = "http")]
    let links = select(links, over_http);

    let mut platform = Mcu {
        board: &board,
        application,
        firmware: &mut firmware,
        records: &records,
        factory,
        entrance,
        blobs,
        ways: &ways,
        stack,
        control: &control,
        keeping: options.keeping,
        reached: false,
    };
    let mut driver = Driver::new(&mut agent, link, &mut platform, EmbassyClock, buffer);
    let mut datagrams = Datagrams::new(&board, outside, &ways);
    let mut chance = Chance {
        board: &board,
        records: &records,
    };
    // The stack before those who wait for it: see the module of the sockets.
    let tunnel = pin!(tunnel.run_on(&mut datagrams, &mut chance));
    let network = pin!(network.run());
    let carried = select3(tunnel, network, links);
    let way = Way::post(&sockets, &ways);
    let logs = pin!(log::ship(log, &way, &ways, options.timeout));
    let feeding = pin!(async {
        loop {
            board.borrow_mut().feed();
            Timer::after(FEED_EVERY).await;
        }
    });
    let background = select3(carried, feeding, logs);
    let driver = pin!(driver.run());
    match select(driver, background).await {
        Either::First(end) => Ok(end),
        Either::Second(_) => unreachable!("they run for ever"),
    }
}

/// The floor of the tunnel's time: what was stored, or when the trust root was signed.
fn tunnel_time<R: NorFlash>(
    records: &RefCell<Records<R>>,
    buffer: &mut [u8],
) -> Result<u64, StartError> {
    let kept = records.borrow_mut().load(Key::TunnelTime, buffer);
    let bytes = match kept.map_err(|_| StartError::Flash)? {
        Some(8) => buffer.first_chunk(),
        Some(_) | None => None,
    };
    Ok(bytes.map_or(FIRST_TUNNEL_TIME_S, |bytes| u64::from_le_bytes(*bytes)))
}

/// Reads the configuration; a block in its partition is newer than what was kept of an earlier one, and is kept at once but for its key, so that it can be erased at any time.
fn configuration<R: NorFlash, C: NorFlash>(
    records: &RefCell<Records<R>>,
    factory: &mut C,
    buffer: &mut [u8],
) -> Result<(lightship_core::Config, Option<Entrance>), StartError> {
    let mut records = records.borrow_mut();
    let len = buffer.len().min(factory.capacity());
    let read = factory.read(0, &mut buffer[..len]);
    read.map_err(|_| StartError::Flash)?;
    let malformed = match Config::decode(&buffer[..len]) {
        Ok(config) => {
            records.keep(&config).map_err(|_| StartError::Flash)?;
            return core_config(config);
        }
        Err(malformed) => malformed,
    };
    let kept = records.load(Key::Config, buffer);
    let len = kept.map_err(|_| StartError::Flash)?;
    let len = len.ok_or(StartError::Config(malformed))?;
    core_config(Config::from_kept(&buffer[..len]).map_err(StartError::Config)?)
}

fn core_config(
    config: Config<'_>,
) -> Result<(lightship_core::Config, Option<Entrance>), StartError> {
    let root = TrustState::first_root(&Compact, config.root.0).map_err(|_| StartError::Root)?;
    let entrance = config.entrance;
    let core = lightship_core::Config {
        device_type: config.device_type,
        product: config.product,
        name: config.name,
        root,
        provisioning_key: entrance.as_ref().map(|entrance| entrance.provisioning_key),
        rotation_period_s: config.rotation_period_s,
        keys_outside: false,
    };
    Ok((core, entrance))
}

/// What the core saved in earlier lives.
fn load<'b, R: NorFlash>(
    records: &RefCell<Records<R>>,
    buffer: &'b mut [u8],
) -> Result<Saved<'b>, StartError> {
    let mut saved = Saved::default();
    let mut rest = buffer;
    for record in Record::ALL {
        let len = records.borrow_mut().load(Key::Core(record), rest);
        let Some(len) = len.map_err(|_| StartError::Flash)? else {
            continue;
        };
        let (bytes, free) = rest.split_at_mut(len);
        rest = free;
        let place = match record {
            Record::Identity => &mut saved.identity,
            Record::Trust => &mut saved.trust,
            Record::State => &mut saved.state,
            Record::Clock => &mut saved.clock,
        };
        *place = Some(bytes);
    }
    Ok(saved)
}

/// The images that were stored.
fn images<R: NorFlash>(
    records: &RefCell<Records<R>>,
    buffer: &mut [u8],
) -> Result<Images, StartError> {
    let kept = records.borrow_mut().load(Key::Images, buffer);
    let len = kept.map_err(|_| StartError::Flash)?;
    let images = len.and_then(|len| Images::decode(&buffer[..len]));
    Ok(images.unwrap_or_default())
}

fn random<const N: usize>(board: &RefCell<&mut impl Board>) -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    let filled = board.borrow_mut().random(&mut bytes);
    filled.map_err(|_| StartError::Entropy)?;
    Ok(bytes)
}
