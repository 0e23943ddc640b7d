//! `lightship push`: build, show what will be signed, sign here, upload, and watch.
//!
//! Nothing is uploaded before it is signed, and nothing is signed before a person, or `--yes`, has seen what it is.
//! Pushing the same thing again is as good as once: what is there is not sent again.

mod firmware;
mod project;
pub(crate) mod remote;
mod upload;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use lightship_api::sign::{Holders, Signer, holders, release_payload, sign, signed_by};
use lightship_api::{Fleet, Name, NewRelease, NewRollout, NewWave, Release, WaveWho};
use lightship_core::id::{Digest, Version};
use lightship_core::target::{Component, Health};
use lightship_core::trust::{ReleaseHead, Role};
use reqwest::Method;

use crate::args::Span;
use crate::client::Client;
use crate::command::release::{Plan, Releases, describe};
use crate::failure::{Code, Failure};
use crate::keys::{self, Passphrase, describe_release, newest_root, now, offence, read_key};
use crate::output::Output;
use crate::place::Place;

use upload::Artifact;

/// Build, sign and upload a release.
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// The project: a folder with a compose file, or the file.
    #[arg(default_value = ".")]
    project: PathBuf,
    /// A device type and what its processor is: `pi4=linux/arm64`. Once for each type the containers are for.
    #[arg(long = "type", value_name = "TYPE=PLATFORM")]
    types: Vec<String>,
    /// A firmware image; which device type it is for, it says itself. Once for each board.
    #[arg(long, value_name = "FILE")]
    firmware: Vec<PathBuf>,
    /// Who builds the containers: this machine, or the server.
    #[arg(long, value_enum, default_value_t = Where::Here, value_name = "WHERE")]
    build: Where,
    /// A folder in OCI's image layout with the images that are not built here.
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    /// The socket of a Docker or podman engine, for what needs one; the usual places by default.
    #[arg(long, value_name = "SOCKET")]
    engine: Option<PathBuf>,
    /// What people call the release; the time by default.
    #[arg(long, value_name = "VERSION")]
    release: Option<String>,
    /// Raise it when the release mends a weakness.
    #[arg(long, default_value_t = 0, value_name = "N")]
    security_version: u32,
    /// Devices that run the release accept no lower security version any more.
    #[arg(long, default_value_t = 0, value_name = "N")]
    floor: u32,
    /// A device must have reached the fleet within so many seconds, or it goes back.
    #[arg(long, value_name = "SECONDS")]
    reach_fleet: Option<u16>,
    /// Time after its start in which firmware may fail its checks.
    #[arg(long, value_name = "TIME")]
    health_grace: Option<Span>,
    /// How long firmware must have been healthy to be kept.
    #[arg(long, value_name = "TIME")]
    health_window: Option<Span>,
    /// Failures of firmware that are allowed within that time.
    #[arg(long, value_name = "N")]
    health_failures: Option<u8>,
    /// Names or files of release keys; the fleet's on this machine by default.
    #[arg(long, env = "LIGHTSHIP_KEY", value_name = "KEY")]
    key: Vec<String>,
    #[command(flatten)]
    passphrase: Passphrase,
    /// Keep it from devices that follow the fleet until it is finalized.
    #[arg(long)]
    draft: bool,
    #[command(flatten)]
    plan: Plan,
    /// Sign without asking.
    #[arg(long, short)]
    yes: bool,
    /// Build and show what would be signed, and stop.
    #[arg(long)]
    dry_run: bool,
    /// Watch the roll-out until it ends.
    #[arg(long, conflicts_with = "draft")]
    follow: bool,
}

/// Who builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Where {
    /// This machine.
    Here,
    /// The server; what it built is signed here.
    Server,
}

impl Push {
    /// When firmware counts as healthy.
    fn health(&self) -> Result<Health, Failure> {
        let usual = Health::default();
        let seconds = |span: Option<Span>, usual: u16| {
            let seconds = span.map_or(Ok(usual), |Span(seconds)| u16::try_from(seconds));
            seconds
                .map_err(|_| Failure::new(Code::Usage, "at most 65535 seconds of grace and window"))
        };
        Ok(Health {
            grace_s: seconds(self.health_grace, usual.grace_s)?,
            window_s: seconds(self.health_window, usual.window_s)?,
            failures: self.health_failures.unwrap_or(usual.failures),
        })
    }
}

/// A release for one device type.
pub(crate) struct Built {
    pub(crate) device_type: lightship_core::id::Name,
    pub(crate) components: Vec<Component>,
    pub(crate) artifacts: Vec<Artifact>,
}

/// What is signed for one device type.
#[derive(serde::Serialize)]
struct Unsigned {
    digest: Digest,
    release: ReleaseHead,
    components: Vec<Component>,
    #[serde(skip)]
    payload: Vec<u8>,
}

pub(crate) async fn run(push: Push, place: &Place, output: &Output) -> Result<(), Failure> {
    let client = place.client()?;
    let name = place.fleet(&client).await?;
    let fleet: Fleet = client.get(&format!("/api/v1/fleets/{name}")).await?;
    let plan = rollout(&push)?;
    let mut built = Vec::new();
    for path in &push.firmware {
        built.push(firmware::read(path, &name, push.health()?)?);
    }
    if !push.types.is_empty() {
        built.extend(match push.build {
            Where::Here => project::build(&push, &client, &name, output).await?,
            Where::Server => remote::build(&push, place, &client, &name, output).await?,
        });
    }
    if built.is_empty() {
        let failure = Failure::new(Code::Usage, "there is nothing to push");
        return Err(failure.help("say what the containers are for, such as --type pi4=linux/arm64, or pass --firmware FILE"));
    }
    let unsigned = documents(&push, &fleet, &built)?;
    show(&unsigned, output);
    if push.dry_run {
        if output.is_json() {
            output.show(&unsigned, |_| String::new());
        }
        return Ok(());
    }
    confirm(&push, output)?;
    let signed = signed(&push, place, &client, &name, &unsigned).await?;
    let artifacts = built.into_iter().flat_map(|built| built.artifacts);
    upload::all(&client, place, artifacts.collect(), output).await?;
    let releases = Releases::new(&client, name.clone());
    let release = publish(&push, &client, &name, signed, plan.as_ref(), &releases).await?;
    output.show(&release, describe);
    if push.follow {
        releases.follow(release.number, output).await
    } else {
        Ok(())
    }
}

/// The plan that was asked for; to be followed, a release without one is rolled out in one wave.
fn rollout(push: &Push) -> Result<Option<NewRollout>, Failure> {
    let plan = push.plan.request()?;
    let at_once = push.follow.then(|| NewRollout {
        waves: vec![NewWave {
            who: WaveWho::Percent { percent: 100 },
            soak_s: 0,
        }],
        halt_percent: push.plan.halt_percent.unwrap_or(10),
        halt_at_least: push.plan.halt_at_least.unwrap_or(2),
        revert: push.plan.revert,
    });
    Ok(plan.or(at_once))
}

fn documents(push: &Push, fleet: &Fleet, built: &[Built]) -> Result<Vec<Unsigned>, Failure> {
    let issued = now();
    let version = push.release.clone().unwrap_or_else(|| {
        keys::time(issued)
            .replace(['-', ':'], "")
            .replace(".000Z", "Z")
    });
    let version = Version::new(&version).map_err(|_| {
        Failure::new(Code::Usage, format!("{version:?} is no version"))
            .help("use up to 24 letters, digits and . - + _")
    })?;
    let product = lightship_core::id::Name::new(fleet.product.as_str())
        .map_err(|_| Failure::new(Code::Failed, "the fleet's product is no name"))?;
    let mut all = Vec::new();
    for one in built {
        let head = ReleaseHead {
            product: product.clone(),
            device_type: one.device_type.clone(),
            version: version.clone(),
            security_version: push.security_version,
            floor: push.floor,
            issued,
            reach_fleet_s: push.reach_fleet,
        };
        let payload = release_payload(&head, &one.components).map_err(offence)?;
        all.push(Unsigned {
            digest: Digest::of(&payload),
            release: head,
            components: one.components.clone(),
            payload,
        });
    }
    if push.floor > push.security_version {
        return Err(
            Failure::new(Code::Usage, "a release cannot be below its own floor")
                .help("raise --security-version to the floor"),
        );
    }
    Ok(all)
}

fn show(unsigned: &[Unsigned], output: &Output) {
    for one in unsigned {
        output.remark(&format!(
            "to be signed: {}\n{}",
            one.digest,
            describe_release(&one.release, &one.components)
        ));
    }
}

fn confirm(push: &Push, output: &Output) -> Result<(), Failure> {
    if push.yes {
        return Ok(());
    }
    if output.is_json() || !std::io::stdin().is_terminal() {
        return Err(
            Failure::new(Code::Usage, "nobody can be asked whether to sign this")
                .help("pass --yes"),
        );
    }
    eprint!("Sign and upload this? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stderr()
        .flush()
        .and_then(|()| std::io::stdin().read_line(&mut answer));
    match read {
        Ok(_) if answer.trim().eq_ignore_ascii_case("y") => Ok(()),
        Ok(_) | Err(_) => Err(Failure::new(Code::Failed, "not signed")),
    }
}

async fn signed(
    push: &Push,
    place: &Place,
    client: &Client,
    fleet: &Name,
    unsigned: &[Unsigned],
) -> Result<Vec<Vec<u8>>, Failure> {
    let usual = vec![format!("{fleet}-release")];
    let names = if push.key.is_empty() {
        &usual
    } else {
        &push.key
    };
    let signers = names
        .iter()
        .map(|name| read_key(place, name, &push.passphrase));
    let signers: Vec<Signer> = signers.collect::<Result<_, _>>()?;
    let documents = unsigned
        .iter()
        .map(|one| sign(&one.payload, &signers).map_err(offence));
    let documents: Vec<Vec<u8>> = documents.collect::<Result<_, _>>()?;
    let root = newest_root(client, fleet).await?;
    let root = root.ok_or_else(|| {
        Failure::new(
            Code::Missing,
            format!("fleet {fleet} has no trust root yet"),
        )
        .help(format!(
            "make its keys with `lightship keys init --fleet {fleet}`"
        ))
    })?;
    let wanted = holders(&root, Role::Release);
    documents
        .iter()
        .try_for_each(|document| enough(document, &wanted))?;
    Ok(documents)
}

/// Found here, a missing signature costs nothing; found by devices, a release.
fn enough(document: &[u8], wanted: &Holders) -> Result<(), Failure> {
    let signed = signed_by(document, &wanted.keys).map_err(offence)?;
    if signed.len() >= usize::from(wanted.threshold) {
        return Ok(());
    }
    let failure = Failure::new(
        Code::Signature,
        format!(
            "the fleet asks for {} release keys, and {} of those used here hold that role",
            wanted.threshold,
            signed.len()
        ),
    );
    Err(failure.help("pass more --key; `lightship keys list` shows the keys of this machine"))
}

async fn publish(
    push: &Push,
    client: &Client,
    fleet: &Name,
    documents: Vec<Vec<u8>>,
    plan: Option<&NewRollout>,
    releases: &Releases<'_>,
) -> Result<Release, Failure> {
    let new = NewRelease {
        documents: documents
            .iter()
            .map(|document| STANDARD.encode(document))
            .collect(),
        draft: push.draft || plan.is_some(),
    };
    let release: Release = client
        .call(
            Method::POST,
            &format!("/api/v1/fleets/{fleet}/releases"),
            &new,
        )
        .await?;
    if let Some(plan) = plan {
        releases.plan(release.number, plan).await?;
        if !push.draft {
            return releases.finalize(release.number).await;
        }
    }
    Ok(release)
}
