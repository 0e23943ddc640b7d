//! `cargo xtask dist`: static programs for each architecture, and Debian packages of them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::Metadata;

use crate::deb::{File, Package};
use crate::report::{Report, Step};
use crate::{elf, packages, process, setup, workspace};

const HELP: &str = "\
Builds static programs and Debian packages into target/dist/.

Usage: cargo xtask dist [options] [architecture [package]]

Architectures are amd64, arm64 and armhf; without one all are built.
Packages are lightshipd, lightship and lightship-server; without one all are built.
The same sources give the same packages.

  --from FOLDER      pack the programs of this folder, as they are, and build nothing
  --into FOLDER      write there instead of target/dist/
  --version VERSION  of the packages; the workspace's without it";

/// An architecture and how it is built.
struct Architecture {
    /// As Debian calls it.
    name: &'static str,
    target: &'static str,
    /// Compiler of C dependencies.
    compiler: &'static str,
    /// What that one is told.
    c_flags: &'static str,
    linker: &'static str,
    /// What the compiler is told more than the target's own.
    flags: &'static str,
    /// Whether Rust's own linker does it, called by `linker`.
    lld: bool,
}

const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        name: "amd64",
        target: "x86_64-unknown-linux-musl",
        compiler: "musl-gcc",
        c_flags: "",
        // musl-gcc itself names an interpreter even in a static program.
        linker: "cc",
        flags: "",
        lld: false,
    },
    Architecture {
        name: "arm64",
        target: "aarch64-unknown-linux-musl",
        compiler: "aarch64-linux-gnu-gcc",
        // With glibc's headers SQLite would ask for functions on large files by names that musl has not;
        // all files are large ones here.
        c_flags: "-DSQLITE_DISABLE_LFS",
        linker: "aarch64-linux-gnu-gcc",
        flags: "-Clink-self-contained=yes",
        lld: false,
    },
    // There is no musl for this one in Debian; static glibc does, as names are resolved in the program.
    Architecture {
        name: "armhf",
        target: "armv7-unknown-linux-gnueabihf",
        compiler: "arm-linux-gnueabihf-gcc",
        c_flags: "",
        linker: "arm-linux-gnueabihf-gcc",
        flags: "-Ctarget-feature=+crt-static",
        // GNU's takes glibc's Thumb resolvers for ARM code once a program is larger than 16 MB.
        lld: true,
    },
];

/// A Debian package.
struct Product {
    package: &'static str,
    summary: &'static str,
    /// A program and the crate that it is of.
    program: Option<Program>,
    /// Another package of the same version that this one cannot do without.
    needs: Option<&'static str>,
    /// The systemd unit that it starts, from the root of the repository.
    unit: Option<&'static str>,
}

#[derive(Clone, Copy)]
struct Program {
    crate_name: &'static str,
    name: &'static str,
}

const DAEMON: Program = Program {
    crate_name: "lightshipd",
    name: "lightshipd",
};

const PRODUCTS: &[Product] = &[
    Product {
        package: "lightshipd",
        summary: "Runs the releases that a Lightship fleet assigns to this device",
        program: Some(DAEMON),
        needs: None,
        unit: Some("platforms/linux/systemd/lightshipd.service"),
    },
    Product {
        package: "lightship",
        summary: "The command line of Lightship",
        program: Some(Program {
            crate_name: "lightship",
            name: "lightship",
        }),
        needs: None,
        unit: None,
    },
    Product {
        package: "lightship-server",
        summary: "Serves a Lightship fleet from this machine",
        program: None,
        needs: Some("lightship"),
        unit: Some("fleet/cli/systemd/lightship-server.service"),
    },
];

/// What is asked for.
#[derive(Default)]
struct Order {
    /// `None`: all.
    architecture: Option<String>,
    /// `None`: all.
    package: Option<String>,
    /// Where the programs are, if they are not to be built.
    from: Option<PathBuf>,
    /// `None`: `dist` in the target folder.
    into: Option<PathBuf>,
    /// `None`: that of the workspace.
    version: Option<String>,
}

impl Order {
    fn of(words: &[String]) -> Result<Self> {
        let mut order = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                let value = words.next().cloned();
                value.with_context(|| format!("`{word}` needs a value\n\n{HELP}"))
            };
            match word.as_str() {
                "--from" => order.from = Some(value()?.into()),
                "--into" => order.into = Some(value()?.into()),
                "--version" => order.version = Some(value()?),
                _ if word.starts_with('-') => bail!("there is no option `{word}`\n\n{HELP}"),
                _ if order.architecture.is_none() => order.architecture = Some(word.clone()),
                _ if order.package.is_none() => order.package = Some(word.clone()),
                _ => bail!("name one architecture and one package at most\n\n{HELP}"),
            }
        }
        order.check()?;
        Ok(order)
    }

    fn check(&self) -> Result<()> {
        let has = |mut names: Vec<&str>, name: &Option<String>, what| {
            names.retain(|known| name.as_deref().is_none_or(|name| *known == name));
            ensure!(!names.is_empty(), "there is no such {what}\n\n{HELP}");
            Ok(())
        };
        let architectures = ARCHITECTURES.iter().map(|one| one.name).collect();
        has(architectures, &self.architecture, "architecture")?;
        let packages = PRODUCTS.iter().map(|one| one.package).collect();
        has(packages, &self.package, "package")
    }

    fn architectures(&self) -> Vec<&'static Architecture> {
        let chosen = self.architecture.as_deref();
        let all = ARCHITECTURES.iter();
        all.filter(|one| chosen.is_none_or(|name| one.name == name))
            .collect()
    }

    fn products(&self) -> impl Iterator<Item = &'static Product> {
        let chosen = self.package.clone();
        let all = PRODUCTS.iter();
        all.filter(move |one| chosen.as_deref().is_none_or(|name| one.package == name))
    }
}

/// Runs the command.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    if let [word] = words
        && (word == "--help" || word == "-h")
    {
        println!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let order = Order::of(words)?;
    let root = &workspace::root();
    let metadata = workspace::metadata(root)?;
    let mut report = Report::new();
    if order.from.is_none() {
        report.step("set-up", |step| {
            let architectures = order.architectures();
            let targets: Vec<_> = architectures.iter().map(|one| one.target).collect();
            setup::targets(step, root, &targets)?;
            setup::packages(step, packages::FOR_DIST)
        });
    }
    for architecture in order.architectures() {
        report.step(architecture.name, |step| {
            for product in order.products() {
                step.check(
                    product.package,
                    ship(root, &metadata, &order, architecture, product),
                );
            }
            Ok(())
        });
    }
    Ok(report.finish())
}

/// Builds a package and what is in it.
fn ship(
    root: &Path,
    metadata: &Metadata,
    order: &Order,
    on: &Architecture,
    product: &Product,
) -> Result<()> {
    let of_workspace = metadata.packages.first();
    let of_workspace = of_workspace.context("the workspace is empty")?;
    let version = order.version.clone();
    let version = version.unwrap_or_else(|| of_workspace.version.to_string());
    let folder = order.into.clone();
    let folder =
        folder.unwrap_or_else(|| metadata.target_directory.join("dist").into_std_path_buf());
    std::fs::create_dir_all(&folder)?;
    let write = |name: &str, bytes: &[u8]| -> Result<()> {
        let path = folder.join(name);
        std::fs::write(&path, bytes)?;
        println!("{}: {} KB", path.display(), bytes.len() / 1024);
        Ok(())
    };
    let mut files = Vec::new();
    if let Some(program) = product.program {
        let bytes = if let Some(from) = &order.from {
            let path = from.join(program.name);
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?
        } else {
            let built = build(root, metadata, on, program)?;
            let bytes = std::fs::read(&built)?;
            ensure!(elf::is_static(&bytes)?, "{} is not static", built.display());
            let name = format!("{}-{version}-{}", program.name, on.name);
            write(&name, &bytes)?;
            let runs = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(folder.join(name), runs)?;
            bytes
        };
        files.push(File {
            path: format!("usr/bin/{}", program.name),
            mode: 0o755,
            bytes,
        });
    }
    let package = pack(root, on, product, &version, files)?;
    write(
        &format!("{}_{version}_{}.deb", product.package, on.name),
        &package.write()?,
    )
}

fn build(root: &Path, metadata: &Metadata, on: &Architecture, program: Program) -> Result<PathBuf> {
    ensure!(
        process::is_installed(on.compiler),
        "{} is not installed",
        on.compiler
    );
    let mut command = command(root, program, "dist");
    on.tell(&mut command, root)?;
    process::stream(command, |_| ())?;
    let built = metadata
        .target_directory
        .join(on.target)
        .join("dist")
        .join(program.name);
    Ok(built.into_std_path_buf())
}

/// The architectures whose daemon the tests run by an emulator.
const TESTED: [&str; 2] = ["arm64", "armhf"];

/// Builds that daemon, unoptimised, where there are compilers for it.
pub(crate) fn for_tests(step: &mut Step, root: &Path) -> Result<()> {
    let mut command = command(root, DAEMON, "dev");
    let mut targets = Vec::new();
    for on in ARCHITECTURES {
        if !TESTED.contains(&on.name) {
            continue;
        }
        if process::is_installed(on.compiler) {
            on.tell(&mut command, root)?;
            targets.push(on.target);
        } else {
            step.skip(format!(
                "{} is not installed: tests of the daemon for {} are skipped",
                on.compiler, on.name
            ));
        }
    }
    if targets.is_empty() {
        return Ok(());
    }
    setup::targets(step, root, &targets)?;
    step.run(command)
}

fn command(root: &Path, program: Program, profile: &str) -> Command {
    let mut command = process::cargo(root, ["build", "--locked", "--profile", profile]);
    command
        .args(["--package", program.crate_name, "--bin", program.name])
        .env_remove("RUSTFLAGS");
    command
}

impl Architecture {
    /// Has `command` build for this one too.
    fn tell(&self, command: &mut Command, root: &Path) -> Result<()> {
        let lower = self.target.replace('-', "_");
        let upper = lower.to_uppercase();
        let mut flags = self.flags.to_owned();
        if self.lld {
            let folder = workspace::linkers(root)?;
            flags += &format!(" -Clink-arg=-fuse-ld=lld -Clink-arg=-B{}", folder.display());
        }
        command
            .args(["--target", self.target])
            .env(format!("CARGO_TARGET_{upper}_LINKER"), self.linker)
            .env(format!("CARGO_TARGET_{upper}_RUSTFLAGS"), flags)
            .env(format!("CC_{lower}"), self.compiler)
            .env(format!("CFLAGS_{lower}"), self.c_flags);
        Ok(())
    }
}

fn pack<'a>(
    root: &Path,
    on: &'a Architecture,
    product: &'a Product,
    version: &'a str,
    mut files: Vec<File>,
) -> Result<Package<'a>> {
    let mut add = |from: &str, path: String| -> Result<()> {
        let bytes =
            std::fs::read(root.join(from)).with_context(|| format!("cannot read {from}"))?;
        files.push(File {
            path,
            mode: 0o644,
            bytes,
        });
        Ok(())
    };
    let unit = product
        .unit
        .map(|path| path.rsplit('/').next().unwrap_or(path));
    if let (Some(path), Some(unit)) = (product.unit, unit) {
        add(path, format!("usr/lib/systemd/system/{unit}"))?;
    }
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        add(
            licence,
            format!("usr/share/doc/{}/{licence}", product.package),
        )?;
    }
    Ok(Package {
        name: product.package,
        version,
        architecture: on.name,
        summary: product.summary,
        needs: product.needs,
        unit,
        files,
    })
}

#[cfg(test)]
mod install;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_is_part_of_the_workspace() {
        let metadata = workspace::metadata(&workspace::root()).expect("our own manifests");
        for program in PRODUCTS.iter().filter_map(|product| product.program) {
            let mut packages = metadata.packages.iter();
            assert!(packages.any(|package| package.name == program.crate_name));
        }
    }

    #[test]
    fn a_service_is_packed_with_its_unit_and_the_licences() {
        let product = PRODUCTS.last().expect("there are products");
        let package = pack(
            &workspace::root(),
            &ARCHITECTURES[0],
            product,
            "1.2.3",
            Vec::new(),
        );
        let paths: Vec<String> = package
            .expect("the unit is there")
            .files
            .into_iter()
            .map(|file| file.path)
            .collect();
        assert_eq!(
            paths,
            [
                "usr/lib/systemd/system/lightship-server.service",
                "usr/share/doc/lightship-server/LICENSE-MIT",
                "usr/share/doc/lightship-server/LICENSE-APACHE",
            ]
        );
    }

    #[test]
    fn an_unknown_architecture_is_an_error() {
        assert!(run(&["pdp11".to_owned()]).is_err());
        assert!(run(&["armhf".to_owned(), "lightshop".to_owned()]).is_err());
        assert!(run(&["--into".to_owned()]).is_err());
        assert!(run(&["--out".to_owned(), "here".to_owned()]).is_err());
    }
}
