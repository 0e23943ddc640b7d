//! Power cuts at every operation of an update, on a model of flash.
//!
//! Four models of what a cut leaves, nine geometries, three ends of a trial: all single cuts, and
//! sampled double cuts. See `story` for what must hold after each of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flash;
mod images;
mod story;
mod wiring;

use flash::Model;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use story::{Chapter, Goal, Story};
use wiring::{AbOne, AbTwo, SwapOne, SwapTwo, Wiring};

/// Calls a function for each device under test, each on a thread of its own.
macro_rules! on_each_device {
    ($run:ident) => {
        thread::scope(|scope| {
            scope.spawn(|| $run::<AbOne<1, 256, 1536>>());
            scope.spawn(|| $run::<AbOne<4, 1024, 6144>>());
            scope.spawn(|| $run::<AbOne<32, 8192, 16384>>());
            scope.spawn(|| $run::<AbTwo<8, 2048, 16, 512, 8192>>());
            scope.spawn(|| $run::<SwapOne<2, 512, 2048>>());
            scope.spawn(|| $run::<SwapOne<8, 2048, 8192>>());
            scope.spawn(|| $run::<SwapOne<32, 1024, 7168>>());
            scope.spawn(|| $run::<SwapTwo<16, 4096, 4, 1024, 8192>>());
            scope.spawn(|| $run::<SwapTwo<4, 256, 1, 512, 2048>>());
        })
    };
}

fn check<W: Wiring>(story: &Story<W>, from: &Chapter, model: Model, seed: u64, cuts: &[u64]) {
    if let Err(why) = story.run(from, model, seed, cuts) {
        panic!(
            "{}, {:?}, {model:?}, seed {seed}, cuts {cuts:?}: {why}",
            W::NAME,
            story.goal
        );
    }
}

/// The last chapter that begins before an operation.
fn chapter_of(chapters: &[Chapter], op: u64) -> &Chapter {
    chapters
        .iter()
        .rfind(|chapter| chapter.ops < op)
        .unwrap_or(&chapters[0])
}

#[test]
fn no_single_cut_bricks_mixes_or_misreports() {
    static CUTS: AtomicU64 = AtomicU64::new(0);

    fn run<W: Wiring>() {
        for goal in Goal::ALL {
            let story = Story::<W>::new(goal);
            let (chapters, ops) = story.chapters();
            // What comes before the trial is the same for every goal.
            let first = if goal == Goal::Confirm {
                1
            } else {
                chapters[2].ops
            };
            for model in Model::ALL {
                for op in first..=ops {
                    check(&story, chapter_of(&chapters, op), model, op, &[op]);
                }
                CUTS.fetch_add(ops - first + 1, Ordering::Relaxed);
            }
        }
    }

    on_each_device!(run);
    let cuts = CUTS.load(Ordering::Relaxed);
    println!("single power cuts: {cuts}, bricks: 0, mixed images: 0, wrong reports: 0");
    assert!(
        cuts > 10_000,
        "the story has become too short to mean anything"
    );
}

#[test]
fn no_double_cut_bricks_mixes_or_misreports() {
    const EACH: u64 = 4 * 3 * 1000;
    static CUTS: AtomicU64 = AtomicU64::new(0);

    fn run<W: Wiring>() {
        for goal in Goal::ALL {
            let story = Story::<W>::new(goal);
            let (chapters, ops) = story.chapters();
            for sample in 0..EACH / 3 {
                let model = Model::ALL[sample as usize % 4];
                let random = sample.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let first = 1 + (random >> 8) % ops;
                // Half of the second cuts fall close behind the first, where recovery works.
                let near = if sample % 8 < 4 { 64 } else { ops };
                let second = 1 + (random >> 36) % near;
                check(
                    &story,
                    chapter_of(&chapters, first),
                    model,
                    sample,
                    &[first, second],
                );
            }
            CUTS.fetch_add(EACH / 3, Ordering::Relaxed);
        }
    }

    on_each_device!(run);
    let cuts = CUTS.load(Ordering::Relaxed);
    println!("double power cuts: {cuts}, bricks: 0, mixed images: 0, wrong reports: 0");
    assert!(cuts >= 100_000);
}
