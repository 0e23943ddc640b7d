//! `lightship release`.

mod plan;
mod rollout;
mod shown;

use clap::Subcommand;
use lightship_api::{Invalidation, Name, NewRollout, Release as Shown, Rollout};
use reqwest::Method;

use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::place::Place;
pub(crate) use plan::Plan;
use rollout::Order;
pub(crate) use shown::describe;
use shown::list;

/// Releases and their roll-outs.
#[derive(Debug, Subcommand)]
pub(crate) enum Release {
    /// All of the fleet.
    List,
    /// One of them.
    Show {
        /// Its number.
        release: u64,
    },
    /// Give a draft to the devices that follow the fleet.
    Finalize {
        /// Its number.
        release: u64,
    },
    /// Give it to no device any more.
    Invalidate {
        /// Its number.
        release: u64,
        /// Why, for people.
        #[arg(long)]
        reason: String,
    },
    /// In which order devices are given it.
    #[command(subcommand)]
    Rollout(Order),
}

/// The releases of one fleet.
pub(crate) struct Releases<'a> {
    client: &'a Client,
    fleet: Name,
}

impl<'a> Releases<'a> {
    pub(crate) fn new(client: &'a Client, fleet: Name) -> Self {
        Self { client, fleet }
    }

    fn path(&self, number: u64, what: &str) -> String {
        format!("/api/v1/fleets/{}/releases/{number}{what}", self.fleet)
    }

    pub(crate) async fn plan(&self, number: u64, plan: &NewRollout) -> Result<Rollout, Failure> {
        self.client
            .call(Method::PUT, &self.path(number, "/rollout"), plan)
            .await
    }

    pub(crate) async fn finalize(&self, number: u64) -> Result<Shown, Failure> {
        let request = self
            .client
            .request(Method::POST, &self.path(number, "/finalize"));
        self.client.send(request).await?;
        self.client.get(&self.path(number, "")).await
    }
}

pub(crate) async fn run(release: Release, place: &Place, output: &Output) -> Result<(), Failure> {
    let client = place.client()?;
    let fleet = place.fleet(&client).await?;
    let at = Releases::new(&client, fleet.clone());
    match release {
        Release::List => {
            let all: Vec<Shown> = client
                .get(&format!("/api/v1/fleets/{fleet}/releases"))
                .await?;
            output.show(&all, |all| list(all));
        }
        Release::Show { release } => {
            let release: Shown = client.get(&at.path(release, "")).await?;
            output.show(&release, describe);
        }
        Release::Finalize { release } => {
            let release = at.finalize(release).await?;
            output.show(&release, describe);
        }
        Release::Invalidate { release, reason } => {
            let body = Invalidation { reason };
            let release: Shown = client
                .call(Method::POST, &at.path(release, "/invalidate"), &body)
                .await?;
            output.show(&release, describe);
        }
        Release::Rollout(order) => rollout::run(order, &at, output).await?,
    }
    Ok(())
}
