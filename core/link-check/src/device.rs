//! The device that is weighed; `build.rs` signs documents for the same one.

use lightship_core::Config;
use lightship_core::id::{Name, ProvisioningKey};
use lightship_core::trust::Root;

/// Components that it has room for.
pub const COMPONENTS: usize = 4;
/// From this its identity is made; a real device takes unguessable bytes.
pub const SEED: [u8; 32] = [9; 32];
/// What it is.
pub const DEVICE_TYPE: &str = "cortex-m3-sf2";
/// What it is meant to run.
pub const PRODUCT: &str = "blinker";

/// What it is told before it first runs; `None` when a constant above is no name.
pub fn config(root: Root) -> Option<Config> {
    Some(Config {
        device_type: Name::new(DEVICE_TYPE).ok()?,
        product: Name::new(PRODUCT).ok()?,
        name: None,
        root,
        provisioning_key: Some(ProvisioningKey([5; 32])),
        rotation_period_s: None,
        keys_outside: false,
    })
}
