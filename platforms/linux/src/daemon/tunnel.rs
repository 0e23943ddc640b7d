//! The tunnel that the agent's credentials call for (design.md, sections 3.4 and 4).
//!
//! It stays open as long as the credentials stay the same, over any number of connections.
//! Keys are changed by opening it anew with the other key and nothing else, because the agent has to know which of the two worked:
//! a key or another hub that never worked before must shake hands before anything is said of a connection, or a connection on another way would be taken for its success.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lightship_core::wire::Tunnel as Terms;
use lightship_core::{Failure, id};
use lightship_wireguard::tunnel::{
    Backend, HandshakeClock, KeepAlive, KeySet, LinkNote, Tunnel, TunnelConfig, TunnelError,
};
use lightship_wireguard::{PresharedKey, PublicKey, SecretKey};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout};

use super::config::TunnelKind;
use super::handshakes::Handshakes;
use crate::store::Files;

/// How long a key that never worked may take to shake hands: three initiations.
const TRIAL: Duration = Duration::from_secs(16);
/// How long the hub's name may take to be resolved.
const RESOLVE: Duration = Duration::from_secs(10);

/// An open tunnel, and where the fleet listens in it.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) tunnel: Tunnel,
    pub(super) mqtt_port: u16,
    pub(super) http_port: u16,
    pub(super) since: Instant,
    secret: SecretKey,
    terms: Terms,
    hub: SocketAddr,
}

/// What is open now, for those who dial.
pub(super) type Opened = watch::Receiver<Option<Arc<Open>>>;

/// Opens and closes the tunnel.
pub(super) struct Keeper {
    kind: TunnelKind,
    handshakes: Handshakes,
    open: watch::Sender<Option<Arc<Open>>>,
    /// The key and the terms that are known to work, or that the agent tried first in this life.
    proven: Option<(PublicKey, Terms)>,
    /// Which of the hub's addresses is next.
    turn: usize,
}

impl Keeper {
    /// No tunnel yet. What must not be repeated over restarts is kept in `folder`.
    pub(super) fn new(kind: TunnelKind, folder: &Path, files: Files) -> std::io::Result<Self> {
        Ok(Self {
            kind,
            handshakes: Handshakes::open(folder, files)?,
            open: watch::Sender::new(None),
            proven: None,
            turn: 0,
        })
    }

    /// What is open now and later.
    pub(super) fn opened(&self) -> Opened {
        self.open.subscribe()
    }

    /// Keeps handshake times ahead of the ones that are used. Runs for ever; poll it beside the driver.
    pub(super) fn keep_time(&self) -> impl Future<Output = std::convert::Infallible> + use<> {
        self.handshakes.keep()
    }

    /// Closes the tunnel; what goes through it breaks off.
    pub(super) fn close(&self) {
        self.open.send_if_modified(|open| open.take().is_some());
    }

    /// Opens the tunnel with these terms and this key, or keeps it.
    ///
    /// # Errors
    ///
    /// When the key or the terms are not what worked so far, and do not work. A tunnel that does not come about with what is known is no error: the fleet is reached without it.
    pub(super) async fn hold(
        &mut self,
        secret: &id::SecretKey,
        handshake_floor_s: u64,
        terms: &Terms,
    ) -> Result<(), Failure> {
        if self.kind == TunnelKind::Off {
            return Ok(());
        }
        let secret = SecretKey(secret.0);
        let key = secret.public();
        let kept = self.open.borrow().clone();
        if let Some(open) = kept.filter(|open| open.is_for(&secret, terms)) {
            self.follow(&open).await;
            return Ok(());
        }
        let is_trial = self
            .proven
            .as_ref()
            .is_some_and(|(proven, known)| *proven != key || known != terms);
        self.close();
        if let Err(error) = self.handshakes.rise_to(handshake_floor_s) {
            tracing::error!(%error, "the time of handshakes is not saved; there is no tunnel");
            return if is_trial {
                Err(Failure::Storage)
            } else {
                Ok(())
            };
        }
        let Some(mut notes) = self.try_open(secret, terms).await else {
            return if is_trial {
                Err(Failure::Network)
            } else {
                Ok(())
            };
        };
        if is_trial {
            let proof = timeout(TRIAL, reachable(&mut notes)).await;
            if proof != Ok(true) {
                tracing::warn!("the hub does not answer to the new keys of the tunnel");
                self.close();
                return Err(Failure::TimedOut);
            }
        }
        self.proven = Some((key, terms.clone()));
        Ok(())
    }

    async fn try_open(
        &mut self,
        secret: SecretKey,
        terms: &Terms,
    ) -> Option<broadcast::Receiver<LinkNote>> {
        let hub = self.resolve(terms).await?;
        match self.open_at(hub, secret, terms).await {
            Ok(notes) => Some(notes),
            Err(error) => {
                let error = explained(&error);
                tracing::warn!(error, "no tunnel; the fleet is reached without it");
                None
            }
        }
    }

    async fn open_at(
        &self,
        hub: SocketAddr,
        secret: SecretKey,
        terms: &Terms,
    ) -> Result<broadcast::Receiver<LinkNote>, TunnelError> {
        let config = TunnelConfig {
            keys: KeySet {
                secret: secret.clone(),
                hub: PublicKey(terms.hub.0),
                preshared: PresharedKey(terms.preshared.as_ref().map_or([0; 32], |key| key.0)),
            },
            pending: None,
            hub,
            hub_address: terms.gateway,
            address: terms.address,
            keep_alive: KeepAlive::Learned,
        };
        let clock = self.handshakes.clock();
        let backends = backends(self.kind, &clock);
        let tunnel = Tunnel::open_at(config, backends, Some(clock)).await?;
        let notes = tunnel.notes();
        tracing::info!(
            backend = ?tunnel.backend(), interface = tunnel.interface(), %hub, address = %terms.address,
            "the tunnel is open"
        );
        self.open.send_replace(Some(Arc::new(Open {
            tunnel,
            mqtt_port: terms.mqtt_port,
            http_port: terms.http_port,
            since: Instant::now(),
            secret,
            terms: terms.clone(),
            hub,
        })));
        Ok(notes)
    }

    /// A tunnel that is kept may have to look for its hub: at the address that its name has by now, or the next one of it.
    async fn follow(&mut self, open: &Open) {
        if open.tunnel.stats().last_handshake.is_none() {
            self.turn = self.turn.wrapping_add(1);
        }
        match self.resolve(&open.terms).await {
            Some(hub) if hub != open.hub => open.tunnel.move_hub(hub),
            _ => open.tunnel.network_changed(),
        }
    }

    async fn resolve(&self, terms: &Terms) -> Option<SocketAddr> {
        let endpoint = terms.endpoint.as_str();
        if let Ok(address) = endpoint.parse() {
            return Some(address);
        }
        let found = timeout(RESOLVE, tokio::net::lookup_host(endpoint)).await;
        let addresses: Vec<SocketAddr> = match found {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(error)) => {
                tracing::warn!(endpoint, %error, "the tunnel hub's name has no address now");
                return None;
            }
            Err(_) => {
                tracing::warn!(endpoint, "the tunnel hub's name is not resolved in time");
                return None;
            }
        };
        let turn = self.turn.checked_rem(addresses.len())?;
        addresses.get(turn).copied()
    }
}

impl Open {
    fn is_for(&self, secret: &SecretKey, terms: &Terms) -> bool {
        self.secret == *secret && self.terms == *terms
    }
}

/// The back ends to try. The system's own tunnels take the system's time, which must not lie before earlier handshakes.
fn backends(kind: TunnelKind, clock: &HandshakeClock) -> &'static [Backend] {
    match kind {
        TunnelKind::Auto if clock.is_system_behind() => &[Backend::InProcess],
        TunnelKind::Auto => &[Backend::Kernel, Backend::Tun, Backend::InProcess],
        TunnelKind::Kernel => &[Backend::Kernel],
        TunnelKind::Tun => &[Backend::Tun],
        TunnelKind::InProcess => &[Backend::InProcess],
        TunnelKind::Off => &[],
    }
}

/// Waits until the hub answers; false when the tunnel has ended before.
async fn reachable(notes: &mut broadcast::Receiver<LinkNote>) -> bool {
    loop {
        match notes.recv().await {
            Ok(LinkNote::Reachable) => return true,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return false,
        }
    }
}

fn explained(error: &TunnelError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
