//! How containers are connected: a bridge for each network of an application, a cable to each container,
//! names in `/etc/hosts`, NAT to the world and published ports by nftables.
//!
//! The shim lives in its container's network from its start on, so that the network lasts as long as the
//! shim does, through every restart of the container, and is gone when it is gone.

pub(crate) mod fence;
pub(crate) mod ledger;
pub(crate) mod link;
mod netlink;
pub(crate) mod nftables;

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use serde::{Deserialize, Serialize};

use super::state::State;
use super::sys;

/// What the shim does about the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Plan {
    /// Stays in the host's.
    Host,
    /// A new network with these connections; none at all is loopback alone.
    Own(Vec<Attachment>),
    /// The network of the shim whose state is in this folder.
    Join(PathBuf),
}

/// One connection of a container to a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    /// The bridge on the host.
    pub(crate) bridge: String,
    /// The host's end of the cable.
    pub(crate) host_end: String,
    /// The container's end: `eth0`.
    pub(crate) interface: String,
    /// Of the container.
    pub(crate) address: Ipv4Addr,
    /// Of the host on the bridge.
    pub(crate) gateway: Ipv4Addr,
    /// Length of the network's prefix.
    pub(crate) prefix: u8,
    /// Of the container's end; absent means whatever the kernel chooses.
    #[serde(default)]
    pub(crate) hardware_address: Option<[u8; 6]>,
}

/// Brings up the loopback interface of the network that the caller is in, as a new network has it down.
pub fn bring_up_loopback() -> io::Result<()> {
    link::Links::open()?.up("lo")
}

/// Moves the calling process into the network that the plan says, and makes it where it is new.
pub(crate) fn enter(plan: &Plan) -> io::Result<()> {
    match plan {
        Plan::Host => Ok(()),
        Plan::Own(attachments) => make(attachments),
        Plan::Join(folder) => {
            let shim = State::read(folder)?.map(|state| state.shim);
            let shim = shim.ok_or_else(|| {
                io::Error::other("the service whose network it shares does not run")
            })?;
            let namespace = fs::File::open(format!("/proc/{shim}/ns/net"))?;
            let kind = Some(LinkNameSpaceType::Network);
            Ok(rustix::thread::move_into_link_name_space(
                namespace.as_fd(),
                kind,
            )?)
        }
    }
}

fn make(attachments: &[Attachment]) -> io::Result<()> {
    // A netlink socket stays in the network that it was opened in: this one is the way back to the host.
    let mut host = link::Links::open()?;
    sys::unshare(UnshareFlags::NEWNET)?;
    let mut own = link::Links::open()?;
    own.up("lo")?;
    for (number, attachment) in attachments.iter().enumerate() {
        // The kernel buries the network of a shim that was killed a little later than the shim.
        host.remove(&attachment.host_end)?;
        host.cable(
            &attachment.host_end,
            &attachment.interface,
            std::process::id(),
            &attachment.bridge,
        )?;
        own.address(&attachment.interface, attachment.address, attachment.prefix)?;
        if let Some(address) = attachment.hardware_address {
            own.hardware_address(&attachment.interface, address)?;
        }
        own.up(&attachment.interface)?;
        if number == 0 {
            own.default_route(attachment.gateway)?;
        }
    }
    Ok(())
}
