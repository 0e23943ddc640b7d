//! The demo's server and its place on the network.

use std::net::SocketAddr;
use std::sync::Arc;

use lightship_fleet::{Config, Handle, Server};
use tokio::net::UdpSocket;

use super::stage::{Stage, failed};
use super::watch::Player;
use super::wires::{self, Meter};
use crate::failure::{Code, Failure};

/// A server with its embedded defaults, and a wire before its hub.
pub(super) struct Shore {
    pub(super) server: Handle,
    /// Where devices are told that the hub is: the microcontroller's wire.
    pub(super) announced_hub: SocketAddr,
    pub(super) hub: SocketAddr,
    wire: tokio::task::JoinHandle<()>,
    meter: Meter,
}

impl Shore {
    /// Starts it on free ports of the loopback interface.
    pub(super) async fn start(stage: &Stage, password: &str) -> Result<Self, Failure> {
        let starting = |error: std::io::Error| failed("opening a port on 127.0.0.1", &error);
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let entrance = UdpSocket::bind(free).await.map_err(starting)?;
        let announced_hub = entrance.local_addr().map_err(starting)?;
        let mut config = Config::on_free_ports(&stage.path("server"));
        config.admin.password = Some(password.to_owned());
        config.tunnel.listen = Some(free);
        config.tunnel.enrolment = Some(free);
        config.tunnel.endpoint = Some(announced_hub.to_string());
        let server = Server::start(config).await;
        let server = server.map_err(|error| failed("the server does not start", &error))?;
        let no_hub = || Failure::new(Code::Failed, "the server has no tunnel hub");
        let hub = server.tunnel().ok_or_else(no_hub)?;
        let meter = Meter::default();
        let wire = tokio::spawn(wires::datagrams(Arc::new(entrance), hub, meter.clone()));
        Ok(Self {
            server,
            announced_hub,
            hub,
            wire,
            meter,
        })
    }

    /// The microcontroller, whose wire this is.
    pub(super) fn player(&self, name: &'static str) -> Player {
        Player::new(name, self.meter.clone())
    }
}

impl Drop for Shore {
    fn drop(&mut self) {
        self.wire.abort();
    }
}
