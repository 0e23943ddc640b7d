//! `lightship build`: builds that go on, or went on, on the server.

use clap::Subcommand;
use lightship_api::{Build, BuildState};
use reqwest::Method;

use crate::failure::Failure;
use crate::output::{Output, sheet, table};
use crate::place::Place;
use crate::push::remote::Remote;

/// Builds on the server.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the builds of the fleet.
    List,
    /// Show one build.
    Show {
        /// Its number.
        build: u64,
    },
    /// Show what a build says until it has ended.
    Log {
        /// Its number.
        build: u64,
    },
    /// End a build.
    Cancel {
        /// Its number.
        build: u64,
    },
}

pub(crate) async fn run(command: Command, place: &Place, output: &Output) -> Result<(), Failure> {
    let client = place.client()?;
    let fleet = place.fleet(&client).await?;
    let path = format!("/api/v1/fleets/{fleet}/builds");
    match command {
        Command::List => {
            let all: Vec<Build> = client.get(&path).await?;
            output.show(&all, |all| list(all));
        }
        Command::Show { build } => {
            let build: Build = client.get(&format!("{path}/{build}")).await?;
            output.show(&build, describe);
        }
        Command::Log { build } => {
            let remote = Remote {
                client: &client,
                fleet: &fleet,
                output,
            };
            let build = remote.follow(build).await?;
            output.show(&build, describe);
        }
        Command::Cancel { build } => {
            let path = format!("{path}/{build}/cancel");
            client.send(client.request(Method::POST, &path)).await?;
            output.done(&format!("cancelled build {build}"));
        }
    }
    Ok(())
}

fn word(state: BuildState) -> &'static str {
    match state {
        BuildState::Waiting => "waiting",
        BuildState::Building => "building",
        BuildState::Done => "done",
        BuildState::Failed => "failed",
        BuildState::Cancelled => "cancelled",
    }
}

fn types(build: &Build) -> String {
    let types = build
        .targets
        .iter()
        .map(|target| target.device_type.as_str());
    types.collect::<Vec<_>>().join(" ")
}

fn list(all: &[Build]) -> String {
    let rows = all.iter().map(|build| {
        vec![
            build.number.to_string(),
            word(build.state).to_owned(),
            types(build),
            build.created_by.to_string(),
            build.created_at.to_string(),
            build.error.clone().unwrap_or_default(),
        ]
    });
    let head = ["BUILD", "STATE", "DEVICE TYPES", "BY", "AT", "WHY"];
    table(&head, &rows.collect::<Vec<_>>())
}

fn describe(build: &Build) -> String {
    let text =
        |at: Option<lightship_api::Timestamp>| at.map_or_else(String::new, |at| at.to_string());
    let mut lines = vec![
        ("build", build.number.to_string()),
        ("state", word(build.state).to_owned()),
        ("why", build.error.clone().unwrap_or_default()),
        ("device types", types(build)),
        ("by", build.created_by.to_string()),
        ("asked for", build.created_at.to_string()),
        ("begun", text(build.started_at)),
        ("ended", text(build.ended_at)),
    ];
    for image in &build.images {
        let what = format!("{} {} {}", image.device_type, image.service, image.digest);
        lines.push(("image", what));
    }
    sheet(&lines)
}
