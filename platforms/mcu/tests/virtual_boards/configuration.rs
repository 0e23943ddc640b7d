//! What the whole firmware says of a configuration that it cannot use: it goes on running, and says what to do.

use crate::PATIENCE;
use crate::board::{Board, CORTEX_M3_SF2, Kind, RISCV_VIRT};
use lightship_core::id::{Endpoint, Name, ProvisioningKey, PublicKey};
use lightship_mcu::config::{BLOCK_BYTES, Config, Entrance, Root};

#[test]
fn a_riscv_board_says_what_is_wrong_with_its_configuration() {
    complains(&RISCV_VIRT);
}

#[test]
fn a_cortex_m3_board_says_what_is_wrong_with_its_configuration() {
    complains(&CORTEX_M3_SF2);
}

fn complains(kind: &'static Kind) {
    let Some(board) = Board::new(kind, "firmware") else {
        return;
    };
    let unsigned = block(&[7; 100]);
    let with = |at: usize, byte: u8| {
        let mut block = unsigned.clone();
        block[at] = byte;
        block
    };
    let damaged = "the device configuration is damaged; write it again";
    for (name, block, complaint) in [
        (
            "blank",
            vec![0xFF; BLOCK_BYTES],
            "there is no device configuration",
        ),
        ("zeroes", vec![0; BLOCK_BYTES], damaged),
        ("another block", with(0, b'L'), damaged),
        ("a bit of the body", with(60, unsigned[60] ^ 1), damaged),
        ("an endless length", with(23, 0xFF), damaged),
        (
            "torn",
            [&unsigned[..64], &[0xFF; BLOCK_BYTES - 64]].concat(),
            damaged,
        ),
        (
            "newer",
            with(16, 9),
            "is of a newer format than this firmware knows",
        ),
        (
            "a root that nobody signed",
            unsigned.clone(),
            "its own keys signed",
        ),
    ] {
        board.configure(&block);
        let machine = board.start();
        let mut said = Vec::new();
        let complained = std::iter::from_fn(|| machine.lines.recv_timeout(PATIENCE).ok())
            .inspect(|line| said.push(line.clone()))
            .any(|line| line.starts_with("failed: ") && line.contains(complaint));
        assert!(complained, "{}, {name}: {said:?}", kind.name);
        assert_eq!(said[0], "boot version=1.0.0 why=Confirmed outcome=None");
        machine.cut();
    }
}

/// A block whose form is right, with this for a trust root.
fn block(root: &[u8]) -> Vec<u8> {
    let config = Config {
        device_type: Name::new("virtual").unwrap(),
        product: Name::new("harbour").unwrap(),
        name: None,
        entrance: Some(Entrance {
            provisioning_key: ProvisioningKey([1; 32]),
            hub: PublicKey([2; 32]),
            endpoint: Endpoint::new("10.0.2.2:1").unwrap(),
        }),
        rotation_period_s: None,
        root: Root(root),
    };
    let mut block = vec![0xFF; BLOCK_BYTES];
    config.encode(&mut block).unwrap();
    block
}
