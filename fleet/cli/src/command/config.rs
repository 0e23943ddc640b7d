//! `lightship config`: the file that a new device starts with.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use lightship_api::{CreatedProvisioningKey, Fleet, Name};
use reqwest::Method;
use serde::Serialize;

use super::fleet::NewKey;
use crate::client::Client;
use crate::failure::{Code, Failure};
use crate::keys;
use crate::output::Output;
use crate::place::{Place, write_private};

/// Write the configuration file that a new device starts with, for an SD card or a serial port.
#[derive(Debug, Args)]
pub(crate) struct Config {
    /// What the device is.
    #[arg(long = "type", value_name = "DEVICE TYPE")]
    device_type: Name,
    /// What people will call it.
    #[arg(long)]
    name: Option<Name>,
    /// Where to write it; it holds a provisioning key.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Use this provisioning key instead of a new one.
    #[arg(long, value_name = "SECRET")]
    key: Option<String>,
    /// The trust root that the device starts with; the fleet's on this machine by default.
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    #[command(flatten)]
    new_key: NewKey,
}

/// What a device must know before it can register.
#[derive(Debug, Serialize)]
struct DeviceFile {
    /// Where it registers.
    server: String,
    /// What it is one of.
    fleet: Name,
    /// What it runs releases of.
    product: Name,
    device_type: Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Name>,
    /// What lets it in; it erases this once it is registered.
    provisioning_key: String,
    /// The trust root, base64: what it believes because it is written here.
    root: String,
    /// The authority of the server's certificate, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    authority: Option<String>,
}

pub(crate) async fn run(config: Config, place: &Place, output: &Output) -> Result<(), Failure> {
    let client = place.client()?;
    let name = place.fleet(&client).await?;
    let fleet: Fleet = client.get(&format!("/api/v1/fleets/{name}")).await?;
    let root = trusted_root(&config, place, &name)?;
    let key = match &config.key {
        Some(key) => key.clone(),
        None => new_key(&client, &name, &config.new_key).await?,
    };
    let file = DeviceFile {
        server: client.server().to_owned(),
        fleet: name,
        product: fleet.product,
        device_type: config.device_type.clone(),
        name: config.name.clone(),
        provisioning_key: key,
        root,
        authority: place.authority()?,
    };
    let text = toml::to_string_pretty(&file)
        .map_err(|error| Failure::new(Code::Failed, error.to_string()))?;
    write_private(&config.out, text.as_bytes(), false)?;
    output.done(&format!(
        "wrote {}: it lets in {}",
        config.out.display(),
        devices(&config)
    ));
    Ok(())
}

fn devices(config: &Config) -> String {
    match (&config.key, config.new_key.request().max_uses) {
        (Some(_), _) => "as many devices as its key does".to_owned(),
        (None, 1) => "one device".to_owned(),
        (None, uses) => format!("{uses} devices"),
    }
}

/// The root that is written into the file: from this machine, never from the server.
///
/// A device believes what is written there, so whoever chooses it chooses what the device runs.
fn trusted_root(config: &Config, place: &Place, fleet: &Name) -> Result<String, Failure> {
    let usual = place.keys().join(format!("{fleet}.root"));
    let path = config.root.as_ref().unwrap_or(&usual);
    let document = keys::read_root(path).map_err(|failure| {
        failure.help(format!("the root is taken from this machine alone: make it with `lightship keys init --fleet {fleet}`, or pass --root FILE"))
    })?;
    Ok(STANDARD.encode(document))
}

async fn new_key(client: &Client, fleet: &Name, new: &NewKey) -> Result<String, Failure> {
    let path = format!("/api/v1/fleets/{fleet}/provisioning-keys");
    let made: CreatedProvisioningKey = client.call(Method::POST, &path, &new.request()).await?;
    Ok(made.secret)
}
