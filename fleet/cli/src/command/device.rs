//! `lightship device`.

mod shown;
mod tunnel;

use std::collections::BTreeMap;

use clap::{Subcommand, ValueEnum};
use lightship_api::{Command, Device as Shown, DevicePatch, Locks, Move, Name, NewDevice, Pin};
use reqwest::Method;

use super::fleet::Windows;
use crate::client::Client;
use crate::failure::{Code, Failure};
use crate::output::Output;
use crate::place::Place;
use shown::{describe, list};

/// Devices. Each is named by its uuid, the beginning of it, or its name.
#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// All devices of the fleet.
    List {
        /// Only those with this tag: `key` or `key=value`.
        #[arg(long)]
        tag: Option<String>,
        /// Only those that are connected.
        #[arg(long)]
        online: bool,
    },
    /// Everything about one device.
    Show {
        /// Which.
        device: String,
    },
    /// Enter one before it registers, so that it has its name, tags and variables from the start.
    Add {
        /// The uuid that it will register with.
        uuid: String,
        /// Its device type.
        #[arg(long = "type", value_name = "TYPE")]
        device_type: Name,
        /// What people call it.
        #[arg(long, default_value = "")]
        name: String,
        /// A tag that it has from the start: `key=value`.
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
    },
    /// Reach ports of it from this machine: `80`, or `80:8080` to choose the port here.
    Tunnel {
        /// Which.
        device: String,
        /// Its TCP ports.
        #[arg(required = true, value_name = "PORT[:LOCAL]")]
        ports: Vec<tunnel::Ports>,
    },
    /// Call it something else.
    Rename {
        /// Which.
        device: String,
        /// The new name.
        name: String,
    },
    /// Set tags (`key=value`) and remove them (`key-`).
    Tag {
        /// Which.
        device: String,
        /// What to set and to remove.
        #[arg(required = true)]
        tags: Vec<String>,
    },
    /// Keep it on one release, whatever the fleet does.
    Pin {
        /// Which.
        device: String,
        /// The release's number; without it, it follows the fleet again.
        release: Option<u64>,
    },
    /// Move it to another fleet.
    Move {
        /// Which.
        device: String,
        /// The other fleet.
        to: Name,
    },
    /// Restart it, when no update lock holds it.
    Reboot {
        /// Which.
        device: String,
    },
    /// Stop and start one of its services.
    Restart {
        /// Which.
        device: String,
        /// The service.
        service: String,
    },
    /// Have it blink or beep.
    Identify {
        /// Which.
        device: String,
    },
    /// Have it replace its keys.
    Rotate {
        /// Which.
        device: String,
    },
    /// Have it try the release again that it rejected.
    Retry {
        /// Which.
        device: String,
    },
    /// Apply releases whatever its applications' update locks say, or heed them again.
    Locks {
        /// Which.
        device: String,
        /// Whether locks count.
        #[arg(value_enum)]
        locks: Heed,
    },
    /// When it may be disturbed, in its local time; without windows and `--zone`, when its fleet may.
    Windows {
        /// Which.
        device: String,
        #[command(flatten)]
        windows: Windows,
    },
    /// Remove it; its credentials stop working.
    Rm {
        /// Which.
        device: String,
    },
}

/// Whether update locks count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Heed {
    /// They hold updates off, as their owners want.
    Heed,
    /// They hold nothing off; who decided so is recorded.
    Override,
}

pub(crate) async fn run(device: Device, place: &Place, output: &Output) -> Result<(), Failure> {
    let client = place.client()?;
    let at = Devices::of(place, &client).await?;
    match device {
        Device::List { tag, online } => {
            let mut all = at.all().await?;
            all.retain(|device| {
                (!online || device.online) && tag.as_ref().is_none_or(|tag| has(device, tag))
            });
            output.show(&all, |all| list(all));
        }
        Device::Show { device } => {
            let device = at.find(&device).await?;
            output.show(&device, describe);
        }
        Device::Add {
            uuid,
            device_type,
            name,
            tags,
        } => {
            let new = NewDevice {
                uuid,
                name,
                device_type,
                tags: retag(BTreeMap::new(), &tags)?,
            };
            let path = format!("/api/v1/fleets/{}/devices", at.fleet);
            let added: Shown = client.call(Method::POST, &path, &new).await?;
            output.show(&added, describe);
        }
        Device::Tunnel { device, ports } => tunnel::run(&at, &device, &ports, output).await?,
        Device::Rename { device, name } => {
            let patch = DevicePatch {
                name: Some(name),
                ..DevicePatch::default()
            };
            at.change(Method::PATCH, &device, "", &patch, output)
                .await?;
        }
        Device::Tag { device, tags } => {
            let found = at.find(&device).await?;
            let patch = DevicePatch {
                tags: Some(retag(found.tags, &tags)?),
                ..DevicePatch::default()
            };
            at.change(Method::PATCH, &found.uuid, "", &patch, output)
                .await?;
        }
        Device::Pin { device, release } => {
            at.change(Method::PUT, &device, "/pin", &Pin { release }, output)
                .await?
        }
        Device::Move { device, to } => {
            at.change(Method::POST, &device, "/move", &Move { fleet: to }, output)
                .await?
        }
        Device::Reboot { device } => at.command(&device, Command::Reboot, output).await?,
        Device::Restart { device, service } => {
            at.command(&device, Command::Restart { service }, output)
                .await?
        }
        Device::Identify { device } => at.command(&device, Command::Identify, output).await?,
        Device::Rotate { device } => at.command(&device, Command::Rotate, output).await?,
        Device::Retry { device } => {
            at.change(Method::POST, &device, "/retry", &(), output)
                .await?
        }
        Device::Locks { device, locks } => {
            let locks = Locks {
                overridden: locks == Heed::Override,
            };
            at.change(Method::PUT, &device, "/locks", &locks, output)
                .await?;
        }
        Device::Windows { device, windows } => {
            let (windows, zone) = windows.request();
            let patch = DevicePatch {
                fleet_windows: windows.is_none() && zone.is_none(),
                windows,
                zone,
                ..DevicePatch::default()
            };
            at.change(Method::PATCH, &device, "", &patch, output)
                .await?;
        }
        Device::Rm { device } => {
            let found = at.find(&device).await?;
            client.delete(&at.path(&found.uuid)).await?;
            output.done(&format!("removed {}", label(&found)));
        }
    }
    Ok(())
}

/// The devices of one fleet.
pub(crate) struct Devices<'a> {
    client: &'a Client,
    fleet: Name,
}

impl<'a> Devices<'a> {
    pub(crate) async fn of(place: &Place, client: &'a Client) -> Result<Self, Failure> {
        let fleet = place.fleet(client).await?;
        Ok(Self { client, fleet })
    }

    pub(crate) fn path(&self, uuid: &str) -> String {
        format!("/api/v1/fleets/{}/devices/{uuid}", self.fleet)
    }

    pub(crate) async fn all(&self) -> Result<Vec<Shown>, Failure> {
        let path = format!("/api/v1/fleets/{}/devices", self.fleet);
        self.client
            .all(&path, |device: &Shown| device.uuid.clone())
            .await
    }

    /// The device that is meant by a uuid, the beginning of one, or a name.
    pub(crate) async fn find(&self, meant: &str) -> Result<Shown, Failure> {
        if meant.parse::<lightship_core::id::Uuid>().is_ok() {
            return self.client.get(&self.path(meant)).await;
        }
        let all = self.all().await?;
        let named: Vec<&Shown> = all.iter().filter(|device| device.name == meant).collect();
        let begun: Vec<&Shown> = all
            .iter()
            .filter(|device| device.uuid.starts_with(meant))
            .collect();
        match (named.as_slice(), begun.as_slice()) {
            ([one], _) | ([], [one]) => Ok((*one).clone()),
            ([], []) => Err(Failure::new(
                Code::Missing,
                format!("fleet {} has no device {meant}", self.fleet),
            )
            .help("`lightship device list` lists them")),
            ([], many) | (many, _) => {
                let uuids: Vec<&str> = many.iter().map(|device| device.uuid.as_str()).collect();
                Err(Failure::new(
                    Code::Usage,
                    format!("{meant} could be any of {} devices", many.len()),
                )
                .help(format!("use a uuid: {}", uuids.join(", "))))
            }
        }
    }

    async fn change(
        &self,
        method: Method,
        meant: &str,
        what: &str,
        body: &impl serde::Serialize,
        output: &Output,
    ) -> Result<(), Failure> {
        let found = self.find(meant).await?;
        let changed: Shown = self
            .client
            .call(method, &format!("{}{what}", self.path(&found.uuid)), body)
            .await?;
        output.show(&changed, describe);
        Ok(())
    }

    async fn command(&self, meant: &str, command: Command, output: &Output) -> Result<(), Failure> {
        let found = self.find(meant).await?;
        self.client
            .tell(
                Method::POST,
                &format!("{}/commands", self.path(&found.uuid)),
                &command,
            )
            .await?;
        output.done(&format!(
            "asked {}; it does so when it hears of it",
            label(&found)
        ));
        Ok(())
    }
}

pub(crate) fn label(device: &Shown) -> &str {
    if device.name.is_empty() {
        &device.uuid
    } else {
        &device.name
    }
}

fn has(device: &Shown, tag: &str) -> bool {
    match tag.split_once('=') {
        Some((key, value)) => device.tags.get(key).is_some_and(|has| has == value),
        None => device.tags.contains_key(tag),
    }
}

fn retag(
    mut tags: BTreeMap<String, String>,
    changes: &[String],
) -> Result<BTreeMap<String, String>, Failure> {
    for change in changes {
        match (change.split_once('='), change.strip_suffix('-')) {
            (Some((key, value)), _) => {
                tags.insert(key.to_owned(), value.to_owned());
            }
            (None, Some(key)) => {
                tags.remove(key);
            }
            (None, None) => {
                return Err(Failure::new(
                    Code::Usage,
                    format!("{change}: expected key=value, or key- to remove it"),
                ));
            }
        }
    }
    Ok(tags)
}
