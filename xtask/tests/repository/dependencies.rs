//! Licences, sources and banned crates as `deny.toml` states them, held without `cargo deny`.

use cargo_metadata::{Metadata, MetadataCommand, Package};
use serde::Deserialize;
use spdx::{Expression, LicenseReq, ParseMode};

use crate::tree::{files, root};

#[derive(Deserialize)]
struct Deny {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[test]
fn dependencies_have_a_licence_a_source_and_a_name_that_are_allowed() {
    let deny = deny();
    let mut wrong = Vec::new();
    let mut packages = 0;
    for lock in files(|path| path.ends_with("Cargo.lock")) {
        let manifest = lock.path.replace("Cargo.lock", "Cargo.toml");
        for package in &metadata(&manifest, &deny.graph.targets).packages {
            packages += 1;
            wrong.extend(offence(package, &deny).map(|why| format!("{}: {why}", package.id)));
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{packages} packages");
}

fn deny() -> Deny {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml is readable");
    toml::from_str(&text).expect("deny.toml has the parts that are read here")
}

/// Everything that is built for a target that we ship to or test on.
fn metadata(manifest: &str, targets: &[String]) -> Metadata {
    let mut options = Vec::new();
    // The other workspaces' are cargo's own, made from this one and renewed when it changes.
    if manifest == "Cargo.toml" {
        options.push("--locked".to_owned());
    }
    for target in targets {
        options.extend(["--filter-platform".to_owned(), target.clone()]);
    }
    MetadataCommand::new()
        .manifest_path(root().join(manifest))
        .other_options(options)
        .exec()
        .expect("cargo resolves our dependencies")
}

fn offence(package: &Package, deny: &Deny) -> Option<String> {
    if deny
        .bans
        .deny
        .iter()
        .any(|banned| package.name == banned.name)
    {
        return Some("is banned".to_owned());
    }
    // Our own crates have no source.
    if let Some(source) = &package.source {
        let address = source.repr.trim_start_matches("registry+");
        if !deny
            .sources
            .allow_registry
            .iter()
            .any(|allowed| allowed == address)
        {
            return Some(format!("comes from {source}"));
        }
    }
    let Some(licence) = &package.license else {
        return Some("names no licence".to_owned());
    };
    (!is_allowed(licence, &package.name, &deny.licenses)).then(|| format!("is licensed {licence}"))
}

fn is_allowed(licence: &str, name: &str, licenses: &Licenses) -> bool {
    let Ok(expression) = Expression::parse_mode(licence, ParseMode::LAX) else {
        return false;
    };
    let excepted = licenses
        .exceptions
        .iter()
        .filter(|exception| exception.name == name);
    let allowed: Vec<&String> = licenses
        .allow
        .iter()
        .chain(excepted.flat_map(|exception| &exception.allow))
        .collect();
    expression.evaluate(|asked: &LicenseReq| {
        let asked = asked.to_string();
        allowed.iter().any(|allowed| **allowed == asked)
    })
}

#[test]
fn every_part_of_a_licence_must_be_allowed() {
    let licenses = deny().licenses;
    assert!(is_allowed("MIT OR Apache-2.0", "x", &licenses));
    assert!(is_allowed("MIT/Apache-2.0", "x", &licenses));
    assert!(is_allowed("GPL-3.0-only OR MIT", "x", &licenses));
    assert!(!is_allowed("GPL-3.0-only AND MIT", "x", &licenses));
    assert!(!is_allowed("LGPL-2.1-or-later", "x", &licenses));
    assert!(is_allowed(
        "LGPL-2.1-or-later",
        "wireguard-control",
        &licenses
    ));
    assert!(!is_allowed("made up", "x", &licenses));
}
