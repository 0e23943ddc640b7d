//! The server of a rig, and the desk of whoever pushes to it.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use lightship_fleet::{Config, Handle, Server};

use super::file::Rig;
use crate::demo::{Desk, Stage, random_password};
use crate::failure::{Code, Failure};

/// A running server with a fleet.
pub(super) struct Shore {
    _server: Handle,
    pub(super) desk: Desk,
}

impl Shore {
    /// Starts it on free ports of the address where the device sees it.
    pub(super) async fn start(rig: &Rig, stage: &Stage) -> Result<Self, Failure> {
        let password = random_password()?;
        let seen_as = rig.seen_as.unwrap_or(rig.listen);
        let mut config = Config::on_free_ports(&stage.path("server"));
        config.admin.password = Some(password.clone());
        config.https.listen = SocketAddr::new(rig.listen, 0);
        config.https.names = vec![rig.listen.to_string(), seen_as.to_string()];
        // Devices are told of the ports before the server listens.
        let (hub, enrolment) = (free_port(rig.listen)?, free_port(rig.listen)?);
        config.tunnel.listen = Some(hub);
        config.tunnel.endpoint = Some(SocketAddr::new(seen_as, hub.port()).to_string());
        config.tunnel.enrolment = Some(enrolment);
        config.tunnel.enrolment_endpoint =
            Some(SocketAddr::new(seen_as, enrolment.port()).to_string());
        let server = Server::start(config).await;
        let server = server.map_err(|error| {
            Failure::new(Code::Failed, format!("the server does not start: {error}"))
        })?;
        let desk = Desk {
            config: stage.path("config"),
            password,
            quiet: true,
            stage: stage.path("").display().to_string(),
        };
        desk.found_fleet(&server).await?;
        Ok(Self {
            _server: server,
            desk,
        })
    }
}

fn free_port(address: IpAddr) -> Result<SocketAddr, Failure> {
    let bound = UdpSocket::bind((address, 0)).and_then(|socket| socket.local_addr());
    bound.map_err(|error| {
        let message = format!("no port of {address} can be opened: {error}");
        Failure::new(Code::Failed, message)
            .help("`listen` in the rig's description must be an address of this machine")
    })
}
