//! `lightship logs`.

use clap::Args;
use lightship_api::{LogLine, LogStream};
use reqwest::Method;

use super::device::Devices;
use crate::failure::{Code, Failure};
use crate::output::{Output, harmless};
use crate::place::Place;

/// Log lines of a device.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Its uuid, the beginning of it, or its name.
    device: String,
    /// Of this service alone.
    #[arg(long)]
    service: Option<String>,
    /// How many of the last lines.
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: u32,
    /// Go on with lines as they come.
    #[arg(short, long)]
    follow: bool,
}

pub(crate) async fn run(logs: Logs, place: &Place, output: &Output) -> Result<(), Failure> {
    let client = place.client()?;
    let devices = Devices::of(place, &client).await?;
    let device = devices.find(&logs.device).await?;
    let service = logs
        .service
        .map(|service| format!("&service={service}"))
        .unwrap_or_default();
    let path = format!(
        "{}/logs?limit={}&follow={}{service}",
        devices.path(&device.uuid),
        logs.lines,
        logs.follow
    );
    if !logs.follow {
        let lines: Vec<LogLine> = client.get(&path).await?;
        lines.iter().for_each(|line| output.stream(line, written));
        return Ok(());
    }
    let mut events = client
        .events::<LogLine>(client.request(Method::GET, &path))
        .await?;
    while let Some(line) = events.next().await? {
        output.stream(&line, written);
    }
    Err(
        Failure::new(Code::Unreachable, "the server ended the stream")
            .help("run the command again to go on"),
    )
}

fn written(line: &LogLine) -> String {
    let mark = match line.stream {
        LogStream::Out => ' ',
        LogStream::Err => '!',
    };
    // A device may write anything; a terminal must not obey it.
    let text = harmless(&line.line);
    format!("{} {}{mark} {text}", line.at, line.service)
}
