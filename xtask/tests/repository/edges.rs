//! Which of our crates may depend on which, as the table of the design's section 2 says.

use std::path::Path;

use cargo_metadata::{Metadata, MetadataCommand};

use crate::tree::{files, root, rust_files};

/// Where a crate stands in the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Core,
    /// Programs around the core that only measure and fuzz it.
    CoreTool,
    Link,
    Transport,
    Spec,
    Image,
    Platform,
    Fleet,
    Cli,
    Rigs,
    Xtask,
    TransportTool,
}

fn place(folder: &str) -> Option<Place> {
    Some(match folder {
        "core" => Place::Core,
        "transports/link" => Place::Link,
        "platforms/spec" => Place::Spec,
        "platforms/image" => Place::Image,
        "fleet/cli" => Place::Cli,
        "hil-tests" => Place::Rigs,
        "xtask" => Place::Xtask,
        _ if folder.starts_with("core/") => Place::CoreTool,
        _ if folder.starts_with("transports/link-check/") => Place::TransportTool,
        _ if folder.starts_with("transports/") => Place::Transport,
        _ if folder.starts_with("platforms/") => Place::Platform,
        _ if folder.starts_with("fleet/") => Place::Fleet,
        _ => return None,
    })
}

/// The table.
fn may_depend(from: Place, to: Place) -> bool {
    use Place::{
        Cli, Core, CoreTool, Fleet, Image, Link, Platform, Rigs, Spec, Transport, TransportTool,
        Xtask,
    };
    match from {
        Core => false,
        // `cargo xtask firmware` makes images.
        Xtask => to == Image,
        CoreTool => to == Core,
        Link => to == Core,
        Transport => matches!(to, Core | Link),
        // Programs that weigh transports.
        TransportTool => matches!(to, Core | Link | Transport),
        Spec | Image | Platform => {
            matches!(to, Core | Link | Transport | Spec | Image | Platform)
        }
        Fleet => matches!(to, Core | Link | Transport | Spec | Image | Fleet),
        Cli => matches!(
            to,
            Core | Link | Transport | Spec | Image | Platform | Fleet
        ),
        Rigs => !matches!(to, CoreTool | TransportTool | Rigs | Xtask),
    }
}

/// What the fleet may see of the core: messages, documents, targets, and the identifiers, times and bounds that these are made of.
const CORE_FOR_THE_FLEET: &[&str] = &["wire", "trust", "target", "id", "time", "limits"];

#[test]
fn crates_depend_only_on_what_the_design_allows() {
    let mut wrong = Vec::new();
    let mut edges = 0;
    for manifest in workspaces() {
        for (from, to) in edges_of(&manifest) {
            edges += 1;
            match (place(&from), place(&to)) {
                (Some(a), Some(b)) if may_depend(a, b) => (),
                // A crate's tests may turn on its own features, and programs in its folder weigh or fuzz it.
                (Some(_), Some(_)) if from == to || from.starts_with(&format!("{to}/")) => (),
                (Some(_), Some(_)) => wrong.push(format!("{from} may not depend on {to}")),
                (None, _) => wrong.push(format!("{from} has no place in the design")),
                (_, None) => wrong.push(format!("{to} has no place in the design")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{edges} edges between our crates");
}

#[test]
fn the_fleet_sees_only_what_it_needs_of_the_core() {
    let mut wrong = Vec::new();
    for file in rust_files() {
        if !file.path.starts_with("fleet/") || file.path.starts_with("fleet/cli/") {
            continue;
        }
        for (number, line) in (1..).zip(file.text.lines()) {
            for module in core_modules(line) {
                if !CORE_FOR_THE_FLEET.contains(&module) {
                    wrong.push(format!("{}:{number}: lightship_core::{module}", file.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "not for the fleet:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_is_the_one_of_the_design() {
    assert!(!may_depend(Place::Core, Place::Link));
    assert!(may_depend(Place::Transport, Place::Link));
    assert!(!may_depend(Place::Transport, Place::Transport));
    assert!(!may_depend(Place::Link, Place::Transport));
    assert!(!may_depend(Place::Platform, Place::Fleet));
    assert!(!may_depend(Place::Fleet, Place::Platform));
    assert!(may_depend(Place::Cli, Place::Platform));
    assert!(!may_depend(Place::Fleet, Place::Rigs));
}

/// The root manifest and those of the workspaces kept apart from it.
fn workspaces() -> Vec<String> {
    let manifests = files(|path| path.ends_with("Cargo.toml"));
    manifests
        .into_iter()
        .filter(|file| {
            file.text
                .lines()
                .any(|line| line.trim_end() == "[workspace]")
        })
        .map(|file| file.path)
        .collect()
}

/// Edges between our own crates, as pairs of folders; dependencies of every kind count.
fn edges_of(manifest: &str) -> Vec<(String, String)> {
    let root = root();
    let metadata: Metadata = MetadataCommand::new()
        .manifest_path(root.join(manifest))
        .no_deps()
        .exec()
        .expect("cargo reads our own manifests");
    let mut edges = Vec::new();
    for package in &metadata.packages {
        let from = folder(
            &root,
            package
                .manifest_path
                .parent()
                .expect("a manifest has a folder")
                .as_std_path(),
        );
        for dependency in &package.dependencies {
            if let Some(path) = &dependency.path {
                edges.push((from.clone(), folder(&root, path.as_std_path())));
            }
        }
    }
    edges
}

fn folder(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    path.to_string_lossy().replace('\\', "/")
}

/// First path segments behind `lightship_core::` in a line, groups in braces included.
fn core_modules(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for rest in line.split("lightship_core::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => found.extend(top_level(group)),
            None => found.extend(name(rest)),
        }
    }
    found
}

fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut found, mut is_start) = (1, Vec::new(), true);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' => is_start |= depth == 1,
            _ if is_start && !letter.is_whitespace() => {
                is_start = false;
                found.extend(name(&group[at..]));
            }
            _ => (),
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn name(text: &str) -> Option<&str> {
    let end = text
        .find(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

#[test]
fn modules_are_found_in_single_and_grouped_imports() {
    assert_eq!(core_modules("use lightship_core::wire::Message;"), ["wire"]);
    assert_eq!(
        core_modules("use lightship_core::{trust::{Role, Key}, wire};"),
        ["trust", "wire"]
    );
    assert_eq!(
        core_modules("let x = lightship_core::plan::plan(a);"),
        ["plan"]
    );
}
