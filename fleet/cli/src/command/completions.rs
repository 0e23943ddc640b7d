//! `lightship completions`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Arguments;

pub(crate) fn run(shell: Shell) {
    let mut command = Arguments::command();
    clap_complete::generate(shell, &mut command, "lightship", &mut std::io::stdout());
}
