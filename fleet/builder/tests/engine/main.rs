//! Dockerfiles that run commands, built by a real Docker and a real podman.
//!
//! Each test runs in a network namespace of its own, with an engine of its own on folders of its own.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod daemon;
mod foreign;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use daemon::{Daemon, Kind, find};
use flate2::read::GzDecoder;
use lightship_builder::build::{Request, build};
use lightship_builder::dockerfile::Dockerfile;
use lightship_builder::engine::Engine;
use lightship_builder::project::{Helpers, Project, Target};
use lightship_builder::{BuildError, Cancel, Descriptor, Layout, Limits, Manifest, Platform};

/// Set in the process that runs within the namespace.
const INSIDE: &str = "LIGHTSHIP_INSIDE_NAMESPACE";

#[test]
fn docker_builds_what_runs_commands() {
    within_a_namespace("docker_builds_what_runs_commands", Kind::Docker);
}

#[test]
fn podman_builds_what_runs_commands() {
    within_a_namespace("podman_builds_what_runs_commands", Kind::Podman);
}

fn within_a_namespace(test: &str, kind: Kind) {
    if std::env::var_os(INSIDE).is_some() {
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status()
            .unwrap();
        assert!(up.success());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(scenario(kind));
        return;
    }
    if let Some(why) = kind.missing() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let inside = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = shown(&inside.stdout) + &shown(&inside.stderr);
    assert!(inside.status.success(), "{said}");
}

const TEXT: &str = "FROM scratch AS tools
COPY busybox /bin/busybox
RUN [\"/bin/busybox\", \"ln\", \"-s\", \"busybox\", \"/bin/sh\"]
ARG WORD=none
RUN /bin/busybox echo $WORD > /made
FROM scratch
COPY --from=tools /made /made
COPY kept /kept
ENTRYPOINT [\"/made\"]
";

struct Bench<'a> {
    engine: Engine,
    folder: &'a Path,
    layout: Layout,
}

async fn scenario(kind: Kind) {
    let daemon = Daemon::start(kind);
    let folder = daemon.folder.path().join("project");
    fs::create_dir(&folder).unwrap();
    fs::copy(find("busybox").unwrap(), folder.join("busybox")).unwrap();
    fs::write(folder.join("kept"), "kept\n").unwrap();
    fs::write(folder.join("secret"), "secret\n").unwrap();
    fs::write(folder.join(".dockerignore"), "secret\n").unwrap();
    let engine = Engine::connect(&daemon.socket()).await;
    let bench = Bench {
        engine: engine.unwrap_or_else(|error| panic!("{error}\n{}", daemon.log())),
        folder: &folder,
        layout: Layout::open(&daemon.folder.path().join("layout")).unwrap(),
    };
    bench
        .an_image_comes_out_and_can_be_built_upon(&daemon)
        .await;
    bench.what_is_left_out_does_not_reach_the_engine().await;
    bench.a_command_that_fails_is_told().await;
    bench
        .a_project_is_built_with_the_engine_where_it_must_be()
        .await;
    bench.a_build_is_cancelled_and_ended_in_time().await;
}

impl Bench<'_> {
    async fn build(
        &self,
        text: &str,
        limits: Limits,
        cancel: &Cancel,
    ) -> (Result<Descriptor, BuildError>, String) {
        self.build_for(&own_platform(), text, limits, cancel).await
    }

    async fn build_for(
        &self,
        platform: &Platform,
        text: &str,
        limits: Limits,
        cancel: &Cancel,
    ) -> (Result<Descriptor, BuildError>, String) {
        let dockerfile = Dockerfile::read("Dockerfile", text).unwrap();
        let args = BTreeMap::from([("WORD".to_owned(), "given".to_owned())]);
        let request = Request {
            context: self.folder,
            file: "Dockerfile",
            text,
            dockerfile: &dockerfile,
            args: &args,
            target: None,
            labels: &BTreeMap::from([("team".to_owned(), "x".to_owned())]),
            platform,
            layout: &self.layout,
            limits,
            cancel,
        };
        let mut said = String::new();
        let built = self
            .engine
            .build(&request, &mut |line| said = format!("{said}{line}\n"))
            .await;
        (built, said)
    }

    async fn an_image_comes_out_and_can_be_built_upon(&self, daemon: &Daemon) {
        let (image, said) = self
            .build(TEXT, Limits::default(), &Cancel::default())
            .await;
        let image = image.unwrap_or_else(|error| panic!("{error}\n{said}\n{}", daemon.log()));
        assert!(said.to_lowercase().contains("step"), "{said}");
        let files = self.files(&image);
        assert_eq!(
            files,
            BTreeMap::from([
                ("kept".into(), "kept\n".into()),
                ("made".into(), "given\n".into())
            ])
        );
        self.layout.name("example/made:1", &image).unwrap();
        let text = "FROM example/made:1\nCOPY kept /more\n";
        let dockerfile = Dockerfile::read("Dockerfile", text).unwrap();
        let request = Request {
            context: self.folder,
            file: "Dockerfile",
            text,
            dockerfile: &dockerfile,
            args: &BTreeMap::new(),
            target: None,
            labels: &BTreeMap::new(),
            platform: &own_platform(),
            layout: &self.layout,
            limits: Limits::default(),
            cancel: &Cancel::default(),
        };
        let upon = build(&request, &mut |_| ()).unwrap();
        assert_eq!(self.files(&upon).len(), 3);
    }

    async fn what_is_left_out_does_not_reach_the_engine(&self) {
        let text = "FROM scratch\nCOPY secret /secret\nRUN true\n";
        let (result, _) = self
            .build(text, Limits::default(), &Cancel::default())
            .await;
        let error = result.unwrap_err().to_string();
        assert!(error.contains("secret"), "{error}");
    }

    async fn a_command_that_fails_is_told(&self) {
        let text = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"false\"]\n";
        let (result, said) = self
            .build(text, Limits::default(), &Cancel::default())
            .await;
        let error = result.unwrap_err().to_string();
        assert!(
            error.starts_with("the engine: ") && error.contains('1'),
            "{error}\n{said}"
        );
    }

    async fn a_project_is_built_with_the_engine_where_it_must_be(&self) {
        let compose = "services:\n  run: {build: {context: ., args: {WORD: given}}}\n  copy: {build: {context: ., dockerfile_inline: \"FROM scratch\\nCOPY kept /\\n\"}}\n";
        fs::write(self.folder.join("compose.yaml"), compose).unwrap();
        fs::write(self.folder.join("Dockerfile"), TEXT).unwrap();
        let project =
            Project::open(self.folder, "shop", &BTreeMap::new(), &BTreeSet::new()).unwrap();
        let target = Target {
            platform: own_platform(),
            machine: "pc".to_owned(),
        };
        let plan = project.plan(&target).unwrap();
        let mut said = BTreeSet::new();
        let mut log = |service: &str, _: &str| {
            said.insert(service.to_owned());
        };
        let (limits, cancel) = (Limits::default(), Cancel::default());
        let helpers = Helpers {
            engine: Some(&self.engine),
            registries: None,
        };
        let images = plan
            .build(&self.layout, helpers, limits, &cancel, &mut log)
            .await;
        let images = images.unwrap();
        assert_eq!(self.files(&images["run"])["made"], "given\n");
        assert_eq!(self.files(&images["copy"]).len(), 1);
        assert_eq!(said.len(), 2);
    }

    async fn a_build_is_cancelled_and_ended_in_time(&self) {
        let text =
            "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sleep\", \"100\"]\n";
        let began = Instant::now();
        let limits = Limits {
            time: Duration::from_secs(2),
            ..Limits::default()
        };
        let (result, _) = self.build(text, limits, &Cancel::default()).await;
        assert!(matches!(result, Err(BuildError::TooLong(_))), "{result:?}");
        let cancel = Cancel::default();
        cancel.cancel();
        let (result, _) = self.build(text, Limits::default(), &cancel).await;
        assert!(matches!(result, Err(BuildError::Cancelled)), "{result:?}");
        assert!(began.elapsed() < Duration::from_secs(60));
    }

    /// The regular files of an image.
    fn files(&self, image: &Descriptor) -> BTreeMap<String, String> {
        let manifest: Manifest =
            serde_json::from_slice(&self.layout.document(image).unwrap()).unwrap();
        let mut files = BTreeMap::new();
        for layer in &manifest.layers {
            let file = fs::File::open(self.layout.blob(&layer.digest).unwrap()).unwrap();
            let mut archive = tar::Archive::new(GzDecoder::new(file));
            for entry in archive.entries().unwrap() {
                let mut entry = entry.unwrap();
                if entry.header().entry_type().is_file() {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes).unwrap();
                    // What is a program is looked at by nobody.
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    files.insert(entry.path().unwrap().display().to_string(), text);
                }
            }
        }
        files
    }
}

fn own_platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Platform::read(&format!("linux/{architecture}")).unwrap()
}
