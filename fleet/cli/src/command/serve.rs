//! `lightship serve`.

use std::path::PathBuf;

use clap::Args;
use lightship_core::id::Digest;
use lightship_fleet::{Config, Handle};

use crate::failure::{Code, Failure};
use crate::output::{Output, sheet};

/// Run the fleet server in this process.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Its configuration (TOML); without it, everything is in the data folder.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// Where keys, the database and artifacts are kept.
    #[arg(long, value_name = "FOLDER", default_value = "lightship-data")]
    data: PathBuf,
    /// Where HTTPS is served; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<std::net::SocketAddr>,
    /// A name or address in the certificate that the server makes for itself.
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
}

pub(crate) async fn run(serve: Serve, output: &Output) -> Result<(), Failure> {
    log();
    let failed = |error: &dyn std::fmt::Display| Failure::new(Code::Failed, error.to_string());
    let mut config = match &serve.config {
        Some(path) => Config::from_file(path).map_err(|error| failed(&error))?,
        None => Config::in_folder(&serve.data),
    };
    if let Some(address) = serve.listen {
        config.https.listen = address;
    }
    config.https.names.extend(serve.names);
    let ended = async {
        match asked_to_stop().await {
            Ok(()) => output.remark("stopping"),
            Err(error) => output.remark(&format!("signals cannot be heard, stopping: {error}")),
        }
    };
    let serving = |server: &Handle| say(output, server);
    lightship_fleet::serve(config, ended, serving)
        .await
        .map_err(|error| failed(&error))
}

fn say(output: &Output, server: &Handle) {
    let fingerprint = Digest::of(server.authority_pem().as_bytes());
    let started = serde_json::json!({ "url": server.url(), "fingerprint": fingerprint });
    output.stream(&started, |_| {
        let lines = sheet(&[
            ("serving", server.url()),
            ("fingerprint", fingerprint.to_string()),
        ]);
        format!(
            "{lines}log in with `lightship login {}`; stop with Ctrl-C",
            server.url()
        )
    });
}

/// Ctrl-C, or a service manager's SIGTERM.
pub(crate) async fn asked_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}

/// `RUST_LOG` says how much is logged; standard error says it.
pub(crate) fn log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
