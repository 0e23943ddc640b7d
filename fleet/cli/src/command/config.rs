//! `lightship config`: the file that a new device starts with.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use lightship_api::{CreatedProvisioningKey, Enrolment, Fleet, Name};
use lightship_core::id::{Endpoint, Name as CoreName, ProvisioningKey};
use lightship_mcu::config::{BLOCK_BYTES, Config as Block, Entrance, Root};
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
    /// For the daemon of a Linux board, or for the flash of a microcontroller.
    #[arg(long, value_enum, default_value = "toml")]
    format: Format,
    /// Use this provisioning key instead of a new one; not for a microcontroller, which has to know the hub's key for it.
    #[arg(long, value_name = "SECRET")]
    key: Option<String>,
    /// The trust root that the device starts with; the fleet's on this machine by default.
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    #[command(flatten)]
    new_key: NewKey,
}

/// What kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A text for `lightshipd`.
    Toml,
    /// A block for the configuration partition of a microcontroller.
    Firmware,
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
        Some(_) if config.format == Format::Firmware => {
            return Err(Failure::new(Code::Failed, "a microcontroller's configuration needs a new provisioning key")
                .help("leave --key out: the hub's key for a provisioning key is told once, when it is made"));
        }
        Some(key) => Made {
            secret: key.clone(),
            enrolment: None,
        },
        None => new_key(&client, &name, &config.new_key).await?,
    };
    let bytes = match config.format {
        Format::Toml => text(
            &config,
            place,
            &client,
            (name, fleet.product),
            key.secret,
            &root,
        )?
        .into_bytes(),
        Format::Firmware => block(&config, &fleet.product, &key, &root)?,
    };
    write_private(&config.out, &bytes, false)?;
    output.done(&format!(
        "wrote {}: it lets in {}",
        config.out.display(),
        devices(&config)
    ));
    Ok(())
}

fn text(
    config: &Config,
    place: &Place,
    client: &Client,
    (name, product): (Name, Name),
    provisioning_key: String,
    root: &[u8],
) -> Result<String, Failure> {
    let file = DeviceFile {
        server: client.server().to_owned(),
        fleet: name,
        product,
        device_type: config.device_type.clone(),
        name: config.name.clone(),
        provisioning_key,
        root: STANDARD.encode(root),
        authority: place.authority()?,
    };
    toml::to_string_pretty(&file).map_err(|error| Failure::new(Code::Failed, error.to_string()))
}

/// The block that a microcontroller's firmware reads.
fn block(config: &Config, product: &Name, key: &Made, root: &[u8]) -> Result<Vec<u8>, Failure> {
    let wrong = |what: &str| {
        Failure::new(
            Code::Failed,
            format!("the server's {what} is not understood"),
        )
    };
    let enrolment = key.enrolment.as_ref().ok_or_else(|| {
        Failure::new(Code::Failed, "the server has no tunnel for devices to enrol through, and a microcontroller enrols through nothing else")
            .help("set `tunnel.listen` and `tunnel.enrolment` in the server's configuration")
    })?;
    let hexadecimal = |text: &str| text.parse::<lightship_core::id::PublicKey>().ok();
    let secret = hexadecimal(&key.secret).ok_or_else(|| wrong("provisioning key"))?;
    let entrance = Entrance {
        provisioning_key: ProvisioningKey(secret.0),
        hub: hexadecimal(&enrolment.hub).ok_or_else(|| wrong("enrolment key"))?,
        endpoint: Endpoint::new(&enrolment.endpoint).map_err(|_| wrong("enrolment endpoint"))?,
    };
    let core = |name: &Name| CoreName::new(name.as_str()).map_err(|_| wrong("name"));
    let block = Block {
        device_type: core(&config.device_type)?,
        product: core(product)?,
        name: config.name.as_ref().map(core).transpose()?,
        entrance: Some(entrance),
        rotation_period_s: None,
        root: Root(root),
    };
    let mut bytes = vec![0; BLOCK_BYTES];
    let len = block
        .encode(&mut bytes)
        .map_err(|error| Failure::new(Code::Failed, error.to_string()))?;
    bytes.truncate(len);
    Ok(bytes)
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
fn trusted_root(config: &Config, place: &Place, fleet: &Name) -> Result<Vec<u8>, Failure> {
    let usual = place.keys().join(format!("{fleet}.root"));
    let path = config.root.as_ref().unwrap_or(&usual);
    let document = keys::read_root(path).map_err(|failure| {
        failure.help(format!("the root is taken from this machine alone: make it with `lightship keys init --fleet {fleet}`, or pass --root FILE"))
    })?;
    Ok(document)
}

/// A provisioning key, and where a microcontroller enrols with it.
struct Made {
    secret: String,
    enrolment: Option<Enrolment>,
}

async fn new_key(client: &Client, fleet: &Name, new: &NewKey) -> Result<Made, Failure> {
    let path = format!("/api/v1/fleets/{fleet}/provisioning-keys");
    let made: CreatedProvisioningKey = client.call(Method::POST, &path, &new.request()).await?;
    Ok(Made {
        secret: made.secret,
        enrolment: made.enrolment,
    })
}
