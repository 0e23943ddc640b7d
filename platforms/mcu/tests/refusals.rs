//! What never becomes bootable, and flash that fails without a power cut.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "power_cuts/flash.rs"]
#[allow(dead_code, reason = "the other test uses the rest")]
mod flash;
#[path = "power_cuts/images.rs"]
mod images;
#[path = "power_cuts/wiring.rs"]
#[allow(dead_code, reason = "the other test uses the rest")]
mod wiring;

use flash::{Model, Power};
use images::{DEVICE_TYPE, artifact, image, key};
use lightship_image::builder::{self, Recipe};
use lightship_image::{Entry, Reject, Version};
use lightship_mcu::boot::{Boot, Reset};
use lightship_mcu::slots::{Artifact, Error, Slots};
use lightship_mcu::{Handoff, Outcome, Revert, Slot, Why};
use std::cell::RefCell;
use std::rc::Rc;
use wiring::{AbOne, Banks, RAM, SwapOne, Wiring};

type Ab = AbOne<8, 1024, 8192>;
type Swap = SwapOne<8, 1024, 8192>;

struct Bench<W> {
    banks: Banks,
    wiring: std::marker::PhantomData<W>,
}

impl<W: Wiring> Bench<W> {
    fn new() -> Self {
        let mediums = W::mediums(&image(1, 3000, 4));
        let mediums = mediums
            .into_iter()
            .map(|medium| Rc::new(RefCell::new(medium)));
        let power = Rc::new(RefCell::new(Power::new(Model::Before, 1)));
        let banks = Banks {
            mediums: mediums.collect(),
            power,
        };
        Self {
            banks,
            wiring: std::marker::PhantomData,
        }
    }

    fn boot(&self) -> Handoff {
        match W::boot(&self.banks, Reset::Running) {
            Boot::Run { handoff, .. } => handoff,
            Boot::Stop(why) => panic!("{why:?}"),
        }
    }

    fn app<T>(&self, act: impl FnOnce(&mut dyn Slots) -> T) -> T {
        let (handoff, mut act, mut out) = (self.boot(), Some(act), None);
        W::slots(&self.banks, handoff, &mut |slots| {
            out = act.take().map(|act| act(slots))
        });
        out.unwrap()
    }

    /// Stages all bytes that the device takes and asks for a trial.
    fn update(&self, bytes: &[u8], artifact: &Artifact) -> Result<(), Error> {
        self.app(|slots| {
            write(slots, bytes, artifact)?;
            slots.mark_trial()
        })
    }

    fn failing(&self, fails: fn(u64) -> bool) {
        self.banks.power.borrow_mut().failing = Some(fails);
    }

    fn repaired(&self) {
        self.banks.power.borrow_mut().failing = None;
    }

    fn runs(&self, handoff: Handoff, image: &[u8]) -> bool {
        W::running(&self.banks, handoff.slot).starts_with(image)
    }
}

fn write(slots: &mut dyn Slots, bytes: &[u8], artifact: &Artifact) -> Result<(), Error> {
    let mut next = slots.begin(artifact)? as usize;
    while next < bytes.len() {
        next = slots.write(next as u32, &bytes[next..bytes.len().min(next + 500)])? as usize;
    }
    Ok(())
}

fn recipe() -> Recipe<'static> {
    Recipe {
        board: "model",
        device_type: DEVICE_TYPE,
        version: Version {
            major: 2,
            minor: 0,
            patch: 0,
        },
        security_version: 5,
        load: RAM.start,
        entry: RAM.start,
        kind: Entry::Jump,
    }
}

fn make(recipe: &Recipe<'_>) -> Vec<u8> {
    builder::build(recipe, &[7; 5000], |message| builder::sign(&key(), message)).unwrap()
}

/// Images that are refused, each for its own reason.
fn bad_images() -> Vec<(Vec<u8>, Reject)> {
    let mut table = vec![0xFF; 128];
    table.extend((RAM.start + 64).to_le_bytes());
    table.extend(0x0800_0001u32.to_le_bytes());
    let unsigned = builder::build(&recipe(), &[7; 99], |_| [1; 64]).unwrap();
    let (mut digest, mut signature) = (make(&recipe()), make(&recipe()));
    *digest.last_mut().unwrap() ^= 1;
    signature[200] ^= 1;
    vec![
        (
            make(&Recipe {
                board: "other",
                ..recipe()
            }),
            Reject::WrongBoard,
        ),
        (
            make(&Recipe {
                device_type: "valve",
                ..recipe()
            }),
            Reject::WrongDeviceType,
        ),
        (
            make(&Recipe {
                load: RAM.start - 4,
                ..recipe()
            }),
            Reject::WrongPlace,
        ),
        (make(&recipe())[..4000].to_vec(), Reject::WrongDigest),
        (
            [&make(&recipe())[..], b"more"].concat(),
            Reject::TrailingBytes,
        ),
        (digest, Reject::WrongDigest),
        (signature, Reject::BadSignature),
        (unsigned, Reject::BadSignature),
        (vec![0xFF; 4096], Reject::NoImage),
        (outside_vectors(&table), Reject::ResetOutside),
    ]
}

/// A signed image whose reset handler is outside its slot; the builder would refuse to make it.
fn outside_vectors(body: &[u8]) -> Vec<u8> {
    let mut header =
        lightship_image::Header::decode(make(&recipe()).first_chunk().unwrap()).unwrap();
    header.digest = builder::artifact_digest(body);
    header.size = body.len() as u32;
    header.entry = RAM.start + 128;
    header.kind = Entry::VectorTable;
    let message = header.encode();
    [&message[..], &builder::sign(&key(), &message), body].concat()
}

fn refuses_bad_images<W: Wiring>() {
    for (image, reject) in bad_images() {
        let bench = Bench::<W>::new();
        assert_eq!(
            bench.update(&image, &artifact(&image)),
            Err(Error::Rejected(reject))
        );
        let report = bench.app(|slots| slots.report());
        assert_eq!(
            (report.why, report.outcome),
            (Why::Confirmed, Outcome::None),
            "{reject}"
        );
        assert!(bench.runs(bench.boot(), &self::image(1, 3000, 4)));
    }
}

#[test]
fn a_bad_image_never_becomes_bootable() {
    refuses_bad_images::<Ab>();
    refuses_bad_images::<Swap>();
}

#[test]
fn an_image_that_is_not_the_artifact_is_refused_and_forgotten() {
    let bench = Bench::<Ab>::new();
    let (good, wrong) = (
        make(&recipe()),
        make(&Recipe {
            security_version: 6,
            ..recipe()
        }),
    );
    let refused = bench.update(&wrong, &artifact(&good));
    assert_eq!(refused, Err(Error::Rejected(Reject::WrongDigest)));
    assert_eq!(bench.app(|slots| slots.begin(&artifact(&good))), Ok(0));
    assert_eq!(bench.update(&good, &artifact(&good)), Ok(()));
    assert_eq!(bench.boot().why, Why::Trial);
}

#[test]
fn sizes_and_offsets_that_cannot_be_are_refused() {
    let bench = Bench::<Ab>::new();
    let good = make(&recipe());
    let sized = |size| Artifact {
        size,
        ..artifact(&good)
    };
    bench.app(|slots| {
        assert_eq!(slots.begin(&sized(8193)), Err(Error::WrongSize));
        assert_eq!(slots.begin(&sized(255)), Err(Error::WrongSize));
        assert_eq!(slots.write(0, &good), Err(Error::NothingStaged));
        assert_eq!(slots.mark_trial(), Err(Error::NothingStaged));
        assert_eq!(slots.begin(&artifact(&good)), Ok(0));
        assert_eq!(
            slots.write(1, &good),
            Err(Error::OutOfOrder { expected: 0 })
        );
        assert_eq!(slots.write(0, &good[..5000]), Ok(5000));
        assert_eq!(
            slots.mark_trial(),
            Err(Error::Incomplete { expected: 5000 })
        );
        assert_eq!(
            slots.write(5000, &[&good[5000..], b"x"].concat()),
            Err(Error::TrailingBytes)
        );
        assert_eq!(slots.confirm(0), Err(Error::NotOnTrial));
        assert_eq!(slots.revert(), Err(Error::NotOnTrial));
    });
}

#[test]
fn staging_goes_on_at_the_last_mark_after_a_reboot() {
    let bench = Bench::<Ab>::new();
    let good = make(&recipe());
    let interrupted = |slots: &mut dyn Slots| {
        slots.begin(&artifact(&good))?;
        slots.write(0, &good[..5000])
    };
    assert_eq!(bench.app(interrupted), Ok(5000));
    assert_eq!(bench.app(|slots| slots.begin(&artifact(&good))), Ok(4096));
    assert_eq!(bench.update(&good, &artifact(&good)), Ok(()));
    assert!(bench.runs(bench.boot(), &good));
}

fn raises_the_floor<W: Wiring>() {
    let bench = Bench::<W>::new();
    let good = make(&recipe());
    bench.update(&good, &artifact(&good)).unwrap();
    bench.app(|slots| slots.confirm(9)).unwrap();
    assert_eq!(
        bench.app(|slots| slots.report().floor),
        5,
        "not above the image's own version"
    );
    let older = make(&Recipe {
        security_version: 4,
        ..recipe()
    });
    let refused = bench.update(&older, &artifact(&older));
    assert_eq!(refused, Err(Error::Rejected(Reject::BelowFloor)));
    assert_eq!(
        bench.update(&good, &artifact(&good)),
        Ok(()),
        "down to the floor is allowed"
    );
}

#[test]
fn an_image_below_the_floor_is_refused_once_the_floor_is_raised() {
    raises_the_floor::<Ab>();
    raises_the_floor::<Swap>();
}

/// Damages the staged image after it was marked; the bootloader judges for itself.
fn refuses_at_boot<W: Wiring>(staged_at: usize) {
    let bench = Bench::<W>::new();
    let good = make(&recipe());
    bench.update(&good, &artifact(&good)).unwrap();
    bench.banks.mediums[0]
        .borrow_mut()
        .install(staged_at + 3000, &[0; 8]);
    let handoff = bench.boot();
    assert!(bench.runs(handoff, &image(1, 3000, 4)));
    let report = bench.app(|slots| slots.report());
    let refused = Outcome::Reverted(Revert::Refused(Reject::WrongDigest));
    assert_eq!((report.why, report.outcome), (Why::Confirmed, refused));
}

#[test]
fn the_bootloader_refuses_what_changed_after_it_was_marked() {
    refuses_at_boot::<Ab>(2 * 1024 + 8192);
    refuses_at_boot::<Swap>(2 * 1024 + 8192 + 1024);
}

#[test]
fn a_damaged_confirmed_image_is_replaced_by_the_other_one_for_good() {
    let bench = Bench::<Ab>::new();
    let good = make(&recipe());
    bench.update(&good, &artifact(&good)).unwrap();
    bench.app(|slots| slots.confirm(0)).unwrap();
    bench.banks.mediums[0]
        .borrow_mut()
        .install(2 * 1024 + 8192 + 300, &[0; 8]);
    assert_eq!(
        bench.boot(),
        Handoff {
            slot: Slot::A,
            why: Why::Rescue
        }
    );
    let report = bench.app(|slots| slots.report());
    let rescued = Outcome::Rescued(Reject::WrongDigest);
    assert_eq!(
        (report.slot, report.why, report.outcome),
        (Slot::A, Why::Confirmed, rescued)
    );
    assert_eq!(bench.update(&good, &artifact(&good)), Ok(()));
}

/// An update during which one operation in a row of failures fails, wherever it falls.
fn survives_failing_flash<W: Wiring>() {
    let (old, good) = (image(1, 3000, 4), make(&recipe()));
    let patterns: [fn(u64) -> bool; 6] = [
        |op| op % 97 == 0,
        |op| op % 1000 < 30,
        |op| op > 100,
        |op| op > 400,
        |op| op > 700,
        |op| op > 730,
    ];
    for (number, fails) in patterns.into_iter().enumerate() {
        let bench = Bench::<W>::new();
        bench.failing(fails);
        let staged = bench.update(&good, &artifact(&good));
        assert!(matches!(
            staged,
            Ok(()) | Err(Error::FlashFailed | Error::RecordFailed)
        ));
        let broken = W::boot(&bench.banks, Reset::Running);
        if let Boot::Run { handoff, .. } = broken {
            assert!(
                bench.runs(handoff, &old) || bench.runs(handoff, &good),
                "pattern {number}"
            );
            assert!(
                staged.is_ok() || bench.runs(handoff, &old),
                "pattern {number}"
            );
        }
        bench.repaired();
        let handoff = bench.boot();
        assert!(
            bench.runs(handoff, &old) || bench.runs(handoff, &good),
            "pattern {number}"
        );
        assert_eq!(
            handoff.why == Why::Trial,
            bench.runs(handoff, &good),
            "pattern {number}"
        );
    }
}

#[test]
fn flash_that_fails_is_reported_and_a_whole_image_runs() {
    survives_failing_flash::<Ab>();
    survives_failing_flash::<Swap>();
}

#[test]
fn a_trial_is_not_started_when_its_start_cannot_be_counted() {
    let bench = Bench::<Ab>::new();
    let good = make(&recipe());
    bench.update(&good, &artifact(&good)).unwrap();
    bench.failing(|_| true);
    assert_eq!(
        bench.boot(),
        Handoff {
            slot: Slot::A,
            why: Why::Confirmed
        }
    );
    bench.repaired();
    assert_eq!(
        bench.boot(),
        Handoff {
            slot: Slot::B,
            why: Why::Trial
        }
    );
}

fn counts_cuts_apart<W: Wiring>() {
    let bench = Bench::<W>::new();
    let good = make(&recipe());
    bench.update(&good, &artifact(&good)).unwrap();
    assert_eq!(bench.boot().why, Why::Trial);
    // More cuts than failed starts are allowed.
    for _ in 0..lightship_mcu::limits::CUTS - 1 {
        assert!(W::boot(&bench.banks, Reset::Power).is_trial());
    }
    assert!(!W::boot(&bench.banks, Reset::Power).is_trial());
    let report = bench.app(|slots| slots.report());
    assert_eq!(report.outcome, Outcome::Reverted(Revert::CutsSpent));
}

#[test]
fn power_cuts_during_a_trial_are_counted_apart_from_failures() {
    counts_cuts_apart::<Ab>();
    counts_cuts_apart::<Swap>();
}

#[test]
fn nothing_is_staged_while_a_trial_runs() {
    let bench = Bench::<Ab>::new();
    let good = make(&recipe());
    bench.update(&good, &artifact(&good)).unwrap();
    assert_eq!(
        bench.app(|slots| slots.begin(&artifact(&good))),
        Err(Error::TrialRunning)
    );
}
