//! Inputs from which a fuzzer starts: one of each kind, well formed.

use lightship_core::codec::Encode;
use lightship_core::id::{
    ApiKey, Digest, Endpoint, KeyId, Name, PresharedKey, ProvisioningKey, PublicKey, Uuid, Version,
};
use lightship_core::limits::DOCUMENT_BYTES;
use lightship_core::record;
use lightship_core::target::{After, Artifact, Component, Condition, Health, Kind, Mode, Strategy};
use lightship_core::time::UnixTime;
use lightship_core::trust::{
    AssignmentHead, Offence, ReleaseHead, RoleKeys, Root, encode_assignment, encode_release,
    encode_root,
};
use lightship_core::wire::{
    self, Blob, Command, ComponentReport, ComponentState, Down, KeyAccepted, KeyKind, NewKey,
    Order, Phase, Reason, Refusal, Refused, Register, Registered, RejectedReport, Report,
    SignedRoot, SignedTarget, TrialReport, Tunnel, Up, json,
};

const ISSUED: UnixTime = UnixTime(1_700_000_100);
const EXPIRES: UnixTime = UnixTime(1_900_000_000);

/// Target, name and bytes of each seed.
pub(crate) fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (name, message) in ups() {
        seeds.push(("wire", format!("{name}.postcard"), postcard(&message)));
        seeds.push(("wire", format!("{name}.json"), text(&message)));
    }
    for (name, message) in downs() {
        seeds.push(("wire", format!("{name}.postcard"), postcard(&message)));
        seeds.push(("wire", format!("{name}.json"), text(&message)));
    }
    let [root, release, assignment] = documents();
    seeds.push((
        "rules",
        "install".to_owned(),
        listed(&[(1, &release), (2, &assignment)]),
    ));
    seeds.push((
        "rules",
        "root-then-install".to_owned(),
        listed(&[(0, &root), (1, &release), (2, &assignment)]),
    ));
    // An ordinary life: everything is answered with success, then the fleet answers, then time passes.
    let life: Vec<u8> = [0, 0].repeat(12).into_iter().chain([11, 0]).collect();
    let life: Vec<u8> = life.iter().copied().chain([0, 0].repeat(12)).collect();
    let life: Vec<u8> = (1..4).fold(life, |mut life, version| {
        life.extend([11, 0, version]);
        life.extend([0, 5].repeat(40));
        life.extend([9].repeat(12));
        life
    });
    seeds.push(("events", "life".to_owned(), life));
    seeds.push(("records", "saved".to_owned(), records()));
    seeds.push(("documents", "root".to_owned(), root));
    seeds.push(("documents", "release".to_owned(), release));
    seeds.push(("documents", "assignment".to_owned(), assignment));
    seeds
}

fn ups() -> [(&'static str, Up); 4] {
    let register = Register {
        uuid: Uuid::from_random([1; 16]),
        provisioning_key: ProvisioningKey([2; 32]),
        api_key: ApiKey([3; 32]),
        wireguard: PublicKey([4; 32]),
        device_type: name("raspberrypi4"),
        name: Some(name("kitchen")),
    };
    let component = ComponentReport {
        name: name("web"),
        artifact: Digest([3; 32]),
        state: ComponentState::Fetching,
        fetched: Some(70_000),
    };
    let report = Report {
        sequence: 4,
        boot: 2,
        counter: 7,
        root: 1,
        committed: Some(Digest([1; 32])),
        version: Some(version()),
        trial: Some(TrialReport {
            release: Digest([2; 32]),
            phase: Phase::Trying,
        }),
        rejected: Some(RejectedReport {
            release: Digest([9; 32]),
            reason: Reason::Unhealthy,
        }),
        offence: Some(Offence::BelowFloor),
        frozen: false,
        unsaved: false,
        components: [component].into_iter().collect(),
    };
    [
        ("register", Up::Register(register)),
        ("report", Up::Report(report)),
        (
            "propose-api-key",
            Up::ProposeKey(NewKey::Api(ApiKey([5; 32]))),
        ),
        (
            "propose-tunnel-key",
            Up::ProposeKey(NewKey::WireGuard(PublicKey([6; 32]))),
        ),
    ]
}

fn tunnel() -> Tunnel {
    Tunnel {
        hub: PublicKey([1; 32]),
        endpoint: Endpoint::new("[2001:db8::1]:51820").expect("an endpoint"),
        address: [100, 64, 0, 9].into(),
        gateway: [100, 64, 0, 1].into(),
        preshared: None,
        mqtt_port: 1883,
        http_port: 80,
    }
}

fn downs() -> [(&'static str, Down<'static>); 7] {
    let registered = Registered {
        uuid: Uuid::from_random([1; 16]),
        tunnel: Some(tunnel()),
    };
    let next = Tunnel {
        preshared: Some(PresharedKey([9; 32])),
        ..tunnel()
    };
    let refused = Refused {
        reason: Refusal::Busy,
        retry_after_s: Some(30),
    };
    let accepted = KeyAccepted {
        kind: KeyKind::Api,
        id: KeyId([8; 8]),
    };
    let command = Command {
        id: 3,
        order: Order::Restart(name("web")),
    };
    let target = SignedTarget {
        assignment: Blob::Raw(&[1; 100]),
        release: Blob::Raw(&[2; 101]),
    };
    [
        ("registered", Down::Registered(registered)),
        ("refused", Down::Refused(refused)),
        ("target", Down::Target(target)),
        (
            "root",
            Down::Root(SignedRoot {
                document: Blob::Raw(&[0xff; 5]),
            }),
        ),
        ("key-accepted", Down::KeyAccepted(accepted)),
        ("command", Down::Command(command)),
        ("tunnel", Down::Tunnel(next)),
    ]
}

/// Payloads of a root that follows the first, a release, and its assignment, as the target `rules` expects them.
fn documents() -> [Vec<u8>; 3] {
    let release_head = ReleaseHead {
        product: name("app"),
        device_type: name("board"),
        version: version(),
        security_version: 2,
        floor: 2,
        issued: ISSUED,
        reach_fleet_s: Some(600),
    };
    let components = [component("base"), component("web")];
    let release = payload(|out| encode_release(&release_head, &components, out));
    let assignment_head = AssignmentHead {
        device: Uuid([7; 16]),
        counter: 1,
        issued: ISSUED,
        expires: EXPIRES,
        release: Digest::of(&release),
        attempt: 0,
        override_locks: false,
    };
    let settings = [(0, Digest([4; 32]))];
    let assignment = payload(|out| encode_assignment(&assignment_head, &settings, out));
    let root = payload(|out| encode_root(&second_root(), out));
    [root, release, assignment]
}

fn second_root() -> Root {
    let only = |position: u8| RoleKeys {
        members: 1 << position,
        threshold: 1,
    };
    let key = |seed: u8| {
        let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        PublicKey(key.verifying_key().to_bytes())
    };
    Root {
        version: 2,
        issued: ISSUED,
        expires: EXPIRES,
        floor: 1,
        keys: [1, 2, 3].map(key).into_iter().collect(),
        root: only(0),
        release: only(1),
        director: only(2),
    }
}

fn component(component: &str) -> Component {
    let after = After {
        component: 0,
        condition: Condition::Healthy,
    };
    let is_first = component == "base";
    Component {
        name: name(component),
        kind: Kind::Container,
        artifact: Artifact {
            digest: Digest([6; 32]),
            size: 1 << 20,
        },
        spec: Digest([5; 32]),
        settings: None,
        mode: Mode::Service,
        strategy: Strategy::HandOver,
        health: Health::default(),
        after: (!is_first).then_some(after).into_iter().collect(),
    }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn version() -> Version {
    Version::new("1.2.3").expect("a version")
}

fn postcard(message: &impl Encode) -> Vec<u8> {
    let mut out = [0; 1024];
    wire::encode(message, &mut out).expect("it fits").to_vec()
}

fn text(message: &impl serde::Serialize) -> Vec<u8> {
    let mut out = [0; 2048];
    json::encode(message, &mut out)
        .expect("it fits")
        .as_bytes()
        .to_vec()
}

fn payload<E: std::fmt::Debug>(write: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Vec<u8> {
    let mut out = vec![0; DOCUMENT_BYTES];
    let length = write(&mut out).expect("it is well formed and fits");
    out.truncate(length);
    out
}

/// The list that the target `rules` reads: role, length, payload.
fn listed(payloads: &[(u8, &Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (role, payload) in payloads {
        bytes.push(*role);
        bytes.extend(
            u16::try_from(payload.len())
                .expect("a short payload")
                .to_le_bytes(),
        );
        bytes.extend(*payload);
    }
    bytes
}

/// The four records of a registered device, each behind its length.
fn records() -> Vec<u8> {
    let identity = record::Identity {
        uuid: Uuid::from_random([1; 16]),
        api_key: ApiKey([2; 32]),
        api_key_pending: Some(ApiKey([3; 32])),
        wireguard: record::StoredKey::Outside(0, PublicKey([4; 32])),
        wireguard_pending: None,
        registered: true,
        tunnel: None,
        api_key_rotated: ISSUED,
        wireguard_rotated: ISSUED,
        rotation_ordered: Some(KeyKind::Api),
        rotation_ordered_next: Some(KeyKind::WireGuard),
        tunnel_pending: Some(tunnel()),
        tunnel_home: Some(tunnel()),
    };
    let clock = record::Clock {
        floor: ISSUED,
        handshake: ISSUED,
        boots: 3,
    };
    let trust = lightship_core::trust::TrustState::new(second_root());
    let state = record::State::<2>::default();
    let all = [
        record::RecordRef::Identity(&identity),
        record::RecordRef::Trust(&trust),
        record::RecordRef::State(record::StateRef::new(&state)),
        record::RecordRef::Clock(&clock),
    ];
    let mut bytes = Vec::new();
    for one in all {
        let mut out = [0; 1024];
        let len = one.encode(&mut out).expect("it fits");
        bytes.extend(u16::try_from(len).expect("a short record").to_le_bytes());
        bytes.extend(&out[..len]);
    }
    bytes
}
