//! Runs the shims of the built-in engine, as `lightshipd` itself does, for tests of the engine alone.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    lightshipd::engine::runtime::shim_main(&arguments)
}
