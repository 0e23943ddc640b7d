//! `lightship hub`.

use clap::Subcommand;
use lightship_api::{HubKey, HubKeyRotation};
use reqwest::Method;

use crate::args::Span;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::place::Place;

/// The key by which every device's tunnel knows the server's hub.
#[derive(Debug, Subcommand)]
pub(crate) enum Hub {
    /// Show it, and how many devices have yet to use it.
    Show,
    /// Replace it; devices that are away are told when they are back, and the former key is answered to until all have moved.
    Rotate {
        /// Spread the devices over so much time: 30m, 6h.
        #[arg(long, value_name = "TIME", default_value = "0s")]
        over: Span,
    },
    /// Answer to the former key no more. A device that still uses it and has no other way to the server must enrol anew.
    Retire,
}

pub(crate) async fn run(hub: Hub, place: &Place, output: &Output) -> Result<(), Failure> {
    const PATH: &str = "/api/v1/hub-key";
    let client: Client = place.client()?;
    let key: HubKey = match hub {
        Hub::Show => client.get(PATH).await?,
        Hub::Rotate { over } => {
            let rotation = HubKeyRotation { over_s: over.0 };
            let path = format!("{PATH}/rotate");
            client.call(Method::POST, &path, &rotation).await?
        }
        Hub::Retire => {
            let path = format!("{PATH}/retire");
            client.call(Method::POST, &path, &()).await?
        }
    };
    output.show(&key, shown);
    Ok(())
}

fn shown(key: &HubKey) -> String {
    match &key.former {
        None => format!("key     {}", key.key),
        Some(former) => format!(
            "key     {}\nformer  {former}\nbehind  {} devices have not used the new key yet",
            key.key, key.behind
        ),
    }
}
