//! A fleet in memory: what a server stores, and devices that do as they are told.
#![allow(clippy::unwrap_used, reason = "this is a part of tests")]
#![allow(dead_code, reason = "each test and the benchmark use a part of it")]
#![allow(unreachable_pub, reason = "the module is included, not exported")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lightship_core::id::{Digest, Name, Uuid};
use lightship_core::target::Kind;
use lightship_core::time::UnixTime;
use lightship_director::{
    Component, Decision, Device, Director, Document, Event, Fleet, Note, Plan, Progress, Record,
    Refusal, Release, ReleaseState, Report, Saved, SavedDevice, Step, Threshold, Wave, Who,
};
use lightship_spec::container::Settable;

pub const START: u64 = 1_795_370_400;

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn device_id(i: u64) -> Uuid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[8..].copy_from_slice(&i.to_be_bytes());
    Uuid::from_random(bytes)
}

pub fn document(release: u64, device_type: &str, security_version: u32, floor: u32) -> Document {
    let mut web = Component::closed(name("web"), Kind::Container);
    web.settable.insert("COLOUR".into(), Settable::default());
    Document {
        digest: Digest::of(format!("{release} {device_type}").as_bytes()),
        security_version,
        floor,
        components: vec![web],
    }
}

/// A final release for device type `pi`.
pub fn release(number: u64) -> Release {
    Release {
        state: ReleaseState::Final,
        documents: BTreeMap::from([(name("pi"), document(number, "pi", 0, 0))]),
        rollout: None,
    }
}

pub fn staged(number: u64, percents: &[u8], soak_s: u32, revert: bool) -> Release {
    let waves = percents.iter().map(|percent| Wave {
        who: Who::Percent(*percent),
        soak_s,
    });
    Release {
        rollout: Some(Plan {
            waves: waves.collect(),
            threshold: Threshold {
                percent: 20,
                at_least: 2,
            },
            revert,
        }),
        ..release(number)
    }
}

/// What the server has stored, and the director beside it.
pub struct World {
    pub now: u64,
    pub director: Director,
    pub fleet: Fleet,
    pub releases: BTreeMap<u64, Release>,
    pub progress: BTreeMap<u64, Progress>,
    pub devices: BTreeMap<Uuid, Device>,
    pub records: BTreeMap<Uuid, Record>,
    pub reports: BTreeMap<Uuid, Report>,
    pub names: BTreeMap<Uuid, String>,
    pub assigned: u64,
    /// Time that was spent in here and in the director.
    pub spent: std::time::Duration,
    pub log: Option<String>,
}

impl World {
    pub fn new() -> Self {
        let mut world = Self {
            now: START,
            director: Director::restore(Saved::default(), UnixTime(START)),
            fleet: Fleet::default(),
            releases: BTreeMap::new(),
            progress: BTreeMap::new(),
            devices: BTreeMap::new(),
            records: BTreeMap::new(),
            reports: BTreeMap::new(),
            names: BTreeMap::new(),
            assigned: 0,
            spent: std::time::Duration::ZERO,
            log: Some(String::new()),
        };
        world.settle();
        world
    }

    pub fn silent() -> Self {
        Self {
            log: None,
            ..Self::new()
        }
    }

    /// The server is killed and started again from what it stored.
    pub fn restart(&mut self) {
        self.line("the server restarts");
        let devices = self.devices.iter().map(|(uuid, device)| SavedDevice {
            uuid: *uuid,
            device: device.clone(),
            record: self.records.get(uuid).cloned().unwrap_or_default(),
            report: self.reports.get(uuid).copied().unwrap_or_default(),
        });
        let releases = self.releases.iter();
        let saved = Saved {
            fleet: self.fleet.clone(),
            releases: releases
                .map(|(n, r)| (*n, r.clone(), self.progress.get(n).copied()))
                .collect(),
            devices: devices.collect(),
        };
        self.director = Director::restore(saved, UnixTime(self.now));
        self.settle();
    }

    pub fn line(&mut self, text: &str) {
        if let Some(log) = &mut self.log {
            writeln!(log, "{text}").unwrap();
        }
    }

    pub fn transcript(&mut self) -> String {
        self.log.replace(String::new()).unwrap_or_default()
    }

    fn handle(&mut self, event: Event) -> Result<(), Refusal> {
        let started = std::time::Instant::now();
        let taken = self.director.handle(UnixTime(self.now), event);
        self.settle();
        self.spent += started.elapsed();
        taken
    }

    pub fn set_fleet(&mut self, fleet: Fleet) -> Result<(), Refusal> {
        self.line("> fleet");
        self.handle(Event::Fleet(Box::new(fleet.clone())))?;
        self.fleet = fleet;
        Ok(())
    }

    pub fn release(&mut self, number: u64, release: Release) -> Result<(), Refusal> {
        self.line(&format!("> release {number} {:?}", release.state));
        self.handle(Event::Release(number, release.clone()))?;
        self.releases.insert(number, release);
        Ok(())
    }

    pub fn device(&mut self, uuid: Uuid, name: &str, device: Device) -> Result<(), Refusal> {
        self.line(&format!("> device {name}"));
        self.names.insert(uuid, name.into());
        self.handle(Event::Device(uuid, Box::new(device.clone())))?;
        self.devices.insert(uuid, device);
        Ok(())
    }

    pub fn change(&mut self, uuid: Uuid, change: impl FnOnce(&mut Device)) {
        let mut device = self.devices[&uuid].clone();
        change(&mut device);
        let name = self.names[&uuid].clone();
        self.device(uuid, &name, device).unwrap();
    }

    pub fn remove(&mut self, uuid: Uuid) {
        self.handle(Event::Removed(uuid)).unwrap();
        self.devices.remove(&uuid);
        self.records.remove(&uuid);
        self.reports.remove(&uuid);
    }

    pub fn report(&mut self, uuid: Uuid, report: Report) {
        let text = format!("> {} reports counter {}", self.names[&uuid], report.counter);
        self.line(&text);
        self.reports.insert(uuid, report);
        self.handle(Event::Reported(uuid, report)).unwrap();
    }

    /// The device takes its assignment and commits the release.
    pub fn commits(&mut self, uuid: Uuid) {
        let assigned = self.records[&uuid].assigned.clone().unwrap();
        let report = Report {
            counter: assigned.counter,
            committed: Some(assigned.document),
            ..self.reports.get(&uuid).copied().unwrap_or_default()
        };
        self.report(uuid, report);
    }

    /// The device takes its assignment, tries the release and gives it up.
    pub fn rejects(&mut self, uuid: Uuid) {
        let assigned = self.records[&uuid].assigned.clone().unwrap();
        let report = Report {
            counter: assigned.counter,
            rejected: Some(assigned.document),
            ..self.reports.get(&uuid).copied().unwrap_or_default()
        };
        self.report(uuid, report);
    }

    pub fn order(&mut self, release: u64, order: lightship_director::Order) -> Result<(), Refusal> {
        self.line(&format!("> {order:?} {release}"));
        self.handle(Event::Ordered(release, order))
    }

    pub fn pass(&mut self, seconds: u64) {
        self.line(&format!("> {seconds} s pass"));
        self.now += seconds;
        self.handle(Event::Tick).unwrap();
    }

    pub fn given(&self, uuid: Uuid) -> Option<u64> {
        let record = self.records.get(&uuid)?;
        record.assigned.as_ref().map(|assigned| assigned.release)
    }

    pub fn settle(&mut self) {
        loop {
            match self.director.poll() {
                Step::Decide(decision) => self.store(decision),
                Step::Note(note) => self.note(&note),
                Step::Wait { .. } => return,
            }
        }
    }

    fn store(&mut self, decision: Decision) {
        match decision {
            Decision::Assign { device, record, .. } => {
                let assigned = record.assigned.clone().expect("an assignment assigns");
                let before = self.records.insert(device, record);
                let before = before.and_then(|record| record.assigned);
                let last = before.map_or(0, |assigned| assigned.counter);
                let seen = self.reports.get(&device).map_or(0, |report| report.counter);
                assert!(assigned.counter > last, "the counter fell");
                assert!(
                    assigned.counter > seen || seen > i64::MAX as u64,
                    "the counter fell"
                );
                assert!(assigned.payload(device).is_ok());
                self.assigned += 1;
                if self.log.is_some() {
                    let name = &self.names[&device];
                    let settings = if assigned.settings.is_empty() {
                        ""
                    } else {
                        ", settings"
                    };
                    let text = format!(
                        "{name}: release {}, counter {}{settings}",
                        assigned.release, assigned.counter
                    );
                    self.line(&text);
                }
            }
            Decision::Remember { device, record } => {
                self.records.insert(device, record);
            }
            Decision::Rollout { release, progress } => {
                self.progress.insert(release, progress);
            }
        }
    }

    fn note(&mut self, note: &Note) {
        if self.log.is_none() {
            return;
        }
        let text = match note {
            Note::Withheld { device, why } => match why {
                Some(why) => format!("{}: {why}", self.names[device]),
                None => format!("{}: nothing is kept from it", self.names[device]),
            },
            Note::CounterBehind { device, .. } => format!("{}: counter behind", self.names[device]),
            Note::Withdrawn { device, release } => {
                format!("{}: release {release} withdrawn", self.names[device])
            }
            Note::WaveOpened { .. }
            | Note::Soaking { .. }
            | Note::Halted { .. }
            | Note::Completed { .. } => {
                format!("{note:?}")
            }
        };
        self.line(&text);
    }
}
