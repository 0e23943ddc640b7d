//! The rules of trust against holders of valid keys: whatever they sign, nothing that only rises falls.
//!
//! The input is a list of payloads, each behind one byte of role and two of length.
//! The target signs each with that role's key and shows it to a device that remembers what it accepted.

use std::sync::LazyLock;

use ed25519_dalek::{Signer, SigningKey};
use lightship_core::id::{Digest, KeyId, Name, PublicKey, Uuid};
use lightship_core::limits::DOCUMENT_BYTES;
use lightship_core::time::UnixTime;
use lightship_core::trust::{Compact, Role, RoleKeys, Root, Trust, TrustState, seal};

/// Payloads of one input that are looked at.
const PAYLOADS: usize = 8;
/// The device that the corpus was made for.
const DEVICE: Uuid = Uuid([7; 16]);

static KEYS: LazyLock<[SigningKey; 3]> =
    LazyLock::new(|| [1, 2, 3].map(|seed| SigningKey::from_bytes(&[seed; 32])));

/// Signs and shows each payload of the input.
pub fn run(bytes: &[u8]) {
    let mut state = TrustState::new(root());
    let mut release = Vec::new();
    for (role, payload) in payloads(bytes) {
        let document = sealed(payload, &KEYS[usize::from(role)]);
        match role {
            0 => show_root(&mut state, &document),
            1 => release = document,
            _ => show_target(&mut state, &document, &release),
        }
    }
}

fn show_root(state: &mut TrustState, document: &[u8]) {
    let before = state.clone();
    let Ok(after) = judge(state).accept_root(document) else {
        return;
    };
    assert_eq!(after.root.version, before.root.version + 1);
    // Counter and floor start again only where other keys took over (TUF specification, section 5.3.11).
    if after.root.same_holders(&before.root, Role::Director) {
        assert!(after.counter >= before.counter);
        assert!(after.time_floor >= before.time_floor);
    }
    if after.root.same_holders(&before.root, Role::Release) {
        assert!(after.floor >= before.floor);
    }
    *state = after;
}

fn show_target(state: &mut TrustState, assignment: &[u8], release: &[u8]) {
    let before = state.clone();
    let Ok(accepted) = judge(state).accept_target::<4>(assignment, release) else {
        return;
    };
    let after = accepted.state;
    assert!(after.counter >= before.counter);
    assert!(after.floor >= before.floor);
    assert!(after.time_floor >= before.time_floor);
    assert_eq!(after.root, before.root);
    assert!(accepted.target.security_version >= before.floor);
    assert_eq!(accepted.target.release, Digest::of(&release[2 + 72..]));
    *state = after;
}

fn judge(state: &TrustState) -> Trust<'_> {
    static TYPE: LazyLock<Name> = LazyLock::new(|| Name::new("board").expect("a name"));
    static PRODUCT: LazyLock<Name> = LazyLock::new(|| Name::new("app").expect("a name"));
    Trust {
        codec: Compact,
        state,
        device: DEVICE,
        device_type: &TYPE,
        product: &PRODUCT,
        clock: None,
    }
}

/// A root of one key for each role.
pub(crate) fn root() -> Root {
    let only = |position: u8| RoleKeys {
        members: 1 << position,
        threshold: 1,
    };
    Root {
        version: 1,
        issued: UnixTime(1_700_000_000),
        expires: UnixTime(1_900_000_000),
        floor: 1,
        keys: KEYS.iter().map(public).collect(),
        root: only(0),
        release: only(1),
        director: only(2),
    }
}

fn payloads(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [role, low, high, rest @ ..] = bytes else {
            return None;
        };
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (payload, rest) = rest.split_at(length);
        bytes = rest;
        Some((role % 3, payload))
    })
    .take(PAYLOADS)
}

/// An envelope signed by the key of a role.
pub(crate) fn sealed_by(payload: &[u8], role: Role) -> Vec<u8> {
    let key = match role {
        Role::Root => &KEYS[0],
        Role::Release => &KEYS[1],
        Role::Director => &KEYS[2],
    };
    sealed(payload, key)
}

fn sealed(payload: &[u8], key: &SigningKey) -> Vec<u8> {
    let signature = (KeyId::of(&public(key)), key.sign(payload).to_bytes());
    let mut out = vec![0; DOCUMENT_BYTES];
    let length = seal(payload, &[signature], &mut out).unwrap_or(0);
    out.truncate(length);
    out
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}
