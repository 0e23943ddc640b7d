//! A tunnel that is a network interface of this machine, configured through `wireguard-control`: the kernel's, or a user-space one on a TUN device.
//!
//! The interface carries one address and one route, to the hub, and goes away with the tunnel.
//! Its name belongs to the device's tunnel address; one that a killed process left behind is recognised by its key and replaced, anyone else's is left alone.

mod address;
mod name;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use gotatun::device::uapi::UapiServer;
use gotatun::device::{DefaultDeviceTransports, DeviceBuilder};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{broadcast, mpsc};
use wireguard_control::{
    Device, DeviceUpdate, InterfaceName, Key, KeyPair, PeerConfigBuilder, PeerInfo,
};

use super::{Backend, KeepAlive, KeySet, LinkNote, TunnelConfig, TunnelStats};
use crate::engine::{UnusableKey, engine};
use crate::keepalive::SAFE_S;
use crate::limits;

/// How long new keys may take to work before the old ones are used again.
const TRIAL: Duration = Duration::from_secs(16);

/// How long after the old keys worked the new ones are tried again.
const RETRY: Duration = Duration::from_secs(600);

/// How often the interface is looked at, in a trial of keys and otherwise.
const LOOK: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(10);

/// An initiator that is kept alive does a handshake every two minutes and tries for one and a half before it gives up.
const SILENT: Duration = Duration::from_secs(215);

/// A tunnel that is an interface.
pub(super) struct System {
    shared: Arc<Shared>,
    _alive: mpsc::Sender<()>,
}

struct Shared {
    interface: Interface,
    hub_address: Ipv4Addr,
    address: Ipv4Addr,
    keep_alive: KeepAlive,
    state: Mutex<State>,
    notes: broadcast::Sender<LinkNote>,
    /// The keys or the hub's address have changed.
    kick: tokio::sync::Notify,
}

struct State {
    current: KeySet,
    pending: Option<KeySet>,
    hub: SocketAddr,
    trial: Trial,
    reachable: Option<bool>,
    /// The interface has the keys and the address that it is to have; applying them forgets earlier handshakes.
    applied: bool,
    /// What the interface said last.
    seen: Option<PeerInfo>,
}

/// Which keys the interface has.
#[derive(Clone, Copy)]
enum Trial {
    /// The pending ones, since then.
    Pending(Instant),
    /// The current ones, since then.
    Current(Instant),
}

/// Deletes the interface when it goes.
struct Interface {
    name: InterfaceName,
    control: wireguard_control::Backend,
    /// The user-space tunnel; it ends when this is dropped.
    userspace: Mutex<Option<gotatun::device::Device<DefaultDeviceTransports>>>,
}

impl System {
    /// # Errors
    /// What the operating system says when it lacks the right, the module or the device.
    pub(super) async fn open(config: &TunnelConfig, backend: Backend) -> io::Result<Self> {
        let name = name::free(config).await?;
        let interface = match backend {
            Backend::Kernel => Interface {
                name,
                control: wireguard_control::Backend::Kernel,
                userspace: Mutex::new(None),
            },
            Backend::Tun => userspace(name).await?,
            Backend::InProcess => return Err(io::ErrorKind::Unsupported.into()),
        };
        let now = Instant::now();
        let trial = if config.pending.is_some() {
            Trial::Pending(now)
        } else {
            Trial::Current(now)
        };
        let state = State {
            current: config.keys.clone(),
            pending: config.pending.clone(),
            hub: config.hub,
            trial,
            reachable: None,
            applied: false,
            seen: None,
        };
        let shared = Arc::new(Shared {
            interface,
            hub_address: config.hub_address,
            address: config.address,
            keep_alive: config.keep_alive,
            state: Mutex::new(state),
            notes: broadcast::Sender::new(limits::NOTES),
            kick: tokio::sync::Notify::new(),
        });
        let opened = Arc::clone(&shared);
        blocking(move || opened.raise()).await?;
        let (alive, gone) = mpsc::channel(1);
        tokio::spawn(Arc::clone(&shared).watch(gone));
        Ok(Self {
            shared,
            _alive: alive,
        })
    }

    pub(super) async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind_device(Some(self.shared.interface.name.as_str_lossy().as_bytes()))?;
        socket.bind((self.shared.address, 0).into())?;
        let stream = socket
            .connect((self.shared.hub_address, port).into())
            .await?;
        stream.set_nodelay(true)?;
        Ok(stream)
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
        let mut state = self.shared.lock();
        state.hub = hub;
        state.applied = false;
        drop(state);
        self.shared.kick.notify_one();
    }

    /// A fresh peer is greeted at once, which tells the hub where this device is.
    pub(super) fn network_changed(&self) {
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
            dropped: 0,
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
        address::raise(
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
        let keys = match (&state.trial, &state.pending) {
            (Trial::Pending(_), Some(pending)) => pending,
            (Trial::Pending(_) | Trial::Current(_), _) => &state.current,
        };
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

    /// These tunnels send WireGuard's own keep-alives, which say nothing about the NAT: there is nothing to learn from.
    fn keep_alive_s(&self) -> Option<u16> {
        match self.keep_alive {
            KeepAlive::Learned => Some(SAFE_S),
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
        let last = seen
            .as_ref()
            .and_then(|peer| peer.stats.last_handshake_time)
            .and_then(age);
        let mut notes = Vec::new();
        let mut state = self.lock();
        // Otherwise the handshake was one with other keys.
        if state.applied {
            state.seen = seen;
            state.applied = !state.judge(last, Instant::now(), &mut notes);
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

impl State {
    /// Nothing changes soon.
    fn settled(&self) -> bool {
        self.pending.is_none() && self.reachable == Some(true)
    }

    /// What the age of the last handshake with the present keys means. Returns whether the interface needs other keys.
    fn judge(&mut self, last: Option<Duration>, now: Instant, notes: &mut Vec<LinkNote>) -> bool {
        let since = match self.trial {
            Trial::Pending(since) | Trial::Current(since) => now.saturating_duration_since(since),
        };
        let works = last.is_some_and(|age| age < SILENT);
        let reachable = works || self.reachable == Some(true) && since < SILENT;
        if (works || since >= SILENT) && self.reachable != Some(reachable) {
            self.reachable = Some(reachable);
            notes.push(if reachable {
                LinkNote::Reachable
            } else {
                LinkNote::Unreachable
            });
        }
        match (self.trial, works) {
            (Trial::Pending(_), true) => {
                self.trial = Trial::Current(now);
                if let Some(keys) = self.pending.take() {
                    self.current = keys;
                    notes.push(LinkNote::KeysConfirmed);
                }
                false
            }
            (Trial::Pending(_), false) if since >= TRIAL => {
                self.trial = Trial::Current(now);
                true
            }
            (Trial::Current(_), works)
                if self.pending.is_some() && since >= if works { RETRY } else { TRIAL } =>
            {
                self.trial = Trial::Pending(now);
                true
            }
            (Trial::Pending(_) | Trial::Current(_), true | false) => false,
        }
    }
}

impl Interface {
    fn peer(&self) -> Option<PeerInfo> {
        let mut device = Device::get(&self.name, self.control).ok()?;
        device.peers.pop()
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        match self.userspace.get_mut().ok().and_then(Option::take) {
            // It stops in the background, and answers no more; its interface and its socket go at once.
            Some(device) => {
                drop(device);
                let _ = address::delete(&self.name.as_str_lossy());
                name::remove_socket(&self.name);
            }
            None => {
                if let Ok(device) = Device::get(&self.name, self.control) {
                    // If it cannot be deleted now, the next start of this device does it.
                    let _ = device.delete();
                }
            }
        }
    }
}

async fn userspace(name: InterfaceName) -> io::Result<Interface> {
    let text = name.as_str_lossy().into_owned();
    let control = UapiServer::default_unix_socket(&text, None, None).map_err(io::Error::other)?;
    let device = DeviceBuilder::new()
        .with_uapi(control)
        .with_default_udp()
        .udp_recv_buffer_size(limits::SOCKET_BUFFER)
        .udp_send_buffer_size(limits::SOCKET_BUFFER)
        .create_tun(&text)
        .map_err(io::Error::other)?
        .build()
        .await
        .map_err(io::Error::other)?;
    Ok(Interface {
        name,
        control: wireguard_control::Backend::Userspace,
        userspace: Mutex::new(Some(device)),
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

fn key(bytes: &[u8; 32]) -> io::Result<Key> {
    Key::from_hex(&hex(bytes)).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn age(at: SystemTime) -> Option<Duration> {
    (at != SystemTime::UNIX_EPOCH).then(|| SystemTime::now().duration_since(at).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{PresharedKey, SecretKey};

    fn keys(n: u8) -> KeySet {
        let hub = SecretKey([9; 32]).public();
        KeySet {
            secret: SecretKey([n; 32]),
            hub,
            preshared: PresharedKey::default(),
        }
    }

    fn state(now: Instant, pending: Option<KeySet>) -> State {
        let trial = if pending.is_some() {
            Trial::Pending(now)
        } else {
            Trial::Current(now)
        };
        let hub = (Ipv4Addr::LOCALHOST, 1).into();
        State {
            current: keys(1),
            pending,
            hub,
            trial,
            reachable: None,
            applied: true,
            seen: None,
        }
    }

    #[test]
    fn a_handshake_confirms_the_pending_keys() {
        let now = Instant::now();
        let mut state = state(now, Some(keys(2)));
        let mut notes = Vec::new();
        assert!(!state.judge(None, now + LOOK, &mut notes) && notes.is_empty());
        assert!(!state.judge(Some(Duration::ZERO), now + 2 * LOOK, &mut notes));
        assert_eq!(notes, [LinkNote::Reachable, LinkNote::KeysConfirmed]);
        assert_eq!((&state.current, &state.pending), (&keys(2), &None));
    }

    #[test]
    fn keys_that_do_not_work_take_turns_with_the_old_ones() {
        let now = Instant::now();
        let mut state = state(now, Some(keys(2)));
        let mut notes = Vec::new();
        assert!(!state.judge(None, now + TRIAL / 2, &mut notes));
        assert!(
            state.judge(None, now + TRIAL, &mut notes),
            "the old keys get their turn"
        );
        assert!(
            !state.judge(Some(Duration::ZERO), now + TRIAL * 3, &mut notes),
            "and are kept while they work"
        );
        assert!(
            state.judge(Some(Duration::ZERO), now + TRIAL + RETRY, &mut notes),
            "for a while"
        );
        assert_eq!(notes, [LinkNote::Reachable]);
        assert_eq!((&state.current, &state.pending), (&keys(1), &Some(keys(2))));
    }

    #[test]
    fn a_hub_that_does_not_answer_is_noted_once() {
        let now = Instant::now();
        let mut state = state(now, None);
        let mut notes = Vec::new();
        state.judge(Some(Duration::ZERO), now + LOOK, &mut notes);
        state.judge(Some(SILENT / 2), now + SILENT / 2, &mut notes);
        assert_eq!(notes, [LinkNote::Reachable]);
        state.judge(Some(SILENT), now + SILENT * 2, &mut notes);
        state.judge(Some(SILENT * 2), now + SILENT * 3, &mut notes);
        assert_eq!(notes, [LinkNote::Reachable, LinkNote::Unreachable]);
    }
}
