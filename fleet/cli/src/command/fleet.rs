//! `lightship fleet`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use lightship_api::{
    CreatedProvisioningKey, Fleet as Shown, FleetPatch, FleetRotation, Member, Name, NewFleet,
    NewMember, NewProvisioningKey, Policy, ProvisioningKey, Role, RotationPlanned, Timestamp,
};
use reqwest::Method;

use super::login;
use crate::args::Span;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Output, sheet, table};
use crate::place::Place;

/// Fleets, their members and provisioning keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Fleet {
    /// The fleets you may see.
    List,
    /// One fleet.
    Show,
    /// Make a fleet.
    Create {
        /// Its name.
        name: Name,
        /// What its releases are releases of; the fleet's name by default.
        #[arg(long)]
        product: Option<Name>,
        /// For people.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Have the fleet stay on one release, or follow the newest.
    Pin {
        /// The release's number; without it, the newest final one.
        release: Option<u64>,
    },
    /// When its devices may be disturbed, in their local time; without windows, at any time.
    Windows(Windows),
    /// Have every device replace its keys.
    RotateKeys {
        /// Time over which they are asked, one after the other: `90s`, `30m`, `6h`, `7d`.
        #[arg(long, default_value = "1h", value_name = "TIME")]
        over: Span,
    },
    /// Remove a fleet that has no devices.
    Rm {
        /// Its name.
        name: Name,
    },
    /// Who works in the fleet.
    #[command(subcommand)]
    Member(Members),
    /// What lets new devices in.
    #[command(subcommand)]
    Key(Keys),
}

/// When devices may be disturbed.
#[derive(Clone, Debug, Args)]
#[group(id = "times")]
pub(crate) struct Windows {
    /// Days and hours, such as `mon-fri 22:00-04:00` or `daily 02:00-05:00`; `always` for no window.
    windows: Vec<String>,
    /// The time zone by its IANA name, such as Europe/Berlin.
    #[arg(long)]
    zone: Option<String>,
}

impl Windows {
    /// The windows, if any are given, and the zone.
    pub(crate) fn request(self) -> (Option<Vec<String>>, Option<String>) {
        let always = self.windows == ["always"];
        let windows = Some(self.windows).filter(|windows| !windows.is_empty());
        (if always { Some(Vec::new()) } else { windows }, self.zone)
    }
}

/// Who works in the fleet.
#[derive(Debug, Subcommand)]
pub(crate) enum Members {
    /// All of them.
    List,
    /// Give somebody a role.
    Set {
        /// Who.
        user: Name,
        /// viewer, operator, developer or owner.
        role: Role,
    },
    /// Take somebody out.
    Rm {
        /// Who.
        user: Name,
    },
}

/// What lets new devices in.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// All of them.
    List,
    /// Make one; its secret is shown this once.
    Create(NewKey),
    /// Let nobody in with it any more.
    Revoke {
        /// Its identifier.
        id: String,
    },
}

/// A provisioning key to be made.
#[derive(Debug, Args)]
pub(crate) struct NewKey {
    /// What it is for.
    #[arg(long, default_value = "")]
    label: String,
    /// How many devices it lets in.
    #[arg(long, default_value_t = 1)]
    uses: u32,
    /// Days for which it works.
    #[arg(long, default_value_t = 30)]
    days: u32,
}

impl NewKey {
    pub(crate) fn request(&self) -> NewProvisioningKey {
        NewProvisioningKey {
            label: self.label.clone(),
            max_uses: self.uses,
            expires_at: in_days(self.days),
        }
    }
}

/// So many days from now.
pub(crate) fn in_days(days: u32) -> Timestamp {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let at = now + Duration::from_secs(u64::from(days) * 24 * 3600);
    Timestamp::from_millis(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
}

pub(crate) async fn run(fleet: Fleet, place: &Place, output: &Output) -> Result<(), Failure> {
    let client = place.client()?;
    match fleet {
        Fleet::List => {
            let all: Vec<Shown> = client
                .all("/api/v1/fleets", |fleet: &Shown| fleet.name.to_string())
                .await?;
            output.show(&all, |all| {
                let rows = all.iter().map(|fleet| {
                    vec![
                        fleet.name.to_string(),
                        fleet.product.to_string(),
                        policy(&fleet.policy),
                        fleet.description.clone(),
                    ]
                });
                table(
                    &["FLEET", "PRODUCT", "FOLLOWS", "DESCRIPTION"],
                    &rows.collect::<Vec<_>>(),
                )
            });
        }
        Fleet::Show => {
            let name = place.fleet(&client).await?;
            let fleet: Shown = client.get(&format!("/api/v1/fleets/{name}")).await?;
            output.show(&fleet, describe);
        }
        Fleet::Create {
            name,
            product,
            description,
        } => {
            let new = NewFleet {
                name,
                product,
                description,
            };
            let fleet: Shown = client.call(Method::POST, "/api/v1/fleets", &new).await?;
            output.show(&fleet, |fleet| {
                format!(
                    "made fleet {}\nnext: make its keys with `lightship keys init --fleet {}`",
                    fleet.name, fleet.name
                )
            });
        }
        Fleet::Pin { release } => {
            let name = place.fleet(&client).await?;
            let patch = FleetPatch {
                policy: Some(release.map_or(Policy::Latest, |release| Policy::Pinned { release })),
                ..FleetPatch::default()
            };
            let fleet: Shown = client
                .call(Method::PATCH, &format!("/api/v1/fleets/{name}"), &patch)
                .await?;
            output.show(&fleet, |fleet| {
                format!("{} follows {}", fleet.name, policy(&fleet.policy))
            });
        }
        Fleet::Windows(windows) => {
            let name = place.fleet(&client).await?;
            let (windows, zone) = windows.request();
            let windows = windows.or_else(|| zone.is_none().then(Vec::new));
            let patch = FleetPatch {
                windows,
                zone,
                ..FleetPatch::default()
            };
            let fleet: Shown = client
                .call(Method::PATCH, &format!("/api/v1/fleets/{name}"), &patch)
                .await?;
            output.show(&fleet, describe);
        }
        Fleet::RotateKeys { over } => {
            let name = place.fleet(&client).await?;
            let planned: RotationPlanned = client
                .call(
                    Method::POST,
                    &format!("/api/v1/fleets/{name}/rotate-keys"),
                    &FleetRotation { over_s: over.0 },
                )
                .await?;
            output.show(&planned, |planned| {
                format!(
                    "{} devices will be asked for new keys within {} s; those that are away, when they are back",
                    planned.devices, over.0
                )
            });
        }
        Fleet::Rm { name } => {
            client.delete(&format!("/api/v1/fleets/{name}")).await?;
            output.done(&format!("removed fleet {name}"));
        }
        Fleet::Member(members) => member(members, place, &client, output).await?,
        Fleet::Key(keys) => key(keys, place, &client, output).await?,
    }
    Ok(())
}

async fn member(
    members: Members,
    place: &Place,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let path = format!("/api/v1/fleets/{}/members", place.fleet(client).await?);
    match members {
        Members::List => {
            let all: Vec<Member> = client.get(&path).await?;
            output.show(&all, |all| {
                let rows = all
                    .iter()
                    .map(|member| vec![member.user.to_string(), member.role.as_str().to_owned()]);
                table(&["USER", "ROLE"], &rows.collect::<Vec<_>>())
            });
        }
        Members::Set { user, role } => {
            let member: Member = client
                .call(Method::PUT, &format!("{path}/{user}"), &NewMember { role })
                .await?;
            output.show(&member, |member| {
                format!("{} is {}", member.user, member.role.as_str())
            });
        }
        Members::Rm { user } => {
            client.delete(&format!("{path}/{user}")).await?;
            let me = login::who(client).await?;
            let whom = if me.name == user {
                "you are".to_owned()
            } else {
                format!("{user} is")
            };
            output.done(&format!("{whom} no member any more"));
        }
    }
    Ok(())
}

async fn key(keys: Keys, place: &Place, client: &Client, output: &Output) -> Result<(), Failure> {
    let path = format!(
        "/api/v1/fleets/{}/provisioning-keys",
        place.fleet(client).await?
    );
    match keys {
        Keys::List => {
            let all: Vec<ProvisioningKey> = client.get(&path).await?;
            output.show(&all, |all| {
                let rows = all.iter().map(|key| {
                    let until = key
                        .revoked_at
                        .map_or_else(|| key.expires_at.to_string(), |_| "revoked".to_owned());
                    vec![
                        key.id.clone(),
                        key.label.clone(),
                        format!("{} of {}", key.uses, key.max_uses),
                        until,
                    ]
                });
                table(
                    &["KEY", "LABEL", "USED", "UNTIL"],
                    &rows.collect::<Vec<_>>(),
                )
            });
        }
        Keys::Create(new) => {
            let made: CreatedProvisioningKey =
                client.call(Method::POST, &path, &new.request()).await?;
            output.show(&made, |made| {
                format!(
                    "{}\nThis is shown once. It lets in {} devices until {}.",
                    made.secret, made.key.max_uses, made.key.expires_at
                )
            });
        }
        Keys::Revoke { id } => {
            client.delete(&format!("{path}/{id}")).await?;
            output.done(&format!("revoked {id}"));
        }
    }
    Ok(())
}

fn policy(policy: &Policy) -> String {
    match policy {
        Policy::Latest => "the newest release".to_owned(),
        Policy::Pinned { release } => format!("release {release}"),
    }
}

fn windows(fleet: &Shown) -> String {
    match fleet.windows.as_slice() {
        [] => "at any time".to_owned(),
        windows => format!("{} {}", windows.join(", "), fleet.zone),
    }
}

fn describe(fleet: &Shown) -> String {
    sheet(&[
        ("fleet", fleet.name.to_string()),
        ("product", fleet.product.to_string()),
        ("description", fleet.description.clone()),
        ("follows", policy(&fleet.policy)),
        ("windows", windows(fleet)),
        ("made", fleet.created_at.to_string()),
    ])
}
