//! A device's topics. A uuid holds nothing that a topic could read as structure.

use heapless::String;
use lightship_core::id::{ApiKey, ProvisioningKey, Uuid};
use lightship_link::Secret;

/// `d/<uuid>/presence` and shorter.
pub(crate) type Topic = String<56>;
/// `enrol:` and 64 digits.
pub(crate) type Password = String<72>;

/// A topic of one device, by its last part.
pub(crate) fn topic(uuid: Uuid, name: &str) -> Topic {
    let mut topic = Topic::new();
    for part in ["d/", &uuid.to_text(), "/", name] {
        topic.push_str(part).expect("2 + 36 + 1 + 9 characters fit");
    }
    topic
}

/// What comes on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    /// Messages: the target, or any other.
    Message,
    /// Pieces of blobs.
    Blob,
}

/// What a topic is to this device; nothing when it is not its own.
pub(crate) fn channel(uuid: Uuid, topic: &[u8]) -> Option<Channel> {
    let rest = topic.strip_prefix(b"d/")?;
    let rest = rest.strip_prefix(uuid.to_text().as_bytes())?;
    let channels: [(&[u8], _); 3] = [
        (b"/target", Channel::Message),
        (b"/down", Channel::Message),
        (b"/blob/data", Channel::Blob),
    ];
    let ours = channels.iter().find(|(name, _)| *name == rest)?;
    Some(ours.1)
}

/// What a device shows in the place of a password.
pub(crate) fn password(secret: &Secret) -> Password {
    let mut text = Password::new();
    let (prefix, bytes) = match secret {
        Secret::Api(ApiKey(bytes)) => ("", bytes),
        Secret::Provisioning(ProvisioningKey(bytes)) => ("enrol:", bytes),
    };
    text.push_str(prefix).expect("6 characters fit");
    for half in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        let digit = char::from(b"0123456789abcdef"[usize::from(half)]);
        text.push(digit).expect("64 more characters fit");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_subscribed_to_is_a_channel() {
        let (mine, other) = (Uuid::from_random([1; 16]), Uuid::from_random([2; 16]));
        let of = |uuid, name| channel(mine, topic(uuid, name).as_bytes());
        assert_eq!(of(mine, "target"), Some(Channel::Message));
        assert_eq!(of(mine, "down"), Some(Channel::Message));
        assert_eq!(of(mine, "blob/data"), Some(Channel::Blob));
        for bad in ["up", "presence", "blob/get", "down/x", ""] {
            assert_eq!(of(mine, bad), None, "{bad}");
        }
        assert_eq!(of(other, "down"), None);
        assert_eq!(channel(mine, b"$SYS/broker"), None);
        assert_eq!(channel(mine, b"\xff\xfe"), None);
    }

    #[test]
    fn the_longest_password_fits() {
        let text = password(&Secret::Provisioning(ProvisioningKey([0xab; 32])));
        assert_eq!(text.len(), 6 + 64);
        assert!(text.starts_with("enrol:abab"));
    }
}
