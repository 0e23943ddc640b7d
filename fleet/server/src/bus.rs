//! Messages to and from devices over MQTT 5, by the protocol page of lightship-link.
//!
//! Nothing outside of this module knows which broker is behind [`Bus`]. A device may publish to
//! and subscribe to its own topics, named one by one; there are no wildcards.

mod embedded;
mod inbound;
mod outbox;
pub(crate) mod outside;

use std::future::Future;
use std::pin::Pin;

use lightship_core::id::Uuid;

pub(crate) use embedded::Embedded;
pub use embedded::StartError;
pub(crate) use outbox::{Outbox, Told, run as run_outbox};

/// What a broker does for us.
pub(crate) trait Bus: Send + Sync {
    /// Sends a message, to be kept for those who come later if it is retained.
    fn send(&self, message: Message) -> Sending<'_>;

    /// Ends a device's connection, if it has one.
    fn disconnect<'a>(&'a self, device: &'a Uuid) -> Sending<'a>;
}

/// Something that takes a while and cannot fail in a way that anybody could act on.
pub(crate) type Sending<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A message to a device.
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) retain: bool,
    pub(crate) expiry_s: Option<u32>,
    /// Repeats what the message that it answers had.
    pub(crate) correlation: Option<Vec<u8>>,
}

/// What a device may publish to, below `d/<uuid>/`.
const PUBLISHES: [&str; 3] = ["up", "presence", "blob/get"];
/// What a device may subscribe to, below `d/<uuid>/`.
const SUBSCRIBES: [&str; 3] = ["target", "down", "blob/data"];

/// A topic of a device.
fn topic(device: &Uuid, last: &str) -> String {
    format!("d/{device}/{last}")
}

/// What a topic is for, if it is one of this device's.
fn own<'a>(topic: &'a str, device: &str) -> Option<&'a str> {
    topic
        .strip_prefix("d/")?
        .strip_prefix(device)?
        .strip_prefix('/')
}

/// Whether a device may publish here.
fn may_publish(topic: &str, device: &str) -> bool {
    own(topic, device).is_some_and(|last| PUBLISHES.contains(&last))
}

/// Whether a device may subscribe to this.
fn may_subscribe(filter: &str, device: &str) -> bool {
    own(filter, device).is_some_and(|last| SUBSCRIBES.contains(&last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_its_own_topics_and_no_others() {
        let (me, other) = (
            "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
            "3f2504e0-4f89-41d3-9a0c-0305e82c3302",
        );
        assert!(
            may_publish(&format!("d/{me}/up"), me) && may_subscribe(&format!("d/{me}/target"), me)
        );
        let foreign = [
            format!("d/{other}/up"),
            format!("d/{other}/target"),
            format!("d/{me}/#"),
            format!("d/{me}/+"),
            "#".to_owned(),
            "d/+/target".to_owned(),
            format!("$share/g/d/{me}/target"),
            "$SYS/#".to_owned(),
            format!("d/{me}"),
            format!("d/{me}x/up"),
            format!("/d/{me}/up"),
            String::new(),
        ];
        for topic in foreign {
            assert!(
                !may_publish(&topic, me) && !may_subscribe(&topic, me),
                "{topic}"
            );
        }
        assert!(
            !may_publish(&format!("d/{me}/target"), me),
            "a device could tell itself what to run"
        );
        assert!(!may_subscribe(&format!("d/{me}/up"), me));
    }
}
