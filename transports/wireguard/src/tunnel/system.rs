//! A tunnel that is a network interface of this machine, configured through `wireguard-control`: the kernel's, or a user-space one on a TUN device.
//!
//! The interface carries one address and one route, to the hub, and goes away with the tunnel.
//! Its name belongs to the device's tunnel address; one that a killed process left behind is recognised by its key and replaced, anyone else's is left alone.

mod carrier;
mod learning;
mod name;
mod probing;
mod trial;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{broadcast, mpsc};
use wireguard_control::{DeviceUpdate, KeyPair, PeerConfigBuilder};

use self::carrier::Interface;
use self::learning::Learning;
use self::trial::{State, Trial};
use super::{Backend, KeepAlive, KeySet, LinkNote, TunnelConfig, TunnelStats};
use crate::engine::{Ticks, UnusableKey, engine};
use crate::interface::control::{age, key};
use crate::{interface, limits};

/// How often the interface is looked at, in a trial of keys and otherwise.
const LOOK: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(10);

/// A tunnel that is an interface.
pub(super) struct System {
    shared: Arc<Shared>,
    _alive: [mpsc::Sender<()>; 2],
}

struct Shared {
    interface: Arc<Interface>,
    hub_address: Ipv4Addr,
    address: Ipv4Addr,
    keep_alive: KeepAlive,
    /// The zero of its ticks.
    started: Instant,
    learning: Mutex<Learning>,
    state: Mutex<State>,
    notes: broadcast::Sender<LinkNote>,
    /// The keys or the hub's address have changed.
    kick: tokio::sync::Notify,
}

impl System {
    /// # Errors
    /// What the operating system says when it lacks the right, the module or the device.
    pub(super) async fn open(config: &TunnelConfig, backend: Backend) -> io::Result<Self> {
        let name = name::free(config).await?;
        let interface = match backend {
            Backend::Kernel => Interface::kernel(name),
            Backend::Tun => Interface::userspace(name).await?,
            Backend::InProcess => return Err(io::ErrorKind::Unsupported.into()),
        };
        let state = State::new(
            config.keys.clone(),
            config.pending.clone(),
            config.hub,
            Instant::now(),
        );
        let shared = Arc::new(Shared {
            interface: Arc::new(interface),
            hub_address: config.hub_address,
            address: config.address,
            keep_alive: config.keep_alive,
            started: Instant::now(),
            learning: Mutex::new(Learning::new(Ticks::ZERO)),
            state: Mutex::new(state),
            notes: broadcast::Sender::new(limits::NOTES),
            kick: tokio::sync::Notify::new(),
        });
        let opened = Arc::clone(&shared);
        blocking(move || opened.raise()).await?;
        let (alive, gone) = mpsc::channel(1);
        tokio::spawn(Arc::clone(&shared).watch(gone));
        let (learns, gone) = mpsc::channel(1);
        if shared.keep_alive == KeepAlive::Learned {
            tokio::spawn(Arc::clone(&shared).learn(gone));
        }
        Ok(Self {
            shared,
            _alive: [alive, learns],
        })
    }

    pub(super) async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        self.shared.connect(port).await
    }

    pub(super) async fn listen(&self, port: u16) -> io::Result<(TcpListener, Ipv4Addr)> {
        let socket = TcpSocket::new_v4()?;
        // Only what came out of the tunnel: the address could be reached over other interfaces too.
        socket.bind_device(Some(self.shared.interface.name.as_str_lossy().as_bytes()))?;
        socket.set_reuseaddr(true)?;
        socket.bind((self.shared.address, port).into())?;
        Ok((
            socket.listen(limits::STREAMS_PER_DEVICE as u32)?,
            self.shared.hub_address,
        ))
    }

    pub(super) fn interface(&self) -> String {
        self.shared.interface.name.as_str_lossy().into_owned()
    }

    pub(super) fn offer_keys(&self, keys: KeySet) -> Result<(), UnusableKey> {
        engine(&keys.secret, &keys.hub, &keys.preshared)?;
        let mut state = self.shared.lock();
        state.pending = Some(keys);
        state.trial = Trial::Pending(Instant::now());
        state.applied = false;
        drop(state);
        self.shared.kick.notify_one();
        Ok(())
    }

    pub(super) fn move_hub(&self, hub: SocketAddr) {
        self.shared.forget_network();
        let mut state = self.shared.lock();
        state.hub = hub;
        state.applied = false;
        drop(state);
        self.shared.kick.notify_one();
    }

    /// A fresh peer is greeted at once, which tells the hub where this device is.
    pub(super) fn network_changed(&self) {
        self.shared.forget_network();
        self.shared.lock().applied = false;
        self.shared.kick.notify_one();
    }

    pub(super) fn notes(&self) -> broadcast::Receiver<LinkNote> {
        self.shared.notes.subscribe()
    }

    /// As the interface was when it was last looked at, some seconds ago at most.
    pub(super) fn stats(&self) -> TunnelStats {
        let state = self.shared.lock();
        let seen = state.seen.as_ref();
        TunnelStats {
            hub: seen
                .and_then(|seen| seen.config.endpoint)
                .unwrap_or(state.hub),
            last_handshake: seen
                .and_then(|seen| seen.stats.last_handshake_time)
                .and_then(age),
            received: seen.map_or(0, |seen| seen.stats.rx_bytes),
            sent: seen.map_or(0, |seen| seen.stats.tx_bytes),
            dropped: state.dropped,
            keep_alive_s: self.shared.keep_alive_s().unwrap_or(0),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the tunnel's state")
    }

    /// Keys first, so that nothing is sent before they are there.
    fn raise(&self) -> io::Result<()> {
        self.apply()?;
        interface::raise(
            &self.interface.name.as_str_lossy(),
            self.address,
            self.hub_address,
            limits::MTU,
        )?;
        self.knock();
        Ok(())
    }

    /// Not every tunnel does a handshake before there is something to send, so there is: one datagram to the discard port.
    fn knock(&self) {
        // Before the interface is up there is no such address; then it is done again.
        if let Ok(socket) = std::net::UdpSocket::bind((self.address, 0)) {
            let _ = socket.send_to(&[0], (self.hub_address, 9));
        }
    }

    /// Gives the interface the keys that are to be used now, and forgets what it knew.
    fn apply(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.applied = true;
        state.times_applied += 1;
        let keys = state.keys();
        let mut peer = PeerConfigBuilder::new(&key(&keys.hub.0)?)
            .set_preshared_key(key(&keys.preshared.0)?)
            .set_endpoint(state.hub)
            .replace_allowed_ips()
            .add_allowed_ip(IpAddr::V4(self.hub_address), 32);
        if let Some(interval) = self.keep_alive_s() {
            peer = peer.set_persistent_keepalive_interval(interval);
        }
        let update = DeviceUpdate::new()
            .set_keypair(KeyPair::from_private(key(&keys.secret.0)?))
            // A user-space tunnel listens anew with a changed key, and may still hold its old port.
            .randomize_listen_port()
            .replace_peers();
        drop(state);
        update
            .add_peer(peer)
            .apply(&self.interface.name, self.interface.control)
    }

    /// What fails is done again at the next look.
    fn apply_again(&self) -> io::Result<bool> {
        let applied = self.apply();
        if applied.is_err() {
            self.lock().applied = false;
        }
        applied.map(|()| true)
    }

    fn keep_alive_s(&self) -> Option<u16> {
        match self.keep_alive {
            KeepAlive::Learned => Some(self.learning().interval_s()),
            KeepAlive::Every(seconds) => Some(seconds.max(1)),
            KeepAlive::Off => None,
        }
    }

    async fn watch(self: Arc<Self>, mut gone: mpsc::Receiver<()>) {
        loop {
            let pause = if self.lock().settled() { SELDOM } else { LOOK };
            tokio::select! {
                () = self.kick.notified() => {}
                () = tokio::time::sleep(pause) => {}
                _ = gone.recv() => return,
            }
            let shared = Arc::clone(&self);
            // An interface that somebody else deleted stays deleted; the tunnel is unreachable then.
            if let Ok(true) = blocking(move || shared.look()).await {
                self.knock();
            }
        }
    }

    /// Gives the interface what it lacks, or sees whether the hub answers, and with which keys. Returns whether it gave it anything.
    fn look(&self) -> io::Result<bool> {
        if !self.lock().applied {
            return self.apply_again();
        }
        let seen = self.interface.peer();
        let dropped = self.interface.dropped();
        let last = seen
            .as_ref()
            .and_then(|peer| peer.stats.last_handshake_time)
            .and_then(age);
        let mut notes = Vec::new();
        let patience = self.learning().patience();
        let mut state = self.lock();
        // Otherwise the handshake was one with other keys.
        if state.applied {
            state.seen = seen;
            state.dropped = dropped;
            state.applied = !state.judge(last, patience, Instant::now(), &mut notes);
        }
        let applied = state.applied;
        drop(state);
        for note in notes {
            // Nobody has to listen.
            let _ = self.notes.send(note);
        }
        if applied {
            Ok(false)
        } else {
            self.apply_again()
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
