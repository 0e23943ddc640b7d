//! The project that the demo pushes: a compose file, a Dockerfile, a service and its page.

use std::path::PathBuf;

use super::stage::Stage;
use crate::failure::Failure;

/// A static program; empty where it could not be linked.
const SERVICE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/service"));
const COMPOSE: &str = include_str!("../../demo/compose.yaml");
const DOCKERFILE: &str = include_str!("../../demo/Dockerfile");

/// Whether there is a service to deploy.
pub(super) fn is_there() -> bool {
    !SERVICE.is_empty()
}

/// What the page of a version says.
pub(super) fn page(version: &str) -> String {
    format!("<!doctype html><title>Lightship</title><h1>Good morning from version {version}</h1>\n")
}

/// Writes the project; returns its folder.
pub(super) fn write(stage: &Stage, version: &str) -> Result<PathBuf, Failure> {
    stage.write("project/compose.yaml", COMPOSE.as_bytes())?;
    stage.write("project/web/Dockerfile", DOCKERFILE.as_bytes())?;
    let service = stage.write("project/web/service", SERVICE)?;
    let runs = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&service, runs).map_err(|error| Failure::file(&service, &error))?;
    stage.write("project/web/page.html", page(version).as_bytes())?;
    Ok(stage.path("project"))
}

/// Breaks it as people do: the image builds, and the service does not find its page.
pub(super) fn break_it(stage: &Stage) -> Result<(), Failure> {
    let broken = DOCKERFILE.replace("/page.html", "/pages.html");
    stage.write("project/web/Dockerfile", broken.as_bytes())?;
    Ok(())
}

/// This machine's architecture in OCI's words.
pub(super) fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        "arm" => "linux/arm/v7",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_project_differs_in_its_dockerfile_alone() {
        let stage = Stage::open().unwrap();
        let folder = write(&stage, "1.0.0").unwrap();
        let dockerfile = || std::fs::read_to_string(folder.join("web/Dockerfile")).unwrap();
        let before = dockerfile();
        break_it(&stage).unwrap();
        assert_ne!(before, dockerfile());
        assert!(dockerfile().contains("COPY page.html /pages.html"));
    }
}
