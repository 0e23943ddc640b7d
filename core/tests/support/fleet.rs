//! A fleet that answers: it registers devices, holds a target for them, takes new keys and remembers what it was told.

use super::script::{Cut, Device};
use super::*;
use std::collections::BTreeSet;

#[derive(Default)]
pub struct Fleet {
    /// Both documents of the target, sent at each connection.
    pub target: Option<(Vec<u8>, Vec<u8>)>,
    /// The root that devices are to be brought up to.
    pub roots: Vec<Vec<u8>>,
    pub reports: Vec<Report>,
    pub registered: BTreeSet<Uuid>,
    /// API keys that were proposed, accepted and not yet used.
    pub proposed: Option<ApiKey>,
    pub current: Option<ApiKey>,
    /// API keys that stopped working.
    pub retired: BTreeSet<ApiKey>,
    pub told_target: bool,
}

impl Fleet {
    /// Lets device and fleet talk until neither has anything more to say.
    pub fn talk(&mut self, device: &mut Device) -> Result<(), Cut> {
        for _ in 0..1000 {
            device.run()?;
            self.notice_key(device);
            let Some(up) = device.sent.pop_front() else {
                if self.tell_target(device)? {
                    continue;
                }
                return Ok(());
            };
            match up {
                Up::Register(register) => {
                    assert!(self.registered.len() <= 1, "one device has one identity");
                    self.registered.insert(register.uuid);
                    self.current.get_or_insert(register.api_key);
                    device.event(Event::Received(Down::Registered(registered(register.uuid))))?;
                }
                Up::ProposeKey(key) => {
                    if let NewKey::Api(key) = key {
                        self.proposed = Some(key);
                    }
                    let accepted = KeyAccepted {
                        kind: key.kind(),
                        id: key.id(),
                    };
                    device.event(Event::Received(Down::KeyAccepted(accepted)))?;
                }
                Up::Report(report) => {
                    if let Some(document) = self.roots.get((report.root as usize).wrapping_sub(1)) {
                        let document = Blob::Raw(document);
                        device.event(Event::Received(Down::Root(SignedRoot { document })))?;
                    }
                    self.reports.push(report);
                }
            }
        }
        panic!("device and fleet talk without end:\n{}", device.out);
    }

    /// The first use of a new key retires the old one.
    pub fn notice_key(&mut self, device: &mut Device) {
        let Some(used) = device.last_key else {
            return;
        };
        if self.proposed == Some(used) {
            self.retired.extend(self.current.replace(used));
            self.proposed = None;
            device.refused_keys.extend(self.retired.iter().copied());
        }
    }

    /// Sends the retained target once for each connection.
    fn tell_target(&mut self, device: &mut Device) -> Result<bool, Cut> {
        let connected = device.agent.is_registered() && device.last_key.is_some();
        if !connected || self.told_target {
            return Ok(false);
        }
        let Some((assignment, release)) = &self.target else {
            return Ok(false);
        };
        self.told_target = true;
        device.event(Event::Received(Down::Target(SignedTarget {
            assignment: Blob::Raw(assignment),
            release: Blob::Raw(release),
        })))?;
        Ok(true)
    }

    /// Makes a target that devices are told of from now on.
    pub fn assign(
        &mut self,
        publisher: &Publisher,
        device: Uuid,
        counter: u64,
        head: &ReleaseHead,
        components: &[Component],
    ) -> Digest {
        let (release, digest) = publisher.release(head, components);
        let assignment = publisher.assignment(&assignment_head(device, counter, digest), &[]);
        self.target = Some((assignment, release));
        self.told_target = false;
        digest
    }

    /// The device lost its connection: the retained target is sent again.
    pub fn forget(&mut self) {
        self.told_target = false;
    }

    /// Talks while time passes.
    pub fn pass(&mut self, device: &mut Device, seconds: u64) -> Result<(), Cut> {
        for _ in 0..seconds.div_ceil(2) {
            self.talk(device)?;
            device.pass(Duration::from_secs(2))?;
        }
        self.talk(device)
    }
}
