//! What a device should run: a release and its components (design, section 3.1).
//!
//! A component is all the core needs to know, whatever runs underneath; how it is started is an opaque blob whose digest is signed.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::codec::{fields, variants};
use crate::id::{Digest, Name, Version};
use crate::limits::DEPENDENCIES;

/// What a component is made of, and so which platform part runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An OCI container.
    Container,
    /// A firmware image in a slot; starting it restarts the device.
    Firmware,
    /// The operating system of a Linux board; starting it restarts the device.
    HostOs,
    /// The agent itself; starting it restarts the agent.
    Agent,
}

impl Kind {
    /// Whether starting such a component restarts the device or the agent.
    pub const fn restarts_device(self) -> bool {
        match self {
            Self::Container => false,
            Self::Firmware | Self::HostOs | Self::Agent => true,
        }
    }
}

/// Whether a component runs for ever or to completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Runs until it is stopped.
    #[default]
    Service,
    /// Runs once; success is completion.
    Job,
}

/// How an old version of a component gives way to a new one (balena's names).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Fetch and stage the new one, then stop the old one and start the new one.
    #[default]
    DownloadThenKill,
    /// Stop the old one, then fetch, stage and start the new one: frees memory and bandwidth first.
    KillThenDownload,
    /// Stop the old one and, if there is no room for both, remove it before the new one is fetched.
    ///
    /// This is the one strategy that may delete a part of the committed release while a trial runs, and only after the platform said that there is no space.
    DeleteThenDownload,
    /// Start the new one beside the old one, and stop the old one when the new one is healthy.
    HandOver,
}

/// What must be true of another component before this one starts (Compose `depends_on` conditions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It was started.
    Started,
    /// Its health check passes.
    Healthy,
    /// It ran to completion with success.
    Completed,
}

/// A dependency on another component of the same release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct After {
    /// Position of the other component in the release, from 0.
    pub component: u8,
    /// What must be true of it.
    pub condition: Condition,
}

/// When a component counts as healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Health {
    /// Seconds after its start in which failing probes do not count.
    pub grace_s: u16,
    /// Seconds for which it must stay healthy before a trial is committed.
    pub window_s: u16,
    /// Failures (failed starts, exits, failing probes after the grace time) that a trial allows; one more rejects the release.
    pub failures: u8,
}

impl Default for Health {
    /// Thirty seconds of grace, thirty of health, three failures.
    fn default() -> Self {
        Self {
            grace_s: 30,
            window_s: 30,
            failures: 3,
        }
    }
}

/// What is fetched: an OCI manifest, a firmware image, an OS bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Artifact {
    /// SHA-256 digest of the whole artifact.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// One part of a release, as its publisher signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Component {
    /// Unique within the release.
    pub name: Name,
    /// What it is made of.
    pub kind: Kind,
    /// What is fetched.
    pub artifact: Artifact,
    /// Digest of the blob that says how to run it; opaque to the core.
    pub spec: Digest,
    /// Digest of this device's values for the variables that the spec lets be set; the director signs it.
    pub settings: Option<Digest>,
    /// Whether it runs for ever or to completion.
    pub mode: Mode,
    /// How it replaces its predecessor.
    pub strategy: Strategy,
    /// When it is healthy.
    pub health: Health,
    /// What it waits for.
    pub after: Vec<After, DEPENDENCIES>,
}

impl Component {
    /// What tells one runnable version of a component from another: artifact, spec and settings.
    ///
    /// Health, strategy and dependencies are not part of it: changing them restarts nothing.
    pub fn instance(&self) -> Digest {
        let id = self.artifact.digest.chain(&self.spec.0);
        match self.settings {
            Some(settings) => id.chain(&settings.0),
            None => id,
        }
    }
}

/// A component with this device's settings, and the digest that its instance is known by.
///
/// The digest is kept because planning compares it often and making it is dear on a small processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Part {
    /// What is wanted.
    pub component: Component,
    /// [`Component::instance`].
    pub instance: Digest,
}

impl AsRef<Self> for Component {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl AsRef<Component> for Part {
    fn as_ref(&self) -> &Component {
        &self.component
    }
}

impl From<Component> for Part {
    fn from(component: Component) -> Self {
        let instance = component.instance();
        Self {
            component,
            instance,
        }
    }
}

/// A verified release with this device's settings filled in: what `plan` works towards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Target<const COMPONENTS: usize> {
    /// SHA-256 digest of the signed release document.
    pub release: Digest,
    /// Digest over release, settings and attempt: a target that was rejected is recognised by it.
    pub id: Digest,
    /// For people.
    pub version: Version,
    /// The security version the publisher gave it.
    pub security_version: u32,
    /// Once it is committed, nothing with a lower security version is accepted.
    pub floor: u32,
    /// Seconds after the start of a trial within which the fleet must have been reached; without it, a trial does not need the fleet.
    pub reach_fleet_s: Option<u16>,
    /// Whether the fleet overrides update locks.
    pub override_locks: bool,
    /// Its components.
    pub parts: Vec<Part, COMPONENTS>,
}

variants!(Kind {
    Container,
    Firmware,
    HostOs,
    Agent
});
variants!(Mode { Service, Job });
variants!(Strategy {
    DownloadThenKill,
    KillThenDownload,
    DeleteThenDownload,
    HandOver
});
variants!(Condition {
    Started,
    Healthy,
    Completed
});
fields!(After {
    component,
    condition
});
fields!(Health {
    grace_s,
    window_s,
    failures
});
fields!(Artifact { digest, size });
fields!(Component {
    name,
    kind,
    artifact,
    spec,
    settings,
    mode,
    strategy,
    health,
    after
});
fields!(Part {
    component,
    instance
});
fields!(Target<const COMPONENTS> {
    release, id, version, security_version, floor, reach_fleet_s, override_locks, parts,
});
variants!(Malformation {
    NoComponents,
    DuplicateName,
    UnknownDependency,
    DependencyCycle,
    WaitsForService,
});

/// Why a list of components cannot be a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
pub enum Malformation {
    /// There is no component, and nothing could ever be healthy.
    NoComponents,
    /// Two components have one name.
    DuplicateName,
    /// A dependency points at no component.
    UnknownDependency,
    /// Components wait for each other in a circle.
    DependencyCycle,
    /// A component waits for the completion of a service, which never completes.
    WaitsForService,
}

/// Checks what each decoder of components must check before they are planned.
///
/// # Errors
///
/// The first [`Malformation`] found.
pub fn check<T: AsRef<Component>>(components: &[T]) -> Result<(), Malformation> {
    if components.is_empty() {
        return Err(Malformation::NoComponents);
    }
    for (i, one) in components.iter().enumerate() {
        let one = one.as_ref();
        let mut earlier = components[..i].iter();
        if earlier.any(|other| other.as_ref().name == one.name) {
            return Err(Malformation::DuplicateName);
        }
        for after in &one.after {
            let Some(other) = components.get(usize::from(after.component)) else {
                return Err(Malformation::UnknownDependency);
            };
            let other = other.as_ref();
            if after.condition == Condition::Completed && other.mode == Mode::Service {
                return Err(Malformation::WaitsForService);
            }
        }
    }
    if has_cycle(components) {
        return Err(Malformation::DependencyCycle);
    }
    Ok(())
}

/// Kahn's algorithm on a bit set: bounded by the square of at most 256 components.
fn has_cycle<T: AsRef<Component>>(components: &[T]) -> bool {
    let mut done = [0u32; 8];
    let is_done = |done: &[u32; 8], i: usize| done[i / 32] & 1 << (i % 32) != 0;
    for _ in 0..components.len() {
        let mut progressed = false;
        for (i, one) in components.iter().enumerate().take(256) {
            let ready = |a: &After| is_done(&done, usize::from(a.component));
            if !is_done(&done, i) && one.as_ref().after.iter().all(ready) {
                done[i / 32] |= 1 << (i % 32);
                progressed = true;
            }
        }
        if !progressed {
            break;
        }
    }
    (0..components.len().min(256)).any(|i| !is_done(&done, i)) || components.len() > 256
}
