//! What the hub tells its owner.

use std::net::Ipv4Addr;

use crate::keys::PublicKey;

/// Something that happened, and that the fleet may have to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// A device completed its first handshake with this hub key.
    Connected {
        /// The device's tunnel address.
        address: Ipv4Addr,
        /// The hub key it used.
        hub: PublicKey,
    },
    /// A device used the key it was offered: the old one is refused from now on.
    DeviceKeyRetired {
        /// The device's tunnel address.
        address: Ipv4Addr,
        /// No longer accepted.
        retired: PublicKey,
        /// The one it used.
        current: PublicKey,
    },
    /// A device used the pre-shared key it was offered: the old one is refused from now on.
    PresharedKeyRetired {
        /// The device's tunnel address.
        address: Ipv4Addr,
    },
}
