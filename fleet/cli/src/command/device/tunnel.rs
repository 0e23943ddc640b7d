//! `lightship device tunnel`: a port of this machine that is a port of a device.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use reqwest::{Method, StatusCode};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Devices;
use crate::client::Client;
use crate::failure::{Code, Failure};
use crate::output::Output;

/// What both sides call the protocol: bytes, as they come.
const PROTOCOL: &str = "lightship-tunnel";
/// Connections at once: as many as a browser and a few tools open.
const CONNECTIONS: usize = 64;

/// A port of a device, and the one of this machine that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    device: u16,
    /// 0 takes any that is free.
    local: u16,
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| {
            let port = text.parse::<u16>().ok().filter(|port| *port != 0);
            port.ok_or_else(|| format!("{text:?} is no port: expected 80 or 80:8080"))
        };
        let (device, local) = match text.split_once(':') {
            Some((device, local)) => (port(device)?, port(local)?),
            None => (port(text)?, 0),
        };
        Ok(Self { device, local })
    }
}

/// Carries connections until somebody presses Ctrl-C.
pub(super) async fn run(
    at: &Devices<'_>,
    meant: &str,
    ports: &[Ports],
    output: &Output,
) -> Result<(), Failure> {
    let device = at.find(meant).await?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    for ports in ports {
        let listener = listen(ports.local).await?;
        let local = listener
            .local_addr()
            .map_err(|error| Failure::new(Code::Failed, error.to_string()))?;
        let said = serde_json::json!({"device": device.uuid, "port": ports.device, "local": local});
        let label = super::label(&device);
        output.stream(&said, |_| {
            format!("{local} is port {} of {label}", ports.device)
        });
        let path = format!("{}/tunnel/{}", at.path(&device.uuid), ports.device);
        tokio::spawn(carry(
            listener,
            at.client.clone(),
            path,
            Arc::clone(&places),
            *output,
        ));
    }
    output.remark("Ctrl-C ends it");
    tokio::signal::ctrl_c()
        .await
        .map_err(|error| Failure::new(Code::Failed, error.to_string()))
}

async fn listen(port: u16) -> Result<TcpListener, Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(Code::Failed, format!("{address}: {error}"))
            .help("choose another port of this machine behind a colon: 80:8080")
    })
}

async fn carry(
    listener: TcpListener,
    client: Client,
    path: String,
    places: Arc<Semaphore>,
    output: Output,
) {
    // The semaphore is never closed, and a listener on this machine fails only for want of files.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((local, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let (client, path) = (client.clone(), path.clone());
        tokio::spawn(async move {
            if let Err(failure) = join(local, &client, &path).await {
                output.failure(&failure);
            }
            drop(place);
        });
    }
}

async fn join(mut local: TcpStream, client: &Client, path: &str) -> Result<(), Failure> {
    let request = client
        .request(Method::GET, path)
        .header("connection", "upgrade")
        .header("upgrade", PROTOCOL);
    let answer = client.send(request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::new(
            Code::Failed,
            format!(
                "the server answered {} instead of a tunnel",
                answer.status()
            ),
        )
        .help("is there a proxy in between that does not pass upgrades?"));
    }
    let upgraded = answer.upgrade().await;
    let mut remote =
        upgraded.map_err(|error| Failure::new(Code::Unreachable, error.to_string()))?;
    // Either end may hang up whenever it likes.
    let _ = copy_bidirectional(&mut local, &mut remote).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_they_are_typed() {
        let ports = |device, local| Ok(Ports { device, local });
        assert_eq!("80".parse(), ports(80, 0));
        assert_eq!("80:8080".parse(), ports(80, 8080));
        for bad in ["", "0", "80:", ":80", "80:0", "web", "70000"] {
            assert!(bad.parse::<Ports>().is_err(), "{bad}");
        }
    }
}
