//! Runs containers: the contract of an engine, and the built-in one.
//!
//! An engine does single steps that the core decides (design.md section 3) and holds no policy: it
//! neither knows what a release is nor tries anything again beyond a broken connection.
//! Every step may be told again at any time, after a restart of the daemon or of the device, and does
//! then what is left to do. Dropping the future of a step stops it; the store is whole all the same.

pub mod builtin;
pub mod error;
pub mod image;
mod prepare;
mod provide;
pub mod pull;
mod rights;
pub mod runtime;
pub mod unpack;

pub use error::{Error, Reason};
pub use prepare::{Allowances, Grant};
pub use provide::{PROVIDED, Provide, Starting};
pub use pull::{OnProgress, Progress};
pub(crate) use rights::{check_bind, check_rights};

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::store::Digest;

/// A container as the core names it: a component of a release (design.md 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Name and version.
    pub instance: Instance,
    /// The image: an OCI manifest or index.
    pub artifact: Digest,
    /// The container spec that the publisher signed.
    pub spec: Digest,
    /// The per-device values that the director signed.
    pub settings: Option<Digest>,
}

/// Tells one version of one component from all others on the device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    /// The component's name.
    pub name: String,
    /// Which version of it; an engine gives the digest no meaning of its own.
    pub digest: Digest,
}

/// The documents that belong to a component, as they were received.
#[derive(Clone, Copy, Debug)]
pub struct Documents<'a> {
    /// The container spec.
    pub spec: &'a [u8],
    /// The per-device values.
    pub settings: Option<&'a [u8]>,
}

/// What is known of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// Nothing usable is there.
    Missing,
    /// Ready to start; also: stopped.
    Staged,
    /// Started, health not known yet; also: waits before it is started again.
    Starting,
    /// Runs, and its health check passes or it has none.
    Healthy,
    /// Runs, and its health check fails.
    Unhealthy,
    /// Ended by itself, and the engine does not start it again.
    Exited,
    /// A job that ran to its end with success.
    Completed,
}

/// Runs containers.
pub trait Engine: Send + Sync {
    /// Every instance that is staged or running, with what is known of it.
    fn inventory(&self) -> impl Future<Output = Result<Vec<(Instance, Presence)>, Error>> + Send;

    /// Brings the image here, verified, and keeps the documents whose digests the component names.
    fn fetch(
        &self,
        component: &Component,
        documents: Documents<'_>,
        on_progress: OnProgress,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Makes a fetched component ready to start, and refuses what this device cannot do for it.
    fn stage(&self, component: &Component) -> impl Future<Output = Result<(), Error>> + Send;

    /// Starts a staged instance. Done when its program runs; running already is fine.
    fn start(&self, instance: &Instance) -> impl Future<Output = Result<(), Error>> + Send;

    /// Stops an instance: its signal, its grace, then a kill. Done when nothing of it runs.
    fn stop(&self, instance: &Instance) -> impl Future<Output = Result<(), Error>> + Send;

    /// What is known of an instance now.
    fn probe(&self, instance: &Instance) -> impl Future<Output = Result<Presence, Error>> + Send;

    /// Marks an instance as part of the committed release, in place of others of its name.
    fn confirm(&self, instance: &Instance) -> impl Future<Output = Result<(), Error>> + Send;

    /// Stops an instance and removes it with what it wrote; volumes stay. Absent already is fine.
    fn remove(&self, instance: &Instance) -> impl Future<Output = Result<(), Error>> + Send;

    /// Removes every image that no instance needs, nor any of these artifacts.
    fn collect(&self, keep: &[Digest]) -> impl Future<Output = Result<(), Error>> + Send;

    /// Which life of its process an instance is in, counted from 1; nothing while no process of it runs.
    ///
    /// An engine that does not count says 1 for all of them.
    fn life(&self, instance: &Instance) -> impl Future<Output = Option<u32>> + Send {
        async {
            let runs = match self.probe(instance).await {
                Ok(Presence::Starting | Presence::Healthy | Presence::Unhealthy) => true,
                Ok(
                    Presence::Missing | Presence::Staged | Presence::Exited | Presence::Completed,
                )
                | Err(_) => false,
            };
            runs.then_some(1)
        }
    }

    /// Where the output of an instance is kept, in the form that [`runtime::read_log`] reads.
    fn log_folder(&self, instance: &Instance) -> PathBuf;

    /// The TCP ports that are published on all addresses of this device, and who answers there.
    fn published(&self) -> impl Future<Output = Result<Vec<(u16, SocketAddr)>, Error>> + Send;

    /// Waits until an instance changes by itself: exits, becomes healthy or unhealthy.
    fn changed(&self) -> impl Future<Output = Result<Instance, Error>> + Send;
}

/// Runs what waits for the disk on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Absent("the runtime".to_owned())),
        },
    }
}
