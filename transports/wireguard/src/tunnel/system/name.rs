//! The interface's name: one that nobody else has, and that is found again after a crash.

use std::io;

use wireguard_control::{Backend, Device, InterfaceName};

use super::TunnelConfig;
use crate::interface::control::sockets;

/// Names tried: the first is the device's own.
const NAMES: [&str; 4] = ["", "b", "c", "d"];

/// A name that is free, or that becomes free because what has it is a leftover of this very device.
pub(super) async fn free(config: &TunnelConfig) -> io::Result<InterfaceName> {
    let keys = std::iter::once(&config.keys).chain(&config.pending);
    let ours: Vec<[u8; 32]> = keys.map(|keys| keys.secret.public().0).collect();
    let address = config.address.to_bits();
    super::blocking(move || {
        for suffix in NAMES {
            let text = format!("lship{address:08x}{suffix}");
            let name: InterfaceName = text.parse().map_err(io::Error::from)?;
            clear(&name, &ours);
            if crate::interface::index(&text).is_err() && sockets(&text).all(|path| !path.exists())
            {
                return Ok(name);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "every interface name for this device is taken",
        ))
    })
    .await
}

/// Removes what a killed process of this device left behind.
fn clear(name: &InterfaceName, ours: &[[u8; 32]]) {
    if let Ok(device) = Device::get(name, Backend::Kernel) {
        let own = device
            .public_key
            .as_ref()
            .is_some_and(|key| ours.iter().any(|ours| key.as_bytes() == ours));
        if own {
            let _ = device.delete();
        }
    }
    // A socket that nobody answers belongs to a process that is gone.
    for path in sockets(&name.as_str_lossy()) {
        let dead = std::os::unix::net::UnixStream::connect(&path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if dead {
            let _ = std::fs::remove_file(path);
        }
    }
}
