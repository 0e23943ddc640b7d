//! What the director is told of a fleet, its releases and its devices (design, sections 3.1 and 6).
//!
//! Facts are replaced whole: the director compares, the caller need not.

use std::collections::{BTreeMap, BTreeSet};

use lightship_core::id::{Digest, Name};
use lightship_core::target::Kind;
use lightship_core::trust::{Codec as _, Compact, Offence, ReleaseHead};
use lightship_spec::container::{ContainerSpec, Settable};
use serde::{Deserialize, Serialize};

use crate::limits::{COMPONENTS, LEASE_S};
use crate::rollout::Plan;
use crate::variables::Variables;
use crate::window::{Window, Zone};

/// What holds for all devices of a fleet that do not say otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fleet {
    /// Which release devices are given that are not pinned.
    pub policy: Policy,
    /// When devices may be disturbed; empty means at any time. At most [`WINDOWS`](crate::limits::WINDOWS).
    pub windows: Vec<Window>,
    /// Where devices are that do not say.
    pub zone: Zone,
    /// For how many seconds an assignment holds; at least [`LEASE_LEAST_S`](crate::limits::LEASE_LEAST_S).
    pub lease_s: u32,
    /// The floor that the trust root sets.
    pub floor: u32,
    /// Values for all devices.
    pub variables: Variables,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            policy: Policy::Latest,
            windows: Vec::new(),
            zone: Zone::default(),
            lease_s: LEASE_S,
            floor: 0,
            variables: Variables::default(),
        }
    }
}

/// Which release devices are given that are not pinned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The newest final release that fits the device.
    #[default]
    Latest,
    /// One final release, by number.
    Pinned(u64),
}

/// A release of the fleet: one signed document for each device type that it supports.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// Whether it is given out.
    pub state: ReleaseState,
    /// By device type.
    pub documents: BTreeMap<Name, Document>,
    /// In which order devices that follow the fleet are given it; without one, all at once.
    ///
    /// It starts when the release is final and is not changed afterwards.
    pub rollout: Option<Plan>,
}

/// Whether a release is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseState {
    /// Only to devices pinned to it.
    Draft,
    /// To devices that follow the fleet.
    Final,
    /// To no device any more. A device that has it keeps it only while there is nothing else for it.
    Invalid,
}

/// What the director needs of a signed release document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// SHA-256 digest of the signed payload.
    pub digest: Digest,
    /// Compared with the floor of each device.
    pub security_version: u32,
    /// The floor of a device that committed it.
    pub floor: u32,
    /// In the order of the document.
    pub components: Vec<Component>,
}

/// What the director needs of one component.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// Its name, which variables call the service.
    pub name: Name,
    /// Decides which kind of variables it is given.
    pub kind: Kind,
    /// What the publisher lets be set from outside.
    pub settable: BTreeMap<String, Settable>,
    /// Which of these the publisher gave a value.
    pub given: BTreeSet<String>,
}

/// Why bytes are not a release document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// A device would refuse it.
    #[error("a device would refuse this document: {0:?}")]
    Offence(Offence),
    /// The blob that says how a container is run is not known.
    #[error("component {component} names spec {spec}, which was not uploaded")]
    UnknownSpec {
        /// The component.
        component: Name,
        /// The digest it names.
        spec: Digest,
    },
}

impl From<Offence> for DocumentError {
    fn from(offence: Offence) -> Self {
        Self::Offence(offence)
    }
}

impl Document {
    /// Reads the payload of a release document; its signatures are the caller's to verify.
    ///
    /// `spec` looks up how a container is run, by the digest in the document.
    ///
    /// # Errors
    ///
    /// A [`DocumentError`].
    pub fn read(
        payload: &[u8],
        spec: impl Fn(&Digest) -> Option<ContainerSpec>,
    ) -> Result<(ReleaseHead, Self), DocumentError> {
        let (head, reader) = Compact.release(payload)?;
        let mut components = Vec::new();
        for component in reader.components::<COMPONENTS>()? {
            let open = match component.kind {
                Kind::Container => spec(&component.spec).ok_or(DocumentError::UnknownSpec {
                    component: component.name.clone(),
                    spec: component.spec,
                })?,
                Kind::Firmware | Kind::HostOs | Kind::Agent => {
                    components.push(Component::closed(component.name, component.kind));
                    continue;
                }
            };
            components.push(Component::container(component.name, &open));
        }
        let document = Self {
            digest: Digest::of(payload),
            security_version: head.security_version,
            floor: head.floor,
            components,
        };
        Ok((head, document))
    }
}

impl Component {
    /// A container, with what its spec leaves open.
    pub fn container(name: Name, spec: &ContainerSpec) -> Self {
        Self {
            name,
            kind: Kind::Container,
            settable: spec.settable.clone(),
            given: spec.environment.keys().cloned().collect(),
        }
    }

    /// A component that leaves nothing open.
    pub fn closed(name: Name, kind: Kind) -> Self {
        Self {
            name,
            kind,
            settable: BTreeMap::new(),
            given: BTreeSet::new(),
        }
    }
}

/// What is known of one device, apart from what it reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// What it is.
    pub device_type: Name,
    /// For waves.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The release it is to stay on, whatever the fleet does.
    #[serde(default)]
    pub pinned: Option<u64>,
    /// Where it is; absent means where its fleet is.
    #[serde(default)]
    pub zone: Option<Zone>,
    /// When it may be disturbed; absent means when its fleet may.
    #[serde(default)]
    pub windows: Option<Vec<Window>>,
    /// Values for this device.
    #[serde(default)]
    pub variables: Variables,
    /// Raised by a person to have a rejected release tried again.
    #[serde(default)]
    pub attempt: u32,
    /// Whether a person decided that update locks do not count.
    #[serde(default)]
    pub override_locks: bool,
}

impl Device {
    /// A device of which nothing is known but what it is.
    pub fn new(device_type: Name) -> Self {
        Self {
            device_type,
            tags: BTreeMap::new(),
            pinned: None,
            zone: None,
            windows: None,
            variables: Variables::default(),
            attempt: 0,
            override_locks: false,
        }
    }
}

/// What a device said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The assignment counter last accepted.
    pub counter: u64,
    /// The release document that was committed last.
    pub committed: Option<Digest>,
    /// The release document that was tried and given up last.
    pub rejected: Option<Digest>,
}

impl From<&lightship_core::wire::Report> for Report {
    fn from(report: &lightship_core::wire::Report) -> Self {
        Self {
            counter: report.counter,
            committed: report.committed,
            rejected: report.rejected.map(|rejected| rejected.release),
        }
    }
}
