//! Which images the slots hold, and what the fleet calls them.
//!
//! An image is known by the digest of its bytes in flash, not by the slot it was put in: that is true for slots that swap, too, and for whatever a bootloader did meanwhile.

use lightship_core::codec::{Decode, Encode, Reader, Writer, fields};
use lightship_core::id::{Digest, Name};

use crate::slots::Artifact;

/// An image that was verified in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// The component's name.
    pub(super) name: Name,
    /// What the fleet calls this version of it.
    pub(super) instance: Digest,
    /// The whole image.
    pub(super) digest: Digest,
    /// Its bytes.
    pub(super) size: u32,
    /// It was about to be tried.
    pub(super) tried: bool,
}

/// The image that runs and the other one; what changes together is one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Images {
    /// In no particular order.
    held: heapless::Vec<Held, 2>,
}

fields!(Held {
    name,
    instance,
    digest,
    size,
    tried
});
fields!(Images { held });

impl Held {
    pub(super) fn artifact(&self) -> Artifact {
        Artifact {
            digest: self.digest.0,
            size: self.size,
        }
    }

    fn is(&self, artifact: &Artifact) -> bool {
        self.artifact() == *artifact
    }
}

impl Images {
    /// Most bytes of the record.
    pub(super) const BYTES: usize = 256;

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let images = Decode::decode(&mut from);
        from.end().map(|_| images)
    }

    pub(super) fn encode<'b>(&self, buffer: &'b mut [u8; Self::BYTES]) -> &'b [u8] {
        let mut to = Writer::new(buffer);
        Encode::encode(self, &mut to);
        let len = to.end().unwrap_or(0);
        &buffer[..len]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.held.iter()
    }

    pub(super) fn by_instance(&self, instance: &Digest) -> Option<&Held> {
        self.held.iter().find(|held| held.instance == *instance)
    }

    pub(super) fn by_artifact(&self, artifact: &Artifact) -> Option<&Held> {
        self.held.iter().find(|held| held.is(artifact))
    }

    /// Forgets all but the image that runs. Whether there was anything to forget.
    pub(super) fn keep_only(&mut self, running: &Artifact) -> bool {
        let before = self.held.len();
        self.retain(&|held| held.is(running));
        before != self.held.len()
    }

    /// One for all who forget: there is little to be gained by each with its own.
    fn retain(&mut self, is_kept: &dyn Fn(&Held) -> bool) {
        self.held.retain(is_kept);
    }

    /// Forgets an instance.
    pub(super) fn forget(&mut self, instance: &Digest) {
        self.retain(&|held| held.instance != *instance);
    }

    /// Takes an image in; one of the same bytes, and one that neither runs nor is meant, give way.
    pub(super) fn take(&mut self, new: Held, running: &Artifact) {
        let artifact = new.artifact();
        self.retain(&|held| held.is(running) && !held.is(&artifact));
        // At most the one that runs is left, so there is room.
        let _ = self.held.push(new);
    }

    /// Marks an instance as about to be tried.
    pub(super) fn mark(&mut self, instance: &Digest) {
        for held in self
            .held
            .iter_mut()
            .filter(|held| held.instance == *instance)
        {
            held.tried = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(byte: u8) -> Held {
        Held {
            name: Name::new("firmware").unwrap(),
            instance: Digest([byte; 32]),
            digest: Digest([byte; 32]),
            size: u32::from(byte),
            tried: false,
        }
    }

    #[test]
    fn the_longest_record_fits_its_buffer() {
        let longest = Held {
            name: Name::new("a-name-of-thirty-two-characters-").unwrap(),
            size: u32::MAX,
            ..held(255)
        };
        let images = Images {
            held: [longest.clone(), longest].into_iter().collect(),
        };
        let mut buffer = [0; Images::BYTES];
        let bytes = images.encode(&mut buffer);
        assert!(!bytes.is_empty());
        assert_eq!(Images::decode(bytes), Some(images));
    }

    #[test]
    fn a_new_image_takes_the_place_of_the_one_that_does_not_run() {
        let running = held(1).artifact();
        let mut images = Images::default();
        for byte in [1, 2, 3] {
            images.take(held(byte), &running);
        }
        assert!(images.by_instance(&Digest([2; 32])).is_none());
        assert!(images.by_artifact(&running).is_some());
        assert!(images.by_instance(&Digest([3; 32])).is_some());
        assert!(images.keep_only(&running));
        assert!(!images.keep_only(&running));
    }
}
