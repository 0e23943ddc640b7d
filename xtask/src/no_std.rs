//! Builds every `no_std` library for microcontroller targets, each alone, so that no crate borrows a feature from another.
//!
//! A library is found by its `no_std` attribute.
//! It is built without default features; its manifest may say otherwise:
//!
//! ```toml
//! [[package.metadata.no-std]]
//! features = ["embassy"]          # build with these; none when absent
//! targets = ["thumbv7m-none-eabi"] # build for these; all when absent
//! ```

use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, Package};
use serde_json::Value;

use crate::process;
use crate::report::Step;
use crate::setup::TARGETS;

/// One build: a library with its features, on some targets.
#[derive(Debug, PartialEq, Eq)]
struct Build {
    package: String,
    features: Vec<String>,
    targets: Vec<String>,
}

/// Builds them all; each build is one check.
pub(crate) fn build(step: &mut Step, root: &Path, metadata: &Metadata) -> Result<()> {
    for build in builds(metadata)? {
        for target in &build.targets {
            let name = format!(
                "{} [{}] on {target}",
                build.package,
                build.features.join(" ")
            );
            let result = step.run(process::cargo(root, words(&build, target)));
            step.check(&name, result);
        }
    }
    Ok(())
}

fn words(build: &Build, target: &str) -> Vec<String> {
    let mut words: Vec<String> = ["build", "--quiet", "--no-default-features", "--lib", "-p"]
        .map(str::to_owned)
        .to_vec();
    words.extend([
        build.package.clone(),
        "--target".to_owned(),
        target.to_owned(),
    ]);
    if !build.features.is_empty() {
        words.extend(["--features".to_owned(), build.features.join(",")]);
    }
    words
}

fn builds(metadata: &Metadata) -> Result<Vec<Build>> {
    let mut builds = Vec::new();
    for package in metadata.workspace_packages() {
        if is_no_std(package)? {
            let asked = parse(&package.name, &package.metadata["no-std"])
                .with_context(|| format!("package.metadata.no-std of {}", package.name))?;
            builds.extend(asked);
        }
    }
    Ok(builds)
}

fn is_no_std(package: &Package) -> Result<bool> {
    let Some(library) = package.targets.iter().find(|target| target.is_lib()) else {
        return Ok(false);
    };
    let source = std::fs::read_to_string(&library.src_path)
        .with_context(|| format!("cannot read {}", library.src_path))?;
    Ok(source
        .lines()
        .any(|line| line.starts_with("#![") && line.contains("no_std")))
}

fn parse(package: &str, asked: &Value) -> Result<Vec<Build>> {
    let one = |table: &Value| -> Result<Build> {
        let mut targets = strings(&table["targets"])?;
        if targets.is_empty() {
            targets = TARGETS.iter().map(|target| (*target).to_owned()).collect();
        }
        Ok(Build {
            package: package.to_owned(),
            features: strings(&table["features"])?,
            targets,
        })
    };
    match asked {
        Value::Null => Ok(vec![one(&Value::Null)?]),
        Value::Array(tables) => tables.iter().map(one).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            anyhow::bail!("must be a list of tables: [[package.metadata.no-std]]")
        }
    }
}

fn strings(value: &Value) -> Result<Vec<String>> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    let list = value.as_array().context("must be a list of strings")?;
    list.iter()
        .map(|item| {
            Ok(item
                .as_str()
                .context("must be a list of strings")?
                .to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_crate_that_says_nothing_is_built_bare_for_every_target() {
        let builds = parse("x", &Value::Null).expect("nothing to get wrong");
        assert_eq!(builds.len(), 1);
        assert!(builds[0].features.is_empty());
        assert_eq!(builds[0].targets, TARGETS);
    }

    #[test]
    fn a_crate_can_ask_for_features_and_targets() {
        let asked = json!([{ "features": ["embassy"], "targets": ["thumbv7m-none-eabi"] }, {}]);
        let builds = parse("x", &asked).expect("well formed");
        assert_eq!(builds[0].features, ["embassy"]);
        assert_eq!(builds[0].targets, ["thumbv7m-none-eabi"]);
        assert_eq!(builds[1].targets, TARGETS);
    }

    #[test]
    fn a_misspelt_request_is_an_error() {
        assert!(parse("x", &json!({})).is_err());
        assert!(parse("x", &json!([{ "features": "embassy" }])).is_err());
    }
}
