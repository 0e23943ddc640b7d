//! What a daemon gives a container beyond its spec: a folder for its locks, a way to the local API.

use std::fmt;
use std::io;

use lightship_spec::container::{ContainerSpec, Feature};

use super::Grant;
use crate::store::InstanceId;

/// Features that only a provider can grant.
pub const PROVIDED: [Feature; 3] = [
    Feature::LocalApi,
    Feature::DeviceControl,
    Feature::BalenaApi,
];

/// A container that is about to be started.
#[derive(Clone, Copy, Debug)]
pub struct Starting<'a> {
    /// Which instance.
    pub id: InstanceId,
    /// The component's name.
    pub name: &'a str,
    /// What its publisher signed.
    pub spec: &'a ContainerSpec,
}

/// Makes what containers are given, and takes it back.
pub trait Provide: fmt::Debug + Send + Sync {
    /// Called before each start by the engine; what a life before left behind is gone afterwards.
    ///
    /// # Errors
    /// What the system said; the container is not started then.
    fn provide(&self, starting: &Starting<'_>) -> io::Result<Grant>;

    /// Called when an instance is removed.
    ///
    /// # Errors
    /// What the system said.
    fn withdraw(&self, id: InstanceId) -> io::Result<()>;
}
