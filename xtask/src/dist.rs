//! `cargo xtask dist`: static programs for each architecture, and Debian packages of them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::Metadata;

use crate::deb::{File, Package};
use crate::report::Report;
use crate::{elf, packages, process, setup, workspace};

const HELP: &str = "\
Builds static programs and Debian packages into target/dist/.

Usage: cargo xtask dist [architecture]

Architectures are amd64, arm64 and armhf; without one all are built.
The same sources give the same packages.";

/// An architecture and how it is built.
struct Architecture {
    /// As Debian calls it.
    name: &'static str,
    target: &'static str,
    /// Compiler of C dependencies, and linker.
    compiler: &'static str,
    /// What the compiler is told more than the target's own.
    flags: &'static str,
}

const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        name: "amd64",
        target: "x86_64-unknown-linux-musl",
        compiler: "musl-gcc",
        flags: "",
    },
    Architecture {
        name: "arm64",
        target: "aarch64-unknown-linux-musl",
        compiler: "aarch64-linux-gnu-gcc",
        flags: "-Clink-self-contained=yes",
    },
    // There is no musl for this one in Debian; static glibc does, as names are resolved in the program.
    Architecture {
        name: "armhf",
        target: "armv7-unknown-linux-gnueabihf",
        compiler: "arm-linux-gnueabihf-gcc",
        flags: "-Ctarget-feature=+crt-static",
    },
];

/// A program that is shipped, and the Debian package that it is shipped in.
struct Product {
    crate_name: &'static str,
    program: &'static str,
    package: &'static str,
    summary: &'static str,
    /// The systemd unit, from the root of the repository.
    unit: &'static str,
}

const PRODUCTS: &[Product] = &[
    Product {
        crate_name: "lightshipd",
        program: "lightshipd",
        package: "lightshipd",
        summary: "Runs the releases that a Lightship fleet assigns to this device",
        unit: "platforms/linux/systemd/lightshipd.service",
    },
    Product {
        crate_name: "lightship",
        program: "lightship",
        package: "lightship",
        summary: "Lightship's command line and fleet server",
        unit: "fleet/cli/systemd/lightship.service",
    },
];

/// Runs the command.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let chosen: Vec<_> = match words {
        [] => ARCHITECTURES.iter().collect(),
        [word] if word == "--help" || word == "-h" => {
            println!("{HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        [name] => ARCHITECTURES
            .iter()
            .filter(|known| known.name == name)
            .collect(),
        _ => bail!("name one architecture or none\n\n{HELP}"),
    };
    ensure!(
        !chosen.is_empty(),
        "there is no such architecture\n\n{HELP}"
    );
    let root = &workspace::root();
    let metadata = workspace::metadata(root)?;
    let mut report = Report::new();
    report.step("set-up", |step| {
        let targets: Vec<_> = chosen.iter().map(|one| one.target).collect();
        setup::targets(step, root, &targets)?;
        setup::packages(step, packages::FOR_DIST)
    });
    for architecture in chosen {
        report.step(architecture.name, |step| {
            for product in PRODUCTS {
                step.check(
                    product.package,
                    ship(root, &metadata, architecture, product),
                );
            }
            Ok(())
        });
    }
    Ok(report.finish())
}

/// Builds one program and packs it.
fn ship(root: &Path, metadata: &Metadata, on: &Architecture, product: &Product) -> Result<()> {
    let program = build(root, metadata, on, product)?;
    let bytes = std::fs::read(&program)?;
    ensure!(
        elf::is_static(&bytes)?,
        "{} is not static",
        program.display()
    );
    let folder = metadata.target_directory.join("dist").into_std_path_buf();
    std::fs::create_dir_all(&folder)?;
    let version = version(metadata, product)?;
    let name = format!("{}_{version}_{}", product.package, on.name);
    std::fs::write(folder.join(&name), &bytes)?;
    println!("{name}: {} KB, static", bytes.len() / 1024);
    let package = pack(root, on, product, &version, &bytes)?;
    let path = folder.join(format!("{name}.deb"));
    std::fs::write(&path, &package)?;
    println!("{}: {} KB", path.display(), package.len() / 1024);
    Ok(())
}

fn build(
    root: &Path,
    metadata: &Metadata,
    on: &Architecture,
    product: &Product,
) -> Result<PathBuf> {
    ensure!(
        process::is_installed(on.compiler),
        "{} is not installed",
        on.compiler
    );
    let upper = on.target.replace('-', "_").to_uppercase();
    let mut command = process::cargo(root, ["build", "--locked", "--profile", "dist"]);
    command
        .args([
            "--package",
            product.crate_name,
            "--bin",
            product.program,
            "--target",
            on.target,
        ])
        .env(format!("CARGO_TARGET_{upper}_LINKER"), on.compiler)
        .env(format!("CARGO_TARGET_{upper}_RUSTFLAGS"), on.flags)
        .env(format!("CC_{}", on.target.replace('-', "_")), on.compiler)
        .env_remove("RUSTFLAGS");
    process::stream(command, |_| ())?;
    let built = metadata
        .target_directory
        .join(on.target)
        .join("dist")
        .join(product.program);
    Ok(built.into_std_path_buf())
}

fn pack(
    root: &Path,
    on: &Architecture,
    product: &Product,
    version: &str,
    program: &[u8],
) -> Result<Vec<u8>> {
    let unit = std::fs::read(root.join(product.unit))
        .with_context(|| format!("cannot read {}", product.unit))?;
    let unit_name = product.unit.rsplit('/').next().unwrap_or(product.unit);
    let licences = ["LICENSE-MIT", "LICENSE-APACHE"].map(|name| std::fs::read(root.join(name)));
    let [mit, apache] = licences;
    let (mit, apache) = (mit?, apache?);
    let doc = |name: &str| format!("usr/share/doc/{}/{name}", product.package);
    let file = |path, mode, bytes| File { path, mode, bytes };
    let package = Package {
        name: product.package,
        version,
        architecture: on.name,
        summary: product.summary,
        unit: unit_name,
        files: vec![
            file(format!("usr/bin/{}", product.program), 0o755, program),
            file(format!("usr/lib/systemd/system/{unit_name}"), 0o644, &unit),
            file(doc("LICENSE-MIT"), 0o644, &mit),
            file(doc("LICENSE-APACHE"), 0o644, &apache),
        ],
    };
    package.write()
}

fn version(metadata: &Metadata, product: &Product) -> Result<String> {
    let mut packages = metadata.packages.iter();
    let package = packages.find(|package| package.name == product.crate_name);
    let package = package.with_context(|| format!("there is no crate {}", product.crate_name))?;
    Ok(package.version.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_is_part_of_the_workspace() {
        let metadata = workspace::metadata(&workspace::root()).expect("our own manifests");
        for product in PRODUCTS {
            assert!(
                version(&metadata, product).is_ok(),
                "{}",
                product.crate_name
            );
        }
    }

    #[test]
    fn an_unknown_architecture_is_an_error() {
        assert!(run(&["pdp11".to_owned()]).is_err());
    }
}
