//! The hub whose tunnels are interfaces: the kernel's WireGuard, or wireguard-go on TUN devices. Needs root.
//!
//! The interfaces live in a network namespace of the hub's own, with the hub's address and one route for each device; the services' sockets are opened there too.
//! So a device reaches the ports that are listened on and nothing else of this machine, devices do not reach each other, the machine's own interfaces, routes and firewall are not touched, and whatever ends this process ends all of it.
//!
//! An interface has one key and one UDP port, so a second hub key is a second interface. What happens inside is not told but looked for, once a second while a rotation is under way.

mod carrier;
mod links;
mod namespace;
mod roster;
mod streams;
mod turn;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, broadcast, mpsc};

use self::carrier::Carrier;
use self::namespace::Namespace;
use self::roster::{Change, Roster};
use self::streams::Streams;
use super::{Backend, HubConfig, HubError, Note, Peer, PeerError, PeerStats};
use crate::engine::engine;
use crate::interface::{self, Dropped};
use crate::keys::{PresharedKey, PublicKey, SecretKey};
use crate::limits;

/// How often the interfaces are looked at while something is under way, and otherwise.
const LOOK: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(5);

pub(super) struct System {
    namespace: Namespace,
    backend: Backend,
    listen: SocketAddr,
    gateway: Ipv4Addr,
    state: Mutex<State>,
    streams: Streams,
    kick: Notify,
    notes: broadcast::Sender<Note>,
}

struct State {
    roster: Roster,
    /// The hub's keys and the ports that answer to them.
    keys: Vec<(SecretKey, u16)>,
    /// By the interfaces that are gone, and by those that are there.
    dropped: [Dropped; 2],
}

impl System {
    /// Makes the namespace and the first interface.
    pub(super) fn open(config: &HubConfig, backend: Backend) -> Result<Arc<Self>, HubError> {
        if !config.listen.ip().is_unspecified() {
            return Err(HubError::EveryAddress(config.listen));
        }
        let gateway = config.address;
        let namespace = Namespace::open()
            .and_then(|namespace| {
                namespace.inside(move |_| links::settle(gateway))?;
                Ok(namespace)
            })
            .map_err(|source| HubError::Interface { backend, source })?;
        let system = Self {
            namespace,
            backend,
            listen: config.listen,
            gateway,
            state: Mutex::new(State {
                roster: Roster::default(),
                keys: Vec::new(),
                dropped: [Dropped::default(); 2],
            }),
            streams: Streams::default(),
            kick: Notify::new(),
            notes: broadcast::Sender::new(limits::NOTES),
        };
        system.add_key(config.secret.clone(), config.listen.port())?;
        Ok(Arc::new(system))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the interfaces until the last handle is gone.
    pub(super) async fn run(self: Arc<Self>, mut gone: mpsc::Receiver<()>) {
        loop {
            let pause = if self.lock().roster.is_restless() {
                LOOK
            } else {
                SELDOM
            };
            tokio::select! {
                () = self.kick.notified() => {}
                () = tokio::time::sleep(pause) => self.look_in_background().await,
                _ = gone.recv() => break,
            }
        }
        // Dropping it waits for the thread inside.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    async fn look_in_background(self: &Arc<Self>) {
        let system = Arc::clone(self);
        // What could not be seen or done now is seen and done at the next look.
        let _ = tokio::task::spawn_blocking(move || system.look()).await;
    }

    fn look(&self) -> io::Result<()> {
        let began = Instant::now();
        let (seen, dropped) = self.namespace.inside(|place| {
            let mut seen = Vec::new();
            for carrier in &place.carriers {
                seen.extend(carrier.look()?);
            }
            Ok((seen, dropped(&mut place.carriers)))
        })?;
        let mut notes = Vec::new();
        let mut state = self.lock();
        state.dropped[1] = dropped;
        let changes = state.roster.look(&seen, began, &mut notes);
        let done = self.carry_out(changes);
        drop(state);
        for note in notes {
            // Nobody has to listen.
            let _ = self.notes.send(note);
        }
        done
    }

    /// Tells the interfaces; the state is locked meanwhile, so that they are told in order.
    fn carry_out(&self, changes: Vec<Change>) -> io::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let gateway = self.gateway;
        self.namespace.inside(move |place| {
            for carrier in &place.carriers {
                carrier.tell(&changes)?;
            }
            for change in &changes {
                let Change::Route { address, hub } = change else {
                    continue;
                };
                let carrier = place.carriers.iter().find(|one| Some(one.hub) == *hub);
                match carrier {
                    Some(carrier) => links::route(*address, &carrier.name(), gateway)?,
                    // It may have gone with its interface.
                    None => drop(links::unroute(*address)),
                }
            }
            Ok(())
        })
    }

    pub(super) fn address_of(&self, key: &PublicKey) -> Option<SocketAddr> {
        let state = self.lock();
        let mut keys = state.keys.iter();
        let (_, port) = keys.find(|(secret, _)| secret.public() == *key)?;
        Some((self.listen.ip(), *port).into())
    }

    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        let state = self.lock();
        let (_, port) = state.keys.first().ok_or(io::ErrorKind::NotFound)?;
        Ok((self.listen.ip(), *port).into())
    }

    pub(super) fn keys(&self) -> Vec<PublicKey> {
        self.lock().roster.hubs().to_vec()
    }

    pub(super) fn add_key(&self, secret: SecretKey, port: u16) -> Result<(), HubError> {
        let mut state = self.lock();
        let public = secret.public();
        if state.roster.hubs().contains(&public) {
            return Ok(());
        }
        if state.keys.len() >= limits::HUB_INTERFACES {
            return Err(HubError::TooManyKeys);
        }
        let (backend, key) = (self.backend, secret.clone());
        let refused = |source| HubError::Interface { backend, source };
        let port = self
            .namespace
            .inside(move |place| {
                let carrier = Carrier::open(&place.gate, backend, &key, port)?;
                let port = carrier.port;
                place.carriers.push(carrier);
                Ok(port)
            })
            .map_err(refused)?;
        state.keys.push((secret, port));
        let changes = state.roster.add_hub(public);
        self.carry_out(changes).map_err(refused)
    }

    pub(super) fn retire_key(&self, key: &PublicKey) -> bool {
        let mut state = self.lock();
        let known = state.roster.hubs().contains(key);
        if known {
            state.keys.retain(|(secret, _)| secret.public() != *key);
            let changes = state.roster.remove_hub(key);
            let key = *key;
            // An interface that does not go now goes with the namespace; its peers are nobody's.
            let gone = self.namespace.inside(move |place| {
                let is_gone = |carrier: &mut Carrier| carrier.hub == key;
                let mut gone: Vec<_> = place.carriers.extract_if(.., is_gone).collect();
                Ok((dropped(&mut gone), dropped(&mut place.carriers)))
            });
            if let Ok((gone, left)) = gone {
                state.dropped[0] += gone;
                state.dropped[1] = left;
            }
            let _ = self.carry_out(changes);
        }
        known
    }

    pub(super) fn add(&self, peer: Peer) -> Result<(), PeerError> {
        let mut state = self.lock();
        let address = peer.address;
        let check = usable(&state.keys);
        let changes = state
            .roster
            .add(peer, self.gateway, check, Instant::now())?;
        if self.carry_out(changes).is_err() {
            let undo = state.roster.remove(address).unwrap_or_default();
            let _ = self.carry_out(undo);
            return Err(PeerError::Refused);
        }
        Ok(())
    }

    pub(super) fn remove(&self, address: Ipv4Addr) -> Result<(), PeerError> {
        let mut state = self.lock();
        let changes = state.roster.remove(address)?;
        let done = self.carry_out(changes);
        drop(state);
        self.streams.end(address);
        // It is removed at the next look, then.
        done.map_err(|_| PeerError::Refused)
    }

    pub(super) fn offer_key(&self, address: Ipv4Addr, key: PublicKey) -> Result<(), PeerError> {
        let mut state = self.lock();
        let check = usable(&state.keys);
        let changes = state.roster.offer_key(address, key, check)?;
        self.offered(changes)
    }

    pub(super) fn offer_preshared(
        &self,
        address: Ipv4Addr,
        preshared: PresharedKey,
    ) -> Result<(), PeerError> {
        let mut state = self.lock();
        let changes = state
            .roster
            .offer_preshared(address, preshared, Instant::now())?;
        self.offered(changes)
    }

    fn offered(&self, changes: Vec<Change>) -> Result<(), PeerError> {
        self.kick.notify_one();
        // What was refused is offered again at the next look.
        self.carry_out(changes).map_err(|_| PeerError::Refused)
    }

    pub(super) fn stats(&self, address: Ipv4Addr) -> Option<PeerStats> {
        self.lock().roster.stats(address)
    }

    pub(super) fn all_stats(&self) -> Vec<PeerStats> {
        self.lock().roster.all_stats()
    }

    /// What the interfaces dropped.
    pub(super) fn dropped(&self) -> Dropped {
        let [mut all, present] = self.lock().dropped;
        all += present;
        all
    }

    pub(super) fn notes(&self) -> broadcast::Receiver<Note> {
        self.notes.subscribe()
    }
}

/// What these have dropped; one that cannot be asked has dropped nothing.
fn dropped(carriers: &mut [Carrier]) -> Dropped {
    let mut all = Dropped::default();
    for carrier in carriers {
        all += interface::dropped(&carrier.name()).unwrap_or_default();
        let nonsense = carrier.nonsense();
        all.malformed += nonsense.malformed;
        all.pings += nonsense.pings;
    }
    all
}

/// Could any of the hub's keys make a tunnel with this one?
fn usable(
    keys: &[(SecretKey, u16)],
) -> impl FnOnce(&PublicKey) -> Result<(), crate::UnusableKey> + use<> {
    let secret = keys.first().map(|(secret, _)| secret.clone());
    move |device| match secret {
        Some(secret) => engine(&secret, device, &PresharedKey::default()).map(drop),
        None => Ok(()),
    }
}
