//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{command, demo, keys, push, rig};

/// Gets your code onto every device of a fleet.
#[derive(Debug, Parser)]
#[command(name = "lightship", version, propagate_version = true, subcommand_required = true, arg_required_else_help = true, after_help = crate::failure::EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A time as people write it, in seconds: `90s`, `30m`, `2h`, `1d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) u32);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no time: expected 90s, 30m, 2h or 1d");
        let unit = match text.chars().last() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 24 * 3600,
            Some(_) | None => return Err(bad()),
        };
        let number: u32 = text[..text.len() - 1].parse().map_err(|_| bad())?;
        number.checked_mul(unit).map(Self).ok_or_else(bad)
    }
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The server's URL; the one logged in to by default.
    #[arg(long, global = true, value_name = "URL", env = "LIGHTSHIP_SERVER")]
    pub(crate) server: Option<String>,
    /// An API token, for CI; the one of `lightship login` by default.
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "LIGHTSHIP_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<String>,
    /// The authority (PEM) that signed the server's certificate.
    #[arg(long, global = true, value_name = "FILE", env = "LIGHTSHIP_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// The fleet that is meant; not needed when there is only one.
    #[arg(long, global = true, value_name = "NAME", env = "LIGHTSHIP_FLEET")]
    pub(crate) fleet: Option<lightship_api::Name>,
    /// Where logins and keys are kept.
    #[arg(
        long,
        global = true,
        value_name = "FOLDER",
        env = "LIGHTSHIP_CONFIG_DIR"
    )]
    pub(crate) config_dir: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Log in to a server.
    Login(command::login::Login),
    /// Forget the login, here and on the server.
    Logout,
    /// Say who is logged in.
    Whoami,
    /// People who may log in to the server.
    #[command(subcommand)]
    User(command::user::User),
    /// API tokens, for CI and other programs.
    #[command(subcommand)]
    Token(command::token::Token),
    /// Who changed what, and when.
    Changes(command::changes::Changes),
    /// Fleets, their members and provisioning keys.
    #[command(subcommand)]
    Fleet(command::fleet::Fleet),
    /// Devices.
    #[command(subcommand)]
    Device(command::device::Device),
    /// Build, sign and upload a release.
    #[command(visible_alias = "deploy")]
    Push(push::Push),
    /// Builds on the server.
    #[command(subcommand)]
    Build(command::build::Command),
    /// Releases and their roll-outs.
    #[command(subcommand)]
    Release(command::release::Release),
    /// Variables that fill in what releases leave open.
    #[command(subcommand)]
    Env(command::env::Env),
    /// Log lines of a device.
    Logs(command::logs::Logs),
    /// Root and release keys, made and used on this machine alone.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Write the configuration file that a new device starts with.
    Config(command::config::Config),
    /// The key by which tunnels know the server.
    #[command(subcommand)]
    Hub(command::hub::Hub),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Run the fleet server in this process.
    Serve(command::serve::Serve),
    /// Show the whole system on this machine: a server, a Linux device, a microcontroller.
    Demo(demo::Demo),
    /// Try scenarios with real power cuts on a device that a file describes.
    #[command(subcommand)]
    Rig(rig::Command),
    /// The demo's Linux device, in namespaces of its own.
    #[command(hide = true)]
    DemoDevice(demo::Inside),
    /// The daemon of the demo's Linux device.
    #[command(hide = true)]
    DemoDaemon {
        /// Its configuration.
        #[arg(long)]
        config: PathBuf,
    },
    /// The demo's microcontroller.
    #[command(hide = true)]
    DemoBoard(demo::Board),
}
