//! The images of the tests, and a signature check that remembers.

use crate::wiring::RAM;
use ed25519_dalek::SigningKey;
use lightship_image::builder::{self, Recipe};
use lightship_image::check::Ed25519;
use lightship_image::dalek::Dalek;
use lightship_image::{Entry, Version};
use lightship_mcu::slots::Artifact;
use std::cell::RefCell;
use std::collections::HashMap;

pub(crate) const DEVICE_TYPE: &str = "pump";

pub(crate) fn artifact(image: &[u8]) -> Artifact {
    Artifact {
        digest: builder::artifact_digest(image),
        size: image.len() as u32,
    }
}

pub(crate) fn image(major: u16, size: usize, security_version: u32) -> Vec<u8> {
    // A run of 0xFF inside: words that are programmed and look erased.
    let byte = |at: usize| match at % 97 {
        0..40 => 0xFF,
        _ => (at * usize::from(major) * 31 + at / 251) as u8,
    };
    let body: Vec<u8> = (0..size).map(byte).collect();
    let recipe = Recipe {
        board: "model",
        device_type: DEVICE_TYPE,
        version: Version {
            major,
            minor: 0,
            patch: 0,
        },
        security_version,
        load: RAM.start,
        entry: RAM.start,
        kind: Entry::Jump,
    };
    builder::build(&recipe, &body, |message| builder::sign(&key(), message)).unwrap()
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub(crate) fn keys() -> [[u8; 32]; 1] {
    thread_local!(static KEY: [u8; 32] = key().verifying_key().to_bytes());
    [KEY.with(|key| *key)]
}

/// ed25519-dalek, asked once for each message: the tests boot a million times.
pub(crate) struct Memo;

type Asked = ([u8; 32], Vec<u8>, [u8; 64]);

impl Ed25519 for Memo {
    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        thread_local!(static KNOWN: RefCell<HashMap<Asked, bool>> = RefCell::default());
        KNOWN.with_borrow_mut(|known| {
            let asked = (*key, message.to_vec(), *signature);
            *known
                .entry(asked)
                .or_insert_with(|| Dalek.verify(key, message, signature))
        })
    }
}
