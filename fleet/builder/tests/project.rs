//! Whole projects: what they need, what is wrong with them, and the images that they become.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use lightship_builder::project::{Helpers, Plan, Project, Target};
use lightship_builder::{BuildError, Cancel, Descriptor, Layout, Limits, Platform};
use tempfile::TempDir;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join("project").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn open(folder: &TempDir) -> Result<Project, BuildError> {
    let variables = BTreeMap::from([("OUTER".to_owned(), "outer".to_owned())]);
    Project::open(
        &folder.path().join("project"),
        "fleet",
        &variables,
        &BTreeSet::new(),
    )
}

fn target(platform: &str, machine: &str) -> Target {
    Target {
        platform: Platform::read(platform).unwrap(),
        machine: machine.to_owned(),
    }
}

fn layout(folder: &TempDir) -> Layout {
    Layout::open(&folder.path().join("layout")).unwrap()
}

/// Builds without an engine; returns the images and the log.
fn build(
    plan: &Plan,
    folder: &TempDir,
) -> (Result<BTreeMap<String, Descriptor>, BuildError>, String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (layout, cancel) = (layout(folder), Cancel::default());
    let mut said = String::new();
    let mut log = |service: &str, line: &str| said = format!("{said}{service}: {line}\n");
    let built = plan.build(
        &layout,
        Helpers::default(),
        Limits::default(),
        &cancel,
        &mut log,
    );
    let built = runtime.block_on(built);
    (built, said)
}

#[test]
fn a_project_of_balena_is_built_for_each_machine_from_its_own_dockerfile() {
    let folder = folder(&[
        (
            "docker-compose.yml",
            "version: '2'\nservices:\n  app:\n    build: ./app\n  plain:\n    build: {context: ., dockerfile_inline: \"FROM scratch\\nLABEL word=${WORD}-${OUTER}\\n\"}\n",
        ),
        (".env", "WORD=dotenv\nOUTER=inner\n"),
        (
            "app/Dockerfile.template",
            "FROM scratch\nLABEL a=%%BALENA_ARCH%% m=%%BALENA_MACHINE_NAME%% s=%%RESIN_SERVICE_NAME%%\n",
        ),
        (
            "app/Dockerfile.raspberrypi4-64",
            "FROM scratch\nLABEL pi=4\n",
        ),
        ("app/Dockerfile.amd64", "FROM scratch\nLABEL pc=1\n"),
    ]);
    let project = open(&folder).unwrap();
    let cases = [
        (
            "linux/arm/v7",
            "beaglebone-black",
            "LABEL a=armv7hf m=beaglebone-black s=app",
        ),
        ("linux/arm64", "raspberrypi4-64", "LABEL pi=4"),
        ("linux/amd64", "intel-nuc", "LABEL pc=1"),
    ];
    for (platform, machine, expected) in cases {
        let plan = project.plan(&target(platform, machine)).unwrap();
        assert!(plan.engine_work().is_empty() && plan.images().is_empty());
        let (images, said) = build(&plan, &folder);
        assert_eq!(images.unwrap().len(), 2, "{said}");
        assert!(said.contains(expected), "{machine}: {said}");
        assert!(said.contains("LABEL word=dotenv-outer"), "{said}");
    }
}

#[test]
fn every_dockerfile_is_checked_before_anything_is_built() {
    let folder = folder(&[
        (
            "compose.yaml",
            "services:\n  a: {build: a}\n  b: {build: b}\n  c: {build: c}\n",
        ),
        ("a/Dockerfile", "FROM scratch\nCPY x /x\n"),
        ("b/Dockerfile", "FROM scratch\nCOPY x\n"),
        ("c/Dockerfile", "FROM scratch\n"),
    ]);
    let error = open(&folder)
        .unwrap()
        .plan(&target("linux/amd64", "pc"))
        .unwrap_err();
    let expected = "a/Dockerfile:2:1: unknown instruction \"CPY\"; did you mean COPY?\n\
        b/Dockerfile:2:6: COPY: expected what to copy and where to";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_needs_an_engine_and_which_images_are_needed_is_known_before() {
    let folder = folder(&[
        (
            "compose.yaml",
            "services:\n  run: {build: run}\n  base: {build: base}\n  db: {image: \"postgres:16\"}\n",
        ),
        ("run/Dockerfile", "FROM alpine:3\nRUN apk add curl\n"),
        (
            "base/Dockerfile",
            "FROM alpine:3 AS one\nFROM one\nCOPY --from=busybox:1 /bin /bin\nCOPY --from=0 /x /x\n",
        ),
    ]);
    let plan = open(&folder)
        .unwrap()
        .plan(&target("linux/arm64", "pi"))
        .unwrap();
    let work: Vec<_> = plan
        .engine_work()
        .into_iter()
        .map(|(s, w)| (s.to_owned(), w.what))
        .collect();
    assert_eq!(work, [("run".to_owned(), "RUN".to_owned())]);
    let images: Vec<_> = plan.images().into_iter().collect();
    assert_eq!(images, ["alpine:3", "busybox:1", "postgres:16"]);
    let (built, _) = build(&plan, &folder);
    assert_eq!(
        built.unwrap_err().to_string(),
        "image alpine:3 is not there"
    );
}

#[test]
fn an_image_that_is_pulled_comes_from_the_layout() {
    let folder = folder(&[
        (
            "compose.yaml",
            "services:\n  made: {build: .}\n  taken: {image: \"example/made:1\"}\n",
        ),
        ("Dockerfile", "FROM scratch\nCOPY compose.yaml /\n"),
    ]);
    let project = open(&folder).unwrap();
    let plan = project.plan(&target("linux/amd64", "pc")).unwrap();
    let (built, _) = build(&plan, &folder);
    assert_eq!(
        built.unwrap_err().to_string(),
        "image example/made:1 is not there"
    );
    let other = self::folder(&[
        ("compose.yaml", "services:\n  made: {build: .}\n"),
        ("Dockerfile", "FROM scratch\nLABEL a=b\n"),
    ]);
    let only = open(&other).unwrap();
    let (images, _) = build(&only.plan(&target("linux/amd64", "pc")).unwrap(), &folder);
    layout(&folder)
        .name("example/made:1", &images.unwrap()["made"])
        .unwrap();
    let (images, _) = build(&plan, &folder);
    assert_eq!(images.unwrap().len(), 2);
}

#[test]
fn nothing_outside_the_project_is_read() {
    let folder = folder(&[(
        "compose.yaml",
        "services:\n  a: {build: link}\n  b: {build: {context: ., dockerfile: up}}\n",
    )]);
    fs::write(folder.path().join("outside"), "FROM scratch\n").unwrap();
    let inside = folder.path().join("project");
    std::os::unix::fs::symlink("..", inside.join("link")).unwrap();
    std::os::unix::fs::symlink("../outside", inside.join("up")).unwrap();
    let error = open(&folder)
        .unwrap()
        .plan(&target("linux/amd64", "pc"))
        .unwrap_err();
    assert!(
        error.to_string().contains("lies outside of the project"),
        "{error}"
    );
    let text = "services:\n  b: {image: b, env_file: ../outside}\n";
    fs::write(inside.join("compose.yaml"), text).unwrap();
    let error = open(&folder).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("compose.yaml:2:27: services.b.env_file: cannot be read: it lies outside"),
        "{error}"
    );
}

#[test]
fn a_folder_without_a_compose_file_is_told_what_it_is_called() {
    let folder = folder(&[("readme", "x")]);
    let error = open(&folder).unwrap_err().to_string();
    assert!(
        error.contains("has no compose file; it is called compose.yaml"),
        "{error}"
    );
}
