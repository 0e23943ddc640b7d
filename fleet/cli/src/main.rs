#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod args;
mod client;
mod command;
mod demo;
mod failure;
mod keys;
mod output;
mod place;
mod push;
mod rig;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Arguments, Command};
use crate::failure::{Code, Failure};
use crate::output::Output;
use crate::place::Place;

fn main() -> ExitCode {
    // Behind each container of the demo stands a process of this program.
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("shim", rest)) = words
        .split_first()
        .map(|(word, rest)| (word.as_str(), rest))
    {
        return lightshipd::engine::runtime::shim_main(rest);
    }
    demo::end_with_the_demo();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return not_understood(&error),
    };
    if let Command::DemoBoard(board) = &arguments.command {
        return demo::run_board(board);
    }
    let output = Output::new(arguments.global.json);
    match run(arguments, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            failure.code.into()
        }
    }
}

/// What clap has to say: help on standard output, or what is wrong with the command line.
fn not_understood(error: &clap::Error) -> ExitCode {
    let is_json = std::env::args().any(|word| word == "--json");
    if is_json && error.use_stderr() {
        let text = error.render().to_string();
        let message = text.trim().trim_start_matches("error: ");
        Output::new(true).failure(&Failure::new(Code::Usage, message));
        return Code::Usage.into();
    }
    // A reader that went away, such as `head`, is no error.
    let _gone = error.print().is_err();
    if error.use_stderr() {
        Code::Usage.into()
    } else {
        ExitCode::SUCCESS
    }
}

fn run(arguments: Arguments, output: &Output) -> Result<(), Failure> {
    match &arguments.command {
        Command::DemoDevice(inside) => return demo::run_inside(inside),
        Command::DemoDaemon { config } => return demo::run_daemon(config),
        _ => {}
    }
    // Two TLS libraries can be linked by what others depend on; this one is meant.
    let installed = rustls::crypto::ring::default_provider().install_default();
    installed.map_err(|_| Failure::new(Code::Failed, "TLS could not be set up"))?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::new(Code::Failed, format!("cannot start: {error}")))?;
    runtime.block_on(dispatch(arguments, output))
}

async fn dispatch(arguments: Arguments, output: &Output) -> Result<(), Failure> {
    match arguments.command {
        Command::Completions { shell } => {
            command::completions::run(shell, output);
            Ok(())
        }
        Command::Serve(serve) => command::serve::run(serve, output).await,
        Command::Demo(demo) => demo::run(demo, output).await,
        Command::Rig(command) => rig::run(command, output).await,
        command => as_person(command, &Place::new(arguments.global)?, output).await,
    }
}

/// What a person does, with logins and keys of its own; a service has no home for them.
async fn as_person(command: Command, place: &Place, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Login(login) => command::login::run(login, place, output).await,
        Command::Logout => command::login::log_out(place, output).await,
        Command::Whoami => command::login::show(place, output).await,
        Command::User(user) => command::user::run(user, place, output).await,
        Command::Token(token) => command::token::run(token, place, output).await,
        Command::Changes(changes) => command::changes::run(changes, place, output).await,
        Command::Fleet(fleet) => command::fleet::run(fleet, place, output).await,
        Command::Device(device) => command::device::run(device, place, output).await,
        Command::Release(release) => command::release::run(release, place, output).await,
        Command::Build(build) => command::build::run(build, place, output).await,
        Command::Push(push) => push::run(push, place, output).await,
        Command::Env(env) => command::env::run(env, place, output).await,
        Command::Logs(logs) => command::logs::run(logs, place, output).await,
        Command::Keys(keys) => keys::run(keys, place, output).await,
        Command::Config(config) => command::config::run(config, place, output).await,
        Command::Hub(hub) => command::hub::run(hub, place, output).await,
        Command::Completions { .. }
        | Command::Serve(_)
        | Command::Demo(_)
        | Command::Rig(_)
        | Command::DemoDevice(_)
        | Command::DemoDaemon { .. }
        | Command::DemoBoard(_) => unreachable!("they are no person's"),
    }
}
