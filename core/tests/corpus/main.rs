//! Replays the fuzz targets over their committed inputs, so that what a fuzzer found once stays found.

#[expect(
    unreachable_pub,
    reason = "the fuzzer's programs use the same file as a crate"
)]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;
mod seeds;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn no_committed_input_trips_its_fuzz_target() {
    let mut inputs = 0;
    for (name, run) in fuzz::TARGETS {
        for input in entries(&corpus().join(name)) {
            let bytes = fs::read(&input).expect("an input is readable");
            // The test's output then ends with the input whose target panicked.
            println!("{}", input.display());
            run(&bytes);
            inputs += 1;
        }
    }
    assert!(inputs >= fuzz::TARGETS.len(), "the corpus is not there");
}

#[test]
fn the_corpus_begins_with_whole_messages_and_documents_of_today() {
    for (target, name, bytes) in seeds::seeds() {
        let path = corpus().join(target).join(format!("seed-{name}"));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be made");
            fs::write(&path, &bytes).expect("a seed is writable");
        }
        let committed = fs::read(&path).unwrap_or_default();
        assert!(
            committed == bytes,
            "{} is out of date: UPDATE_EXPECT=1 cargo test -p lightship-core --test corpus",
            path.display()
        );
    }
}

#[test]
fn every_fuzz_target_has_a_program_and_a_corpus() {
    let names = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned());
    let names: BTreeSet<String> = names.collect();
    let stems = |folder: &Path| -> BTreeSet<String> {
        let paths = entries(folder).into_iter();
        paths
            .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
            .collect()
    };
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    assert_eq!(stems(&corpus()), names);
    assert_eq!(stems(&programs), names);
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry is readable").path())
        .collect();
    paths.sort();
    paths
}

/// A fixed walk over random inputs, so that each run of the tests looks at the same ones.
#[test]
fn two_thousand_random_inputs_trip_no_fuzz_target() {
    let mut walk: u64 = 0x5eed;
    let mut next = || {
        // Knuth's MMIX constants; the high bits are the random ones.
        walk = walk
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (walk >> 56) as u8
    };
    for (name, run) in fuzz::TARGETS {
        for input in 0..2_000 {
            let len = usize::from(next()) * 2;
            let bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(len).collect();
            println!("{name}, random input {input}: {bytes:?}");
            run(&bytes);
        }
    }
}
