//! `lightship logs`.

mod frames;

use std::path::PathBuf;

use clap::Args;
use lightship_api::{LogLine, LogStream};
use reqwest::Method;

use self::frames::{Explained, Firmware, SERVICE};
use super::device::Devices;
use crate::client::Client;
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
    /// Make readable what a firmware logs with defmt, with the ELF file that its image was made of; for each image one.
    #[arg(long, value_name = "FILE")]
    elf: Vec<PathBuf>,
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
    let mut shown = Shown::begin(&logs.elf, output)?;
    if !logs.elf.is_empty() {
        let newest = format!(
            "{}/logs?limit=1&service={SERVICE}",
            devices.path(&device.uuid)
        );
        shown.refuse_misfit(&client, &newest, &logs.device).await?;
    }
    if !logs.follow {
        let lines: Vec<LogLine> = client.get(&path).await?;
        lines.into_iter().for_each(|line| shown.take(line));
        return Ok(());
    }
    let mut events = client
        .events::<LogLine>(client.request(Method::GET, &path))
        .await?;
    while let Some(line) = events.next().await? {
        shown.take(line);
    }
    Err(
        Failure::new(Code::Unreachable, "the server ended the stream")
            .help("run the command again to go on"),
    )
}

/// Where lines are shown, and with what they are made readable.
struct Shown<'o> {
    output: &'o Output,
    firmware: Firmware,
    /// What was remarked, so that it is once.
    remarked: Vec<String>,
}

impl<'o> Shown<'o> {
    fn begin(elf: &[PathBuf], output: &'o Output) -> Result<Self, Failure> {
        Ok(Self {
            output,
            firmware: Firmware::read(elf)?,
            remarked: Vec::new(),
        })
    }

    /// Fails if what a device logged last is of an image that none of the files makes.
    async fn refuse_misfit(
        &mut self,
        client: &Client,
        newest: &str,
        device: &str,
    ) -> Result<(), Failure> {
        let newest: Vec<LogLine> = client.get(newest).await?;
        match newest
            .into_iter()
            .next()
            .map(|line| self.firmware.explain(line))
        {
            Some(Explained::Of(origin, _)) => Err(self.firmware.misfit(device, origin)),
            Some(Explained::Lines(_) | Explained::Other(_)) | None => Ok(()),
        }
    }

    fn take(&mut self, line: LogLine) {
        match self.firmware.explain(line) {
            Explained::Lines(lines) => lines
                .iter()
                .for_each(|line| self.output.stream(line, written)),
            Explained::Of(origin, line) => {
                // A program may know what to do with it.
                if self.output.is_json() {
                    self.output.stream(&line, written);
                }
                self.remark(format!("left out: what image {origin} logged with defmt; pass its ELF with --elf as well"));
            }
            Explained::Other(line) => {
                self.output.stream(&line, written);
                if line.service == SERVICE {
                    self.remark(
                        "to read what is logged with defmt, pass the firmware's ELF with --elf"
                            .to_owned(),
                    );
                }
            }
        }
    }

    fn remark(&mut self, text: String) {
        if !self.remarked.contains(&text) {
            self.output.remark(&text);
            self.remarked.push(text);
        }
    }
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
