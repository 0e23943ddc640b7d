//! A power cut at every action of every flow, before it and after it, and sampled pairs of cuts.
//!
//! The oracle: after the power is back the device comes to rest with one release, the old one or the new one, whole; what it last reported is what is so; its identity is the one it had; and nothing is stored that was not decided.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod support;

use lightship_core::id::{ApiKey, Digest, Name, Uuid};
use lightship_core::record::{self, State};
use lightship_core::target::{After, Component, Condition, Kind, Mode, Strategy};
use lightship_core::wire::{KeyKind, Order};
use lightship_core::{Config, Event};
use support::fleet::Fleet;
use support::script::{COMPONENTS, Cut, Device, Fault};
use support::*;

struct Flow {
    name: &'static str,
    first: Vec<Component>,
    second: Vec<Component>,
    faults: Vec<(Component, Fault)>,
    rotate: bool,
    /// Inventories that fail half-way at each boot.
    blind: u32,
    /// Whether the second release should be the one that runs in the end.
    expect_second: bool,
}

impl Flow {
    fn new(name: &'static str, first: Vec<Component>, second: Vec<Component>) -> Self {
        Self {
            name,
            first,
            second,
            faults: vec![],
            rotate: false,
            blind: 0,
            expect_second: true,
        }
    }

    fn failing(mut self, component: Component, fault: Fault) -> Self {
        self.faults.push((component, fault));
        self.expect_second = false;
        self
    }
}

fn with(mut component: Component, strategy: Strategy) -> Component {
    component.strategy = strategy;
    component
}

fn firmware(version: u8) -> Component {
    let mut component = component("app", version);
    component.kind = Kind::Firmware;
    component
}

fn flows() -> Vec<Flow> {
    let web = |v| component("web", v);
    let mut chain = vec![
        component("init", 2),
        component("web", 2),
        component("db", 2),
    ];
    chain[0].mode = Mode::Job;
    let after = |component, condition| {
        [After {
            component,
            condition,
        }]
        .into_iter()
        .collect()
    };
    chain[1].after = after(0, Condition::Completed);
    chain[2].after = after(1, Condition::Healthy);
    let mut flows = vec![
        Flow::new("firmware", vec![firmware(1)], vec![firmware(2)]),
        Flow::new(
            "firmware beside a container",
            vec![firmware(1), web(1)],
            vec![firmware(2), web(2)],
        ),
        Flow::new("a chain with a job", vec![web(1)], chain),
        Flow::new(
            "a service goes",
            vec![web(1), component("db", 1)],
            vec![web(2)],
        ),
        Flow::new("nothing but settings", vec![web(1)], vec![web(1)]),
        Flow::new("unhealthy", vec![web(1)], vec![web(2)]).failing(web(2), Fault::Unhealthy),
        Flow::new("exits", vec![web(1)], vec![web(2)]).failing(web(2), Fault::Exits),
        Flow::new("does not start", vec![web(1)], vec![web(2)])
            .failing(web(2), Fault::DoesNotStart),
        Flow::new("unusable", vec![web(1)], vec![web(2)]).failing(web(2), Fault::Unusable),
        Flow::new(
            "one of two fails",
            vec![web(1), component("db", 1)],
            vec![web(2), component("db", 2)],
        )
        .failing(component("db", 2), Fault::Unhealthy),
        Flow::new("first release fails", vec![], vec![web(2)]).failing(web(2), Fault::Exits),
    ];
    for strategy in [
        Strategy::DownloadThenKill,
        Strategy::KillThenDownload,
        Strategy::DeleteThenDownload,
        Strategy::HandOver,
    ] {
        let release = |v| vec![with(web(v), strategy), with(component("db", v), strategy)];
        flows.push(Flow::new("update", release(1), release(2)));
        flows.push(
            Flow::new("revert", release(1), release(2))
                .failing(component("db", 2), Fault::Unhealthy),
        );
    }
    let no_space = |v| vec![with(web(v), Strategy::DeleteThenDownload)];
    let mut tight = Flow::new("no space for both", no_space(1), no_space(2));
    tight.faults.push((web(2), Fault::NoSpace));
    flows.push(tight);
    let mut rotation = Flow::new("rotation", vec![web(1)], vec![web(2)]);
    rotation.rotate = true;
    flows.push(rotation);
    for strategy in [Strategy::DownloadThenKill, Strategy::DeleteThenDownload] {
        let release = |v| vec![with(web(v), strategy), with(component("db", v), strategy)];
        let mut blind = Flow::new("inventories that fail", release(1), release(2));
        blind.blind = 2;
        flows.push(blind);
    }
    let mut blind = Flow::new(
        "firmware, inventories that fail",
        vec![firmware(1), web(1)],
        vec![firmware(2), web(2)],
    );
    blind.blind = 2;
    flows.push(blind);
    flows
}

struct Run {
    device: Device,
    fleet: Fleet,
    cuts: Vec<(usize, bool)>,
    uuid: Option<Uuid>,
    actions: usize,
    blind: u32,
}

impl Run {
    fn new(config: Config, flow: &Flow, slow: bool, cuts: &[(usize, bool)]) -> Self {
        let mut device = Device::new(config).quiet();
        device.storage_is_slow = slow;
        for (component, fault) in &flow.faults {
            device.faults.insert(component.artifact.digest, *fault);
        }
        let mut run = Self {
            device,
            fleet: Fleet::default(),
            cuts: cuts.to_vec(),
            uuid: None,
            actions: 0,
            blind: flow.blind,
        };
        run.device.blind = flow.blind;
        run.arm();
        run
    }

    fn arm(&mut self) {
        let Some((at, late)) = self.cuts.first().copied() else {
            self.device.cut_after = None;
            return;
        };
        self.device.cut_after = Some(at.saturating_sub(self.device.actions));
        self.device.cut_late = late;
    }

    /// Does something as often as it takes: a cut makes the device start again.
    fn persist(&mut self, mut what: impl FnMut(&mut Fleet, &mut Device) -> Result<(), Cut>) {
        for _ in 0..60 {
            let result = what(&mut self.fleet, &mut self.device);
            if let Some(uuid) = self.device.agent.uuid()
                && self
                    .device
                    .disk
                    .records
                    .contains_key(&(record::Record::Identity as usize))
            {
                assert_eq!(
                    *self.uuid.get_or_insert(uuid),
                    uuid,
                    "identity never changes"
                );
            }
            self.actions = self.device.actions;
            if result == Ok(()) {
                return;
            }
            self.fleet.notice_key(&mut self.device);
            let by_cut = self.device.cut_after == Some(0) && !self.device.wants_reboot;
            if by_cut {
                self.cuts.remove(0);
            }
            let device =
                std::mem::replace(&mut self.device, Device::new(Publisher::default().config()));
            self.device = device.restarted().quiet();
            self.device.wants_reboot = false;
            self.device.blind = self.blind;
            self.device.last_key = None;
            self.device.sent.clear();
            self.fleet.forget();
            self.arm();
        }
        panic!("restarts without end");
    }
}

fn run(flow: &Flow, slow: bool, cuts: &[(usize, bool)]) -> usize {
    let publisher = Publisher::default();
    let mut run = Run::new(publisher.config(), flow, slow, cuts);
    run.persist(|fleet, device| fleet.pass(device, 4));
    let uuid = run.device.uuid();
    let mut first = None;
    if !flow.first.is_empty() {
        let head = release_head("1.0");
        first = Some(run.fleet.assign(&publisher, uuid, 1, &head, &flow.first));
        run.persist(|fleet, device| fleet.pass(device, 40));
    }
    if flow.rotate {
        let mut ordered = false;
        run.persist(|fleet, device| {
            if !std::mem::replace(&mut ordered, true) {
                device.event(Event::Asked(Order::Rotate(KeyKind::Api)))?;
            }
            fleet.pass(device, 10)
        });
    }
    let second = run
        .fleet
        .assign(&publisher, uuid, 2, &release_head("2.0"), &flow.second);
    run.persist(|fleet, device| fleet.pass(device, 150));
    run.persist(|fleet, device| fleet.pass(device, 150));
    let expected = if flow.expect_second {
        Some(second)
    } else {
        first
    };
    check(flow, cuts, &run, expected);
    run.actions
}

fn check(flow: &Flow, cuts: &[(usize, bool)], run: &Run, expected: Option<Digest>) {
    let context = format!("{} with cuts {cuts:?}", flow.name);
    let left = run.cuts.len();
    assert!(
        cuts.len() > 1 || left == 0,
        "the cut did not happen: {context}"
    );
    let bytes = &run.device.disk.records[&(record::Record::State as usize)];
    let saved: State<COMPONENTS> = record::decode(bytes).expect("the state reads back");
    let committed = saved.committed.as_ref().map(|target| target.release);
    assert_eq!(committed, expected, "the wrong release: {context}");
    assert!(saved.trial.is_none(), "the trial does not end: {context}");

    let parts = saved.committed.iter().flat_map(|target| &target.parts);
    let services = parts.filter(|part| part.component.mode == Mode::Service);
    let mut wanted: Vec<(Name, Digest)> = services
        .map(|part| (part.component.name.clone(), part.instance))
        .collect();
    wanted.sort();
    assert_eq!(run.device.running(), wanted, "not whole: {context}");

    let report = run.fleet.reports.last().expect("it reports");
    assert_eq!(report.committed, committed, "an untrue report: {context}");
    assert_eq!(report.trial, None, "an untrue report: {context}");
    assert_eq!(
        report.rejected.map(|rejected| rejected.release),
        saved.rejected.map(|rejected| rejected.release),
        "an untrue report: {context}"
    );
    assert!(run.device.disk.provisioning_key_erased, "{context}");
    if flow.rotate {
        check_rotation(run, &context);
    }
}

fn check_rotation(run: &Run, context: &str) {
    let bytes = &run.device.disk.records[&(record::Record::Identity as usize)];
    let identity: record::Identity = record::decode(bytes).expect("the identity reads back");
    let works = |key: &ApiKey| !run.fleet.retired.contains(key);
    assert!(
        works(&identity.api_key),
        "the device is locked out: {context}"
    );
}

#[test]
fn a_cut_at_any_action_leaves_one_release_whole_and_a_true_report() {
    let (mut single, mut double) = (0, 0);
    for (index, flow) in flows().iter().enumerate() {
        for slow in [false, true] {
            let actions = run(flow, slow, &[]);
            for at in 0..actions {
                for late in [false, true] {
                    run(flow, slow, &[(at, late)]);
                    single += 1;
                }
            }
            // Pairs, sampled by a fixed walk.
            let mut walk = index * 7919 + 13;
            for _ in 0..60 {
                walk = (walk * 48_271 + 11) % 2_147_483_647;
                let (at, gap) = (walk % actions, 1 + walk / actions % 12);
                let late = walk.is_multiple_of(2);
                run(
                    flow,
                    slow,
                    &[(at, late), (at + gap, walk.is_multiple_of(3))],
                );
                double += 1;
            }
        }
    }
    eprintln!("power cuts: {single} single cut points, {double} pairs");
    assert!(single > 1000);
}
