//! The interface that carries the packets: the kernel's, or one on a TUN device that a tunnel in this process serves.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use gotatun::device::uapi::UapiServer;
use gotatun::device::{DefaultDeviceTransports, DeviceBuilder};
use wireguard_control::{Device, DeviceUpdate, InterfaceName, PeerConfigBuilder, PeerInfo};

use super::blocking;
use crate::interface::control::{key, remove_socket};
use crate::interface::outside::Outside;
use crate::keys::PublicKey;
use crate::{interface, limits};

type Userspace = gotatun::device::Device<DefaultDeviceTransports>;

/// Deletes the interface when it goes.
pub(super) struct Interface {
    pub(super) name: InterfaceName,
    pub(super) control: wireguard_control::Backend,
    /// The user-space tunnel; it ends when this is dropped.
    userspace: Mutex<Option<Arc<Userspace>>>,
    /// Counts what arrives at the port that it has, and what did at those that it had.
    outside: Mutex<(Option<Outside>, u64)>,
}

impl Interface {
    /// The kernel makes it with its first keys.
    pub(super) fn kernel(name: InterfaceName) -> Self {
        Self {
            name,
            control: wireguard_control::Backend::Kernel,
            userspace: Mutex::new(None),
            outside: Mutex::default(),
        }
    }

    pub(super) async fn userspace(name: InterfaceName) -> io::Result<Self> {
        let text = name.as_str_lossy().into_owned();
        let control =
            UapiServer::default_unix_socket(&text, None, None).map_err(io::Error::other)?;
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
        Ok(Self {
            name,
            control: wireguard_control::Backend::Userspace,
            userspace: Mutex::new(Some(Arc::new(device))),
            outside: Mutex::default(),
        })
    }

    /// Sets the keep-alive of the peer with this key, in seconds; none for zero. Sessions stay as they are.
    pub(super) async fn keep_alive(&self, hub: PublicKey, seconds: u16) -> io::Result<()> {
        let userspace = self
            .userspace
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(device) = userspace {
            // Through its control socket the peer would be made anew, without its session.
            let hub = gotatun::x25519::PublicKey::from(hub.0);
            let changed = device
                .write(async |device| {
                    let seconds = (seconds > 0).then_some(seconds);
                    let set = device.modify_peer(&hub, |peer| peer.set_keepalive(seconds));
                    set.await
                })
                .await
                .map_err(io::Error::other)?;
            return changed.then_some(()).ok_or(io::ErrorKind::NotFound.into());
        }
        let (name, control) = (self.name, self.control);
        blocking(move || {
            let peer = PeerConfigBuilder::new(&key(&hub.0)?);
            let peer = peer.set_persistent_keepalive_interval(seconds);
            DeviceUpdate::new().add_peer(peer).apply(&name, control)
        })
        .await
    }

    pub(super) fn peer(&self) -> Option<PeerInfo> {
        let mut device = Device::get(&self.name, self.control).ok()?;
        device.peers.pop()
    }

    /// Packets dropped so far: those that the system counts, and what was no message at all.
    pub(super) fn dropped(&self) -> u64 {
        let name = self.name.as_str_lossy();
        let counted = interface::dropped(&name).map_or(0, |dropped| dropped.received());
        counted + self.nonsense()
    }

    /// Without the right to raw sockets nothing is counted.
    fn nonsense(&self) -> u64 {
        let mut outside = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        let (open, before) = &mut *outside;
        let device = Device::get(&self.name, self.control).ok();
        let port = device.and_then(|device| device.listen_port);
        let now = open.as_mut().map_or(0, |open| open.look().malformed);
        if open.as_ref().map(Outside::port) == port {
            return *before + now;
        }
        *before += now;
        *open = port.and_then(|port| Outside::open(port).ok());
        *before
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        match self.userspace.get_mut().ok().and_then(Option::take) {
            // It stops in the background, and answers no more; its interface and its socket go at once.
            Some(device) => {
                drop(device);
                let _ = interface::delete(&self.name.as_str_lossy());
                remove_socket(&self.name);
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
