//! Which release one device should run: a pure function of the facts.
//!
//! In order: the device's pin, the fleet's pin, the newest final release. Each only with a document for the device's type, not below its floor, and as far as its roll-out admits the device.

use std::collections::BTreeMap;

use lightship_core::id::{Digest, Name, Uuid};
use lightship_core::time::UnixTime;
use lightship_spec::settings::Rejection;

use crate::facts::{Device, Document, Fleet, Policy, Release, ReleaseState, Report};
use crate::record::{Previous, Record};
use crate::rollout::Rollout;

/// Why a device is not given what it could be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// There is none for it.
    #[error("there is no final release for it")]
    NoRelease,
    /// The release it is pinned to does not exist, is invalid, or is a draft that its fleet is pinned to.
    #[error("release {release} is not given out")]
    NotGivenOut {
        /// The release.
        release: u64,
    },
    /// The release has no document for its device type.
    #[error("release {release} does not support its device type")]
    NoDocument {
        /// The release.
        release: u64,
    },
    /// It would refuse the release.
    #[error("release {release} is below the floor that the device has reached")]
    BelowFloor {
        /// The release.
        release: u64,
    },
    /// Its turn has not come.
    #[error("release {release} is being rolled out and the device's wave is not open")]
    NotItsTurn {
        /// The release.
        release: u64,
    },
    /// The release cannot be started with the device's variables.
    #[error("release {release}, {component}: {rejection}")]
    Settings {
        /// The release.
        release: u64,
        /// The component.
        component: Name,
        /// What is wrong with the variables.
        rejection: Rejection,
    },
    /// It is not a time at which it may be disturbed.
    #[error("release {release} waits for a maintenance window")]
    Window {
        /// The release.
        release: u64,
        /// When the next one opens, if ever.
        opens: Option<UnixTime>,
    },
    /// Its counter cannot rise any more: it reported one that no director gave out.
    #[error("its counter cannot rise any more; give it a new director key")]
    CounterExhausted,
}

/// What a device should run, and what it is kept from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) release: Option<u64>,
    pub(crate) withheld: Option<Withheld>,
}

/// The facts that a choice is made of.
pub(crate) struct Facts<'a> {
    pub(crate) fleet: &'a Fleet,
    pub(crate) releases: &'a BTreeMap<u64, Release>,
    pub(crate) rollouts: &'a BTreeMap<u64, Rollout>,
    pub(crate) uuid: &'a Uuid,
    pub(crate) device: &'a Device,
    pub(crate) record: &'a Record,
    pub(crate) report: &'a Report,
}

impl Facts<'_> {
    pub(crate) fn choose(&self) -> Choice {
        let pinned = self.device.pinned;
        match pinned.map(|number| (number, self.given_out(number, true))) {
            Some((number, Ok(()))) => Choice {
                release: Some(number),
                withheld: None,
            },
            // A pin on what is not given out is no pin, but it is said.
            Some((_, Err(withheld))) => Choice {
                withheld: Some(withheld),
                ..self.follow()
            },
            None => self.follow(),
        }
    }

    /// What the fleet's policy gives.
    fn follow(&self) -> Choice {
        match self.fleet.policy {
            Policy::Latest => self.newest(u64::MAX),
            Policy::Pinned(number) => self.fleet_pin(number),
        }
    }

    fn fleet_pin(&self, number: u64) -> Choice {
        if let Err(withheld) = self.given_out(number, false) {
            return Choice {
                release: None,
                withheld: Some(withheld),
            };
        }
        if self.admitted(number) {
            return Choice {
                release: Some(number),
                withheld: None,
            };
        }
        // Whose turn has not come keeps what it has; who has nothing, or is taken back, gets the one before.
        let has = self.record.assigned.as_ref().map(|a| a.release);
        let kept = has.filter(|has| *has != number && self.given_out(*has, true).is_ok());
        Choice {
            release: kept.or_else(|| self.newest(number.saturating_sub(1)).release),
            withheld: Some(Withheld::NotItsTurn { release: number }),
        }
    }

    /// The newest final release up to `most` that fits the device and admits it.
    fn newest(&self, most: u64) -> Choice {
        let mut withheld = None;
        for number in self
            .releases
            .range(..=most)
            .rev()
            .map(|(number, _)| *number)
        {
            match self.given_out(number, false) {
                Ok(()) if self.admitted(number) => {
                    return Choice {
                        release: Some(number),
                        withheld,
                    };
                }
                Ok(()) => {
                    withheld.get_or_insert(Withheld::NotItsTurn { release: number });
                }
                Err(refused @ Withheld::BelowFloor { .. }) => {
                    withheld.get_or_insert(refused);
                }
                Err(_) => {}
            }
        }
        Choice {
            release: None,
            withheld: Some(withheld.unwrap_or(Withheld::NoRelease)),
        }
    }

    /// Whether a release may be given to this device at all, roll-outs aside.
    pub(crate) fn given_out(&self, number: u64, draft: bool) -> Result<(), Withheld> {
        let release = self.releases.get(&number);
        let given_out = release.filter(|release| match release.state {
            ReleaseState::Draft => draft,
            ReleaseState::Final => true,
            ReleaseState::Invalid => false,
        });
        let release = given_out.ok_or(Withheld::NotGivenOut { release: number })?;
        let document = self.document(release);
        let document = document.ok_or(Withheld::NoDocument { release: number })?;
        if document.security_version < self.record.floor.max(self.fleet.floor) {
            return Err(Withheld::BelowFloor { release: number });
        }
        Ok(())
    }

    pub(crate) fn document<'r>(&self, release: &'r Release) -> Option<&'r Document> {
        release.documents.get(&self.device.device_type)
    }

    fn admitted(&self, number: u64) -> bool {
        let Some(rollout) = self.rollouts.get(&number) else {
            return true;
        };
        let wave = rollout.plan.wave_of(number, self.uuid, &self.device.tags);
        rollout.admits(wave, self.has(number))
    }

    /// Whether the device may be given back what it had.
    pub(crate) fn may_return_to(&self, previous: Previous) -> bool {
        let number = previous.release;
        let taken_back = self.rollouts.get(&number).is_some_and(Rollout::reverts);
        let is_the_same = self.digest(number) == Some(previous.document);
        is_the_same && !taken_back && self.given_out(number, true).is_ok()
    }

    /// The digest of a release's document for this device.
    pub(crate) fn digest(&self, number: u64) -> Option<Digest> {
        let release = self.releases.get(&number)?;
        self.document(release).map(|document| document.digest)
    }

    /// Whether this release is what the device was told last. After a move, its number means another.
    pub(crate) fn is_told(&self, number: u64) -> bool {
        let assigned = self.record.assigned.as_ref();
        assigned.is_some_and(|assigned| {
            assigned.release == number && self.digest(number) == Some(assigned.document)
        })
    }

    /// Whether the device was given the release before.
    pub(crate) fn has(&self, number: u64) -> bool {
        let digest = self.digest(number);
        let runs = digest.is_some() && self.report.committed == digest;
        runs || self.is_told(number)
    }

    /// Whether the device would be given the release by its roll-out, now or later.
    pub(crate) fn is_concerned(&self, number: u64, chosen: Option<u64>) -> bool {
        let pinned = self.device.pinned;
        let follows = pinned.is_none_or(|pin| self.given_out(pin, true).is_err());
        let leads_here = match self.fleet.policy {
            Policy::Latest => chosen.is_none_or(|chosen| chosen <= number),
            Policy::Pinned(pin) => pin == number,
        };
        follows && leads_here && self.given_out(number, false).is_ok()
    }
}
