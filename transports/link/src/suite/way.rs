//! What lies between a device and its fleet, and all that can happen to it there.

mod shuffle;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::vec;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use shuffle::Shuffle;

/// Most bytes passed on at once.
const STEP: usize = 512;
/// Most bytes passed on at once, and the pause after them, when the way is slow.
const SLOW_STEP: usize = 256;
const SLOW_PAUSE: Duration = Duration::from_millis(2);
/// No cut is due.
const NEVER: u64 = u64::MAX;

/// The way between a device and its fleet.
#[derive(Clone, Debug)]
pub struct Way(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    passed: AtomicU64,
    cut_at: AtomicU64,
    /// A flipped bit every so many bytes; zero for none.
    noise: AtomicU64,
    /// The seed by which frames are swapped and repeated; zero for none.
    shuffle: AtomicU64,
    /// Whether a cut ends the connection, as with TCP; a line just loses what is sent.
    ends: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Slow,
    /// Bytes wait, nothing closes.
    Frozen,
    /// Nothing passes and nothing is kept: connections end, a line loses its bytes.
    Cut,
}

impl Way {
    fn new(ends: bool) -> Self {
        Self(Arc::new(Shared {
            state: watch::Sender::new(State::Open),
            passed: AtomicU64::new(0),
            cut_at: AtomicU64::new(NEVER),
            noise: AtomicU64::new(0),
            shuffle: AtomicU64::new(0),
            ends,
        }))
    }

    /// A way to a TCP server, and the address where it begins.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn tcp(server: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let way = Self::new(true);
        let shared = way.0.clone();
        tokio::task::spawn_local(async move {
            while let Ok((device, _)) = listener.accept().await {
                tokio::task::spawn_local(connection(shared.clone(), device, server));
            }
        });
        Ok((way, address))
    }

    /// A line without connections, and its two ends.
    pub fn line() -> (Self, DuplexStream, DuplexStream) {
        let way = Self::new(false);
        let (device, near) = tokio::io::duplex(STEP);
        let (far, fleet) = tokio::io::duplex(STEP);
        let shared = way.0.clone();
        tokio::task::spawn_local(async move {
            pass(&shared, near, far).await;
        });
        (way, device, fleet)
    }

    /// Bytes that passed so far, both ways.
    pub fn passed(&self) -> u64 {
        self.0.passed.load(Ordering::Relaxed)
    }

    /// Ends the connection after so many more bytes.
    pub fn cut_after(&self, bytes: u64) {
        self.0
            .cut_at
            .store(self.passed() + bytes, Ordering::Relaxed);
    }

    /// Ends the connection, and lets no new one through.
    pub fn cut(&self) {
        self.0.state.send_replace(State::Cut);
    }

    /// Keeps connections open and passes nothing.
    pub fn freeze(&self) {
        self.0.state.send_replace(State::Frozen);
    }

    /// Passes bytes slowly.
    pub fn slow(&self) {
        self.0.state.send_replace(State::Slow);
    }

    /// Flips a bit of every so many bytes.
    pub fn noise(&self, every: u64) {
        self.0.noise.store(every, Ordering::Relaxed);
    }

    /// Swaps and repeats frames by a seed that is not zero. On a line a frame ends with a zero byte; TCP has no such weather, so nothing happens there.
    pub fn shuffle(&self, seed: u64) {
        self.0.shuffle.store(seed, Ordering::Relaxed);
    }

    /// Undoes all of the above; a connection that ended stays ended.
    pub fn mend(&self) {
        self.0.cut_at.store(NEVER, Ordering::Relaxed);
        self.0.noise.store(0, Ordering::Relaxed);
        self.0.shuffle.store(0, Ordering::Relaxed);
        self.0.state.send_replace(State::Open);
    }
}

async fn connection(shared: Arc<Shared>, device: TcpStream, server: SocketAddr) {
    if *shared.state.borrow() == State::Cut {
        return;
    }
    if let Ok(server) = TcpStream::connect(server).await {
        let _ = (device.set_nodelay(true), server.set_nodelay(true));
        pass(&shared, device, server).await;
    }
}

async fn pass(
    shared: &Shared,
    near: impl AsyncRead + AsyncWrite,
    far: impl AsyncRead + AsyncWrite,
) {
    let (near_reader, near_writer) = tokio::io::split(near);
    let (far_reader, far_writer) = tokio::io::split(far);
    let mut state = shared.state.subscribe();
    tokio::select! {
        () = one_way(shared, near_reader, far_writer) => {}
        () = one_way(shared, far_reader, near_writer) => {}
        _ = state.wait_for(|state| shared.ends && *state == State::Cut) => {}
    }
}

async fn one_way(shared: &Shared, reader: impl AsyncRead, writer: impl AsyncWrite) {
    let mut reader = std::pin::pin!(reader);
    let mut writer = std::pin::pin!(writer);
    let mut state = shared.state.subscribe();
    let mut bytes = vec![0; STEP];
    let mut shuffle = Shuffle::default();
    loop {
        let slow = *state.borrow() == State::Slow;
        let step = if slow { SLOW_STEP } else { STEP };
        let Ok(len @ 1..) = reader.read(&mut bytes[..step]).await else {
            return;
        };
        if state
            .wait_for(|state| *state != State::Frozen)
            .await
            .is_err()
        {
            return;
        }
        if slow {
            tokio::time::sleep(SLOW_PAUSE).await;
        }
        let kept = shared.admit(&mut bytes[..len]);
        let written = match shared.ends {
            true => writer.write_all(&bytes[..kept]).await,
            false => {
                let seed = shared.shuffle.load(Ordering::Relaxed);
                let shuffled = shuffle.pass(seed, &bytes[..kept]);
                writer.write_all(&shuffled).await
            }
        };
        if written.is_err() {
            return;
        }
        if kept < len {
            let _ = writer.flush().await;
            shared.state.send_replace(State::Cut);
            if shared.ends {
                return;
            }
        }
    }
}

impl Shared {
    /// How many of these bytes pass, counted and with their noise.
    fn admit(&self, bytes: &mut [u8]) -> usize {
        if *self.state.borrow() == State::Cut {
            return 0;
        }
        let before = self.passed.load(Ordering::Relaxed);
        let room = self.cut_at.load(Ordering::Relaxed).saturating_sub(before);
        let kept = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        self.passed.store(before + kept as u64, Ordering::Relaxed);
        let every = self.noise.load(Ordering::Relaxed);
        for (position, byte) in (before..).zip(&mut bytes[..kept]) {
            if every != 0 && position % every == every - 1 {
                *byte ^= 0x10;
            }
        }
        kept
    }
}
