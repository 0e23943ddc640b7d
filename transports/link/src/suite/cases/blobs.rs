//! Blobs.

use std::vec;
use std::vec::Vec;

use lightship_core::id::Digest;

use super::super::{Actor, FarEnd, Rig, Subject, Way, soon};
use crate::contract::{Blobs, Link};
use crate::failure::BlobFailure;

/// A blob of many pieces whose bytes tell their place.
fn blob() -> Vec<u8> {
    (0..20_011u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

/// Reads until `len` bytes are there or the blob ends, trying again after failures.
async fn read<L: Link>(
    actor: &mut Actor<'_, L>,
    blobs: &mut impl Blobs,
    way: &Way,
    digest: &Digest,
    (from, len): (usize, usize),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut into = vec![0; 1500];
    while bytes.len() < len {
        let room = into.len().min(len - bytes.len());
        let offset = (from + bytes.len()) as u64;
        let piece = async {
            tokio::select! {
                biased;
                piece = blobs.read(digest, offset, &mut into[..room]) => Some(piece),
                () = actor.step() => None,
            }
        };
        match soon("a piece", piece).await {
            Some(Ok(0)) => break,
            Some(Ok(got)) => bytes.extend(&into[..got]),
            Some(Err(BlobFailure::Absent)) => panic!("the blob is there"),
            Some(Err(BlobFailure::Link(_))) => way.mend(),
            None => {}
        }
        if !actor.up {
            way.mend();
            actor.until("the connection again", |actor| actor.up).await;
        }
    }
    bytes
}

/// From the beginning, from the middle, back again, from the end and beyond.
pub async fn a_blob_is_read_from_any_offset<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut blobs,
        mut far,
        way,
    } = rig;
    let whole = blob();
    let digest = far.keep(whole.clone()).await;
    let mut actor = Actor::connected(&mut link, &way).await;
    for (from, len) in [
        (0, 30_000),
        (11, 1),
        (12, 4000),
        (5, 5),
        (20_000, 100),
        (20_011, 1),
        (90_000, 1),
    ] {
        let got = read(&mut actor, &mut blobs, &way, &digest, (from, len)).await;
        let to = (from + len).min(whole.len());
        let expected = whole.get(from..to).unwrap_or_default();
        assert!(got == expected, "{len} bytes from {from}");
    }
}

/// A blob is as long as the connection holds, and then goes on.
pub async fn a_blob_goes_on_after_a_cut<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut blobs,
        mut far,
        way,
    } = rig;
    let whole = blob();
    let digest = far.keep(whole.clone()).await;
    let mut actor = Actor::connected(&mut link, &way).await;
    for cut in [10, 700, 5000, 12_000] {
        way.cut_after(cut);
        let got = read(&mut actor, &mut blobs, &way, &digest, (0, whole.len())).await;
        assert!(got == whole, "the blob differs after a cut at {cut}");
    }
}

/// Absent is an answer, not a failure of the way.
pub async fn a_blob_that_is_not_there_is_absent<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut blobs,
        way,
        ..
    } = rig;
    let mut actor = Actor::connected(&mut link, &way).await;
    let mut into = [0; 10];
    let answer = async {
        loop {
            tokio::select! {
                answer = blobs.read(&Digest([9; 32]), 0, &mut into) => return answer,
                () = actor.step() => {}
            }
        }
    };
    assert_eq!(soon("an answer", answer).await, Err(BlobFailure::Absent));
}
