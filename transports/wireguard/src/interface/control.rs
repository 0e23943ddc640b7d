//! Keys, times and control sockets as `wireguard-control` has them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use wireguard_control::{InterfaceName, Key};

/// # Errors
/// None for 32 bytes; the crate offers no other way than text.
pub(crate) fn key(bytes: &[u8; 32]) -> io::Result<Key> {
    Key::from_hex(&hex(bytes)).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// The bytes of a key; none of 32 bytes is left out.
pub(crate) fn bytes(key: &Key) -> Option<[u8; 32]> {
    key.as_bytes().try_into().ok()
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How long ago; zero if the clock has gone back.
pub(crate) fn age(at: SystemTime) -> Option<Duration> {
    (at != SystemTime::UNIX_EPOCH).then(|| SystemTime::now().duration_since(at).unwrap_or_default())
}

/// Takes away the control socket of a tunnel that has ended.
pub(crate) fn remove_socket(name: &InterfaceName) {
    for path in sockets(&name.as_str_lossy()) {
        let _ = std::fs::remove_file(path);
    }
}

/// Where user-space tunnels put their control sockets; all network namespaces share these folders.
pub(crate) fn sockets(name: &str) -> impl Iterator<Item = PathBuf> {
    let file = format!("{name}.sock");
    ["/var/run/wireguard", "/run/wireguard"]
        .into_iter()
        .map(move |folder| Path::new(folder).join(&file))
}
