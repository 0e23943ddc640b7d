//! What the virtual boards' `drivers` programs do: they prove the drivers to a test on the host.
//!
//! They say why they started, get an address by DHCP, connect to a port of the host that the test
//! left in spare flash, and do what the host asks for, one letter at a time.

use core::fmt::Write;
use embassy_futures::select::select;
use embassy_net::tcp::TcpSocket;
use embassy_net::{Config, IpAddress, Stack, StackResources};
use embassy_net_driver::Driver;
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{Read, Write as _};
use lightship_mcu::last_words::LastWords;

/// What the program needs of its board.
pub(crate) trait Hardware {
    /// Randomness.
    fn fill(&mut self, bytes: &mut [u8]);
    /// Starts or feeds the watchdog.
    fn feed(&mut self, patience_ms: u32);
    /// Resets because it was asked to.
    fn reset(&mut self) -> !;
    /// Does what the processor refuses.
    fn fault(&mut self) -> !;
    /// Why the last run ended.
    fn last_words(&mut self) -> Option<LastWords>;
    /// Bytes of stack that were used.
    fn stack(&mut self) -> usize;
}

/// The start of spare flash; the port of the host follows.
const MARK: [u8; 8] = *b"DRIVERS:";
/// The host, as QEMU's network shows it.
const HOST: IpAddress = IpAddress::v4(10, 0, 2, 2);
/// A watchdog that is fed meanwhile; it bites in this time.
const PATIENCE_MS: u32 = 2_000;

pub(crate) async fn run<D: Driver>(
    driver: D,
    mut hardware: impl Hardware,
    spare: [u8; 10],
    mut out: impl Write,
) {
    match hardware.last_words() {
        Some(words) => say(
            &mut out,
            format_args!("last {:?} {}", words.cause, words.text()),
        ),
        None => say(&mut out, format_args!("last none")),
    }
    let [mark @ .., low, high] = spare;
    if mark != MARK {
        say(&mut out, format_args!("failed: no port in spare flash"));
        return;
    }
    let mut seed = [0; 8];
    hardware.fill(&mut seed);
    let mut sockets = StackResources::<3>::new();
    let config = Config::dhcpv4(Default::default());
    let (stack, mut runner) =
        embassy_net::new(driver, config, &mut sockets, u64::from_le_bytes(seed));
    let port = u16::from_le_bytes([low, high]);
    select(runner.run(), talk(stack, port, hardware, &mut out)).await;
}

async fn talk(stack: Stack<'_>, port: u16, mut hardware: impl Hardware, out: &mut impl Write) {
    stack.wait_config_up().await;
    let config = stack.config_v4().map(|config| config.address);
    say(out, format_args!("address {config:?}"));
    let (mut receive, mut send) = ([0; 2048], [0; 2048]);
    let mut socket = TcpSocket::new(stack, &mut receive, &mut send);
    if let Err(error) = socket.connect((HOST, port)).await {
        say(out, format_args!("failed: {error:?}"));
        return;
    }
    while let Some(letter) = next(&mut socket).await {
        if answer(letter, &mut socket, &mut hardware).await.is_none() {
            break;
        }
    }
    say(out, format_args!("failed: the host is gone"));
}

async fn next(socket: &mut TcpSocket<'_>) -> Option<u8> {
    let mut letter = [0];
    socket.read_exact(&mut letter).await.ok()?;
    Some(letter[0])
}

/// Does what a letter asks for; `None` when the connection is gone.
async fn answer(
    letter: u8,
    socket: &mut TcpSocket<'_>,
    hardware: &mut impl Hardware,
) -> Option<()> {
    match letter {
        b'e' => return echo(socket).await,
        b'r' => {
            let mut bytes = [0; 32];
            hardware.fill(&mut bytes);
            socket.write_all(&bytes).await.ok()?;
        }
        b't' => {
            let micros = Instant::now().as_micros().to_le_bytes();
            socket.write_all(&micros).await.ok()?;
        }
        b'w' => {
            let since = Instant::now();
            Timer::after(Duration::from_millis(300)).await;
            let micros = since.elapsed().as_micros().to_le_bytes();
            socket.write_all(&micros).await.ok()?;
        }
        b's' => {
            let used = (hardware.stack() as u64).to_le_bytes();
            socket.write_all(&used).await.ok()?;
        }
        b'f' => hardware.feed(PATIENCE_MS),
        b'h' => loop {
            core::hint::spin_loop();
        },
        b'p' => panic!("the host asked for it"),
        b'x' => hardware.fault(),
        b'a' => hardware.reset(),
        _ => return None,
    }
    socket.flush().await.ok()
}

/// Sends back as many bytes as the four bytes in front of them say.
async fn echo(socket: &mut TcpSocket<'_>) -> Option<()> {
    let mut len = [0; 4];
    socket.read_exact(&mut len).await.ok()?;
    let (mut left, mut chunk) = (u32::from_le_bytes(len) as usize, [0; 512]);
    while left > 0 {
        let most = left.min(chunk.len());
        let got = socket.read(&mut chunk[..most]).await.ok()?;
        if got == 0 {
            return None;
        }
        socket.write_all(&chunk[..got]).await.ok()?;
        left -= got;
    }
    socket.flush().await.ok()
}

/// A port that cannot take a line does not stop the program.
fn say(out: &mut impl Write, line: core::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{line}");
}
