//! `lightship env`.

use clap::{Args, Subcommand};
use lightship_api::{Variable, VariableKind};
use reqwest::Method;

use super::device::Devices;
use crate::client::Client;
use crate::failure::{Code, Failure};
use crate::output::{Output, or_dash, table};
use crate::place::Place;

/// Variables that fill in what releases leave open.
///
/// A value for a device's service comes before one for the device, then one for the fleet's service, then one for the fleet.
#[derive(Debug, Subcommand)]
pub(crate) enum Env {
    /// All of the fleet, or of one device.
    List {
        /// Of this device alone.
        #[arg(long)]
        device: Option<String>,
    },
    /// Set one.
    Set {
        /// NAME=VALUE.
        assignment: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Remove one.
    Rm {
        /// Its name.
        name: String,
        #[command(flatten)]
        whose: Whose,
    },
}

/// What a variable is for.
#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// For this device alone.
    #[arg(long)]
    device: Option<String>,
    /// For this service alone.
    #[arg(long)]
    service: Option<String>,
    /// Read by the agent instead of the application.
    #[arg(long)]
    config: bool,
}

impl Whose {
    fn kind(&self) -> VariableKind {
        if self.config {
            VariableKind::Configuration
        } else {
            VariableKind::Environment
        }
    }
}

pub(crate) async fn run(env: Env, place: &Place, output: &Output) -> Result<(), Failure> {
    let client = place.client()?;
    match env {
        Env::List { device } => {
            let path = path(place, &client, device.as_deref()).await?;
            let all: Vec<Variable> = client.get(&path).await?;
            output.show(&all, |all| list(all));
        }
        Env::Set { assignment, whose } => {
            let Some((name, value)) = assignment.split_once('=') else {
                return Err(Failure::new(
                    Code::Usage,
                    format!("{assignment}: expected NAME=VALUE"),
                ));
            };
            let path = path(place, &client, whose.device.as_deref()).await?;
            let variable = Variable {
                name: name.to_owned(),
                kind: whose.kind(),
                service: whose.service,
                value: value.to_owned(),
            };
            client.tell(Method::PUT, &path, &variable).await?;
            output.done(&format!("set {name}"));
        }
        Env::Rm { name, whose } => {
            let path = path(place, &client, whose.device.as_deref()).await?;
            let kind = match whose.kind() {
                VariableKind::Environment => "environment",
                VariableKind::Configuration => "configuration",
            };
            let service = whose
                .service
                .map(|service| format!("&service={service}"))
                .unwrap_or_default();
            client
                .delete(&format!("{path}/{name}?kind={kind}{service}"))
                .await?;
            output.done(&format!("removed {name}"));
        }
    }
    Ok(())
}

async fn path(place: &Place, client: &Client, device: Option<&str>) -> Result<String, Failure> {
    match device {
        Some(device) => {
            let devices = Devices::of(place, client).await?;
            let found = devices.find(device).await?;
            Ok(format!("{}/variables", devices.path(&found.uuid)))
        }
        None => Ok(format!(
            "/api/v1/fleets/{}/variables",
            place.fleet(client).await?
        )),
    }
}

fn list(all: &[Variable]) -> String {
    let rows = all.iter().map(|variable| {
        let kind = match variable.kind {
            VariableKind::Environment => "environment",
            VariableKind::Configuration => "configuration",
        };
        vec![
            variable.name.clone(),
            variable.value.clone(),
            or_dash(variable.service.as_ref()),
            kind.to_owned(),
        ]
    });
    table(
        &["NAME", "VALUE", "SERVICE", "KIND"],
        &rows.collect::<Vec<_>>(),
    )
}
