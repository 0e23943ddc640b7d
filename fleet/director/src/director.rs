//! Routes events to the devices and roll-outs they concern, and keeps the queue and the timers.
//!
//! What must stay true: a device is looked at only when something that concerns it changed; waves are opened only when no device waits to be looked at, because only then are the counts right.

mod device;
mod fleet;
mod staged;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lightship_core::id::{Digest, Uuid};
use lightship_core::time::UnixTime;

use crate::choose::Withheld;
use crate::event::{Decision, Event, Note, Refusal, Step};
use crate::facts::{Device, Fleet, Release, Report};
use crate::record::Record;
use crate::rollout::{Progress, Rollout, Stage, Tally};

/// Decides for one fleet.
///
/// After each [`handle`](Self::handle), call [`poll`](Self::poll) until it says [`Step::Wait`].
#[derive(Debug)]
pub struct Director {
    fleet: Fleet,
    releases: BTreeMap<u64, Release>,
    rollouts: BTreeMap<u64, Rollout>,
    devices: BTreeMap<Uuid, Member>,
    now: UnixTime,
    /// Devices to look at.
    queue: VecDeque<Uuid>,
    /// What is decided and not yet polled.
    out: VecDeque<Step>,
    timers: BTreeSet<(UnixTime, Uuid)>,
    floors: Floors,
    /// Releases whose roll-outs count devices: those that may still change something, and the last that was completed.
    counted: Vec<u64>,
}

/// The floor of each document, by its digest.
type Floors = BTreeMap<Digest, u32>;

/// Everything about one device.
#[derive(Debug)]
struct Member {
    device: Device,
    record: Record,
    report: Report,
    /// Where it is counted.
    standings: Vec<Standing>,
    queued: bool,
    wakes: Option<UnixTime>,
    withheld: Option<Withheld>,
}

/// Where a device is counted in a roll-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The release that is rolled out.
    pub release: u64,
    /// The wave that the device is in, from 0.
    pub wave: u8,
    /// How far it is.
    pub stage: Stage,
}

/// How far a roll-out is, with its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progressed {
    /// What is stored of it.
    pub progress: Progress,
    /// One a wave.
    pub waves: Vec<Tally>,
}

/// What was stored.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// The fleet's facts.
    pub fleet: Fleet,
    /// By number, with the progress of the roll-out if one was stored.
    pub releases: Vec<(u64, Release, Option<Progress>)>,
    /// All devices.
    pub devices: Vec<SavedDevice>,
}

/// What was stored of one device.
#[derive(Clone, Debug)]
pub struct SavedDevice {
    /// Its identity.
    pub uuid: Uuid,
    /// What is known of it.
    pub device: Device,
    /// What was decided.
    pub record: Record,
    /// What it said last.
    pub report: Report,
}

impl Director {
    /// A director that knows what was stored; an empty one for a new fleet.
    pub fn restore(saved: Saved, now: UnixTime) -> Self {
        let mut director = Self {
            fleet: saved.fleet,
            releases: BTreeMap::new(),
            rollouts: BTreeMap::new(),
            devices: BTreeMap::new(),
            now,
            queue: VecDeque::new(),
            out: VecDeque::new(),
            timers: BTreeSet::new(),
            floors: BTreeMap::new(),
            counted: Vec::new(),
        };
        for (number, release, progress) in saved.releases {
            director.restore_rollout(number, &release, progress);
            director.insert_release(number, release);
        }
        director.choose_counted();
        for device in saved.devices {
            let member = Member::new(device.device, device.record, device.report);
            director.devices.insert(device.uuid, member);
        }
        director.look_at_all();
        director
    }

    /// Takes a fact.
    ///
    /// `now` may jump back; the director's time does not.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]; nothing has changed but the time.
    pub fn handle(&mut self, now: UnixTime, event: Event) -> Result<(), Refusal> {
        self.now = self.now.max(now);
        match event {
            Event::Tick => Ok(()),
            Event::Fleet(fleet) => self.set_fleet(*fleet),
            Event::Release(number, release) => self.set_release(number, release),
            Event::Device(uuid, device) => self.set_device(uuid, *device),
            Event::Removed(uuid) => self.remove(&uuid),
            Event::Reported(uuid, report) => self.report(uuid, report),
            Event::ReleaseKeysChanged { floor } => {
                self.restart_floors(floor);
                Ok(())
            }
            Event::Ordered(number, order) => self.order(number, order),
        }
    }

    /// Says what to do next.
    pub fn poll(&mut self) -> Step {
        self.wake_due();
        loop {
            if let Some(step) = self.out.pop_front() {
                return step;
            }
            if let Some(uuid) = self.queue.pop_front() {
                self.look_at(uuid);
            } else if !self.advance_rollouts() {
                return Step::Wait {
                    until: self.next_deadline(),
                };
            }
        }
    }

    /// Why a device is not given what it could be given.
    pub fn withheld(&self, device: &Uuid) -> Option<&Withheld> {
        self.devices.get(device)?.withheld.as_ref()
    }

    /// What is decided about a device.
    pub fn record(&self, device: &Uuid) -> Option<&Record> {
        self.devices.get(device).map(|member| &member.record)
    }

    /// Where a device is counted.
    pub fn standings(&self, device: &Uuid) -> &[Standing] {
        let member = self.devices.get(device);
        member.map_or(&[], |member| &member.standings)
    }

    /// How far the roll-out of a release is.
    pub fn rollout(&self, release: u64) -> Option<Progressed> {
        let rollout = self.rollouts.get(&release)?;
        Some(Progressed {
            progress: rollout.progress,
            waves: rollout.tallies.clone(),
        })
    }

    fn wake_due(&mut self) {
        while let Some(&(at, uuid)) = self.timers.first() {
            if at > self.now {
                return;
            }
            self.timers.pop_first();
            if let Some(member) = self.devices.get_mut(&uuid) {
                member.wakes = None;
            }
            self.queue(uuid);
        }
    }

    fn next_deadline(&self) -> Option<UnixTime> {
        let device = self.timers.first().map(|(at, _)| *at);
        let soaked = self.rollouts.values().filter_map(Rollout::soaked_at);
        device.into_iter().chain(soaked).min()
    }

    /// Has a device looked at, once.
    fn queue(&mut self, uuid: Uuid) {
        if let Some(member) = self.devices.get_mut(&uuid)
            && !member.queued
        {
            member.queued = true;
            self.queue.push_back(uuid);
        }
    }

    fn look_at_all(&mut self) {
        for (uuid, member) in &mut self.devices {
            if !member.queued {
                member.queued = true;
                self.queue.push_back(*uuid);
            }
        }
    }

    fn note(&mut self, note: Note) {
        self.out.push_back(Step::Note(note));
    }

    fn decide(&mut self, decision: Decision) {
        self.out.push_back(Step::Decide(decision));
    }
}

impl Member {
    fn new(device: Device, record: Record, report: Report) -> Self {
        Self {
            device,
            record,
            report,
            standings: Vec::new(),
            queued: false,
            wakes: None,
            withheld: None,
        }
    }
}
