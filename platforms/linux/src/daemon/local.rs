//! The local API: what applications on the device may ask, and how they hold updates off.
//!
//! A service that asks for it (`x-lightship: features: [local-api]`, or its label) finds a socket and a
//! token of its own; others find nothing. See `LOCAL-API.md` beside the crate.
//!
//! What must stay true:
//! - a token opens what its service's signed spec asks for and nothing else;
//! - the door of one service opens for that service's tokens alone, and the host's door for root alone;
//! - connections, requests, bodies and rates are bounded; what an application does costs others nothing;
//! - a lock of an application whose process is gone holds nothing;
//! - nothing here decides: it tells the agent, which does.

mod answer;
mod balena;
mod board;
mod door;
mod held;
mod locks;
mod rate;
mod services;
mod tags;
mod token;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use lightship_driver::Happening;

pub(super) use board::{Board, Component, Connection, Line, Release, Releases};
pub(super) use locks::{Held, Locks, now_ms};
pub(super) use services::{Facts, Services};
pub(super) use tags::Tags;

use super::steps::Tell;
use crate::engine::{Engine, Instance, Presence};

/// Everything that an answer is made from.
pub(super) struct Local<E> {
    pub(super) board: Arc<Board>,
    pub(super) services: Arc<Services>,
    pub(super) locks: Arc<Locks>,
    pub(super) engine: Option<Arc<E>>,
    pub(super) tell: Tell,
    pub(super) tags: Tags,
}

impl<E: Engine + 'static> Local<E> {
    /// Begins to serve and to look after locks. Must be called within a tokio `LocalSet`.
    ///
    /// # Errors
    ///
    /// When the host's own door cannot be opened.
    pub(super) fn begin(
        self,
        control: &std::path::Path,
        address: Option<SocketAddr>,
    ) -> io::Result<()> {
        let local = Rc::new(self);
        door::host(control, local.clone())?;
        tokio::task::spawn_local(door::services(local.clone()));
        if let Some(address) = address {
            tokio::task::spawn_local(door::address(address, local.clone()));
        }
        if let Some(engine) = local.engine.clone() {
            let locks = local.locks.clone();
            tokio::task::spawn_local(async move { locks.watch(engine, local.tell.clone()).await });
        }
        Ok(())
    }

    fn ask(&self, order: lightship_core::wire::Order) {
        // When the driver has come to its end, nobody hears it, and the device restarts or the daemon ends.
        let _ = self.tell.send(Happening::Asked(order));
    }

    async fn inventory(&self) -> Vec<(Instance, Presence)> {
        match &self.engine {
            Some(engine) => engine.inventory().await.unwrap_or_default(),
            None => Vec::new(),
        }
    }
}
