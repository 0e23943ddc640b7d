//! A project that the server builds: checked here, sent as one archive, followed, and signed here like any other.
//!
//! What comes back are digests. The signature says that the publisher trusts what the server built of the
//! project; with `--build here`, the default, nobody but this machine has to be trusted for that.

use std::collections::BTreeMap;
use std::path::Path;

use lightship_api::{
    Build, BuildEvent, BuildLine, BuildState, BuildTarget, BuiltImage, Name, NewBuild,
};
use lightship_builder::{Cancel, Descriptor, Limits, bundle};
use lightship_core::id::Digest;
use reqwest::Method;

use super::project::{Sources, wrong};
use super::upload::{self, Artifact, Content};
use super::{Built, Push};
use crate::client::Client;
use crate::failure::{Code, Failure};
use crate::output::{Output, harmless};
use crate::place::Place;

/// The last part of the repository that archives are sent to.
const REPOSITORY: &str = "project";
/// How often in a row a log that broke off is taken up again.
const TRIES: u32 = 5;

pub(super) async fn build(
    push: &Push,
    place: &Place,
    client: &Client,
    fleet: &Name,
    output: &Output,
) -> Result<Vec<Built>, Failure> {
    let sources = Sources::open(push, client, fleet, named_variables(push)?)?;
    // Whatever is wrong with what a person wrote is found before anything is sent.
    for target in &sources.targets {
        sources.project.plan(target).map_err(wrong)?;
    }
    let project = send(push, place, client, fleet, output).await?;
    let request = NewBuild {
        project,
        file: file_name(&push.project),
        targets: sources
            .targets
            .iter()
            .map(asked)
            .collect::<Result<_, _>>()?,
        variables: sources.variables.clone(),
    };
    let remote = Remote {
        client,
        fleet,
        output,
    };
    let path = format!("/api/v1/fleets/{fleet}/builds");
    let build: Build = client.call(Method::POST, &path, &request).await?;
    output.remark(&format!("build {} of {fleet} on the server", build.number));
    let build = tokio::select! {
        ended = remote.follow(build.number) => ended?,
        _ = tokio::signal::ctrl_c() => return Err(remote.cancel(build.number).await),
    };
    done(&build)?;
    let mut all = Vec::new();
    for target in &sources.targets {
        let mut images = BTreeMap::new();
        for image in build
            .images
            .iter()
            .filter(|image| image.device_type.as_str() == target.machine)
        {
            images.insert(image.service.clone(), remote.checked(image).await?);
        }
        all.push(sources.signable(target, &images, |_, _| Ok(Vec::new()))?);
    }
    Ok(all)
}

fn asked(target: &lightship_builder::project::Target) -> Result<BuildTarget, Failure> {
    let device_type = target.machine.parse().map_err(|_| {
        Failure::new(
            Code::Usage,
            format!("{}: the server takes no such device type", target.machine),
        )
        .help("use 1 to 32 of a-z 0-9 - _, a letter first")
    })?;
    Ok(BuildTarget {
        device_type,
        platform: target.platform.to_string(),
    })
}

/// The compose file, when it is named itself.
fn file_name(project: &Path) -> Option<String> {
    let name = project.is_file().then(|| project.file_name()).flatten();
    name.map(|name| name.to_string_lossy().into_owned())
}

/// Of this machine's environment, the variables that the compose file names, and no others.
fn named_variables(push: &Push) -> Result<BTreeMap<String, String>, Failure> {
    let file = lightship_builder::project::compose_file(&push.project).map_err(wrong)?;
    let text = std::fs::read_to_string(&file).map_err(|error| Failure::file(&file, &error))?;
    let value = |name: String| std::env::var(&name).ok().map(|value| (name, value));
    Ok(names(&text).into_iter().filter_map(value).collect())
}

/// What follows a `$` or `${`; a name too many costs nothing, for it must be in the environment as well.
fn names(text: &str) -> Vec<String> {
    let after = text.split('$').skip(1);
    let names = after.map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        rest.chars().take_while(|c| is_name(*c)).collect::<String>()
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// Packs the project and uploads it; what broke off goes on, what is there is not sent again.
async fn send(
    push: &Push,
    place: &Place,
    client: &Client,
    fleet: &Name,
    output: &Output,
) -> Result<String, Failure> {
    let temporary = |error: std::io::Error| Failure::file(&std::env::temp_dir(), &error);
    let file = tempfile::NamedTempFile::new().map_err(temporary)?;
    let folder = super::project::beside(&push.project);
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let packed = bundle::pack(
        folder,
        file.as_file(),
        Limits::default(),
        &Cancel::default(),
    );
    packed.map_err(wrong)?;
    let bytes = std::fs::File::open(file.path()).map_err(temporary)?;
    let digest = digest_of(bytes).map_err(temporary)?;
    let artifact = Artifact {
        repository: format!("{fleet}/{REPOSITORY}"),
        digest,
        size: file.as_file().metadata().map_err(temporary)?.len(),
        content: Content::File(file.path().to_owned()),
    };
    upload::all(client, place, vec![artifact], output).await?;
    Ok(format!("sha256:{digest}"))
}

/// The digest of a file that need not fit into memory.
fn digest_of(mut file: impl std::io::Read) -> std::io::Result<Digest> {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Digest(hash.finalize().into())),
            length => hash.update(&piece[..length]),
        }
    }
}

/// Whether there are images.
fn done(build: &Build) -> Result<(), Failure> {
    let number = build.number;
    match build.state {
        BuildState::Done => Ok(()),
        BuildState::Cancelled => Err(Failure::new(
            Code::Failed,
            format!("build {number} was cancelled"),
        )),
        BuildState::Waiting | BuildState::Building | BuildState::Failed => {
            let why = build.error.clone().unwrap_or_default();
            Err(Failure::new(Code::Failed, format!("build {number}: {why}")).help(
                "nothing was signed; what needs a Docker or podman engine is built with --build here, or where the server has one",
            ))
        }
    }
}

/// Builds of one fleet on the server.
pub(crate) struct Remote<'a> {
    pub(crate) client: &'a Client,
    pub(crate) fleet: &'a Name,
    pub(crate) output: &'a Output,
}

impl Remote<'_> {
    fn path(&self, number: u64) -> String {
        format!("/api/v1/fleets/{}/builds/{number}", self.fleet)
    }

    /// Shows what the build says until it has ended; a log that breaks off is taken up where it did.
    pub(crate) async fn follow(&self, number: u64) -> Result<Build, Failure> {
        let (mut last, mut failures) = (0, 0);
        loop {
            let before = last;
            match self.read(number, &mut last).await {
                Ok(Some(build)) => return Ok(build),
                Err(failure) if failure.code != Code::Unreachable || failures == TRIES => {
                    return Err(failure);
                }
                Ok(None) | Err(_) => {}
            }
            failures = if last > before { 0 } else { failures + 1 };
            if failures > TRIES {
                return Err(
                    Failure::new(Code::Unreachable, "the server ended the log").help(format!(
                        "`lightship build log {number}` shows how it goes on"
                    )),
                );
            }
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        }
    }

    /// Reads until the stream ends; the build, if that did.
    async fn read(&self, number: u64, last: &mut u64) -> Result<Option<Build>, Failure> {
        let request = self
            .client
            .request(Method::GET, &format!("{}/log", self.path(number)))
            .header("last-event-id", *last);
        let mut events = self.client.events::<BuildEvent>(request).await?;
        while let Some(event) = events.next().await? {
            match event {
                BuildEvent::Line(line) => {
                    *last = line.number;
                    self.output.remark(&written(&line));
                }
                BuildEvent::Ended(build) => return Ok(Some(build)),
            }
        }
        Ok(None)
    }

    /// Whoever stops waiting for a build stops the build.
    async fn cancel(&self, number: u64) -> Failure {
        let path = format!("{}/cancel", self.path(number));
        let told = self.client.send(self.client.request(Method::POST, &path));
        match told.await {
            Ok(_) => Failure::new(Code::Failed, format!("build {number} was cancelled")),
            Err(failure) => failure,
        }
    }

    /// An image whose manifest is in the registry and has the digest that is about to be signed.
    async fn checked(&self, image: &BuiltImage) -> Result<Descriptor, Failure> {
        let path = format!(
            "/v2/{}/{}/manifests/{}",
            self.fleet, image.service, image.digest
        );
        let response = self
            .client
            .send(self.client.request(Method::GET, &path))
            .await?;
        let bytes = response.bytes().await.unwrap_or_default();
        let digest = format!("sha256:{}", Digest::of(&bytes));
        if digest != image.digest || bytes.len() as u64 != image.size {
            return Err(Failure::new(
                Code::Signature,
                format!(
                    "service {}: the server says it built {}, and its registry has {digest} there",
                    image.service, image.digest
                ),
            )
            .help("nothing was signed"));
        }
        Ok(Descriptor {
            media_type: image.media_type.clone(),
            digest: image.digest.clone(),
            size: image.size,
            platform: None,
            annotations: BTreeMap::new(),
        })
    }
}

/// A line as people read it.
pub(crate) fn written(line: &BuildLine) -> String {
    // What a Dockerfile's commands write must not move the cursor.
    let text = harmless(&line.line);
    match (line.device_type.as_str(), line.service.as_str()) {
        ("", _) => text,
        (device_type, service) => format!("{device_type} {service}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_variables_that_are_named_leave_this_machine() {
        let text = "image: ${REPO:-x}/web:$TAG\ncommand: echo $$HOME ${A_1?none}\n";
        assert_eq!(super::names(text), ["REPO", "TAG", "HOME", "A_1"]);
        assert!(super::names("nothing here: $").is_empty());
    }
}
