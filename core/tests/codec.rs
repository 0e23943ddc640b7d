//! The codec written by hand against postcard, which defines the format: same bytes for every value, same values for every bytes.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[path = "corpus/seeds.rs"]
mod seeds;

use std::fs;
use std::path::Path;

use lightship_core::codec::{Decode, Encode, Reader, Writer};
use lightship_core::id::Digest;
use lightship_core::record::{Clock, Identity, Rejected, State, Trial};
use lightship_core::target::{After, Component, Condition, Part, Target};
use lightship_core::time::UnixTime;
use lightship_core::trust::{AssignmentHead, Codec, Compact, ReleaseHead, Root, TrustState};
use lightship_core::wire::{Down, Reason, Up};

const COMPONENTS: usize = 3;

fn written(value: &impl Encode) -> Option<Vec<u8>> {
    let mut out = [0; 8192];
    let mut to = Writer::new(&mut out);
    value.encode(&mut to);
    let len = to.end()?;
    Some(out[..len].to_vec())
}

fn written_by_postcard(value: &impl serde::Serialize) -> Option<Vec<u8>> {
    let mut out = [0; 8192];
    Some(postcard::to_slice(value, &mut out).ok()?.to_vec())
}

/// Reads bytes as one type by both, and compares; whether they are a value of it.
macro_rules! compare {
    ($type:ty, $bytes:expr) => {{
        let bytes: &[u8] = $bytes;
        let theirs = postcard::take_from_bytes::<$type>(bytes).ok();
        let mut from = Reader::new(bytes);
        let value = <$type>::decode(&mut from);
        let ours = from.end().map(|rest| (value, rest));
        if let Some((value, rest)) = &ours {
            assert_eq!(theirs.as_ref(), Some(&(value.clone(), *rest)), "{bytes:?}");
            let used = &bytes[..bytes.len() - rest.len()];
            assert_eq!(
                written(value).as_deref(),
                Some(used),
                "one value, one encoding"
            );
            assert_eq!(written_by_postcard(value).as_deref(), Some(used));
        } else if let Some((value, rest)) = &theirs {
            let used = &bytes[..bytes.len() - rest.len()];
            let canonical = written_by_postcard(value);
            assert_ne!(canonical.as_deref(), Some(used), "refused: {value:?}");
        }
        ours.is_some()
    }};
}

/// All types that stand at the top of something; they hold all the others. How many took the bytes.
fn compare_all(bytes: &[u8]) -> usize {
    let took = [
        compare!(Up, bytes),
        compare!(Down<'_>, bytes),
        compare!(Identity, bytes),
        compare!(TrustState, bytes),
        compare!(State<COMPONENTS>, bytes),
        compare!(Clock, bytes),
        compare!(Root, bytes),
        compare!(ReleaseHead, bytes),
        compare!(AssignmentHead, bytes),
        compare!(Component, bytes),
        compare!((u8, Digest), bytes),
    ];
    took.into_iter().filter(|took| *took).count()
}

fn full_state() -> State<COMPONENTS> {
    let seeds = seeds::seeds();
    let release = seeds.iter().find(|seed| seed.1 == "release").unwrap();
    let (head, components) = Compact.release(&release.2).unwrap();
    let components = components.components::<COMPONENTS>().unwrap();
    let parts = components.into_iter().map(|mut component| {
        component.settings = Some(Digest([8; 32]));
        let after = After {
            component: 1,
            condition: Condition::Completed,
        };
        let _ = component.after.push(after);
        Part::from(component)
    });
    let target = Target {
        release: Digest([1; 32]),
        id: Digest([2; 32]),
        version: head.version,
        security_version: u32::MAX,
        floor: 300,
        reach_fleet_s: Some(u16::MAX),
        override_locks: true,
        parts: parts.collect(),
    };
    State {
        trial: Some(Trial {
            target: target.clone(),
            started: true,
            boots: 200,
        }),
        committed: Some(target),
        rejected: Some(Rejected {
            id: Digest([3; 32]),
            release: Digest([4; 32]),
            reason: Reason::BootedOld,
        }),
        command: u64::MAX,
    }
}

/// The bodies of the well-formed seeds, and a state with everything in it.
fn samples() -> Vec<Vec<u8>> {
    let mut samples = vec![
        written(&full_state()).unwrap(),
        written(&full_state().committed.unwrap().parts[0].component).unwrap(),
        written(&(7u8, Digest([9; 32]))).unwrap(),
    ];
    for (target, name, bytes) in seeds::seeds() {
        match target {
            "wire" if name.ends_with("postcard") => samples.push(bytes[1..].to_vec()),
            "documents" => samples.push(bytes[4..].to_vec()),
            "records" => {
                let mut rest = &bytes[..];
                while let Some((len, after)) = rest.split_first_chunk::<2>() {
                    let (record, after) = after.split_at(usize::from(u16::from_le_bytes(*len)));
                    samples.push(record[7..].to_vec());
                    rest = after;
                }
            }
            _ => {}
        }
    }
    samples
}

/// A fixed walk; Knuth's MMIX constants, the high bits are the random ones.
struct Walk(u64);

impl Walk {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }

    /// A byte that means something more often than chance would have it.
    fn byte(&mut self) -> u8 {
        match self.below(3) {
            0 => [0, 1, 2, 4, 0x7f, 0x80, 0x81, 0xff][self.below(8)],
            _ => self.below(256) as u8,
        }
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        match self.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, self.byte()),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.push(self.byte()),
            _ if at < bytes.len() => bytes[at] = self.byte(),
            _ => {}
        }
    }
}

#[test]
fn whole_values_are_the_same_bytes_and_damaged_ones_are_refused_alike() {
    let mut walk = Walk(0x5eed);
    let (mut whole, mut damaged) = (0, 0);
    for sample in samples() {
        let taken = compare_all(&sample);
        assert!(taken > 0, "a sample is a value of some type: {sample:?}");
        whole += taken;
        for _ in 0..3_000 {
            let mut bytes = sample.clone();
            for _ in 0..=walk.below(3) {
                walk.damage(&mut bytes);
            }
            damaged += compare_all(&bytes);
        }
    }
    eprintln!("codec: {whole} whole values, {damaged} values in damaged ones");
    assert!(
        damaged > 1_000,
        "damage that leaves a value is looked at too"
    );
}

#[test]
fn every_input_that_a_fuzzer_found_reads_alike() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut inputs = 0;
    for target in fs::read_dir(corpus).unwrap() {
        for input in fs::read_dir(target.unwrap().path()).unwrap() {
            let bytes = fs::read(input.unwrap().path()).unwrap();
            // Behind nothing, a version, the magic of a document, the head of a record, that behind its length.
            for head in [0, 1, 4, 7, 9] {
                compare_all(bytes.get(head..).unwrap_or_default());
            }
            inputs += 1;
        }
    }
    assert!(inputs > 100, "the corpora are not there");
}

#[test]
fn numbers_have_one_encoding_and_an_end() {
    for number in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::MAX >> 1, u64::MAX] {
        assert_eq!(written(&number), written_by_postcard(&number));
        assert!(compare!(u64, &written(&number).unwrap()));
    }
    let refused: [&[u8]; 6] = [
        &[],
        &[0x80],
        &[0x80, 0],
        &[0x81, 0x80, 0],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        &[0xff; 40],
    ];
    for bytes in refused {
        assert!(!compare!(u64, bytes), "{bytes:?}");
    }
    for most in [0xffff_u64, 0x1_0000] {
        let bytes = written(&most).unwrap();
        assert_eq!(compare!(u16, &bytes), most < 0x1_0000);
    }
    assert!(!compare!(bool, &[2]));
    assert!(!compare!(Option<UnixTime>, &[2, 0]));
}

#[test]
fn what_does_not_fit_is_not_half_written() {
    let state = full_state();
    let whole = written(&state).unwrap();
    for room in 0..whole.len() {
        let mut out = vec![0; room];
        let mut to = Writer::new(&mut out);
        state.encode(&mut to);
        assert_eq!(to.end(), None, "{room} of {} bytes", whole.len());
    }
}
