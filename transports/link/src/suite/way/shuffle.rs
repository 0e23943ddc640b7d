//! Frames that overtake each other and come twice, as on a line behind a gateway.

use std::mem;
use std::vec::Vec;

/// Swaps and repeats what lies between two zero bytes, by a seed.
#[derive(Debug, Default)]
pub(super) struct Shuffle {
    /// The frame that has not ended.
    open: Vec<u8>,
    /// The frame that the next one overtakes.
    held: Vec<u8>,
    random: u64,
}

impl Shuffle {
    /// What comes out when these bytes go in. Without a seed everything comes out, in order.
    pub(super) fn pass(&mut self, seed: u64, bytes: &[u8]) -> Vec<u8> {
        if seed == 0 {
            let mut out = mem::take(&mut self.held);
            out.append(&mut self.open);
            out.extend(bytes);
            return out;
        }
        let mut out = Vec::new();
        for byte in bytes {
            self.open.push(*byte);
            if *byte == 0 {
                let frame = mem::take(&mut self.open);
                self.decide(seed, frame, &mut out);
            }
        }
        out
    }

    fn decide(&mut self, seed: u64, frame: Vec<u8>, out: &mut Vec<u8>) {
        if !self.held.is_empty() {
            out.extend(frame);
            out.append(&mut self.held);
            return;
        }
        match self.next(seed) % 5 {
            0 => self.held = frame,
            1 => {
                out.extend(&frame);
                out.extend(frame);
            }
            _ => out.extend(frame),
        }
    }

    /// splitmix64.
    fn next(&mut self, seed: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random ^ seed.rotate_left(32);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
