//! `lightship completions`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::output::Output;

pub(crate) fn run(shell: Shell, output: &Output) {
    let mut command = Arguments::command();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "lightship", &mut script);
    let script = String::from_utf8_lossy(&script);
    let made = serde_json::json!({ "shell": shell.to_string(), "script": script });
    output.show(&made, |_| script.clone().into_owned());
}
