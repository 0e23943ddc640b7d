//! Builds the service that `lightship demo` deploys: one static program, for the same machine as this one.
//!
//! Where it cannot be linked, the demo is built without it and says what it leaves out.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=demo/service.rs");
    let out = PathBuf::from(variable("OUT_DIR")).join("service");
    if !build(&out) {
        println!(
            "cargo::warning=`lightship demo` is built without its container: the static C library is missing"
        );
        std::fs::write(&out, []).expect("OUT_DIR can be written to");
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).expect("cargo sets it")
}

fn build(out: &Path) -> bool {
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args([
        "--edition",
        "2024",
        "--crate-type",
        "bin",
        "--crate-name",
        "service",
    ]);
    rustc.args(["--target", &variable("TARGET")]);
    for option in [
        "opt-level=s",
        "panic=abort",
        "strip=symbols",
        "target-feature=+crt-static",
        "relocation-model=static",
    ] {
        rustc.args(["-C", option]);
    }
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    // Flags of an outer build, such as those of a sanitizer, are not for this program.
    rustc.arg("demo/service.rs").arg("-o").arg(out);
    rustc.status().is_ok_and(|status| status.success())
}
