//! The fuzz target's property, over its corpus, over the samples, and over mutations of the samples.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

#[path = "../fuzz/property.rs"]
mod property;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn samples() -> Vec<Vec<u8>> {
    let all = files("tests/accepted")
        .into_iter()
        .chain(files("tests/refused"));
    let yaml = all.filter(|path| path.extension() == Some("yaml".as_ref()));
    yaml.map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn the_property_holds_for_the_whole_corpus_and_all_samples() {
    let corpus = files("fuzz/corpus/compose");
    assert!(corpus.len() >= 8, "the corpus is committed");
    for file in corpus {
        property::holds(&fs::read(file).unwrap());
    }
    samples().iter().for_each(|sample| property::holds(sample));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_property_holds_for_damaged_samples(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..6),
    ) {
        let samples = samples();
        let mut bytes = which.get(&samples).clone();
        for (place, byte, how) in damage {
            if bytes.is_empty() { break }
            let at = place.index(bytes.len());
            let telling = b"\n\t :-[]{}&*!|>'\"%@$#,0a\\"[usize::from(byte) % 24];
            match how {
                0 => bytes[at] = telling,
                1 => bytes.insert(at, telling),
                2 => { bytes.remove(at); }
                _ => {
                    let end = (at + usize::from(byte)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        property::holds(&bytes);
    }

    #[test]
    fn the_property_holds_for_any_text(text in "[ \\n\\-a-z:\\[\\]{}&*$'\"#|>]{0,200}") {
        property::holds(text.as_bytes());
    }
}
